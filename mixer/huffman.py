"""The Huffman tree of weights, in integers: the two lightest nodes are joined until one is left."""

import heapq
import math
from collections.abc import Sequence


def whole_numbers(weights: Sequence[float]) -> list[int]:
    """Integers in exactly the same ratios: their sums and comparisons cost a hundredth of those of fractions.

    >>> whole_numbers([0.5, 0.75])
    [2, 3]
    """
    ratios = [weight.as_integer_ratio() for weight in weights]
    common = math.lcm(*(denominator for _, denominator in ratios))
    return [numerator * (common // denominator) for numerator, denominator in ratios]


def huffman_tree(weights: Sequence[int]) -> tuple[list[int], list[int]]:
    """Right child (at 2v) and left child (at 2v + 1) of each node v, and round(2^64 x share) of its left child.

    The left child is the lighter one; ties fall to the lower leaf. Node 0 is the root, leaf i is node n - 1 + i of n
    weights, at least one and each positive. A leaf is its own child, with share 0.

    >>> huffman_tree([1, 3]) == ([2, 1, 1, 1, 2, 2], [2**62, 0, 0])
    True
    """
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
