"""One pass of a probe through a model, and the sums that are left of it."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from ..errors import UserError
from .layered import LayeredModel
from .measures import measures
from .outcome import loss_and_entropy
from .probe import Probe, ProbeBatch
from .strata import Strata
from .sums import LayerSums
from .taps import Record, Recorder, sampled_positions, tapped

_PARTS_AT_ONCE = 24  # of layers; their measures are held, five in fp64 for each of three numbers in fp32

Outcome = tuple[torch.Tensor, torch.Tensor]


def measure(
    model: LayeredModel,
    probe: Probe,
    *,
    micro_batch: int = 4,
    with_parts: bool = True,
    with_strata: bool = True,
    with_pairs: bool = True,
) -> LayerSums:
    """Read the probe once; every process of a launch calls it and gets the sums over all.

    Without strata no logits are looked at, and without parts, pairs or strata their sums stay 0. Raises UserError
    where a layer gives NaN or infinity, or a token is outside the vocabulary.
    """
    strata = strata_of(model, probe)
    num_strata = strata.num_strata if with_strata else 0
    sums = LayerSums.zeros(model.num_layers, num_strata, groups=len(probe.group_sources), device=model.device)
    met = {"with_parts": with_parts, "with_states": with_pairs, "with_peaks": with_strata}
    recorder = Recorder(sequence_first=model.sequence_first, window_part=model.place.window_part, **met)
    with tapped(recorder, model.anatomies, model.first_layer), torch.no_grad():
        for batches in in_turns(model, probe, micro_batch):
            outcomes = _run(model, batches, with_strata)
            for batch, record, outcome in zip(batches, recorder.take(), outcomes, strict=True):
                _add(sums, model, strata if with_strata else None, batch, record, outcome)
    model.place.add_over_all(list(sums.tensors()))
    _check_finite(sums, model)
    return sums


def strata_of(model: LayeredModel, probe: Probe) -> Strata:
    """The strata that a probe's tokens fall into."""
    return Strata(tuple(probe.names), probe.sequence_length, model.delimiters)


def in_turns(model: LayeredModel, probe: Probe, micro_batch: int) -> Iterator[list[ProbeBatch]]:
    """This process's micro-batches, as many at once as keep a pipeline busy, each checked and of one shape."""
    _check_length(probe.sequence_length, model)
    batches = probe.batches(micro_batch, rank=model.place.data_rank, size=model.place.data_size)
    turn: list[ProbeBatch] = []
    for batch in _singly(batches) if model.one_by_one else batches:
        probe.check_vocabulary(batch, model.vocab_size, model.name)
        if turn and (len(turn) == model.place.num_stages or len(turn[0].tokens) != len(batch.tokens)):
            yield turn
            turn = []
        turn.append(batch)
    if turn:
        yield turn


def _singly(batches: Iterator[ProbeBatch]) -> Iterator[ProbeBatch]:
    """Windows of several segments one at a time."""
    for batch in batches:
        yield from [batch] if batch.segments is None else batch.windows()


def _check_length(length: int, model: LayeredModel) -> None:
    parts = model.place.window_part[1]
    if length % parts:
        expected = f"a multiple of {parts}, over which sequence_parallel cuts a window"
        raise UserError("--sequence-length", got=str(length), expected=expected)


def _run(model: LayeredModel, batches: Sequence[ProbeBatch], with_outcome: bool) -> list[Outcome | None]:
    """Loss and entropy of each micro-batch, where this process has the logits and they are asked for."""
    outcomes: list[Outcome | None] = [None] * len(batches)

    def on_logits(number: int, logits: torch.Tensor) -> None:
        outcomes[number] = loss_and_entropy(logits, tensor_of(batches[number].labels, model), model.place)

    model.forward(batches, on_logits if with_outcome else None)
    return outcomes


def _add(
    sums: LayerSums,
    model: LayeredModel,
    strata: Strata | None,
    batch: ProbeBatch,
    record: Record,
    outcome: Outcome | None,
) -> None:
    counts, groups = own_part(batch.counts, model), own_part(batch.groups, model)
    if strata is None:
        numbers = groups.new_zeros(0, len(groups[counts]))
    else:
        loss, entropy, massive = _known_to_all(model, record, counts, outcome)
        arrays = (batch.tokens, batch.position_ids, batch.sources)
        tokens, positions, sources = (own_part(array, model)[counts] for array in arrays)
        numbers = strata.numbers(tokens, positions, sources, massive, loss, entropy)
        if model.place.counts and model.place.is_last_stage:
            sums.add_losses(loss, entropy, groups[counts], numbers)
    if record.states:
        _add_pairs(sums, model, record, counts)
    if model.place.counts:
        products = record.stacked[counts]
        layers_at_once = _PARTS_AT_ONCE // products.shape[2]
        for first in range(0, products.shape[1], layers_at_once):
            values, defined = measures(products[:, first : first + layers_at_once])
            sums.add_layers(values, defined, groups[counts], numbers, model.first_layer + first)


def _known_to_all(
    model: LayeredModel, record: Record, counts: torch.Tensor, outcome: Outcome | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Loss, entropy and massiveness of the counted tokens, on every pipeline stage: three numbers a token travel."""
    massive = record.massive()[counts].float()
    loss, entropy = (model.place.own(p)[counts] for p in outcome) if outcome else (torch.zeros_like(massive),) * 2
    known = model.place.largest_over_stages(torch.stack([loss, entropy, massive]))
    return known[0], known[1], known[2] > 0


def _add_pairs(sums: LayerSums, model: LayeredModel, record: Record, counts: torch.Tensor) -> None:
    """Sampled tokens of all stages meet on the last one; each stage's last state is the next one's first."""
    own = torch.stack(record.states, 2)
    if model.place.num_stages > 1:
        stages = model.place.over_stages(own.cpu())
        inputs = [stage[:, :, :-1] for stage in stages[:-1]]
        own = torch.cat([*inputs, stages[-1]], 2).to(model.device)
    if model.place.counts and model.place.is_last_stage:
        sampled = sampled_positions(counts.shape[1], *model.place.window_part).to(counts.device)
        sums.add_pairs(own[counts[:, sampled]])


def _check_finite(sums: LayerSums, model: LayeredModel) -> None:
    bad = ~torch.isfinite(sums.parts.sum((0, 2, 3)))
    if bool(bad.any()):
        layer = int(bad.nonzero()[0])
        raise UserError(model.name, got=f"NaN or infinity in or out of layer {layer}", expected="finite hidden states")
    if not bool(torch.isfinite(sums.losses).all()):
        raise UserError(model.name, got="NaN or infinity in the logits", expected="finite ones")


def tensor_of(array: np.ndarray, model: LayeredModel) -> torch.Tensor:
    """A copy on the model's device."""
    return torch.from_numpy(array.copy()).to(model.device)


def own_part(array: np.ndarray, model: LayeredModel) -> torch.Tensor:
    """The same of the part of windows (batch, seq) that this process sees the residual of."""
    return tensor_of(model.place.own(array), model)
