"""A recipe's curves as schedules on the token clock: each phase that states one lays it up to the next that does."""

from collections.abc import Iterator
from typing import Any

from schedulers.batch_ramps import Coupled
from schedulers.batch_size import BatchSizeRamp, Steps
from schedulers.clock import Clock
from schedulers.errors import ScheduleError
from schedulers.hyperparameters import Curve, Hyperparameters
from schedulers.row import Row
from schedulers.schedule import Schedule

from ..errors import UserError
from .curves import Stretch
from .edges import sample_edges, stated_edges
from .numbers import Length
from .planned import BESIDE
from .schema import Recipe
from .section import Section


def hyperparameters(recipe: Recipe, ramp: BatchSizeRamp, where: str) -> Hyperparameters:
    """Everything that the optimizer is told before a step.

    Raises UserError that names the phase, or the key, whose curve can't be laid.
    """
    clock = clock_of(recipe, ramp)
    curves = {name: _beside(recipe, key, clock, where) for key, name in BESIDE.items()}
    multipliers = {name: factor for name, factor in recipe.optimizer.lr_multipliers if factor != 1.0}
    try:
        return Hyperparameters(_learning_rate(recipe, ramp, clock, where), **curves, group_multipliers=multipliers)
    except ScheduleError as error:
        raise UserError(where, fix=str(error)) from None


def batch_ramp(recipe: Recipe, where: str) -> BatchSizeRamp:
    """The batch size by tokens. Raises UserError where what the recipe says is no ramp."""
    stated = recipe.global_batch_size
    try:
        return BatchSizeRamp(stated) if isinstance(stated, tuple) else stated.ramp(_without_steps(recipe))
    except ScheduleError as error:
        raise UserError(f"{where}: global_batch_size", fix=str(error)) from None


def clock_of(recipe: Recipe, ramp: BatchSizeRamp) -> Clock:
    """What lengths are worth in the run as it was written, whether or not a source ends it early."""
    samples, length = sample_edges(recipe)[-1], recipe.sequence_length
    return Clock(samples * length, length, Steps(ramp, sequence_length=length, total_samples=samples))


def _without_steps(recipe: Recipe) -> Clock:
    return Clock(sample_edges(recipe)[-1] * recipe.sequence_length, recipe.sequence_length)


def _learning_rate(recipe: Recipe, ramp: BatchSizeRamp, clock: Clock, where: str) -> Schedule | Coupled:
    schedule, coupling = _schedule(recipe, clock, where), recipe.coupling
    if coupling.reference is None or coupling.rule == "none":
        return schedule
    return Coupled(schedule, ramp, coupling.rule, coupling.reference)


def _schedule(recipe: Recipe, clock: Clock, where: str) -> Schedule:
    if recipe.learning_rate is None:
        return _of_phases(recipe, "learning_rate", clock, before=0.0, where=where)
    _check_lengths(recipe.learning_rate, clock, f"{where}: learning_rate")
    try:
        return recipe.learning_rate.build(clock)
    except ScheduleError as error:
        raise UserError(f"{where}: learning_rate", fix=str(error)) from None


def _beside(recipe: Recipe, key: str, clock: Clock, where: str) -> Curve:
    """The number under ``optimizer``, or the curve of the phases that goes on from it."""
    number: float = getattr(recipe.optimizer, key)
    if all(getattr(phase, key) is None for phase in recipe.phases):
        return number
    return _of_phases(recipe, key, clock, before=number, where=where)


def _of_phases(recipe: Recipe, key: str, clock: Clock, *, before: float, where: str) -> Schedule:
    """The curve that phases state under a key; one that states none prolongs what was laid before it."""
    edges = [sample * recipe.sequence_length for sample in sample_edges(recipe)]
    stated = stated_edges(recipe)
    stating = [index for index, phase in enumerate(recipe.phases) if getattr(phase, key) is not None]
    row = Row(0, before)
    if stating[0]:
        row.hold(edges[stating[0]])
    for index, following in zip(stating, [*stating[1:], len(recipe.phases)], strict=True):
        curve, place = getattr(recipe.phases[index], key), f"{where}: phases[{index}].{key}"
        _check_lengths(curve, clock, place)
        try:
            curve.lay(row, Stretch(edges[following], stated[index], clock))
        except ScheduleError as error:
            raise UserError(place, fix=str(error)) from None
    return row.schedule()


def _check_lengths(section: Section, clock: Clock, place: str) -> None:
    """Raise UserError that names the key of a length of more steps than the run has."""
    for key, value in section:
        try:
            for length in _lengths(value):
                length.tokens(clock)
        except ScheduleError as error:
            raise UserError(f"{place}.{key}", fix=str(error)) from None


def _lengths(value: Any) -> Iterator[Length]:
    """The lengths in what a key holds: itself one, or a list with some."""
    if isinstance(value, Length):
        yield value
    for part in value if isinstance(value, tuple) else ():
        yield from _lengths(part)
