"""From a recipe to a plan: the recipe resolved against data, and nothing else. Imports neither torch nor megatron.

Phases are given in tokens and snapped to whole windows; everything downstream (learning rate, batch size, mixture) is
a pure function of where the clock stands.
"""

from dataclasses import replace

from schedulers.batch_size import BatchSizeRamp, Steps
from schedulers.errors import ScheduleError
from schedulers.schedule import Schedule
from schedulers.segment import Segment

from ..errors import UserError
from .data import open_sources
from .edges import check_edges, sample_edges
from .laid_out import lay_out
from .lint import lint
from .past import Past
from .planned import Plan
from .schema import LearningRate, Recipe
from .vocabulary import read_vocabulary


def resolve(recipe: Recipe, *, where: str, past: Past | None = None) -> Plan:
    """Open the data, snap the phases, and lay out learning rate, batches and mixture; ``where`` begins each error.

    With a ``past`` the mixture goes on from what a running run has read, and nothing of that changes.
    """
    vocab_size, tokenizer_digest = read_vocabulary(recipe, where)
    _check_pads(recipe, vocab_size, where)
    sources = open_sources(recipe, tokenizer_digest, where, past)
    check_edges(recipe, where)
    history = lay_out(recipe, sources, past, where)
    batches = Steps(
        _batch_ramp(recipe, where),
        sequence_length=recipe.sequence_length,
        total_samples=history.num_samples,
    )
    check_batches(recipe, batches, data_parallel_size=1, where=where)
    plan = Plan(recipe, build_schedule(recipe, where), batches, history, sources, vocab_size)
    return replace(plan, warnings=lint(plan))


def _batch_ramp(recipe: Recipe, where: str) -> BatchSizeRamp:
    try:
        return BatchSizeRamp(recipe.global_batch_size)
    except ScheduleError as error:
        raise UserError(f"{where}: global_batch_size", fix=str(error)) from None


def _check_pads(recipe: Recipe, vocab_size: int, where: str) -> None:
    for name, spec in recipe.sources.items():
        if spec.pad is not None and spec.pad >= vocab_size:
            expected = f"an id below the vocabulary's size, {vocab_size:,}"
            raise UserError(f"{where}: sources.{name}.pad", got=str(spec.pad), expected=expected)


def build_schedule(recipe: Recipe, where: str) -> Schedule:
    """The learning rate as segments; a phase that states none prolongs the segment before it."""
    edges = [sample * recipe.sequence_length for sample in sample_edges(recipe)]
    starts = [index for index, phase in enumerate(recipe.phases) if phase.learning_rate is not None]
    segments: list[Segment] = []
    for index, following in zip(starts, [*starts[1:], len(recipe.phases)], strict=True):
        spec, before = recipe.phases[index], segments[-1].last_value if segments else 0.0
        try:
            segments.append(_segment(spec.learning_rate, edges[index], edges[following], before))
        except ScheduleError as error:
            raise UserError(f"{where}: phases[{index}].learning_rate", fix=str(error)) from None
    return Schedule(tuple(segments))


def _segment(spec: LearningRate | None, start: int, end: int, before: float) -> Segment:
    assert spec is not None, "only phases with a learning rate begin a segment"
    start_value = before if spec.start is None else spec.start
    end_value = start_value if spec.to is None else spec.to
    return Segment(
        start, end, start_value, end_value, spec.shape, half_life_tokens=spec.half_life, exponent=spec.exponent
    )


def check_batches(recipe: Recipe, batches: Steps, *, data_parallel_size: int, where: str) -> None:
    """Raise UserError unless every global batch is a whole number of micro-batches on every data-parallel rank."""
    unit = recipe.micro_batch_size * data_parallel_size
    for index, (_, size) in enumerate(recipe.global_batch_size):
        if size % unit:
            raise UserError(
                f"{where}: global_batch_size" + (f"[{index}][1]" if len(recipe.global_batch_size) > 1 else ""),
                got=str(size),
                expected=f"a multiple of micro_batch_size x data-parallel size = {recipe.micro_batch_size} x "
                f"{data_parallel_size} = {unit}",
            )
    if batches.num_steps == 0:
        raise UserError(
            f"{where}: phases",
            got=f"{batches.total_samples} windows in all",
            expected=f"at least one global batch of {recipe.global_batch_size[0][1]}",
        )
