"""A micro-batch of the mixer as the tensors that GPTModel takes."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from mixer.batch import Batch

from .processes import device, has_transformer_engine


@dataclass(frozen=True)
class ModelInput:
    """Tensors of one micro-batch on the device.

    ``tokens``, ``labels``, ``position_ids`` (batch, seq) int64; ``loss_mask`` (batch, seq) float32;
    ``attention_mask`` (batch, 1, seq, seq) bool, true where attention is forbidden, or None for plain causal;
    ``bins`` (batch,) int64: which (source, epoch) of the global batch each sample belongs to.
    """

    tokens: torch.Tensor
    labels: torch.Tensor
    loss_mask: torch.Tensor
    position_ids: torch.Tensor
    attention_mask: torch.Tensor | None
    packed: Any
    bins: torch.Tensor


def pinned_bytes(num_bytes: int) -> np.ndarray:
    """Memory for a loader's batches; page-locked where there is a GPU, so that copies to it run beside the model."""
    return torch.empty(num_bytes, dtype=torch.uint8, pin_memory=torch.cuda.is_available()).numpy()


def to_model_input(batch: Batch) -> ModelInput:
    """Move a micro-batch to the device; windows of several conversations get what keeps them apart.

    Copies from pinned memory may still be under way at the return: hold the batch until the step is over.
    """
    fields = _each(batch) if (joined := batch.joined) is None else _text(joined)
    segments = None if (numbers := batch.segments) is None else to_device(numbers)
    packed, mask = None, None
    if segments is not None and has_transformer_engine():
        for name in ("tokens", "labels", "position_ids"):
            fields[name] = fields[name].reshape(1, -1)
        packed = packed_sequences(segments)
    elif segments is not None:
        mask = block_mask(segments)
    return ModelInput(**fields, attention_mask=mask, packed=packed, bins=to_device(batch.bins))


def _text(joined: np.ndarray) -> dict[str, torch.Tensor]:
    """Tokens and labels cross to the device once, as the S + 1 tokens of each row; the rest is there already."""
    moved = to_device(joined)
    loss_mask, position_ids = _text_constants(len(joined), joined.shape[1] - 1)
    return {"tokens": moved[:, :-1], "labels": moved[:, 1:], "loss_mask": loss_mask, "position_ids": position_ids}


def _each(batch: Batch) -> dict[str, torch.Tensor]:
    return {name: to_device(getattr(batch, name)) for name in ("tokens", "labels", "loss_mask", "position_ids")}


@lru_cache(maxsize=8)
def _text_constants(num_rows: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """loss_mask and position_ids of text on the device; nothing may write into them."""
    ones = torch.ones(num_rows, length, device=device())
    return ones, torch.arange(length, device=device()).expand(num_rows, length)


def to_device(array: np.ndarray) -> torch.Tensor:
    """The array as a tensor on this process's device."""
    return torch.from_numpy(array).to(device(), non_blocking=True)


def block_mask(segments: torch.Tensor) -> torch.Tensor:
    """Causal attention inside each segment only: (batch, seq) segment numbers -> (batch, 1, seq, seq), true forbids."""
    length = segments.shape[1]
    apart = segments[:, :, None] != segments[:, None, :]
    future = torch.ones(length, length, dtype=torch.bool, device=segments.device).triu(1)
    return (apart | future)[:, None]


def segment_boundaries(segments: torch.Tensor) -> torch.Tensor:
    """Where segments begin in the batch laid end to end: int32 from 0 to batch x seq, strictly increasing.

    >>> segment_boundaries(torch.tensor([[0, 0, 1, 1], [0, 0, 0, 0]])).tolist()
    [0, 2, 4, 8]
    """
    begins = torch.ones_like(segments, dtype=torch.bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    starts = begins.reshape(-1).nonzero().squeeze(1)
    return torch.cat([starts, starts.new_tensor([segments.numel()])]).to(torch.int32)


def packed_sequences(segments: torch.Tensor) -> Any:
    """The same boundaries in the form that Transformer Engine's attention takes."""
    from megatron.core.packed_seq_params import PackedSeqParams

    boundaries = segment_boundaries(segments)
    longest = int(boundaries.diff().max())
    return PackedSeqParams(
        qkv_format="thd",
        cu_seqlens_q=boundaries,
        cu_seqlens_kv=boundaries,
        max_seqlen_q=longest,
        max_seqlen_kv=longest,
    )
