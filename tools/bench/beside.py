"""``annealmix bench train --beside KEY=VALUE``: what a change of the recipe costs a training step of the same model.

One model takes steps on the recipe as it stands and on the changed one in turns, each with a loader of its own, so that
a machine that changes its speed changes both; which of them comes first changes every time.
"""

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mixer.batch import GlobalBatch

from ..errors import UserError
from ..recipe.continued import model_identity
from ..recipe.load import load_recipe
from ..recipe.planned import Plan
from ..recipe.resolve import resolve
from ..runtime.engine import Engine
from .train import TURN_STEPS, check_steps, engine_alone, loader_alone, synchronize


@dataclass(frozen=True)
class BesideBench:
    """Medians of step times in seconds, of as many steps of each kind."""

    as_it_stands_s: float
    changed_s: float
    steps: int

    @property
    def ratio(self) -> float:
        """The changed recipe's step over the other's."""
        return self.changed_s / self.as_it_stands_s


def bench_beside(recipe_path: Path, overrides: list[str], changes: list[str], *, steps: int) -> BesideBench:
    """Measure on a recipe whose data is there; the first ten steps of each warm up and don't count."""
    stands, changed = (
        resolve(load_recipe(recipe_path, [*overrides, *more]), where=str(recipe_path)) for more in ([], changes)
    )
    if model_identity(stands.recipe, stands.vocab_size) != model_identity(changed.recipe, changed.vocab_size):
        raise UserError("--beside", got=", ".join(changes), expected="a change that leaves the model as it is")
    check_steps(stands, steps)
    check_steps(changed, steps)
    with engine_alone(stands) as (engine, _), loader_alone(stands) as one, loader_alone(changed) as other:
        sides: list[tuple[Plan, Iterator[GlobalBatch], list[float]]] = [(stands, one, []), (changed, other, [])]
        for turn in range(TURN_STEPS + steps):
            for plan, batches, seconds in sides[:: 1 - 2 * (turn % 2)]:
                seconds.append(_step_s(plan, engine, batches))
    as_it_stands, as_changed = (seconds[TURN_STEPS:] for _, _, seconds in sides)
    return BesideBench(statistics.median(as_it_stands), statistics.median(as_changed), steps)


def _step_s(plan: Plan, engine: Engine, batches: Iterator[GlobalBatch]) -> float:
    """Seconds of one step, waiting for its batch included."""
    synchronize()
    began = time.perf_counter()
    batch = next(batches)
    engine.step(batch, plan.hyperparameters.at(batch.first_sample * plan.recipe.sequence_length))
    synchronize()
    return time.perf_counter() - began


def show(result: BesideBench, changes: Sequence[str]) -> str:
    """The result as a line for people."""
    stands_ms, changed_ms = result.as_it_stands_s * 1e3, result.changed_s * 1e3
    with_changes = ", ".join(changes)
    return (
        f"step, median of {result.steps}:  as it stands {stands_ms:.1f} ms  "
        f"with {with_changes} {changed_ms:.1f} ms  ratio {result.ratio:.3f}"
    )
