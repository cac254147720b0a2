"""Where a process stands while a model is evaluated, and the few numbers that it exchanges with the others."""

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist

ArrayOrTensor = TypeVar("ArrayOrTensor")


class Place:
    """A process that holds the whole model and reads all of the data: nothing is exchanged."""

    data_rank = 0
    data_size = 1
    is_last_stage = True
    counts = True  # whether what it sums is to be counted: one of several peers that see the same tokens
    window_part = (0, 1)  # which of how many parts of each window it sees the residual of
    num_stages = 1
    vocabulary_start = 0

    def own(self, values: ArrayOrTensor) -> ArrayOrTensor:
        """Its part of windows (batch, seq), an array or a tensor.

        >>> place = Place(); place.window_part = (1, 2)
        >>> place.own(torch.arange(4)[None]).tolist()
        [[2, 3]]
        """
        part, parts = self.window_part
        length = values.shape[1] // parts  # type: ignore[attr-defined]
        return values[:, part * length : (part + 1) * length]  # type: ignore[index,no-any-return]

    def largest_over_vocabulary(self, values: torch.Tensor) -> torch.Tensor:
        """Elementwise over the parts of the vocabulary."""
        return values

    def sum_over_vocabulary(self, values: torch.Tensor) -> torch.Tensor:
        """Elementwise over the parts of the vocabulary."""
        return values

    def largest_over_stages(self, values: torch.Tensor) -> torch.Tensor:
        """Elementwise over the pipeline."""
        return values

    def over_stages(self, value: Any) -> list[Any]:
        """The value of each pipeline stage, in order; small ones only."""
        return [value]

    def over_all(self, value: Any) -> list[Any]:
        """The value of each process."""
        return [value]

    def add_over_all(self, tensors: Sequence[torch.Tensor]) -> None:
        """Sum over all processes, in place."""


class ParallelPlace(Place):
    """One process of megatron-core's tensor, pipeline and data-parallel groups.

    Tensor-parallel peers see the same residual, of which one counts; with ``sequence_parallel`` each sees its own part
    of every window, contiguous and in the order of their ranks, and all count. Logits are of whole windows in both.
    """

    def __init__(self, *, sequence_parallel: bool = False) -> None:
        from megatron.core import parallel_state

        self.data_rank = parallel_state.get_data_parallel_rank()
        self.data_size = parallel_state.get_data_parallel_world_size()
        self.is_last_stage = parallel_state.is_pipeline_last_stage()
        self.num_stages = parallel_state.get_pipeline_model_parallel_world_size()
        self.tensor_rank = parallel_state.get_tensor_model_parallel_rank()
        self.counts = sequence_parallel or self.tensor_rank == 0
        if sequence_parallel:
            self.window_part = (self.tensor_rank, parallel_state.get_tensor_model_parallel_world_size())
        self._tensor_group = parallel_state.get_tensor_model_parallel_group()
        self._pipeline_group = parallel_state.get_pipeline_model_parallel_group()

    def largest_over_vocabulary(self, values: torch.Tensor) -> torch.Tensor:
        """All-reduce over the tensor-parallel group."""
        dist.all_reduce(values, dist.ReduceOp.MAX, group=self._tensor_group)
        return values

    def sum_over_vocabulary(self, values: torch.Tensor) -> torch.Tensor:
        """All-reduce over the tensor-parallel group."""
        dist.all_reduce(values, group=self._tensor_group)
        return values

    def largest_over_stages(self, values: torch.Tensor) -> torch.Tensor:
        """All-reduce over the pipeline group."""
        dist.all_reduce(values, dist.ReduceOp.MAX, group=self._pipeline_group)
        return values

    def over_stages(self, value: Any) -> list[Any]:
        """Gather over the pipeline group."""
        gathered: list[Any] = [None] * self.num_stages
        dist.all_gather_object(gathered, value, group=self._pipeline_group)
        return gathered

    def over_all(self, value: Any) -> list[Any]:
        """Gather over all processes."""
        gathered: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(gathered, value)
        return gathered

    def add_over_all(self, tensors: Sequence[torch.Tensor]) -> None:
        """All-reduce over all processes; a tensor-parallel peer that doesn't count brings zeros."""
        for tensor in tensors:
            dist.all_reduce(tensor)
