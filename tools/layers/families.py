"""Where the parts of a decoder layer are, in the Hugging Face families that are known, by their ``model_type``.

pre        y = m + mlp(norm(m)), m = x + attention(norm(x))                    m is the second norm's input
sandwich   a second norm stands after attention and MLP, before the addition   m is the norm's before the MLP
post       the norm stands after them only (OLMo 2)                            m is the MLP's input
parallel   y = x + attention(norm(x)) + mlp(norm(x))                           there is no m
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from ..errors import UserError
from .taps import Anatomy

Norm = Literal["pre", "sandwich", "post", "parallel"]


@dataclass(frozen=True)
class Family:
    """Names of the modules: of the list of layers in the model, and of the parts in a layer."""

    norm: Norm
    layers: str
    middle: str | None
    attention: str
    mlp: str

    def anatomies(self, model: nn.Module) -> list[Anatomy]:
        """The layers of a model, in order."""
        layers = model.get_submodule(self.layers)
        assert isinstance(layers, nn.ModuleList)
        return [self._anatomy(layer) for layer in layers]

    def _anatomy(self, layer: nn.Module) -> Anatomy:
        middle = layer.get_submodule(self.middle) if self.middle else None
        return Anatomy(layer, middle, layer.get_submodule(self.attention), layer.get_submodule(self.mlp))


PRE = Family("pre", "model.layers", "post_attention_layernorm", "self_attn", "mlp")
SANDWICH = Family(
    "sandwich", "model.layers", "pre_feedforward_layernorm", "post_attention_layernorm", "post_feedforward_layernorm"
)
POST = Family("post", "model.layers", "mlp", "post_attention_layernorm", "post_feedforward_layernorm")
PARALLEL = Family("parallel", "gpt_neox.layers", None, "post_attention_dropout", "post_mlp_dropout")
NEOX_SEQUENTIAL = Family(
    "pre", "gpt_neox.layers", "post_attention_layernorm", "post_attention_dropout", "post_mlp_dropout"
)

FAMILIES = {
    **dict.fromkeys(("gemma", "llama", "mistral", "mixtral", "olmo", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe"), PRE),
    **dict.fromkeys(("gemma2", "gemma3_text"), SANDWICH),
    **dict.fromkeys(("olmo2", "olmo3"), POST),
    "gpt_neox": PARALLEL,
}


def family_of(config: Any, where: str) -> Family:
    """The family of a model's configuration; UserError with the known ones where it is none of them."""
    family = known_family(config.model_type, where)
    return NEOX_SEQUENTIAL if family is PARALLEL and not config.use_parallel_residual else family


def known_family(model_type: Any, where: str) -> Family:
    """The family of a ``model_type``; UserError with the known ones where it is none of them."""
    family = FAMILIES.get(model_type) if isinstance(model_type, str) else None
    if family is None:
        known = ", ".join(sorted(FAMILIES))
        raise UserError(f"{where}/config.json: model_type", got=str(model_type), expected=f"one of {known}")
    return family


def own_anatomies(layers: Sequence[Any]) -> list[Anatomy]:
    """The parts of megatron-core's transformer layers: the norm before the MLP meets the middle, an identity too."""
    return [Anatomy(layer, layer.pre_mlp_layernorm, layer.self_attention, layer.mlp) for layer in layers]
