"""``annealmix bench train``: what a step of ours costs beside a bare megatron-core loop of the same model.

Two measurements in one process, in turns, so that a machine that changes its speed changes both:

- *ours*: the trainer's loop as it runs, with mixture, schedule, per-source loss, journal and display; held-out loss and
  checkpoints are left out of both sides. The share outside megatron-core counts everything but its forward, backward
  and optimizer: waiting for data, moving it, sums per source, learning rate, records.
- *bare*: forward, backward and optimizer step on tokens that lie ready on the device, with plain causal attention.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from mixer.batch import GlobalBatch
from mixer.loader import Loader

from ..errors import UserError
from ..pretrain.checkpoint_store import CheckpointStore
from ..pretrain.progress import LiveLine
from ..pretrain.recorder import Recorder
from ..pretrain.surroundings import Surroundings
from ..pretrain.watch import LeaveRequest
from ..recipe.load import load_recipe
from ..recipe.planned import Plan
from ..recipe.resolve import resolve
from ..runtime import engine as engine_module
from ..runtime import processes
from ..runtime.batch import to_model_input
from ..runtime.engine import Engine
from ..runtime.model import build_model
from ..runtime.optimizer import build_optimizer, update_to_weight_ratio
from ..runtime.processes import Layout
from ..runtime.statistics import StepStatistics
from ..tracking.journal import Journal

TURN_STEPS = 10


@dataclass(frozen=True)
class TrainBench:
    """Medians of step times in seconds, and the share of all our time that was outside; bytes where counted."""

    ours_s: float
    bare_s: float
    outside_share: float
    ours_peak_bytes: int | None
    bare_peak_bytes: int | None
    steps: int

    @property
    def ratio(self) -> float:
        """Our step's time over the bare loop's."""
        return self.ours_s / self.bare_s


class Stopwatch:
    """Adds up the time spent in the functions it wraps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - began

        return timed


@contextmanager
def _our_part_of_the_forward_pass(watch: Stopwatch) -> Iterator[None]:
    """Time what the forward step does of ours: moving the batch, and the sums per source."""
    move, add = watch.wrap(to_model_input), watch.wrap(StepStatistics.add)
    with patch.object(engine_module, "to_model_input", move), patch.object(StepStatistics, "add", add):
        yield


def bench_train(recipe_path: Path, overrides: list[str], *, steps: int = 60) -> TrainBench:
    """Measure on a recipe whose data is there; the first turn of each side warms up and doesn't count."""
    plan = resolve(load_recipe(recipe_path, overrides), where=str(recipe_path))
    check_steps(plan, steps)
    with (
        engine_alone(plan) as (engine, layout),
        tempfile.TemporaryDirectory() as folder,
        _recorder(plan, layout, Path(folder)) as recorder,
    ):
        return _alternate(plan, engine, recorder, steps)


