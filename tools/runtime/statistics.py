"""What one step learned about its data: loss and supervised tokens of each (source, epoch), over all processes.

Each rank of the last pipeline stage adds its own windows; one small all-reduce at the end of the step gives every
rank the same sums, so that all of them take the same decision to stop.
"""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from megatron.core import parallel_state

from .processes import device


@dataclass(frozen=True)
class BinSums:
    """Summed loss and supervised tokens of each bin of a global batch, and the flags that travelled with them."""

    loss: list[float]
    tokens: list[float]
    digest: int
    stop_requested: bool

    @property
    def mean_loss(self) -> float:
        """Mean over the supervised tokens of the global batch; 0 where there are none."""
        total = sum(self.tokens)
        return sum(self.loss) / total if total else 0.0


class StepStatistics:
    """Sums per bin of one global batch, kept on the device until the step is over."""

    def __init__(self, num_bins: int) -> None:
        self._sums = torch.zeros(2, num_bins, dtype=torch.float64, device=device())

    def add(self, bins: torch.Tensor, losses: torch.Tensor, loss_mask: torch.Tensor) -> None:
        """Add one micro-batch: ``bins`` (batch,), per-token ``losses`` and ``loss_mask`` (batch, seq)."""
        per_sample = torch.stack([(losses.detach() * loss_mask).sum(1), loss_mask.sum(1)])
        self._sums.index_add_(1, bins, per_sample.double())

    def reduce(self, *, digest: int = 0, stop_requested: bool = False) -> BinSums:
        """Sum over all processes; windows that tensor- or context-parallel peers share count once."""
        counts = _counts_here()
        flags = torch.tensor([digest if counts else 0, float(stop_requested)], dtype=torch.float64)
        everything = torch.cat([self._sums.reshape(-1) * float(counts), flags.to(self._sums.device)])
        dist.all_reduce(everything)
        *sums, total_digest, stops = everything.tolist()
        half = len(sums) // 2
        return BinSums(sums[:half], sums[half:], int(total_digest), stops > 0)


def _counts_here() -> bool:
    """Whether this rank's sums are the ones to count among its tensor-parallel peers."""
    return bool(parallel_state.is_pipeline_last_stage()) and parallel_state.get_tensor_model_parallel_rank() == 0
