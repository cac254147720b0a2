"""Forward passes of a model that is only read, through megatron-core's own schedules, pipeline stages included."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from megatron.core.pipeline_parallel import get_forward_backward_func

from .batch import block_mask, packed_sequences, to_device
from .processes import has_transformer_engine

OnLogits = Callable[[int, torch.Tensor], None] | None


@dataclass(frozen=True)
class Window:
    """A micro-batch to be read: ``tokens``, ``position_ids`` (batch, seq), ``segments`` where there are several.

    With Transformer Engine a micro-batch that has segments is one window: windows laid end to end would reach the
    layers as (batch x seq, 1, hidden), and its attention ignores a mask.
    """

    tokens: Any
    position_ids: Any
    segments: Any


@torch.no_grad()
def evaluate(module: torch.nn.Module, windows: Sequence[Window], on_logits: OnLogits) -> None:
    """Run every micro-batch; ``on_logits`` gets number and logits (batch, seq, own vocabulary) of the last stage."""
    batch, length = windows[0].tokens.shape
    get_forward_backward_func()(
        forward_step_func=partial(_forward_step, on_logits),
        data_iterator=iter(enumerate(windows)),
        model=[module],
        num_microbatches=len(windows),
        seq_length=length,
        micro_batch_size=batch,
        forward_only=True,
        collect_non_loss_data=True,
    )


def _forward_step(
    on_logits: OnLogits, windows: Iterator[tuple[int, Window]], module: torch.nn.Module
) -> tuple[torch.Tensor, Callable[..., None]]:
    number, window = next(windows)
    output = module(to_device(window.tokens), to_device(window.position_ids), **_attention(window.segments))

    def finish(logits: torch.Tensor, *, non_loss_data: bool) -> None:
        if on_logits is not None:
            on_logits(number, logits)

    return output, finish


def _attention(segments: Any) -> dict[str, Any]:
    """What keeps the segments of a window apart, in the form that the layers take."""
    if segments is None:
        return {"attention_mask": None}
    if not has_transformer_engine():
        return {"attention_mask": block_mask(to_device(segments))}
    assert len(segments) == 1, "one window at a time"
    return {"attention_mask": None, "packed_seq_params": packed_sequences(to_device(segments))}
