"""Megatron's Adam: built from the recipe, its learning rate set from the clock, its last update measured."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from megatron.core.distributed import DistributedDataParallel
from megatron.core.optimizer import (
    MegatronOptimizer,
    OptimizerConfig,
    get_megatron_optimizer,
    get_standard_config_overrides,
)
from megatron.core.tensor_parallel import param_is_not_tensor_parallel_duplicate
from megatron.core.transformer.module import param_is_not_shared

from ..recipe.schema import Optimizer, Recipe
from .processes import device


def build_optimizer(recipe: Recipe, model: DistributedDataParallel, peak_learning_rate: float) -> MegatronOptimizer:
    """AdamW over this rank's shard; no weight decay on norms and biases, as Megatron-LM does."""
    config = OptimizerConfig(
        optimizer="adam",
        lr=peak_learning_rate,
        bf16=recipe.precision == "bf16",
        params_dtype=torch.bfloat16 if recipe.precision == "bf16" else torch.float32,
        use_distributed_optimizer=recipe.parallelism.use_distributed_optimizer,
        overlap_param_gather=recipe.parallelism.overlap_param_gather,
        **recipe.optimizer.model_dump(),
    )
    return get_megatron_optimizer(config, [model], config_overrides=get_standard_config_overrides(config))


def set_hyperparameters(optimizer: MegatronOptimizer, settings: Optimizer, learning_rate: float) -> None:
    """Give every parameter group what it needs for the next step, by the recipe as it stands now.

    Megatron leaves ``lr_mult`` and ``wd_mult`` to whoever schedules: without this, norms and biases would decay. And
    groups that come from a checkpoint hold the values of the run that wrote it.
    """
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("lr_mult", 1.0)
        group["weight_decay"] = settings.weight_decay * group.get("wd_mult", 1.0)
        group["betas"] = (settings.adam_beta1, settings.adam_beta2)
        group["eps"] = settings.adam_eps


def links(optimizer: MegatronOptimizer) -> list[MegatronOptimizer]:
    """The optimizers in Megatron's chain (dense and expert parameters), each over a torch or fused Adam."""
    chain = getattr(optimizer, "chained_optimizers", [optimizer])
    return [link for link in chain if link.optimizer is not None]


@torch.no_grad()
def update_to_weight_ratio(optimizer: MegatronOptimizer) -> float:
    """Norm of the last update over the norm of the weights, |w_t - w_(t-1)| / |w_t|, over the whole model.

    Nothing was kept from before the step: AdamW's update is computed again from its moments,
    ``w_t = (1 - lr wd) w_(t-1) - lr m / (sqrt(v) + eps)`` with bias-corrected m and v, so no memory is held.
    """
    total = torch.zeros(2, dtype=torch.float64, device=device())
    for link in links(optimizer):
        sums = torch.zeros_like(total)
        for group, parameter, state in _stepped_parameters(link.optimizer):
            sums[0] += _last_update(group, parameter, state).norm().double().square()
            sums[1] += parameter.norm().double().square()
        dist.all_reduce(sums, group=link.get_grad_stats_parallel_group())
        total += sums
    return float((total[0] / total[1]).sqrt()) if total[1] > 0 else 0.0


def _stepped_parameters(inner: Any) -> Iterator[tuple[dict[str, Any], torch.Tensor, dict[str, Any]]]:
    """Each parameter once: those that tensor-parallel or tied-embedding ranks also hold are counted by one of them."""
    for group in inner.param_groups:
        for parameter in group["params"]:
            state = inner.state.get(parameter)
            if state and param_is_not_shared(parameter) and param_is_not_tensor_parallel_duplicate(parameter):
                yield group, parameter, state


def _last_update(group: dict[str, Any], parameter: torch.Tensor, state: dict[str, Any]) -> torch.Tensor:
    step = float(state.get("step", group.get("step", 1)))
    beta1, beta2 = group["betas"]
    mean = state["exp_avg"].float() / (1 - beta1**step)
    deviation = (state["exp_avg_sq"].float() / (1 - beta2**step)).sqrt_().add_(group["eps"])
    adam = mean.div_(deviation).mul_(group["lr"])
    shrink = group["lr"] * group["weight_decay"]
    update: torch.Tensor = (adam + shrink * parameter) / (1 - shrink)
    return update
