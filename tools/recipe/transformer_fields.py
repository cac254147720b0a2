"""Which fields a model may have: TransformerConfig's own names, read from megatron-core's source without importing it.

Importing megatron-core takes seconds and brings torch; ``plan`` and ``trace`` have to answer in two. The dataclass
fields stand in the source of two files, and parsing those takes milliseconds.
"""

import ast
import importlib.util
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path

# Arguments of GPTModel that are not TransformerConfig fields, under Megatron's names.
GPT_FIELDS = (
    "position_embedding_type",
    "rotary_base",
    "rotary_percent",
    "rope_scaling",
    "rope_scaling_factor",
    "seq_len_interpolation_factor",
    "share_embeddings_and_output_weights",
)

# Fields that other sections of the recipe decide; two places for one fact would let them disagree.
OWNED_ELSEWHERE = {
    "tensor_model_parallel_size": "parallelism.tensor_model_parallel_size",
    "pipeline_model_parallel_size": "parallelism.pipeline_model_parallel_size",
    "context_parallel_size": "parallelism.context_parallel_size",
    "sequence_parallel": "parallelism.sequence_parallel",
    "virtual_pipeline_model_parallel_size": "parallelism",
    "multi_latent_attention": "nothing: this model has grouped-query attention only, for now",
    "mtp_num_layers": "nothing: multi-token prediction is not offered yet",
    "heterogeneous_block_specs": "nothing: all layers are alike, for now",
    "attention_backend": "the runtime",
    "masked_softmax_fusion": "the runtime (without Transformer Engine it would ignore the mask of packed windows)",
    "gradient_accumulation_fusion": "the runtime",
    "enable_cuda_graph": "the runtime",
    "finalize_model_grads_func": "the runtime",
    "grad_scale_func": "the runtime",
    "grad_sync_func": "the runtime",
    "no_sync_func": "the runtime",
    "param_sync_func": "the runtime",
    "init_method": "init_method_std, as a number",
    "output_layer_init_method": "init_method_std, as a number",
    "expert_model_parallel_size": "parallelism, which has no expert parallelism yet",
    "expert_tensor_parallel_size": "parallelism, which has no expert parallelism yet",
    "bf16": "precision",
    "fp16": "precision",
    "params_dtype": "precision",
    "pipeline_dtype": "precision",
    "autocast_dtype": "precision",
    "perform_initialization": "seed (weights are always drawn from it)",
    "use_cpu_initialization": "seed",
    "calculate_per_token_loss": "the runtime (the loss is a mean over the global batch)",
}

_CONFIG_FILES = ("transformer/transformer_config.py", "model_parallel_config.py")
_CONFIG_CLASSES = ("TransformerConfig", "ModelParallelConfig")
_SCALARS: dict[str, tuple[tuple[type, ...], str]] = {
    "bool": ((bool,), "true or false"),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "str": ((str,), "a word"),
}


def megatron_core_folder() -> Path | None:
    """Where megatron-core's source lies, or None when it is not installed."""
    spec = importlib.util.find_spec("megatron")
    folders = [Path(place) / "core" for place in (spec.submodule_search_locations or [])] if spec else []
    return next((folder for folder in folders if folder.is_dir()), None)


@cache
def transformer_config_fields() -> Mapping[str, str]:
    """The installed TransformerConfig's fields and their annotations; empty when megatron-core is not installed."""
    folder = megatron_core_folder()
    if folder is None:
        return {}
    trees = [ast.parse((folder / name).read_text(encoding="utf-8")) for name in _CONFIG_FILES]
    classes = [node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]
    return {
        statement.target.id: ast.unparse(statement.annotation)
        for node in classes
        if node.name in _CONFIG_CLASSES
        for statement in node.body
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
    }


def expected_type(name: str, value: object) -> str | None:
    """What a field of one number or switch must be, or None where the value is that or the type is none of these.

    >>> expected_type("layernorm_epsilon", "abc"), expected_type("layernorm_epsilon", 1e-5)
    ('a number', None)
    """
    annotation = transformer_config_fields().get(name, "")
    optional = annotation.startswith("Optional[")
    types, words = _SCALARS.get(annotation.removeprefix("Optional[").removesuffix("]"), ((object,), ""))
    fits = isinstance(value, types) and (bool in types or object in types or not isinstance(value, bool))
    return None if fits or (optional and value is None) else words


def complaint_about(name: str) -> str | None:
    """Why a field can't stand in a recipe's model, or None when it can.

    >>> complaint_about("hidden_sise")
    'a field of TransformerConfig; the nearest is hidden_size'
    >>> complaint_about("bf16")
    'this to be set in precision'
    """
    if name in OWNED_ELSEWHERE:
        return f"this to be set in {OWNED_ELSEWHERE[name]}"
    known = transformer_config_fields()
    if not known or name in known or name in GPT_FIELDS:
        return None
    near = get_close_matches(name, [*known, *GPT_FIELDS], n=1, cutoff=0.0)
    return f"a field of TransformerConfig; the nearest is {near[0]}"
