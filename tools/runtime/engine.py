"""One training step and one evaluation on megatron-core: forward, backward, clip, Adam, and the sums they leave."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from megatron.core.distributed import DistributedDataParallel
from megatron.core.optimizer import MegatronOptimizer
from megatron.core.pipeline_parallel import get_forward_backward_func

from mixer.batch import Batch, GlobalBatch
from schedulers.hyperparameters import Values

from ..recipe.schema import Recipe
from .batch import ModelInput, to_model_input
from .optimizer import set_hyperparameters
from .processes import seed_everything
from .statistics import BinSums, StepStatistics


@dataclass(frozen=True)
class StepResult:
    """What came of one step; the same on every rank. ``seconds`` is the time inside megatron-core."""

    sums: BinSums
    gradient_norm: float
    seconds: float


class Engine:
    """The model and its optimizer, ready to take steps."""

    def __init__(self, recipe: Recipe, model: DistributedDataParallel, optimizer: MegatronOptimizer) -> None:
        self.model = model
        self.optimizer = optimizer
        self._recipe = recipe
        self.run = get_forward_backward_func()
        self._draws_random = recipe.model.hidden_dropout > 0 or recipe.model.attention_dropout > 0

    def step(self, batch: GlobalBatch, values: Values, *, stop_requested: bool = False) -> StepResult:
        """Learn from one global batch at these values; the gradient is that of the mean loss over supervised tokens."""
        began = time.perf_counter()
        if self._draws_random:  # random states are a function of the step, so none needs saving
            seed_everything(self._recipe.seed, step=batch.step + 1)
        statistics = StepStatistics(len(batch.bins))
        set_hyperparameters(self.optimizer, self._recipe.optimizer, values)
        self.model.zero_grad_buffer()
        self.optimizer.zero_grad()
        self._forward_backward(batch.micro_batches, statistics, forward_only=False)
        _, gradient_norm, _ = self.optimizer.step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # the sums below wait for the device anyway; here it keeps the clock honest
        seconds = time.perf_counter() - began
        sums = statistics.reduce(digest=batch.digest(), stop_requested=stop_requested)
        return StepResult(sums, float(gradient_norm), seconds)

    @torch.no_grad()
    def evaluate(self, micro_batches: Sequence[Batch], num_bins: int) -> BinSums:
        """Loss per bin without learning; every rank passes the same number of micro-batches."""
        statistics = StepStatistics(num_bins)
        self.model.eval()
        self._forward_backward(micro_batches, statistics, forward_only=True)
        self.model.train()
        return statistics.reduce()

    def _forward_backward(self, batches: Sequence[Batch], statistics: StepStatistics, *, forward_only: bool) -> None:
        self.run(
            forward_step_func=partial(_forward_step, statistics),
            data_iterator=iter(batches),
            model=[self.model],
            num_microbatches=len(batches),
            seq_length=self._recipe.sequence_length,
            micro_batch_size=self._recipe.micro_batch_size,
            forward_only=forward_only,
        )


def _forward_step(
    statistics: StepStatistics, batches: Iterator[Batch], model: DistributedDataParallel
) -> tuple[torch.Tensor, Callable[[torch.Tensor], Any]]:
    """Megatron's forward_step_func: per-token losses (batch, seq), and what to make of them on the last stage."""
    inputs = to_model_input(next(batches))
    losses = model(
        inputs.tokens,
        inputs.position_ids,
        inputs.attention_mask,
        labels=inputs.labels,
        packed_seq_params=inputs.packed,
    )
    return losses, partial(_loss, statistics, inputs)


def _loss(
    statistics: StepStatistics, inputs: ModelInput, losses: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    """Summed loss and the number of supervised tokens; megatron-core divides by their total over the global batch."""
    losses = losses.float().reshape(inputs.loss_mask.shape)
    statistics.add(inputs.bins, losses, inputs.loss_mask)
    return (losses * inputs.loss_mask).sum(), inputs.loss_mask.sum().to(torch.int), {}
