"""Which source a position of the stream belongs to, for exact shares at every prefix and without an index.

Weights 0.7, 0.2, 0.1 make this tree; a position enters at the root and falls to a leaf:

    root 1.0 -- right -- web 0.7              position      0    1    2    3    4    5    6    7    8    9
       `- left 0.3 -- right -- code 0.2       source      web code  web  web  sft  web  web  web code  web
             `- left -- sft 0.1               arrival       0    0    1    2    0    3    4    5    1    6

The m-th arrival at a node goes left if and only if rounding gives the left side one more among m + 1 arrivals than
among m, so that the left side always has round(share x arrivals), and a position's place on either side is a formula.
"""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
import numpy.typing as npt

from .errors import DataError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MAX_LENGTH = 2**43  # samples; the arithmetic of Apportionment is exact up to here
_LEVELS_PER_PASS = 4  # tree levels descended before positions that reached their leaf are put aside


@dataclass(frozen=True, eq=False)
class Apportionment:
    """Positions 0, 1, 2, ... dealt out to sources in fixed shares, each prefix within 1.7 samples of its share.

    Build it with ``Apportionment.of(weights)``. For every length n from 0 to 2^43 and every source k:

        |counts(n)[k] - n * weight[k] / sum(weights)| < 1.68

    Why. Take the Huffman tree of the weights. Below a node that c positions reached, the left child gets
    round(c p), halves upwards, and the right child the rest, so each differs from its share q of c by at most 1/2.
    Writing D(v) for count minus n W(v), where W is a node's exact share of everything:

        D(child) = q D(node) + r,  |r| <= 1/2,    hence   |D(leaf)| <= 1/2 * sum of W(leaf) / W(v)

    over the nodes v from the leaf up to the child of the root (D(root) = 0: the root sees every position). Going up,
    the weights a0, a1, a2, ... of those nodes grow like Fibonacci numbers: when a_i merged with its sibling the two
    were the lightest of the nodes then open, and the sibling of a_(i+1) is one of the others or made of them, so it
    weighs at least a_i and a_(i+2) >= a_(i+1) + a_i. The sum is at most 1/1 + 1/1 + 1/2 + 1/3 + 1/5 + ... = 3.3599,
    the bound 1.67995. Shares are stored as round(2^64 p), off by 2^-65 at most, which adds under 1e-6 at 2^43.

    How the rounding stays exact in 64 bits. Let P = round(2^64 p) <= 2^63 (the left child is the lighter one). The
    product m P, wrapped to a signed 64-bit integer, is 2^64 (m p - round(m p)), the remainder of the rounding. Adding P
    to it passes 2^63 exactly when arrival m goes left. And round(m p) is the float m p less that remainder: its error,
    under 2^-8 for m <= 2^43, vanishes in the rounding to an integer.

    >>> Apportionment.of([7, 2, 1]).counts(10).tolist()
    [7, 2, 1]
    """

    weights: Floats  # (sources,) normalised to sum 1
    leaf_sources: Ints  # (drawn,) source of each leaf; leaf i is node drawn - 1 + i, the root is node 0
    children: Ints  # (2 * nodes,) right child at 2v, left child at 2v + 1; a leaf is its own child
    shares: Ints  # (nodes,) round(2^64 p) of the left child, wrapped to signed; 0 at a leaf
    ratios: Floats  # (nodes,) the same as a float

    @classmethod
    def of(cls, weights: Sequence[float]) -> "Apportionment":
        """Shares proportional to ``weights``, normalised exactly; a source of weight 0 is never drawn.

        Raises DataError for a weight that is negative or not finite, and where none is positive.

        >>> Apportionment.of([1, 0, 1]).locate(np.arange(4))[0].tolist()
        [0, 2, 0, 2]
        """
        check_weights({str(k): weight for k, weight in enumerate(weights)})
        drawn = [k for k, weight in enumerate(weights) if weight > 0]
        exact = _whole_numbers(weights)
        children, shares = _huffman([exact[k] for k in drawn])
        total = sum(exact)
        return cls(
            weights=np.array([weight / total for weight in exact]),
            leaf_sources=np.array(drawn, np.int64),
            children=np.array(children, np.int64),
            shares=np.array(shares, np.uint64).astype(np.int64),
            ratios=np.array([share / 2**64 for share in shares]),
        )

    def locate(self, positions: Ints) -> tuple[Ints, Ints]:
        """Source of each position, and how many earlier positions had the same source.

        Positions run from 0 to 2^43 - 1, in any order.

        >>> [array.tolist() for array in Apportionment.of([3, 1]).locate(np.arange(4))]
        [[0, 1, 0, 0], [0, 0, 1, 2]]
        """
        check_positions(positions)
        nodes, arrivals = np.zeros(positions.shape, np.int64), positions.astype(np.int64)
        lanes = np.flatnonzero(nodes < self._first_leaf)
        while lanes.size:
            node, arrival = nodes[lanes], arrivals[lanes]
            for _ in range(_LEVELS_PER_PASS):
                node, arrival = self._descend(node, arrival)
            nodes[lanes], arrivals[lanes] = node, arrival
            lanes = lanes[node < self._first_leaf]
        return self.leaf_sources[nodes - self._first_leaf], arrivals

    def counts(self, length: int) -> Ints:
        """How many of the first ``length`` positions each source has; exact, 0 <= length <= 2^43.

        >>> Apportionment.of([3, 1]).counts(2**42 + 2).tolist()
        [3298534883329, 1099511627777]
        """
        if not 0 <= length <= MAX_LENGTH:
            raise DataError(f"length {length:,} is out of range; expected 0 to 2^43")
        reached = [length] + [0] * (len(self.shares) - 1)
        for arrivals, (share, right, left) in zip(reached, self._tree, strict=False):
            reached[left] = (arrivals * share + 2**63) >> 64
            reached[right] = arrivals - reached[left]
        counts = np.zeros(len(self.weights), np.int64)
        counts[self.leaf_sources] = reached[self._first_leaf :]
        return counts

    def count(self, sources: Ints, lengths: Ints) -> Ints:
        """How many of the first ``lengths[i]`` positions ``sources[i]`` has: one number of ``counts``, for many pairs.

        >>> Apportionment.of([3, 1]).count(np.array([0, 1, 0]), np.array([8, 8, 2**42])).tolist()
        [6, 2, 3298534883328]
        """
        counts = np.where(self.weights.take(sources) > 0, lengths, 0)
        lanes = np.flatnonzero(counts)
        node, count = np.zeros(lanes.shape, np.int64), counts.take(lanes)
        rank = self._ranks.take(sources.take(lanes))
        while lanes.size:
            for _ in range(_LEVELS_PER_PASS):
                node, count = self._follow(node, count, rank)
            counts.put(lanes, count)
            going = np.flatnonzero(node < self._first_leaf)
            lanes, node, count, rank = lanes.take(going), node.take(going), count.take(going), rank.take(going)
        return counts

    @cached_property
    def bounds(self) -> Floats:
        """(sources,) No count differs from its share by more than this, in samples; 0 where the weight is 0 or all.

        It is the recursion of the class's docstring on this tree: D(child) = q D(node) + 1/2.

        >>> Apportionment.of([2, 1, 1]).bounds.round(3).tolist()
        [0.5, 0.75, 0.75]
        """
        errors = np.zeros(len(self.shares))
        for node in range(self._first_leaf):
            right, left = self.children[2 * node : 2 * node + 2]
            for child, share in ((left, self.ratios[node]), (right, 1 - self.ratios[node])):
                errors[child] = share * errors[node] + 0.5 + 2.0**-22  # 2^43 times the 2^-65 by which a share is off
        bounds = np.zeros(len(self.weights))
        bounds[self.leaf_sources] = errors[self._first_leaf :]
        return bounds

    def position(self, source: int, arrival: int) -> int:
        """Position at which ``source`` is drawn for the ``arrival``-th time, from 0: the inverse of ``locate``.

        >>> Apportionment.of([3, 1]).position(0, 2)
        3
        """
        leaves = np.flatnonzero(self.leaf_sources == source)
        if not leaves.size:
            raise DataError(f"source {source} has weight 0 or is unknown; it has no positions")
        parents = {int(child): parent for parent, child in self._edges()}
        node = self._first_leaf + int(leaves[0])
        while node:
            edge = parents[node]
            arrival = _arrival_above(arrival, self._share(edge // 2), is_left=bool(edge % 2))
            node = edge // 2
        return arrival

    def _descend(self, node: Ints, arrival: Ints) -> tuple[Ints, Ints]:
        share = self.shares.take(node)
        remainder = arrival * share
        goes_left = remainder + share < remainder
        left = np.rint(arrival * self.ratios.take(node) - remainder * 2.0**-64).astype(np.int64)
        return self.children.take(2 * node + goes_left), np.where(goes_left, left, arrival - left)

    def _follow(self, node: Ints, count: Ints, rank: Ints) -> tuple[Ints, Ints]:
        """One level down towards the leaf of a rank, with the count of the child on the way."""
        remainder = count * self.shares.take(node)
        left = np.rint(count * self.ratios.take(node) - remainder * 2.0**-64).astype(np.int64)
        goes_left = rank < self._first_right.take(node)
        return self.children.take(2 * node + goes_left), np.where(goes_left, left, count - left)

    @cached_property
    def _ranks(self) -> Ints:
        """(sources,) Rank of each source's leaf from left to right; 0 where it has none."""
        ranks = np.zeros(len(self.weights), np.int64)
        ranks[self.leaf_sources] = self._walk[0]
        return ranks

    @cached_property
    def _first_right(self) -> Ints:
        """(nodes,) Lowest rank below the right child; lower ones lie to the left. 0 at a leaf."""
        return self._walk[1]

    @cached_property
    def _walk(self) -> tuple[Ints, Ints]:
        """Leaf ranks, and the lowest rank to the right of each node; children come after their parents."""
        nodes, children = len(self.shares), self.children.reshape(-1, 2).tolist()
        leaves, first, first_right = [1] * nodes, [0] * nodes, [0] * nodes
        for node in reversed(range(self._first_leaf)):
            leaves[node] = sum(leaves[child] for child in children[node])
        for node in range(self._first_leaf):
            right, left = children[node]
            first[left], first[right] = first[node], first[node] + leaves[left]
            first_right[node] = first[right]
        return np.array(first[self._first_leaf :], np.int64), np.array(first_right, np.int64)

    @cached_property
    def _tree(self) -> list[tuple[int, int, int]]:
        """Left share, right child and left child of each node above the leaves, as Python's own integers."""
        children = self.children.tolist()
        return [(self._share(node), children[2 * node], children[2 * node + 1]) for node in range(self._first_leaf)]

    def _share(self, node: int) -> int:
        return int(self.shares[node]) % 2**64

    def _edges(self) -> list[tuple[int, int]]:
        return [(edge, int(self.children[edge])) for edge in range(2 * self._first_leaf)]

    @property
    def _first_leaf(self) -> int:
        return len(self.leaf_sources) - 1


def check_weights(weights: dict[str, float]) -> None:
    """Raise DataError unless all weights are finite and at least 0, and one is positive."""
    for name, weight in weights.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise DataError(f"weight of source {name} is {weight}; expected a finite number that is at least 0")
    if not any(weights.values()):
        raise DataError(f"all {len(weights)} weights are 0; at least one source must be drawn")


def check_positions(positions: Ints) -> None:
    """Raise DataError unless every position is in 0 .. 2^43 - 1."""
    if positions.size and (positions.min() < 0 or positions.max() >= MAX_LENGTH):
        raise DataError(f"positions {positions.min():,} to {positions.max():,}; expected 0 to 2^43 - 1")


def _whole_numbers(weights: Sequence[float]) -> list[int]:
    """Integers in exactly the same ratios: their sums and comparisons cost a hundredth of those of fractions."""
    exact = [Fraction(weight) for weight in weights]
    denominator = math.lcm(*(weight.denominator for weight in exact))
    return [weight.numerator * (denominator // weight.denominator) for weight in exact]


def _huffman(weights: list[int]) -> tuple[list[int], list[int]]:
    """Children and left shares of the Huffman tree, in the layout of Apportionment; ties fall to the lower leaf."""
    nodes = 2 * len(weights) - 1
    first_leaf = len(weights) - 1
    children = [edge // 2 for edge in range(2 * nodes)]
    shares = [0] * nodes
    heap = [(weight, first_leaf + leaf) for leaf, weight in enumerate(weights)]
    heapq.heapify(heap)
    for node in reversed(range(first_leaf)):
        light, left = heapq.heappop(heap)
        heavy, right = heapq.heappop(heap)
        children[2 * node], children[2 * node + 1] = right, left
        shares[node] = ((light << 65) + light + heavy) // (2 * (light + heavy))  # to the nearest, halves upwards
        heapq.heappush(heap, (light + heavy, node))
    return children, shares


def _arrival_above(arrival: int, share: int, *, is_left: bool) -> int:
    """Number at the parent of the ``arrival``-th to reach one child: the first m whose m + 1 round to one more."""
    if is_left:
        return -((2 * arrival + 1) * 2**63 // -share) - 1
    return (2 * arrival + 1) * 2**63 // (2**64 - share)
