"""Which layers a new model is made of, as the order of their numbers in the old one."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UserError

Array = npt.NDArray[np.float64]


def dropped(num_layers: int, first: int, end: int) -> list[int]:
    """All layers but [first, end).

    >>> dropped(6, 2, 4)
    [0, 1, 4, 5]
    """
    return [layer for layer in range(num_layers) if not first <= layer < end]


def repeated(num_layers: int, first: int, end: int) -> list[int]:
    """Layers [first, end) twice, as Yi-9B has [12, 28) of 32 (arXiv 2403.04652).

    >>> repeated(6, 2, 4)
    [0, 1, 2, 3, 2, 3, 4, 5]
    >>> len(repeated(32, 12, 28))
    48
    """
    return [*range(end), *range(first, num_layers)]


def quietest_run(angles: Array, length: int) -> tuple[int, int]:
    """The run of ``length`` layers with the least angle from before it to after it, the first and last layer left out.

    ``angles`` (layers + 1, layers + 1); arXiv 2403.17887. Raises UserError where no run is that short.

    >>> quietest_run(np.array([[0, 9, 9, 9, 9], [9, 0, 3, 5, 9], [9, 3, 0, 2, 9], [9, 5, 2, 0, 9], [9] * 5]), 1)
    (2, 3)
    """
    layers = len(angles) - 1
    if not 0 < length <= layers - 2:
        raise UserError("--drop", got=str(length), expected=f"1 to {layers - 2} layers: first and last stay")
    first = min(range(1, layers - length), key=lambda start: float(angles[start, start + length]))
    return first, first + length


def parse_run(option: str, text: str, num_layers: int, *, force: bool) -> tuple[int, int]:
    """``A:B`` as [A, B); the first and the last layer are refused unless forced.

    >>> parse_run("--drop", "2:4", 6, force=False)
    (2, 4)
    """
    first, _, end = text.partition(":")
    if not (first.isdecimal() and end.isdecimal() and int(first) < int(end) <= num_layers):
        raise UserError(option, got=text, expected=f"A:B with 0 <= A < B <= {num_layers}: layers A up to but without B")
    if not force and (int(first) == 0 or int(end) == num_layers):
        reason = "layers between the first and the last, which do the embedding's and the prediction's work"
        raise UserError(option, got=text, expected=reason, fix="--force takes them too")
    if option == "--drop" and int(end) - int(first) > num_layers - 2:
        raise UserError(option, got=text, expected="two layers at least that stay")
    return int(first), int(end)


def slices(order: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of layers that follow one another, [first, end) each.

    >>> slices([0, 1, 2, 3, 2, 3, 4])
    [(0, 4), (2, 5)]
    """
    runs = [list(run) for _, run in groupby(enumerate(order), key=lambda pair: pair[1] - pair[0])]
    return [(run[0][1], run[-1][1] + 1) for run in runs]


def mergekit(order: Sequence[int], model: str, dtype: str) -> dict[str, Any]:
    """What mergekit reads to make the same model: slices passed through, their ends exclusive."""
    sources = [{"sources": [{"model": model, "layer_range": list(part)}]} for part in slices(order)]
    return {"slices": sources, "merge_method": "passthrough", "dtype": dtype}


def reordered_lists(config: dict[str, Any], num_layers: int, order: Sequence[int]) -> dict[str, Any]:
    """The lists of a configuration that have an entry for each layer, in the new order.

    >>> reordered_lists({"layer_types": ["full", "sliding", "full"], "name": "x"}, 3, [0, 1, 1, 2])
    {'layer_types': ['full', 'sliding', 'sliding', 'full']}
    """
    per_layer = {name: value for name, value in config.items() if isinstance(value, list) and len(value) == num_layers}
    return {name: [value[layer] for layer in order] for name, value in per_layer.items()}
