"""The global batch as a recipe says it: one size, a table, or a ramp in words; and what it does to the rate."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from schedulers.batch_ramps import doubling, linear_steps
from schedulers.batch_size import BatchSizeRamp
from schedulers.clock import Clock

from .numbers import Count, Tokens
from .section import Section, complaint

Size = Annotated[int, Field(gt=0)]


class LinearSteps(Section):
    """From one size to another by equal steps, the last where the ramp ends."""

    near: ClassVar[tuple[str, ...]] = ("double_at",)

    start: Size = Field(alias="from")
    to: Size
    by: Size
    over: Tokens

    def ramp(self, clock: Clock) -> BatchSizeRamp:
        """The sizes by tokens. Raises ScheduleError where the steps don't lead from one size to the other."""
        return linear_steps(self.start, self.to, increment=self.by, ramp_tokens=self.over.tokens(clock))


class Doubling(Section):
    """Twice the size at each of the tokens."""

    start: Size = Field(alias="from")
    double_at: Annotated[tuple[Tokens, ...], Field(min_length=1)]

    def ramp(self, clock: Clock) -> BatchSizeRamp:
        """The sizes by tokens. Raises ScheduleError where they are not in order."""
        return doubling(self.start, [at.tokens(clock) for at in self.double_at])


Table = tuple[tuple[Count, Size], ...]


def _form(value: Any) -> str:
    if isinstance(value, Section):
        return "(doubling)" if isinstance(value, Doubling) else "(linear)"
    return "(table)" if not isinstance(value, dict) else "(doubling)" if "double_at" in value else "(linear)"


def _one_size(value: Any) -> Any:
    """One number is a table of one entry."""
    return value if isinstance(value, list | tuple | dict | Section) else ((0, value),)


GlobalBatchSize = Annotated[
    Annotated[Table, Tag("(table)")] | Annotated[LinearSteps, Tag("(linear)")] | Annotated[Doubling, Tag("(doubling)")],
    Discriminator(_form),
    BeforeValidator(_one_size),
]


class Coupling(Section):
    """What another batch size does to the learning rate: it is multiplied by (size / reference) ^ 0, 1/2 or 1."""

    rule: Literal["none", "sqrt", "linear"] = "none"
    reference: Size | None = None

    @model_validator(mode="after")
    def _has_a_reference(self) -> Self:
        if self.rule != "none" and self.reference is None:
            expected = "the batch size at which the learning rate is what the recipe says"
            raise complaint(expected, got="none", place="reference")
        return self
