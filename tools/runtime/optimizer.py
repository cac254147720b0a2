"""Megatron's Adam: built from the recipe, its learning rate set from the clock, its last update measured."""

from collections.abc import Callable, Iterator
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
from megatron.core.optimizer.optimizer_config import ParamKey, ParamWithNamePredicate
from megatron.core.optimizer_param_scheduler import ParamGroupOverride
from megatron.core.tensor_parallel import param_is_not_tensor_parallel_duplicate
from megatron.core.transformer.module import param_is_not_shared

from schedulers.hyperparameters import Values, write_rate

from ..recipe.schema import LrMultipliers, Optimizer, Recipe
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
        **recipe.optimizer.model_dump(exclude={"lr_multipliers"}),
    )
    overrides = get_standard_config_overrides(config) | _multiplied(recipe.optimizer.lr_multipliers)
    return get_megatron_optimizer(config, [model], config_overrides=overrides)


def _multiplied(multipliers: LrMultipliers) -> dict[ParamKey, ParamGroupOverride]:
    """Megatron's overrides that give the groups of parameters their ``lr_mult``.

    Megatron merges groups of equal overrides, and finds a group in a checkpoint by ``wd_mult`` and ``lr_mult``.
    """
    return {
        ParamKey(with_name_predicate=ParamWithNamePredicate(f"lr of {name}", _belongs(name))): {"lr_mult": factor}
        for name, factor in multipliers
        if factor != 1.0
    }


def _belongs(group: str) -> Callable[[torch.nn.Parameter, str], bool]:
    return lambda parameter, name: group_of(parameter, name) == group


def group_of(parameter: torch.nn.Parameter, name: str) -> str:
    """The field of LrMultipliers that a parameter falls under; a tied embedding's copy on the last stage is one too."""
    if "embedding." in name or getattr(parameter, "shared_embedding", False):
        return "embedding"
    if parameter.dim() == 1:
        return "vectors"
    return "output" if "output_layer." in name else "hidden"


def set_hyperparameters(optimizer: MegatronOptimizer, settings: Optimizer, values: Values) -> None:
    """Give every parameter group what it needs for the next step, by the recipe as it stands now.

    Megatron leaves ``lr_mult`` and ``wd_mult`` to whoever schedules: without this, norms and biases would decay. And
    groups that come from a checkpoint hold the values of the run that wrote it. The bound of the gradient is read from
    the config of each optimizer in the chain.
    """
    for group in optimizer.param_groups:
        write_rate(group, values.learning_rate * group.get("lr_mult", 1.0))
        group["weight_decay"] = values.weight_decay * group.get("wd_mult", 1.0)
        group["betas"] = (settings.adam_beta1, values.beta2)
        group["eps"] = settings.adam_eps
    for link in _chain(optimizer):
        link.config.clip_grad = values.clip_grad


def _chain(optimizer: MegatronOptimizer) -> list[MegatronOptimizer]:
    return list(getattr(optimizer, "chained_optimizers", [optimizer]))


def links(optimizer: MegatronOptimizer) -> list[MegatronOptimizer]:
    """The optimizers in Megatron's chain (dense and expert parameters), each over a torch or fused Adam."""
    return [link for link in _chain(optimizer) if link.optimizer is not None]


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
