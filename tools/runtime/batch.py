"""A micro-batch of the mixer as the tensors that GPTModel takes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mixer.loader import Batch

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


def to_model_input(batch: Batch) -> ModelInput:
    """Copy a micro-batch to the device; windows of several conversations get what keeps them apart."""
    segments = None if batch.segments is None else _to_device(batch.segments)
    fields = {
        "tokens": _to_device(batch.tokens),
        "labels": _to_device(batch.labels),
        "position_ids": _to_device(batch.position_ids),
    }
    packed, mask = None, None
    if segments is not None and has_transformer_engine():
        fields = {name: value.reshape(1, -1) for name, value in fields.items()}
        packed = _packed_sequences(segments)
    elif segments is not None:
        mask = block_mask(segments)
    return ModelInput(
        **fields,
        loss_mask=_to_device(batch.loss_mask),
        attention_mask=mask,
        packed=packed,
        bins=_to_device(batch.bins),
    )


def _to_device(array: np.ndarray) -> torch.Tensor:
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


def _packed_sequences(segments: torch.Tensor) -> Any:
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
