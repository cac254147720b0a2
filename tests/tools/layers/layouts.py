"""What test_own_model.py runs in several processes: the sums of one small model in layouts of two, into a file each."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tools.layers.ablate import losses
from tools.layers.document_groups import GROUPS
from tools.layers.measure import measure
from tools.layers.own_model import layered
from tools.recipe.load import parse_recipe
from tools.recipe.schema import Recipe
from tools.runtime import processes

LAYOUTS = {
    "dp2": {},
    "tp2": {"tensor_model_parallel_size": 2},
    "pp2": {"pipeline_model_parallel_size": 2},
    "tp2_sequence": {"tensor_model_parallel_size": 2, "sequence_parallel": True},
}


def recipe(**changes) -> Recipe:
    model = {
        "num_layers": 4,
        "hidden_size": 32,
        "num_attention_heads": 4,
        "num_query_groups": 2,
        "ffn_hidden_size": 48,
        "init_method_std": 0.2,
    }
    phase = {"name": "all", "tokens": 1024, "learning_rate": 1e-2, "mixture": {"web": 1}}
    document = {
        "name": "tiny",
        "sequence_length": 16,
        "vocab_size": 128,
        "global_batch_size": 4,
        "sources": {"web": {"tokens": 100_000}},
        "phases": [phase],
        "model": {**model, **changes.pop("model", {})},
    }
    return parse_recipe({**document, **changes}, "tiny.yaml")


def small_model(recipe: Recipe):
    """A model of this process, its weights the same in every layout."""
    from tools.runtime.initial_weights import draw_initial_weights
    from tools.runtime.model import model_for_reading

    module = model_for_reading(recipe, 128)
    draw_initial_weights(getattr(module, "module", module), recipe.seed)
    return layered(module, recipe, name="tiny")


def sums_of(recipe: Recipe, probe) -> list[np.ndarray]:
    """Sums of a pass, and of one without a layer."""
    model = small_model(recipe)
    found = [tensor.numpy() for tensor in measure(model, probe, micro_batch=2).tensors()]
    return [*found, losses(model, probe, micro_batch=2, skipped=[1])]


class Rows:
    """The probe, the same in every process: windows of random tokens, some of their positions not counted."""

    names = ("web",)
    sequence_length = 16
    group_sources = np.zeros(GROUPS, int)

    def check_vocabulary(self, batch, vocab_size, model):
        assert vocab_size == 128

    def batches(self, micro_batch, *, rank=0, size=1):
        from tools.layers.probe import ProbeBatch

        rng = np.random.default_rng(5)
        tokens, counts = rng.integers(0, 128, (6, 16)), rng.random((6, 16)) < 0.9
        positions, zeros = np.tile(np.arange(16), (6, 1)), np.zeros((6, 16), int)
        fields = (tokens, np.roll(tokens, -1, 1), positions, counts, np.arange(6)[:, None] + zeros, zeros)
        mine = np.arange(6)[rank::size]
        for start in range(0, len(mine), micro_batch):
            rows = mine[start : start + micro_batch]
            tokens_, labels, positions_, counts_, groups, sources = (part[rows] for part in fields)
            yield ProbeBatch(tokens_, labels, positions_, None, counts_, groups, sources)


def take_norms_of_parts_of_windows() -> None:
    """Build megatron-core's torch norms under sequence_parallel too: only their gradients would be wrong."""
    from megatron.core.transformer.torch_norm import WrappedTorchNorm

    build = WrappedTorchNorm.__new__

    def build_anyway(cls, config, *given, **named):
        return build(cls, replace(config, sequence_parallel=False), *given, **named)

    WrappedTorchNorm.__new__ = build_anyway


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    processes.prepare()
    from megatron.core import parallel_state

    take_norms_of_parts_of_windows()
    for name, parallelism in LAYOUTS.items():
        wanted = recipe(parallelism=parallelism)
        place = processes.start(wanted.parallelism.model_copy(update={"sequence_parallel": False}))
        found = sums_of(wanted, Rows())
        if place.is_first:
            np.savez(folder / f"{name}.npz", *found)
        parallel_state.destroy_model_parallel()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
