"""The GPT of a recipe on megatron-core: configuration, layer specs, data-parallel wrapper."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from megatron.core import parallel_state
from megatron.core.distributed import (
    DistributedDataParallel,
    DistributedDataParallelConfig,
    finalize_model_grads,
)
from megatron.core.models.gpt import GPTModel
from megatron.core.models.gpt.gpt_layer_specs import (
    get_gpt_layer_local_spec,
    get_gpt_layer_with_transformer_engine_spec,
)
from megatron.core.transformer import TransformerConfig
from megatron.core.transformer.module import Float16Module

from ..errors import UserError
from ..recipe.schema import Model, Recipe
from ..recipe.transformer_fields import GPT_FIELDS
from .initial_weights import draw_initial_weights
from .processes import device, has_transformer_engine, seed_everything

_ACTIVATIONS = {"silu": F.silu, "gelu": F.gelu, "relu": F.relu}
_VOCABULARY_MULTIPLE = 128
_NEED_TRANSFORMER_ENGINE = {"layernorm", "moe_act", "mla_up_proj"}  # recompute_modules


def padded_vocabulary(vocab_size: int) -> int:
    """The vocabulary rounded up to a multiple of 128, whatever the tensor-parallel size.

    Megatron-LM pads to 128 x TP, which makes the shape of the embedding, and so its weights, depend on the layout.

    >>> padded_vocabulary(4096), padded_vocabulary(4097)
    (4096, 4224)
    """
    return -(-vocab_size // _VOCABULARY_MULTIPLE) * _VOCABULARY_MULTIPLE


def transformer_config(recipe: Recipe) -> TransformerConfig:
    """TransformerConfig of a recipe; what Megatron itself refuses becomes a UserError with its own words."""
    refuse_impossible_model(recipe.model)
    fields = {name: value for name, value in _model_fields(recipe.model).items() if name not in GPT_FIELDS}
    with _in_megatrons_words():
        return TransformerConfig(**{**_runtime_fields(recipe), **fields})


@contextmanager
def _in_megatrons_words() -> Iterator[None]:
    """A model or layout that megatron-core refuses to build is the recipe's mistake, told in megatron-core's words."""
    try:
        yield
    except (ValueError, AssertionError, TypeError) as error:
        reason = str(error).strip().splitlines()
        raise UserError("model", expected=reason[0] if reason else "another combination of fields") from error


def refuse_impossible_model(model: Model) -> None:
    """Say at the start what the parts installed here can't do; megatron-core 0.16 would fail at the first step."""
    if has_transformer_engine():
        return
    fields = model.model_extra or {}
    modules = sorted(set(fields.get("recompute_modules") or ()) & _NEED_TRANSFORMER_ENGINE)
    missing = "Transformer Engine, which is not installed here"
    if fields.get("num_moe_experts"):
        raise UserError(
            "model.num_moe_experts", got=str(fields["num_moe_experts"]), expected=missing, fix="leave it out"
        )
    if low := fields.get("fp8") or fields.get("fp4"):
        raise UserError("model.fp8", got=str(low), expected=missing, fix="leave it out")
    if modules:
        raise UserError("model.recompute_modules", got=modules[0], expected=missing, fix="recompute core_attn or mlp")


def _model_fields(model: Model) -> dict[str, Any]:
    fields = {name: value for name, value in model.model_dump().items() if value is not None}
    return {**fields, "activation_func": _ACTIVATIONS[model.activation_func]}


def _runtime_fields(recipe: Recipe) -> dict[str, Any]:
    """What the recipe's other sections and the parts installed here decide."""
    parallelism = recipe.parallelism
    dtype = torch.bfloat16 if recipe.precision == "bf16" else torch.float32
    return {
        "tensor_model_parallel_size": parallelism.tensor_model_parallel_size,
        "pipeline_model_parallel_size": parallelism.pipeline_model_parallel_size,
        "context_parallel_size": parallelism.context_parallel_size,
        "sequence_parallel": parallelism.sequence_parallel,
        "bf16": recipe.precision == "bf16",
        "params_dtype": dtype,
        "pipeline_dtype": dtype,
        "calculate_per_token_loss": True,  # the loss is a mean over the supervised tokens of the global batch
        "finalize_model_grads_func": finalize_model_grads,  # left out, gradients are never averaged, silently
        **_fusions(),
    }


def _fusions() -> dict[str, bool]:
    """Fused kernels that the parts installed here have.

    Without Transformer Engine the fused causal softmax ignores a given mask, so conversations in one window would see
    each other: it stays off. On the CPU the other fusions would compile C++ at the first step for no gain.
    """
    fusions = {"gradient_accumulation_fusion": False, "masked_softmax_fusion": has_transformer_engine()}
    if device().type == "cpu":
        fusions |= {"bias_dropout_fusion": False, "bias_activation_fusion": False}
    return fusions


def _layer_spec(config: TransformerConfig) -> Any:
    common = {"num_experts": config.num_moe_experts, "qk_layernorm": config.qk_layernorm}
    if has_transformer_engine():
        return get_gpt_layer_with_transformer_engine_spec(**common)
    return get_gpt_layer_local_spec(**common, normalization=config.normalization)


def build_model(recipe: Recipe, vocab_size: int) -> DistributedDataParallel:
    """This rank's part of the model, weights drawn from the recipe's seed, wrapped for data parallelism."""
    model = bare_model(recipe, vocab_size)
    draw_initial_weights(model, recipe.seed)
    return _wrap(model, recipe)


def bare_model(recipe: Recipe, vocab_size: int) -> GPTModel:
    """This rank's part of the model, to be filled with weights."""
    config = transformer_config(recipe)
    gpt_fields = {name: value for name, value in _model_fields(recipe.model).items() if name in GPT_FIELDS}
    with _in_megatrons_words():
        return GPTModel(
            config=config,
            transformer_layer_spec=_layer_spec(config),
            vocab_size=padded_vocabulary(vocab_size),
            max_sequence_length=recipe.sequence_length,
            pre_process=parallel_state.is_pipeline_first_stage(),
            post_process=parallel_state.is_pipeline_last_stage(),
            **gpt_fields,
        ).to(device())


def model_for_reading(recipe: Recipe, vocab_size: int) -> torch.nn.Module:
    """The same in the recipe's precision, without gradients or buffers for them, for evaluation."""
    seed_everything(recipe.seed)
    model = bare_model(recipe, vocab_size).requires_grad_(False).eval()
    module: torch.nn.Module = Float16Module(model.config, model) if model.config.bf16 else model
    return module


def _wrap(model: GPTModel, recipe: Recipe) -> DistributedDataParallel:
    config = model.config
    module = Float16Module(config, model) if config.bf16 else model
    parallelism = recipe.parallelism
    wrapped = DistributedDataParallel(
        config=config,
        ddp_config=DistributedDataParallelConfig(
            grad_reduce_in_fp32=True,
            use_distributed_optimizer=parallelism.use_distributed_optimizer,
            overlap_grad_reduce=parallelism.overlap_grad_reduce,
            overlap_param_gather=parallelism.overlap_param_gather,
        ),
        module=module,
    )
    if parallelism.overlap_grad_reduce:
        config.no_sync_func = wrapped.no_sync
        if parallelism.pipeline_model_parallel_size > 1:
            config.grad_sync_func = wrapped.start_grad_sync
    return wrapped
