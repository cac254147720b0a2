"""What a phase may say of a curve: a number, one segment, cosine waves, or cycles; each lays itself into a row.

The learning rate, the weight decay, Adam's beta2 and the bound of the gradient are all written like this.
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, PlainSerializer, PlainValidator, Tag, model_validator
from pydantic_core import PydanticCustomError

from schedulers.clock import Clock
from schedulers.cycles import append_cycles
from schedulers.errors import ScheduleError
from schedulers.row import Row
from schedulers.waves import append_waves, lengths

from .numbers import Length, Real, Tokens, nearest_window, parse_length, parse_real
from .section import Section, complaint

Shape = Literal[
    "constant", "linear", "cosine", "1-sqrt", "square", "power", "exponential", "half_life", "inverse_sqrt",
    "power_law", "1-power", "mirror_cosine", "half_cosine", "megatron_exponential",
]  # fmt: skip
Positive = Annotated[Real, Field(gt=0)]
MOST_PARTS = 1000  # more waves or cycles are a slip, and would be planned for hours


def _parse_parts(value: Any) -> int | tuple[Length, ...]:
    if isinstance(value, list | tuple) and value:
        return tuple(parse_length(length) for length in value)
    if type(value) is not int or not 1 <= value <= MOST_PARTS:
        raise complaint(f"a number of them, from 1 to {MOST_PARTS:,}, or a list of their lengths", got=value)
    return value


def _plain_parts(parts: int | tuple[Length, ...]) -> int | list[str]:
    return parts if isinstance(parts, int) else [str(length) for length in parts]


Parts = Annotated[int | tuple[Length, ...], PlainValidator(_parse_parts), PlainSerializer(_plain_parts)]
_TAKES = {  # which shapes take it, and whether they need it
    "half_life": (("half_life",), True),
    "exponent": (("power", "power_law", "1-power"), True),
    "timescale": (("inverse_sqrt", "power_law"), False),
}


@dataclass(frozen=True)
class Stretch:
    """Where a curve is laid: up to ``end_tokens``, a whole window, in phases that state to begin at another token."""

    end_tokens: int
    stated_start_tokens: int
    clock: Clock

    def end_of(self, length: Length) -> int:
        """Where a phase of that length would end."""
        window = self.clock.sequence_length
        return nearest_window(self.stated_start_tokens + length.tokens(self.clock), window) * window


class Shaped(Section):
    """A shape with what it takes beside its edges."""

    shape: Shape
    half_life: Tokens | None = None
    exponent: Real | None = None
    timescale: Tokens | None = None

    @model_validator(mode="after")
    def _takes(self) -> Self:
        for name, (shapes, needed) in _TAKES.items():
            given, takes = getattr(self, name) is not None, self.shape in shapes
            if (given and not takes) or (needed and takes and not given):
                expected = f"it with shape {' or '.join(shapes)}, and only there"
                raise complaint(expected, got=getattr(self, name) if given else "none", place=name)
        return self

    def parameters(self, clock: Clock) -> dict[str, Any]:
        """What the shape takes, as `schedulers.segment.Segment` names it."""
        named = {
            "half_life_tokens": self.half_life and self.half_life.tokens(clock),
            "timescale_tokens": self.timescale and self.timescale.tokens(clock),
            "exponent": self.exponent,
        }
        return {name: value for name, value in named.items() if value is not None}


class SegmentSpec(Shaped):
    """A segment of a curve: ``from`` (the value before, if left out) ``to`` a value, along a shape.

    A plain number stands for a constant at that value; ``constant`` alone holds the value before.
    """

    near: ClassVar[tuple[str, ...]] = ("waves", "trough", "crest", "crests", "growth", "cycles", "rewarmup")

    start: Real | None = Field(None, alias="from")
    to: Real | None = None
    shape: Shape = "linear"
    over: Tokens | None = None

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: Any) -> Any:
        if value == "constant":
            return {"shape": "constant"}
        if isinstance(value, dict | Section):
            return value
        try:
            number = parse_real(value)
        except PydanticCustomError:
            raise complaint("a number, constant, or a curve such as {to: 3e-4, shape: linear}", got=value) from None
        return {"from": number, "to": number, "shape": "constant"}

    @model_validator(mode="after")
    def _has_an_end(self) -> Self:
        if self.shape != "constant" and self.to is None:
            raise complaint("the value it goes to, as in {to: 3e-4, shape: linear}", got="no value", place="to")
        return self

    def lay(self, row: Row, stretch: Stretch) -> None:
        """Go on to the end of a stretch; a curve that is laid out ``over`` more is cut there, and keeps its pace.

        Raises ScheduleError for values that the shape can't take, and for less than the stretch.
        """
        _begin(row, self.start)
        end = stretch.end_tokens if self.over is None else stretch.end_of(self.over)
        if end < stretch.end_tokens:
            raise ScheduleError(f"over {self.over} tokens; expected no less than the phase, in which it is cut")
        value, parameters = row.value if self.to is None else self.to, self.parameters(stretch.clock)
        row.to(value, end - row.tokens, self.shape, **parameters)
        if end > stretch.end_tokens:
            row.cut(stretch.end_tokens)


class WavesSpec(Section):
    """Half waves down to a trough and back up, or up to a crest and back down, that fill the phase and end at ``to``.

    With ``trough`` they fall first, from the value before as their first crest; with ``crest`` they rise first, from
    the value before as their trough.
    """

    waves: Parts
    start: Real | None = Field(None, alias="from")
    trough: Real | None = None
    crest: Real | None = None
    to: Real
    crests: Literal["decaying", "equal"] = "decaying"
    growth: Positive = 1.0
    shape: Literal["cosine", "linear"] = "cosine"

    @model_validator(mode="after")
    def _falls_or_rises(self) -> Self:
        if (self.trough is None) == (self.crest is None):
            expected = "one of trough (waves that fall first) and crest (waves that rise first)"
            raise complaint(expected, got="neither" if self.trough is None else "both")
        return self

    def lay(self, row: Row, stretch: Stretch) -> None:
        """Waves up to the end of a stretch. Raises ScheduleError for levels out of order, or lengths of another sum."""
        _begin(row, self.start)
        peak = row.value if self.crest is None else self.crest
        trough = row.value if self.trough is None else self.trough
        if not trough <= self.to <= peak:
            levels = f"trough={trough:g}, to={self.to:g}, crest={peak:g}"
            raise ScheduleError(f"{levels}; expected them in this order")
        append_waves(
            row,
            peak=peak,
            trough=trough,
            stable=self.to,
            wave_tokens=cut(self.waves, stretch.end_tokens - row.tokens, stretch.clock, self.growth),
            kind="falling" if self.crest is None else "rising",
            crests=self.crests,
            shape=self.shape,
        )


class CyclesSpec(Section):
    """Cycles that fill the phase: each falls ``to`` a floor, the first from the value before, and the next restarts."""

    cycles: Parts
    start: Real | None = Field(None, alias="from")
    to: Real
    shape: Literal["cosine", "linear", "1-sqrt"] = "cosine"
    growth: Positive = 1.0
    crest_factor: Positive = 1.0
    rewarmup: Tokens | None = None

    def lay(self, row: Row, stretch: Stretch) -> None:
        """Cycles up to the end of a stretch. Raises ScheduleError for a floor above the crest, or other lengths."""
        _begin(row, self.start)
        append_cycles(
            row,
            peak=row.value,
            floor=self.to,
            cycle_tokens=cut(self.cycles, stretch.end_tokens - row.tokens, stretch.clock, self.growth),
            crest_factor=self.crest_factor,
            rewarmup_tokens=self.rewarmup.tokens(stretch.clock) if self.rewarmup else 0,
            shape=self.shape,
        )


def _form(value: Any) -> str:
    """Which of the three a value is: by its key in a recipe, by its class in Python."""
    for tag, name, section in (("(waves)", "waves", WavesSpec), ("(cycles)", "cycles", CyclesSpec)):
        if isinstance(value, section) or (isinstance(value, dict) and name in value):
            return tag
    return "(segment)"


def _is_one_form(value: Any) -> Any:
    """Refuse a curve of two forms, before one of them is asked."""
    if isinstance(value, dict) and "waves" in value and "cycles" in value:
        raise complaint("one of waves (which go down and back up) and cycles (which fall, and begin anew)", got="both")
    return value


CurveSpec = Annotated[
    Annotated[SegmentSpec, Tag("(segment)")]
    | Annotated[WavesSpec, Tag("(waves)")]
    | Annotated[CyclesSpec, Tag("(cycles)")],
    Discriminator(_form),
    BeforeValidator(_is_one_form),
]


def cut(parts: int | tuple[Length, ...], num_tokens: int, clock: Clock, growth: float = 1.0) -> list[int]:
    """The lengths of so many parts of a stretch, or those stated, which have to fill it.

    The edges of a phase are snapped to whole windows, so stated lengths may be off by one; the last takes that up.
    """
    if isinstance(parts, int):
        return list(lengths(num_tokens, parts, growth=growth))
    if growth != 1.0:
        raise ScheduleError(f"growth={growth:g} beside stated lengths; leave one of them out")
    stated = [part.tokens(clock) for part in parts]
    if 0 in stated:
        raise ScheduleError(f"length {stated.index(0) + 1} of {len(stated)} is 0 tokens; leave it out")
    if abs(sum(stated) - num_tokens) > clock.sequence_length:
        expected = f"the {num_tokens} that are left for them"
        raise ScheduleError(f"lengths add up to {sum(stated)} tokens; expected {expected}; change one")
    return [*stated[:-1], stated[-1] + num_tokens - sum(stated)]


def _begin(row: Row, start: float | None) -> None:
    if start is not None:
        row.to(start, 0)
