"""Which layers a new model is made of, as the order of their numbers in the old one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UserError

Array = npt.NDArray[np.float64]

PLAN, MERGEKIT = "depth.json", "mergekit.yaml"  # what is written beside a model of another's layers


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

    ``angles`` (layers + 1, layers + 1), nan where unknown; arXiv 2403.17887. Raises UserError where no run is that
    short, or none has a known angle.

    >>> quietest_run(np.array([[0, 9, 9, 9, 9], [9, 0, 3, 5, 9], [9, 3, 0, 2, 9], [9, 5, 2, 0, 9], [9] * 5]), 1)
    (2, 3)
    """
    layers = len(angles) - 1
    check_length(length, layers)
    runs = [(first, first + length) for first in range(1, layers - length)]
    known = [run for run in runs if not np.isnan(angles[run])]
    if not known:
        expected = "an angle of one run at least; no token at the places that are sampled counts"
        raise UserError("--drop", got=str(length), expected=expected, fix="read more --windows, or say A:B")
    return min(known, key=lambda run: float(angles[run]))


def check_length(length: int, layers: int) -> None:
    """Raise UserError unless so many layers can go while the first and the last stay."""
    if not 0 < length <= layers - 2:
        expected = f"1 to {layers - 2} layers: first and last stay" if layers > 2 else "a model of three layers or more"
        raise UserError("--drop", got=str(length), expected=expected)


@dataclass(frozen=True)
class QuietRun:
    """Layers [first, end), and the angle from before them to after them, in half turns."""

    first: int
    end: int
    angle: float


def quietest_runs(angles: Array) -> list[QuietRun]:
    """The quietest run of each length up to half of the layers, the first and the last layer left out.

    >>> [(run.first, run.end) for run in quietest_runs(np.abs(np.subtract.outer(np.arange(5.0), np.arange(5.0))))]
    [(1, 2), (1, 3)]
    """
    layers = len(angles) - 1
    if not np.isfinite(angles).all():
        return []
    found = [quietest_run(angles, length) for length in range(1, min(layers // 2, layers - 2) + 1)]
    return [QuietRun(first, end, float(angles[first, end])) for first, end in found]


def parse_run(option: str, text: str, num_layers: int, *, force: bool) -> tuple[int, int]:
    """``A:B`` as [A, B); the first and the last layer are refused unless forced.

    >>> parse_run("--drop", "2:4", 6, force=False)
    (2, 4)
    """
    first, _, end = text.partition(":")
    if not (first.isdecimal() and end.isdecimal() and int(first) < int(end) <= num_layers):
        expected = f"A:B with 0 <= A < B <= {num_layers}: layers A up to but without B"
        raise UserError(option, got=text or "nothing", expected=expected)
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


_LISTS = ("layer_types", "mlp_layer_types", "no_rope_layers")  # an entry for each layer, in Hugging Face's models
_SPARSE_STEP, _DENSE = "decoder_sparse_step", "mlp_only_layers"
_PERIODS: dict[str, Callable[[int, int], bool]] = {  # in Megatron's: of layer and period, where no list is given
    "no_rope_freq": lambda layer, period: (layer + 1) % period == 0,
    "window_attn_skip_freq": lambda layer, period: (layer + 1) % period != 0,
    "linear_attention_freq": lambda layer, period: (layer + 1) % period != 0,
    "moe_layer_freq": lambda layer, period: layer % period == 0,
}


def reordered_config(config: dict[str, Any], num_layers: int, order: Sequence[int]) -> dict[str, Any]:
    """What a Hugging Face configuration says of single layers, in the new order; empty where it says nothing.

    Lists of an entry for each layer, and which layers have no experts, said as a period and as numbers.

    >>> reordered_config({"layer_types": ["full", "sliding", "full"], "name": "x"}, 3, [0, 1, 1, 2])
    {'layer_types': ['full', 'sliding', 'sliding', 'full']}
    >>> reordered_config({"decoder_sparse_step": 2, "mlp_only_layers": [3]}, 4, [0, 1, 3])
    {'decoder_sparse_step': 1, 'mlp_only_layers': [0, 2]}
    """
    lists = {name: config[name] for name in _LISTS if isinstance(config.get(name), list)}
    found = {name: [value[layer] for layer in order] for name, value in lists.items() if len(value) == num_layers}
    if config.get(_SPARSE_STEP) is None:
        return found
    step, dense = config[_SPARSE_STEP], config.get(_DENSE) or ()
    without = [new for new, old in enumerate(order) if old in dense or (old + 1) % step]
    return {**found, _SPARSE_STEP: 1, _DENSE: without}


def reordered_model(model: Mapping[str, Any], order: Sequence[int]) -> dict[str, Any]:
    """What a recipe's model section says of single layers, as lists in the new order.

    >>> reordered_model({"no_rope_freq": 2, "window_attn_skip_freq": [1, 1, 0, 0], "hidden_size": 8}, [0, 1, 1, 3])
    {'no_rope_freq': [0, 1, 1, 1], 'window_attn_skip_freq': [1, 1, 1, 0]}
    """
    found = {}
    for name, kind in _PERIODS.items():
        value = model.get(name)
        if isinstance(value, list | tuple):
            found[name] = [value[layer] for layer in order]
        elif value not in (None, 1):
            found[name] = [int(kind(layer, value)) for layer in order]
    return found