def check_steps(plan: Plan, steps: int) -> None:
    """Refuse more steps than the recipe has after a first turn."""
    longest = (plan.batches.num_steps // TURN_STEPS - 1) * TURN_STEPS
    if not 0 < steps <= longest:
        raise UserError("--steps", got=str(steps), expected=f"1 to {longest}, which this recipe has")


@contextmanager
def engine_alone(plan: Plan) -> Iterator[tuple[Engine, Layout]]:
    """The recipe's model and optimizer in this process, which must be the only one."""
    layout = processes.start(plan.recipe.parallelism)
    if layout.world > 1:
        raise UserError("bench train", got=f"{layout.world} processes", expected="one")
    try:
        processes.seed_everything(plan.recipe.seed)
        model = build_model(plan.recipe, plan.vocab_size)
        yield (
            Engine(plan.recipe, model, build_optimizer(plan.recipe, model, plan.hyperparameters.at(0).learning_rate)),
            layout,
        )
    finally:
        processes.stop()


def loader_alone(plan: Plan) -> Loader:
    """All batches of the plan, for one process."""
    return Loader(
        plan.mixture,
        plan.sources,
        micro_batch_size=plan.recipe.micro_batch_size,
        data_parallel_rank=0,
        data_parallel_size=1,
        batch_sizes=plan.batches,
    )


@contextmanager
def _recorder(plan: Plan, layout: Layout, folder: Path) -> Iterator[Recorder]:
    """The trainer's own recorder, with a journal and a display, on a folder that is thrown away."""
    recipe = plan.recipe.model_copy(update={"run_dir": folder})
    display, tracker = LiveLine(plan.total_tokens), Journal(folder)
    tracker.begin("bench", experiment="bench", tracking_uri="journal", resume=False)
    around = Surroundings(layout, LeaveRequest(), CheckpointStore(folder), display, tracker)
    yield Recorder(replace(plan, recipe=recipe), around)
    display.close()


def _alternate(plan: Plan, engine: Engine, recorder: Recorder, steps: int) -> TrainBench:
    """Turns of ten steps of each kind."""
    ours: list[float] = []
    bare: list[float] = []
    outside_s: list[float] = []
    peaks: dict[str, int | None] = {"ours": None, "bare": None}
    with loader_alone(plan) as batches:
        while len(ours) < steps + TURN_STEPS:
            with _peak(peaks, "bare"):
                bare += [_bare_step(plan, engine) for _ in range(TURN_STEPS)]
            with _peak(peaks, "ours"):
                turn = [_our_step(plan, engine, batches, recorder) for _ in range(TURN_STEPS)]
            ours += [total for total, _ in turn]
            outside_s += [seconds for _, seconds in turn]
    warm = slice(TURN_STEPS, None)
    return TrainBench(
        statistics.median(ours[warm]),
        statistics.median(bare[warm]),
        sum(outside_s[warm]) / sum(ours[warm]),
        peaks["ours"],
        peaks["bare"],
        len(ours[warm]),
    )


def _our_step(plan: Plan, engine: Engine, batches: Iterator[GlobalBatch], recorder: Recorder) -> tuple[float, float]:
    """Seconds of one pass through the trainer's loop, and those of them outside megatron-core."""
    synchronize()
    began = time.perf_counter()
    inside_ours = Stopwatch()
    with _our_part_of_the_forward_pass(inside_ours):
        batch = next(batches)
        values = plan.hyperparameters.at(batch.first_sample * plan.recipe.sequence_length)
        result = engine.step(batch, values)
        ratio = update_to_weight_ratio(engine.optimizer) if batch.step % 10 == 0 else None
        recorder.step(batch, result, values, ratio)
    synchronize()
    total = time.perf_counter() - began
    return total, total - result.seconds + inside_ours.seconds


def _bare_step(plan: Plan, engine: Engine) -> float:
    """Seconds of forward, backward and optimizer step on tokens that lie ready."""
    recipe = plan.recipe
    shape = recipe.micro_batch_size, recipe.sequence_length
    tokens = torch.randint(plan.vocab_size, shape, device=processes.device())
    positions = torch.arange(shape[1], device=processes.device()).expand(shape)
    micro_batches = plan.batches.ramp.at(0) // recipe.micro_batch_size

    def forward(data: Any, model: Any) -> Any:
        losses = model(tokens, positions, None, labels=tokens)
        return losses, lambda output: (output.float().sum(), torch.tensor(output.numel(), dtype=torch.int), {})

    synchronize()
    began = time.perf_counter()
    engine.model.zero_grad_buffer()
    engine.optimizer.zero_grad()
    engine.run(
        forward_step_func=forward,
        data_iterator=None,
        model=[engine.model],
        num_microbatches=micro_batches,
        seq_length=shape[1],
        micro_batch_size=shape[0],
        forward_only=False,
    )
    engine.optimizer.step()
    synchronize()
    return time.perf_counter() - began


def synchronize() -> None:
    """Wait for the device, so that a clock read next is honest."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@contextmanager
def _peak(peaks: dict[str, int | None], side: str) -> Iterator[None]:
    """Note the device's peak memory of a turn, where it counts it."""
    if not torch.cuda.is_available():
        yield
        return
    torch.cuda.reset_peak_memory_stats()
    yield
    peaks[side] = max(peaks[side] or 0, torch.cuda.max_memory_allocated())


def show(result: TrainBench) -> str:
    """The result as lines for people."""
    ours_ms, bare_ms = result.ours_s * 1e3, result.bare_s * 1e3
    lines = [
        f"step, median of {result.steps}:  ours {ours_ms:.1f} ms  bare {bare_ms:.1f} ms  ratio {result.ratio:.3f}",
        f"share of our step outside megatron-core's forward, backward and optimizer: {result.outside_share:.2%}",
    ]
    if result.ours_peak_bytes and result.bare_peak_bytes:
        ours, bare = result.ours_peak_bytes / 2**30, result.bare_peak_bytes / 2**30
        lines.append(f"peak device memory    ours {ours:.2f} GiB   bare {bare:.2f} GiB")
    return "\n".join(lines)
