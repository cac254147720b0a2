"""A whole learning-rate schedule by its name, at the top of a recipe; each section builds what it says.

The curves are those of `schedulers.builders` and `schedulers.waves`, whose docstrings say what each is and where it
comes from. The run's length is that of its phases.
"""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from schedulers import builders
from schedulers.clock import Clock
from schedulers.errors import ScheduleError
from schedulers.row import Row
from schedulers.schedule import Schedule
from schedulers.waves import warm_waves_stable_decay

from .curves import MOST_PARTS, Parts, Positive, Shape, Shaped, cut
from .numbers import Length, Real, Tokens
from .section import Section, complaint, nearest


class Warmed(Section):
    """A warmup to a peak."""

    peak: Positive
    warmup: Tokens = Length(0)
    initial: Real = 0.0

    def begin(self, clock: Clock) -> dict[str, Any]:
        """What every builder calls these."""
        return {"peak": self.peak, "warmup_tokens": self.warmup.tokens(clock), "initial": self.initial}


class Constant(Warmed):
    """A warmup, then the peak."""

    schedule: Literal["constant"]

    def build(self, clock: Clock) -> Schedule:
        """The schedule of a run as long as the clock says."""
        warmup = self.warmup.tokens(clock)
        if warmup > clock.total_tokens:
            raise ScheduleError(f"constant: a warmup of {warmup} in a run of {clock.total_tokens} tokens; shorten it")
        return Row(0, self.initial).to(self.peak, warmup).hold(clock.total_tokens - warmup).schedule()


class Wsd(Warmed, Shaped):
    """Warmup, stable, decay."""

    schedule: Literal["wsd"]
    decay: Tokens
    floor: Real = 0.0
    shape: Shape = "1-sqrt"

    def build(self, clock: Clock) -> Schedule:
        """The schedule of a run as long as the clock says."""
        return builders.wsd(
            decay_tokens=self.decay.tokens(clock),
            total_tokens=clock.total_tokens,
            floor=self.floor,
            decay=self.shape,
            **self.begin(clock),
            **self.parameters(clock),
        )


class WsdS(Warmed, Shaped):
    """Periods that each end in a decay; the next goes on from there, at the peak."""

    schedule: Literal["wsd_s"]
    periods: Parts
    decay: Tokens
    floor: Real = 0.0
    shape: Shape = "1-sqrt"

    def build(self, clock: Clock) -> Schedule:
        """The schedule of a run as long as the clock says."""
        return builders.wsd_s(
            period_tokens=cut(self.periods, clock.total_tokens, clock),
            decay_tokens=self.decay.tokens(clock),
            floor=self.floor,
            decay=self.shape,
            **self.begin(clock),
            **self.parameters(clock),
        )


class Cosine(Warmed):
    """Half a cosine to the floor."""

    schedule: Literal["cosine"]
    floor: Real = 0.0

    def build(self, clock: Clock) -> Schedule:
        """The schedule of a run as long as the clock says."""
        return builders.cosine(total_tokens=clock.total_tokens, floor=self.floor, **self.begin(clock))


class HalfCosine(Warmed):
    """The second half of a cosine, from midway between floor and peak."""

    schedule: Literal["half_cosine"]
    floor: Real = 0.0

    def build(self, clock: Clock) -> Schedule:
        """The schedule of a run as long as the clock says."""
        return builders.half_cosine(total_tokens=clock.total_tokens, floor=self.floor, **self.begin(clock))


class LinearToZero(Warmed):
    """A line to 0."""

    schedule: Literal["linear_to_zero"]

    def build(self, clock: Clock) -> Schedule:
        """The schedule of a run as long as the clock says."""
        return builders.linear_to_zero(total_tokens=clock.total_tokens, **self.begin(clock))


class MultiStep(Warmed):
    """The peak, then drops to parts of it."""

    schedule: Literal["multi_step"]
    drops: Annotated[tuple[tuple[Tokens, Real], ...], Field(min_length=1)]

    def build(self, clock: Clock) -> Schedule:
        """The schedule of a run as long as the clock says."""
        drops = [(at.tokens(clock), factor) for at, factor in self.drops]
        return builders.multi_step(total_tokens=clock.total_tokens, drops=drops, **self.begin(clock))


class MultiCosine(Warmed):
    """Cosine cycles to the floor, with hard or warm restarts."""

    schedule: Literal["multi_cosine"]
    cycles: Parts
    growth: Positive = 1.0
    floor: Real = 0.0
    crest_factor: Positive = 1.0
    rewarmup: Tokens = Length(0)

    def build(self, clock: Clock) -> Schedule:
        """The schedule of a run as long as the clock says."""
        warmup, total = self.warmup.tokens(clock), clock.total_tokens
        if warmup >= total:
            run = f"in a run of {total} tokens leaves none for cycles"
            raise ScheduleError(f"multi_cosine: a warmup of {warmup} {run}; shorten it")
        return builders.multi_cosine(
            cycle_tokens=cut(self.cycles, total - warmup, clock, self.growth),
            floor=self.floor,
            crest_factor=self.crest_factor,
            rewarmup_tokens=self.rewarmup.tokens(clock),
            **self.begin(clock),
        )


