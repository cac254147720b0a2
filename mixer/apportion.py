"""Which source a position of the stream belongs to, for exact shares at every prefix and without an index.

Weights 0.7, 0.2, 0.1 make this tree; a position enters at the root and falls to a leaf:

    root 1.0 -- right -- web 0.7              position      0    1    2    3    4    5    6    7    8    9
       `- left 0.3 -- right -- code 0.2       source      web code  web  web  sft  web  web  web code  web
             `- left -- sft 0.1               arrival       0    0    1    2    0    3    4    5    1    6

The m-th arrival at a node goes left if and only if rounding gives the left side one more among m + 1 arrivals than
among m, so that the left side always has round(share x arrivals), and a position's place on either side is a formula.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from .errors import DataError
from .huffman import huffman_tree, whole_numbers

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MAX_LENGTH = 2**43  # samples; the arithmetic of Apportionment is exact up to here
_LEVELS_PER_PASS = 3  # tree levels that positions deeper than usual descend before those at leaves are put aside


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
    product m P, wrapped to a signed 64-bit integer, is the remainder r = m P - 2^64 round(m p). Adding P to it passes
    2^63 exactly when arrival m goes left. And round(m p), by which the left side is numbered, is (m P - r) / 2^64; the
    right side's m - round(m p) is the same of P - 2^64, but for its sign. In floats both are off by under 2^-8 for
    m <= 2^43, which vanishes in the rounding to an integer.

    >>> Apportionment.of([7, 2, 1]).counts(10).tolist()
    [7, 2, 1]
    """

    weights: Floats  # (sources,) normalised to sum 1
    leaf_sources: Ints  # (drawn,) source of each leaf; leaf i is node drawn - 1 + i, the root is node 0
    children: Ints  # (2 * nodes,) right child at 2v, left child at 2v + 1; a leaf is its own child
    shares: Ints  # (nodes,) round(2^64 p) of the left child, wrapped to signed; 0 at a leaf

    @classmethod
    def of(cls, weights: Sequence[float]) -> "Apportionment":
        """Shares proportional to ``weights``, normalised exactly; a source of weight 0 is never drawn.

        Raises DataError for a weight that is negative or not finite, and where none is positive.

        >>> Apportionment.of([1, 0, 1]).locate(np.arange(4))[0].tolist()
        [0, 2, 0, 2]
        """
        check_weights({str(k): weight for k, weight in enumerate(weights)})
        drawn = [k for k, weight in enumerate(weights) if weight > 0]
        exact = whole_numbers(weights)
        children, shares = huffman_tree([exact[k] for k in drawn])
        total = sum(exact)
        return cls(
            weights=np.array([weight / total for weight in exact]),
            leaf_sources=np.array(drawn, np.int64),
            children=np.array(children, np.int64),
            shares=np.array(shares, np.uint64).astype(np.int64),
        )

    def locate(self, positions: Ints) -> tuple[Ints, Ints]:
        """Source of each position, and how many earlier positions had the same source.

        Positions run from 0 to 2^43 - 1, in any order.

        >>> [array.tolist() for array in Apportionment.of([3, 1]).locate(np.arange(4))]
        [[0, 1, 0, 0], [0, 0, 1, 2]]
        """
        check_positions(positions)
        edges, arrivals = self._fall(positions)
        return self.leaf_sources.take((edges >> 1) - self._first_leaf), arrivals

    def counts(self, length: int) -> Ints:
        """How many of the first ``length`` positions each source has; exact, 0 <= length <= 2^43.

        >>> Apportionment.of([3, 1]).counts(2**42 + 2).tolist()
        [3298534883329, 1099511627777]
        """
        if not 0 <= length <= MAX_LENGTH:
            raise DataError(f"length {length:,} is out of range; expected 0 to 2^43")
        counts = np.zeros(len(self.weights), np.int64)
        counts[self.leaf_sources] = self._reached(length)[self._first_leaf :]
        return counts

    def count(self, sources: Ints, lengths: Ints) -> Ints:
        """How many of the first ``lengths[i]`` positions ``sources[i]`` has: one number of ``counts``, for many pairs.

        >>> Apportionment.of([3, 1]).count(np.array([0, 1, 0]), np.array([8, 8, 2**42])).tolist()
        [6, 2, 3298534883328]
        """
        counts = self._fall(lengths, self._ranks.take(sources))[1]
        return np.where(self.weights.take(sources) > 0, counts, 0)

    @cached_property
    def bounds(self) -> Floats:
        """(sources,) No count differs from its share by more than this, in samples; 0 where the weight is 0 or all.

        It is the recursion of the class's docstring on this tree: D(child) = q D(node) + 1/2.

        >>> Apportionment.of([2, 1, 1]).bounds.round(3).tolist()
        [0.5, 0.75, 0.75]
        """
        errors, rounding = np.zeros(len(self.shares)), 0.5 + 2.0**-22  # 2^43 times the 2^-65 by which a share is off
        for node in range(self._first_leaf):
            for edge in (2 * node, 2 * node + 1):
                share = abs(self._signed_shares[edge]) / 2**64
                errors[self.children[edge]] = share * errors[node] + rounding
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

    def _fall(self, arrivals: Ints, ranks: Ints | None = None) -> tuple[Ints, Ints]:
        """First edge and arrival at the leaf that each arrival at the root comes to, or at the leaf of its rank.

        All go down as far as is usual, and then those that are on their way still. (Fewer lanes at a time would stay
        in the first-level cache, but a call of numpy costs as much as some thousand lanes in it.)
        """
        edges, arrivals = self._descend(np.zeros(arrivals.shape, np.int64), arrivals, ranks, self._usual_depth)
        lanes = np.flatnonzero(edges < 2 * self._first_leaf)
        while lanes.size:
            towards = None if ranks is None else ranks.take(lanes)
            edge, arrival = self._descend(edges.take(lanes), arrivals.take(lanes), towards, _LEVELS_PER_PASS)
            edges.put(lanes, edge)
            arrivals.put(lanes, arrival)
            lanes = lanes.compress(edge < 2 * self._first_leaf)
        return edges, arrivals

    def _descend(self, edge: Ints, arrival: Ints, ranks: Ints | None, levels: int) -> tuple[Ints, Ints]:
        """Some levels down from nodes, each known by its first edge."""
        exact = arrival.astype(np.float64)
        for _ in range(levels):
            share = self._shares.take(edge)
            remainder = arrival * share
            goes_left = remainder + share < remainder if ranks is None else ranks < self._first_right.take(edge)
            edge = edge + goes_left
            exact *= self._signed_shares.take(edge)
            exact -= remainder
            exact *= 2.0**-64
            np.abs(np.rint(exact, out=exact), out=exact)
            arrival, edge = exact.astype(np.int64), self._next_edges.take(edge)
        return edge, arrival

    def _reached(self, length: int) -> list[int]:
        """Arrivals at each node of the first ``length`` positions."""
        reached = [length] + [0] * (len(self.shares) - 1)
        for arrivals, (share, right, left) in zip(reached, self._tree, strict=False):
            reached[left] = (arrivals * share + 2**63) >> 64
            reached[right] = arrivals - reached[left]
        return reached

    @cached_property
    def _usual_depth(self) -> int:
        """Mean depth of the leaves that positions come to, rounded up."""
        return -(-sum(self._reached(2**20)[: self._first_leaf]) // 2**20)

    @cached_property
    def _shares(self) -> Ints:
        """(edges,) ``shares`` of the node that each edge leaves; node v has edges 2v to the right and 2v + 1."""
        return np.repeat(self.shares, 2)

    @cached_property
    def _signed_shares(self) -> Floats:
        """(edges,) 2^64 times the share that takes each edge, negative to the right."""
        left = self._shares.astype(np.uint64).astype(np.float64)
        return np.where(np.arange(left.size) % 2, left, left - 2.0**64)

    @cached_property
    def _next_edges(self) -> Ints:
        """(edges,) First edge of the node that each edge leads to."""
        return 2 * self.children

    @cached_property
    def _ranks(self) -> Ints:
        """(sources,) Rank of each source's leaf from left to right; 0 where it has none."""
        ranks = np.zeros(len(self.weights), np.int64)
        ranks[self.leaf_sources] = self._walk[0]
        return ranks

    @cached_property
    def _first_right(self) -> Ints:
        """(edges,) Lowest rank right of the node that each edge leaves; lower ones lie to its left. 0 at a leaf."""
        return np.repeat(self._walk[1], 2)

    @cached_property
    def _walk(self) -> tuple[Ints, Ints]:
        """Leaf ranks, and the lowest rank to the right of each node; children come after their parents."""
        nodes, children = len(self.shares), self.children.reshape(-1, 2).tolist()
        leaves, first, first_right = [1] * nodes, [0] * nodes, [0] * nodes
        for node in reversed(range(self._first_leaf)):
            right, left = children[node]
            leaves[node] = leaves[right] + leaves[left]
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


def _arrival_above(arrival: int, share: int, *, is_left: bool) -> int:
    """Number at the parent of the ``arrival``-th to reach one child: the first m whose m + 1 round to one more."""
    if is_left:
        return -((2 * arrival + 1) * 2**63 // -share) - 1
    return (2 * arrival + 1) * 2**63 // (2**64 - share)
