"""Which layers are the most redundant, and which of them a probe can't tell apart: out of joint draws of all layers."""

import numpy as np
import numpy.typing as npt

from .uncertainty import Bootstrap, Means

Array = npt.NDArray[np.float64]


def chance_in_lowest(draws: Array, k: int) -> Array:
    """(draws, layers) -> (layers,): in which share of draws a layer is among the k of the lowest means.

    Layers that are equal share the places that are left.

    >>> chance_in_lowest(np.array([[0.1, 0.3, 0.2], [0.1, 0.2, 0.3]]), 2).tolist()
    [1.0, 0.5, 0.5]
    >>> chance_in_lowest(np.zeros((1, 4)), 1).tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    lower = (draws[:, None, :] < draws[:, :, None]).sum(2)
    tied = (draws[:, None, :] == draws[:, :, None]).sum(2)
    return np.asarray(np.clip((k - lower) / np.maximum(tied, 1), 0, 1).mean(0))


def rank_ranges(bootstrap: Bootstrap, means: Means) -> list[tuple[int, int]]:
    """Lowest and highest rank of each layer that the data allows, from 1 for the lowest mean; a tie is a range.

    A layer ranks after those that are lower than it beyond doubt: by intervals of the paired differences of all pairs
    that hold all at once, so that with equal layers the chance that any two are told apart is that of one interval.
    """
    layers = len(means.value)
    left, right = np.triu_indices(layers, 1)
    low, high = bootstrap.joint_interval(means.map(lambda rows: rows[:, left] - rows[:, right]))
    after, before = np.zeros(layers, int), np.zeros(layers, int)
    for lower, higher in ((right[low > 0], left[low > 0]), (left[high < 0], right[high < 0])):
        np.add.at(after, higher, 1)
        np.add.at(before, lower, 1)
    return [(int(a) + 1, layers - int(b)) for a, b in zip(after, before, strict=True)]