class Triangular(Section):
    """Lines between a low value and a crest, up and down; what is left after the last cycle stays low."""

    schedule: Literal["triangular"]
    low: Real
    high: Positive
    cycles: Annotated[int, Field(ge=1, le=MOST_PARTS)]
    half_cycle: Tokens | None = None
    crest_factor: Positive = 1.0

    def build(self, clock: Clock) -> Schedule:
        """The schedule of a run as long as the clock says."""
        half = self.half_cycle.tokens(clock) if self.half_cycle else clock.total_tokens // (2 * self.cycles)
        return builders.triangular(
            self.low, self.high, half_cycle_tokens=half, num_cycles=self.cycles, crest_factor=self.crest_factor
        )


class PowerSchedule(Warmed):
    """The power law of tokens, at most the peak, then a decay."""

    schedule: Literal["power_schedule"]
    coefficient: Positive
    exponent: Positive = 0.51
    decay: Tokens
    floor: Real = 0.0
    shape: Literal["linear", "cosine", "1-sqrt", "square", "exponential"] = "linear"

    def build(self, clock: Clock) -> Schedule:
        """The schedule of a run as long as the clock says."""
        return builders.power_schedule(
            coefficient=self.coefficient,
            exponent=self.exponent,
            decay_tokens=self.decay.tokens(clock),
            total_tokens=clock.total_tokens,
            floor=self.floor,
            decay=self.shape,
            **self.begin(clock),
        )


class Waves(Warmed, Shaped):
    """Warmup, cosine waves over most of the run, stable, decay."""

    schedule: Literal["waves"]
    waves: Parts
    over: Tokens | None = None
    trough: Real
    stable: Positive
    kind: Literal["falling", "rising"] = "falling"
    crests: Literal["decaying", "equal"] = "decaying"
    growth: Positive = 1.0
    decay: Tokens
    floor: Real = 0.0
    shape: Shape = "1-sqrt"

    @model_validator(mode="after")
    def _length_of_a_number(self) -> Self:
        if isinstance(self.waves, int) == (self.over is None):
            expected = "the length of all waves beside their number, and none beside their lengths"
            raise complaint(expected, got=self.over or "none", place="over")
        return self

    def build(self, clock: Clock) -> Schedule:
        """The schedule of a run as long as the clock says; what warmup, waves and decay leave is stable."""
        waves, decay = self._lengths(clock), self.decay.tokens(clock)
        return warm_waves_stable_decay(
            stable=self.stable,
            trough=self.trough,
            wave_tokens=waves,
            stable_tokens=clock.total_tokens - self.warmup.tokens(clock) - sum(waves) - decay,
            decay_tokens=decay,
            kind=self.kind,
            crests=self.crests,
            floor=self.floor,
            decay=self.shape,
            **self.begin(clock),
            **self.parameters(clock),
        )

    def _lengths(self, clock: Clock) -> list[int]:
        stated = 0 if isinstance(self.waves, int) else sum(part.tokens(clock) for part in self.waves)
        return cut(self.waves, self.over.tokens(clock) if self.over else stated, clock, self.growth)


def _tag(value: Any) -> str:
    return f"({value['schedule'] if isinstance(value, dict) else value.schedule})"


def _is_named(value: Any) -> Any:
    """Refuse what is no schedule by name, before the section of that name is asked."""
    if isinstance(value, Section):
        return value
    if not isinstance(value, dict) or "schedule" not in value:
        expected = "a whole schedule by name, as in {schedule: wsd, ...}; segments stand in phases"
        raise complaint(expected, got=value)
    if str(value["schedule"]) not in BY_NAME:
        near = nearest(str(value["schedule"]), BY_NAME)
        raise complaint(f"the name of a schedule; the nearest is {near}", got=value["schedule"], place="schedule")
    return value


NamedSchedule = Annotated[
    Annotated[Constant, Tag("(constant)")]
    | Annotated[Wsd, Tag("(wsd)")]
    | Annotated[WsdS, Tag("(wsd_s)")]
    | Annotated[Cosine, Tag("(cosine)")]
    | Annotated[HalfCosine, Tag("(half_cosine)")]
    | Annotated[LinearToZero, Tag("(linear_to_zero)")]
    | Annotated[MultiStep, Tag("(multi_step)")]
    | Annotated[MultiCosine, Tag("(multi_cosine)")]
    | Annotated[Triangular, Tag("(triangular)")]
    | Annotated[PowerSchedule, Tag("(power_schedule)")]
    | Annotated[Waves, Tag("(waves)")],
    Discriminator(_tag),
    BeforeValidator(_is_named),
]
_TAGGED = [get_args(member) for member in get_args(get_args(NamedSchedule)[0])]
BY_NAME: dict[str, type[Section]] = {tag.tag.strip("()"): section for section, tag in _TAGGED}
