"""What the analyzer asks of a model, whoever made it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import UserError
from ..runtime.place import Place
from .probe import ProbeBatch
from .taps import Anatomy

OnLogits = Callable[[int, torch.Tensor], None] | None
Forward = Callable[[Sequence[ProbeBatch], OnLogits], None]


@dataclass(frozen=True, eq=False)
class LayeredModel:
    """A model of which this process holds the layers from ``first_layer`` on, ready to be run without gradients.

    ``forward`` runs micro-batches of equal shape and hands over the number and the logits of each, (batch, seq, this
    rank's part of the vocabulary), where this process has them; None asks for none. ``special`` and ``delimiters`` are
    token ids, ``position`` where the model stands in its run in tokens, and ``tokenizer`` the digest of its tokenizer's
    file; empty and None where that isn't known.
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
    position: int | None = None
    tokenizer: str | None = None


def check_model(model: LayeredModel) -> LayeredModel:
    """The model itself; UserError where it has one layer, or weights that are not finite, the first of them named."""
    if model.num_layers < 2:
        raise UserError(model.name, got="a model of one layer", expected="two layers or more, to be compared")
    bad = [name for name, weight in model.module.named_parameters() if not bool(torch.isfinite(weight).all())]
    if found := [name for names in model.place.over_all(bad[:1]) for name in names]:
        raise UserError(model.name, got=f"NaN or infinity in {found[0]}", expected="finite weights")
    return model
