"""What the analyzer asks of a model, whoever made it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..errors import UserError
from ..runtime.place import Place
from .probe import ProbeBatch, RowOptions
from .taps import Anatomy

MEMORY_ERRORS = (torch.OutOfMemoryError, MemoryError)

OnLogits = Callable[[int, torch.Tensor], None] | None
Forward = Callable[[Sequence[ProbeBatch], OnLogits], None]


@dataclass(frozen=True, eq=False)
class LayeredModel:
    """A model of which this process holds the layers from ``first_layer`` on, ready to be run without gradients.

    ``forward`` runs micro-batches of equal shape and hands over the number and the logits of each, (batch, seq, this
    rank's part of the vocabulary), where this process has them; None asks for none. ``one_by_one`` says that windows of
    several segments go through it singly. ``longest`` is the most tokens of a window that it has positions for, None
    where they have no end, and ``context_length`` of the windows that it was made for. ``special`` and ``delimiters``
    are token ids, ``run`` the folder of the run that the model is a checkpoint of, ``position`` where it stands in it
    in tokens, and ``rows`` how it made rows of its data; empty and None where that isn't known.
    """

    name: str
    num_layers: int
    hidden_size: int
    vocab_size: int
    sequence_length: int
    dtype: torch.dtype
    device: torch.device
    anatomies: tuple[Anatomy, ...]
    first_layer: int
    sequence_first: bool
    norm: str
    place: Place
    forward: Forward
    module: Any
    special: frozenset[int] = frozenset()
    delimiters: frozenset[int] = frozenset()
    one_by_one: bool = False
    longest: int | None = None
    context_length: int | None = None
    run: Path | None = None
    position: int | None = None
    rows: RowOptions = field(default_factory=dict)


def check_model(model: LayeredModel) -> LayeredModel:
    """The model itself; UserError where it has one layer, or weights that are not finite, the first of them named."""
    if model.num_layers < 2:
        raise UserError(model.name, got="a model of one layer", expected="two layers or more, to be compared")
    bad = [name for name, weight in model.module.named_parameters() if not bool(torch.isfinite(weight).all())]
    if found := [name for names in model.place.over_all(bad[:1]) for name in names]:
        raise UserError(model.name, got=f"NaN or infinity in {found[0]}", expected="finite weights")
    return model


@contextmanager
def memory_end_told() -> Iterator[None]:
    """Where the device has no memory left, say so in one line."""
    try:
        yield
    except MEMORY_ERRORS as error:
        got = (str(error).splitlines() or [type(error).__name__])[0]
        fix = "try --micro-batch 1 or a shorter --sequence-length; a Hugging Face model has to fit one device"
        raise UserError("memory", got=got, expected="room for the model and its logits", fix=fix) from error
