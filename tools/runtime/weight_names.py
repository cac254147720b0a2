"""Under which names a distributed checkpoint holds the weights of a GPT: ours, Megatron-LM's or NeMo's.

megatron-core has three forms, and a program that wraps the model may put a prefix before each name:

    stacked   decoder.layers.mlp.linear_fc1.weight      all layers in one tensor; ours, and the default of 0.16
    numbered  decoder.layers.3.mlp.linear_fc1.weight    a tensor for each layer
    halved    decoder.layers.3.mlp.linear_fc1.weight_w  numbered, and the halves of a gated MLP apart
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_MARK = "embedding.word_embeddings.weight"
_PREFIXES = ("", "module.", "model.", "model.module.")


@dataclass(frozen=True)
class WeightNames:
    """What stands before each name, and what megatron-core is told to make the form."""

    prefix: str = ""
    form: tuple[str, ...] = ()

    @classmethod
    def of(cls, keys: Iterable[str]) -> "WeightNames":
        """By the names in a checkpoint; those of ours where it holds no GPT.

        >>> WeightNames.of(["module.embedding.word_embeddings.weight", "module.decoder.layers.0.mlp.linear_fc2.weight"])
        WeightNames(prefix='module.', form=('non_homogeneous_layers',))
        """
        names = set(keys)
        prefix = next((prefix for prefix in _PREFIXES if prefix + _MARK in names), "")
        layers = re.compile(re.escape(prefix) + r"decoder\.layers\.\d+\.")
        numbered = [name for name in names if layers.match(name)]
        if any(name.endswith("linear_fc1.weight_w") for name in numbered):
            return cls(prefix, ("non_homogeneous_layers", "singleton_local_shards"))
        return cls(prefix, ("non_homogeneous_layers",) if numbered else ())

    @property
    def metadata(self) -> dict[str, Any]:
        """For ``sharded_state_dict``."""
        return dict.fromkeys(self.form, True)
