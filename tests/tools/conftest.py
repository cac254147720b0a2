"""A tiny recipe, and megatron-core's groups of one process, for the tests of single parts.

Nothing is read from disk: the recipe's source is a count, and batches are drawn from a seed. Imports of torch and
megatron-core stay inside the fixtures, so that tests of plain arithmetic don't wait for them.
"""

import copy
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from mixer.batch import GlobalBatch, ReadRows
from mixer.mixture import Located
from mixer.windows import Windows
from schedulers.hyperparameters import Values
from tools.recipe.load import apply_override, parse_recipe
from tools.recipe.planned import Plan
from tools.recipe.resolve import resolve
from tools.recipe.schema import Recipe

LENGTH = 16
VOCABULARY = 96
RECIPE: dict[str, Any] = {
    "name": "tiny",
    "seed": 7,
    "sequence_length": LENGTH,
    "model": {
        "num_layers": 2,
        "hidden_size": 32,
        "num_attention_heads": 4,
        "num_query_groups": 2,
        "ffn_hidden_size": 64,
    },
    "vocab_size": VOCABULARY,
    "global_batch_size": 4,
    "micro_batch_size": 2,
    "sources": {"web": {"tokens": 100_000}},
    "phases": [{"name": "all", "tokens": 1024, "learning_rate": 1e-2, "mixture": {"web": 1}}],
}


def make_recipe(*overrides: str) -> Recipe:
    document = copy.deepcopy(RECIPE)
    for override in overrides:
        apply_override(document, override)
    return parse_recipe(document, "tiny.yaml")


def make_plan(*overrides: str) -> Plan:
    return resolve(make_recipe(*overrides), where="tiny.yaml")


def make_batch(step: int = 0, *, micro_batches: int = 2) -> GlobalBatch:
    """A global batch of random tokens whose last quarter of positions has no loss; two (source, epoch) bins."""
    rows = 2 * micro_batches
    tokens = np.random.default_rng(step).integers(0, VOCABULARY, (rows, LENGTH + 1))
    positions = np.tile(np.arange(LENGTH), (rows, 1))
    loss_mask = (positions < LENGTH * 3 // 4).astype(np.float32)
    windows = Windows(tokens[:, :-1], tokens[:, 1:], loss_mask, positions, np.zeros((rows, LENGTH), np.int32))
    located = Located(*np.zeros((6, rows), np.int64))
    bins = np.tile([0, 1], (micro_batches, 1))
    reads = [ReadRows(windows, located, bins)]
    return GlobalBatch(step, step * rows, rows, [(0, 0), (0, 1)], [rows // 2] * 2, reads, range(micro_batches))


@pytest.fixture(scope="session")
def tiny_recipe() -> Callable[..., Recipe]:
    return make_recipe


@pytest.fixture(scope="session")
def tiny_plan() -> Callable[..., Plan]:
    return make_plan


@pytest.fixture(scope="session")
def tiny_batch() -> Callable[..., GlobalBatch]:
    return make_batch


@pytest.fixture(scope="session")
def tiny_values() -> Callable[..., Values]:
    """What a step of the tiny recipe is given, at a learning rate: ``tiny_values(1e-2, "optimizer.clip_grad=0.5")``."""
    return lambda rate, *changes: make_plan(*changes).hyperparameters.at(0)._replace(learning_rate=rate)


@pytest.fixture(scope="module")
def alone() -> Iterator[None]:
    """megatron-core's groups of one process on one thread; the environment, which programs inherit, as it was."""
    import torch

    from tools.recipe.schema import Parallelism
    from tools.runtime import processes

    environment, threads = dict(os.environ), torch.get_num_threads()
    processes.start(Parallelism())
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    processes.stop()


@pytest.fixture(scope="module")
def new_engine(alone: None) -> Callable[..., Any]:
    """Build a recipe's model and optimizer: the same weights each time, and no step taken."""

    def build(recipe: Recipe) -> Any:
        from tools.runtime.engine import Engine
        from tools.runtime.model import build_model
        from tools.runtime.optimizer import build_optimizer
        from tools.runtime.processes import seed_everything

        seed_everything(recipe.seed)
        model = build_model(recipe, VOCABULARY)
        return Engine(recipe, model, build_optimizer(recipe, model, 1e-2))

    return build
