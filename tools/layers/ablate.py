"""What a layer is worth to the loss: the same probe with the layer, its attention or its MLP left out.

A skipped layer gives its input on; a skipped part adds nothing. Differences of loss are paired: the same tokens, so
that what documents have in common is not part of their uncertainty.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from .findings import Estimate, Pass
from .layered import LayeredModel
from .measure import in_turns, own_part, tensor_of
from .outcome import loss_and_entropy
from .probe import Probe
from .taps import Anatomy, hidden_of
from .uncertainty import Bootstrap

Array = npt.NDArray[np.float64]
Part = Literal["layer", "attention", "mlp"]
Run = tuple[int, int]  # layers [first, end)


@dataclass(frozen=True)
class Ablation:
    """How much the loss rises, in nats a token, when each of ``places`` (layers, or A:B) is left out.

    ``rank_correlation`` is Spearman's, of rises and distances; nan with fewer than three places.
    """

    part: Part | Literal["span"]
    places: list[str]
    rise: Estimate
    rank_correlation: float


def ablated(model: LayeredModel, probe: Probe, part: Part, found: Pass, *, micro_batch: int, seed: int = 0) -> Ablation:
    """Read the probe once a layer, each time without ``part`` of it; every process of a launch calls it."""
    layers = range(model.num_layers)
    with_all = losses(model, probe, micro_batch=micro_batch)
    without = [losses(model, probe, micro_batch=micro_batch, skipped=[layer], part=part) for layer in layers]
    rise = loss_rise(found.bootstrap(seed=seed), with_all, without)
    column = ("layer", "attention", "mlp").index(part)
    distance = found.parts[:, :, column, 1].sum(0) / np.maximum(found.parts[:, :, column, 0].sum(0), 1)
    return Ablation(part, [str(layer) for layer in layers], rise, spearman(distance, rise.mean))


def ablated_spans(
    model: LayeredModel, probe: Probe, spans: Sequence[Run], found: Pass, *, micro_batch: int, seed: int = 0
) -> Ablation:
    """Read the probe once a span, each time without its layers; the distance is that from before it to after it."""
    with_all = losses(model, probe, micro_batch=micro_batch)
    without = [losses(model, probe, micro_batch=micro_batch, skipped=range(*span)) for span in spans]
    rise = loss_rise(found.bootstrap(seed=seed), with_all, without)
    distance = np.array([found.pairs[1][span] / max(found.pairs[0][span], 1) for span in spans])
    return Ablation("span", [f"{first}:{end}" for first, end in spans], rise, spearman(distance, rise.mean))


def losses(
    model: LayeredModel, probe: Probe, *, micro_batch: int, skipped: Sequence[int] = (), part: Part = "layer"
) -> Array:
    """(groups, 2): summed loss and tokens of each document group, of all processes, with ``part`` of layers skipped."""
    sums = torch.zeros(len(probe.group_sources), 2, dtype=torch.float64, device=model.device)
    own = [layer - model.first_layer for layer in skipped]
    here = [model.anatomies[layer] for layer in own if 0 <= layer < len(model.anatomies)]
    with ExitStack() as stack, torch.no_grad():
        for anatomy in here:
            stack.enter_context(_without(anatomy, part))
        for batches in in_turns(model, probe, micro_batch):

            def on_logits(number: int, logits: torch.Tensor, batches: Any = batches) -> None:
                batch = batches[number]
                loss, _ = loss_and_entropy(logits, tensor_of(batch.labels, model), model.place)
                counts = own_part(batch.counts, model)
                known = model.place.own(loss)[counts]
                if model.place.counts:
                    rows = torch.stack([known, torch.ones_like(known)], -1).double()
                    sums.index_add_(0, own_part(batch.groups, model)[counts], rows)

            model.forward(batches, on_logits)
    model.place.add_over_all([sums])
    return sums.cpu().numpy()


@contextmanager
def _without(anatomy: Anatomy, part: Part) -> Iterator[None]:
    if part == "layer":
        handle = anatomy.layer.register_forward_hook(_give_on, with_kwargs=True)
    else:
        module = anatomy.attention if part == "attention" else anatomy.mlp
        handle = module.register_forward_hook(_add_nothing)
    try:
        yield
    finally:
        handle.remove()


def _give_on(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
    """The layer's input in the place of its output."""
    x = hidden_of(args[0]) if args else kwargs["hidden_states"]
    return (x, *output[1:]) if isinstance(output, tuple) else x


def _add_nothing(module: nn.Module, args: Any, output: Any) -> Any:
    """Zeros for what would be added to the residual, biases too; what else a module returns stays."""
    if not isinstance(output, tuple):
        return torch.zeros_like(output)
    zeros = (torch.zeros_like(part) if isinstance(part, torch.Tensor) else part for part in output[:2])
    return (*zeros, *output[2:])


def loss_rise(bootstrap: Bootstrap, with_all: Array, without: Sequence[Array]) -> Estimate:
    """Paired rise of the mean loss, (groups, 2) sums with all layers and with each thing left out."""
    tokens = with_all[:, 1]
    rises = np.stack([other[:, 0] - with_all[:, 0] for other in without], 1)
    low, high = bootstrap.interval(bootstrap.means(rises, tokens[:, None]))
    return Estimate(rises.sum(0) / tokens.sum(), low, high)


def spearman(left: Array, right: Array) -> float:
    """Rank correlation, ties at their mean rank; nan for fewer than three or where all are equal.

    >>> spearman(np.array([1.0, 2, 3]), np.array([10.0, 30, 20]))
    0.5
    """
    if len(left) < 3 or np.ptp(left) == 0 or np.ptp(right) == 0:
        return float("nan")
    return round(float(np.corrcoef(_ranks(left), _ranks(right))[0, 1]), 12)


def _ranks(values: Array) -> Array:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[inverse])
