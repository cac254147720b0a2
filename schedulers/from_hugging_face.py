"""A Hugging Face scheduler, by the name and arguments of `transformers.get_scheduler`, as our schedule.

    converted = from_hugging_face("warmup_stable_decay", learning_rate=3e-4, num_warmup_steps=100,
                                  num_training_steps=1000, tokens_per_step=2**20, num_decay_steps=200)

Equal to theirs at every step up to `num_training_steps`, within a few units in the last place of the peak.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import Any

from .changes import past
from .conversion import Converted, cosine_half_waves
from .errors import ScheduleError, nearest
from .row import Row
from .schedule import Schedule

_FOREVER_STEPS = 10**9  # of a curve that has no end
_ZERO_FIRST = "the first step has a learning rate of 0 and learns nothing; warm up from a value above 0"
_RISES_AGAIN = "past num_training_steps theirs goes on along the cosine and rises again; ours holds"
_OFF_TOKEN = "a wave ends between two steps; here on the nearest token, so values beside it differ a little"


def from_hugging_face(
    name: str,
    *,
    learning_rate: float,
    num_warmup_steps: int = 0,
    num_training_steps: int | None = None,
    tokens_per_step: int = 1,
    **scheduler_specific_kwargs: Any,
) -> Converted:
    """The schedule that transformers builds from a name and its arguments, on the token clock.

    Args:
        name: As in `get_scheduler`: `linear`, `cosine`, `warmup_stable_decay`, ...
        learning_rate: The optimizer's, theirs is a factor of it.
        tokens_per_step: Tokens of a step, all of them the same.
        scheduler_specific_kwargs: As in `get_scheduler`.

    Raises:
        ScheduleError: An unknown name or argument, one that goes by the loss, or steps that don't fit.

    >>> converted = from_hugging_face("linear", learning_rate=1.0, num_warmup_steps=10, num_training_steps=110)
    >>> converted.learning_rate.value(60), converted.notes[0][:14]
    (0.5, 'the first step')
    """
    if name not in _BUILDERS:
        raise ScheduleError(f"Hugging Face scheduler {name!r}; {nearest(name, known=_BUILDERS)}")
    run = _Run(learning_rate, num_warmup_steps, num_training_steps, tokens_per_step)
    _check_arguments(name, scheduler_specific_kwargs)
    schedule, notes = _BUILDERS[name](run, **scheduler_specific_kwargs)
    first_is_zero = schedule.value(0) == 0.0
    return Converted(schedule, (_ZERO_FIRST, *notes) if first_is_zero else notes)


def _check_arguments(name: str, given: Mapping[str, Any]) -> None:
    known = dict(list(signature(_BUILDERS[name]).parameters.items())[1:])
    for argument, value in given.items():
        if argument not in known:
            raise ScheduleError(f"Hugging Face scheduler {name}: {argument} is not one of {', '.join(known)}")
        kind = str if argument.endswith("_type") else int | float
        if not isinstance(value, kind) and not (value is None and known[argument].default is None):
            raise ScheduleError(
                f"Hugging Face scheduler {name}: {argument}={value!r}; expected what transformers takes"
            )
    for argument, parameter in known.items():
        if parameter.default is Parameter.empty and argument not in given:
            raise ScheduleError(f"Hugging Face scheduler {name}: {argument} is missing; add it")


@dataclass(frozen=True)
class _Run:
    peak: float
    warmup_steps: int
    training_steps: int | None
    tokens_per_step: int

    @property
    def steps_after_warmup(self) -> int:
        if self.training_steps is None or self.training_steps <= self.warmup_steps:
            got = f"num_training_steps={self.training_steps}, num_warmup_steps={self.warmup_steps}"
            raise ScheduleError(f"Hugging Face scheduler: {got}; expected more training than warmup steps")
        return self.training_steps - self.warmup_steps

    def warmed(self, initial: float = 0.0, shape: str = "linear", **parameters: Any) -> Row:
        return Row(0, initial).to(self.peak, self.tokens(self.warmup_steps), shape, **parameters)

    def tokens(self, steps: int) -> int:
        return steps * self.tokens_per_step


_Built = tuple[Schedule, tuple[str, ...]]


def _constant(run: _Run) -> _Built:
    return Row(0, run.peak).hold(1).schedule(), ()


def _constant_with_warmup(run: _Run) -> _Built:
    return run.warmed().hold(1).schedule(), ()


def _linear(run: _Run) -> _Built:
    return run.warmed().to(0.0, run.tokens(run.steps_after_warmup)).schedule(), ()


def _polynomial(run: _Run, lr_end: float = 1e-7, power: float = 1.0) -> _Built:
    if not run.peak > lr_end:
        raise ScheduleError(f"Hugging Face scheduler polynomial: lr_end={lr_end}; expected less than {run.peak}")
    length = run.tokens(run.steps_after_warmup)
    return run.warmed().to(lr_end, length, "power", exponent=power).schedule(), ()


def _inverse_sqrt(run: _Run, timescale: int | None = None) -> _Built:
    timescale = timescale or run.warmup_steps or 10_000
    steps = run.steps_after_warmup if run.training_steps else _FOREVER_STEPS
    row = run.warmed().to(0.0, run.tokens(steps), "inverse_sqrt", timescale_tokens=run.tokens(timescale))
    return row.schedule(), ("it never decays to a floor; end it with a decay of your choice",)


def _cosine(run: _Run, num_cycles: float = 0.5) -> _Built:
    return _waves(run.warmed(), 0.0, run.tokens(run.steps_after_warmup), num_cycles)


def _cosine_with_min_lr(
    run: _Run, num_cycles: float = 0.5, min_lr: float | None = None, min_lr_rate: float | None = None
) -> _Built:
    return _waves(run.warmed(), _floor(run, min_lr, min_lr_rate), run.tokens(run.steps_after_warmup), num_cycles)


def _cosine_warmup_with_min_lr(
    run: _Run,
    num_cycles: float = 0.5,
    min_lr: float | None = None,
    min_lr_rate: float | None = None,
    warmup_lr_rate: float | None = None,
) -> _Built:
    """Every value comes a step earlier than in the others."""
    if run.warmup_steps < (1 if warmup_lr_rate is None else 2):
        raise ScheduleError(f"num_warmup_steps={run.warmup_steps}: theirs begins inside its curve; warm up for longer")
    first = 1.0 / run.warmup_steps if warmup_lr_rate is None else warmup_lr_rate
    row = Row(0, run.peak * first).to(run.peak, run.tokens(run.warmup_steps - 1))
    floor, length = _floor(run, min_lr, min_lr_rate), run.tokens(run.steps_after_warmup)
    schedule, notes = _waves(row, floor, length, num_cycles)
    return schedule, (*notes, "every value comes one step early, the end of the curve too")


def _cosine_with_restarts(run: _Run, num_cycles: int = 1) -> _Built:
    if not (1 <= num_cycles < math.inf and num_cycles == int(num_cycles)):
        raise ScheduleError(f"cosine_with_restarts: num_cycles={num_cycles}; expected a whole number above 0")
    cycles, length, row = int(num_cycles), run.tokens(run.steps_after_warmup), run.warmed()
    start = row.tokens
    for cycle in range(cycles):
        edge = start + (2 * length * (cycle + 1) + cycles) // (2 * cycles)
        row.to(run.peak, 0).to(0.0, edge - row.tokens, "cosine")
    return row.schedule(), () if length % cycles == 0 else (_OFF_TOKEN,)


def _warmup_stable_decay(
    run: _Run,
    num_decay_steps: int,
    num_stable_steps: int | None = None,
    warmup_type: str = "linear",
    decay_type: str = "cosine",
    min_lr_ratio: float = 0.0,
    num_cycles: float = 0.5,
) -> _Built:
    shapes: dict[str, Any] = {"linear": {"shape": "linear"}, "cosine": {"shape": "cosine"}}
    warmups = {**shapes, "1-sqrt": {"shape": "power", "exponent": 0.5}}  # theirs rises as 1 - sqrt(1 - u)
    if warmup_type not in warmups or decay_type not in (*shapes, "1-sqrt"):
        got = f"warmup_type={warmup_type!r}, decay_type={decay_type!r}"
        raise ScheduleError(f"{got}; expected linear, cosine or 1-sqrt")
    floor, notes = run.peak * min_lr_ratio, tuple[str, ...]()
    stable = num_stable_steps if num_stable_steps is not None else run.steps_after_warmup - num_decay_steps
    row = run.warmed(floor, **warmups[warmup_type]).hold(run.tokens(stable))
    if decay_type == "cosine":
        waves, notes = _waves(row, floor, run.tokens(num_decay_steps), num_cycles)
        row = Row.after(waves)
    else:
        row.to(floor, run.tokens(num_decay_steps), decay_type)
    schedule = row.schedule()
    if schedule.segments[-1].last_value != floor:  # theirs falls to the floor wherever the curve is
        schedule = Row.after(schedule).to(floor, 0).hold(1).schedule()
    return schedule, (
        *_tail_notes(run, stable + num_decay_steps),
        *(note for note in notes if note != _RISES_AGAIN),
    )


def _tail_notes(run: _Run, after_warmup_steps: int) -> tuple[str, ...]:
    ends = run.warmup_steps + after_warmup_steps
    if run.training_steps is None or ends == run.training_steps:
        return ()
    return (f"num_stable_steps wins over num_training_steps={run.training_steps}: the decay ends at step {ends}",)


def _waves(row: Row, floor: float, num_tokens: int, num_cycles: float) -> _Built:
    """0.5 (1 + cos(2 pi cycles p)) as half waves, the last one cut where the curve ends."""
    half_waves = 2.0 * num_cycles
    if not 0 < half_waves < math.inf:
        raise ScheduleError(f"Hugging Face scheduler: num_cycles={num_cycles}; expected above 0")
    end = row.tokens + num_tokens
    if half_waves == int(half_waves):
        on_tokens = cosine_half_waves(row, floor, num_tokens, int(half_waves), parts=int(half_waves))
        return row.schedule(), (_RISES_AGAIN,) if on_tokens else (_RISES_AGAIN, _OFF_TOKEN)
    whole = int(half_waves) + 1
    on_tokens = cosine_half_waves(row, floor, round(num_tokens * whole / half_waves), whole, parts=whole)
    return past(row.schedule(), end), (_RISES_AGAIN, _OFF_TOKEN)


def _floor(run: _Run, min_lr: float | None, min_lr_rate: float | None) -> float:
    if (min_lr is None) == (min_lr_rate is None):
        raise ScheduleError(f"min_lr={min_lr}, min_lr_rate={min_lr_rate}; expected one of them")
    return min_lr if min_lr is not None else run.peak * (min_lr_rate or 0.0)


_BUILDERS: Mapping[str, Callable[..., _Built]] = {
    "constant": _constant,
    "constant_with_warmup": _constant_with_warmup,
    "linear": _linear,
    "polynomial": _polynomial,
    "inverse_sqrt": _inverse_sqrt,
    "cosine": _cosine,
    "cosine_with_restarts": _cosine_with_restarts,
    "cosine_with_min_lr": _cosine_with_min_lr,
    "cosine_warmup_with_min_lr": _cosine_warmup_with_min_lr,
    "warmup_stable_decay": _warmup_stable_decay,
}
