"""One stretch of a schedule: two token positions, a value at each, and a shape between them.

warmup = Segment(0, 2_000_000, 0.0, 3e-4)
stable = Segment(2_000_000, 80_000_000, 3e-4, 3e-4, "constant")
decay = Segment(80_000_000, 100_000_000, 3e-4, 3e-5, "1-sqrt")
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, asdict, dataclass, fields
from functools import cached_property
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from .errors import ScheduleError, nearest
from .shapes import SHAPES, Exponential, HalfLife, InverseSqrt, Power, Shape


@dataclass(frozen=True)
class Segment:
    """A curve from `start_value` at `start_tokens` to `end_value` at `end_tokens`.

    Two shapes don't arrive at `end_value` but stop at it: `half_life` (set `half_life_tokens`) and `inverse_sqrt`
    keep a pace of their own, and `end_value` is their floor. `power` takes `exponent`.

    Args:
        start_tokens: First token of the segment, at least 0.
        end_tokens: One past its last token, above `start_tokens`.
        start_value: The value at `start_tokens`, exactly; finite, at least 0.
        end_value: The value at `end_tokens`, exactly, or the floor; finite, at least 0.
        shape: A name of `schedulers.shapes.SHAPES`.

    Raises:
        ScheduleError: A field out of its range, or one that the shape doesn't take.

    >>> Segment(0, 100, 0.0, 1.0).value(25)
    0.25
    """

    start_tokens: int
    end_tokens: int
    start_value: float
    end_value: float
    shape: str = "linear"
    _: KW_ONLY
    exponent: float | None = None
    half_life_tokens: int | None = None

    def __post_init__(self) -> None:
        for problem in self._problems():
            raise ScheduleError(f"segment {self.start_tokens!r} to {self.end_tokens!r} tokens: {problem}")

    @overload
    def value(self, tokens: int) -> float: ...
    @overload
    def value(self, tokens: NDArray[np.int64]) -> NDArray[np.float64]: ...
    def value(self, tokens: int | NDArray[np.int64]) -> float | NDArray[np.float64]:
        """The value at a token position: `start_value` up to the start, `last_value` from the end on.

        An array agrees with its numbers within one unit in the last place of the larger edge value.

        >>> Segment(0, 100, 1.0, 0.5, "half_life", half_life_tokens=50).value(50)
        0.5
        """
        if isinstance(tokens, np.ndarray):
            return self._values(tokens)
        if tokens <= self.start_tokens:
            return self.start_value
        if tokens >= self.end_tokens:
            return self.last_value
        return self.curve.value(self._progress(tokens), start=self.start_value, end=self.end_value)

    def integral(self, start_tokens: int, end_tokens: int) -> float:
        """The integral of the value over [start_tokens, end_tokens), within the segment, in value x tokens.

        >>> Segment(0, 100, 0.0, 1.0).integral(0, 100)
        50.0
        """
        if not self.start_tokens <= start_tokens <= end_tokens <= self.end_tokens:
            span, asked = (self.start_tokens, self.end_tokens), (start_tokens, end_tokens)
            raise ScheduleError(f"integral over {asked} of a segment over {span}; ask for a part of it, in order")
        before, upto = (
            self.curve.integral(self._progress(edge), start=self.start_value, end=self.end_value)
            for edge in (start_tokens, end_tokens)
        )
        return (upto - before) * self.num_tokens

    @property
    def num_tokens(self) -> int:
        """Length in tokens."""
        return self.end_tokens - self.start_tokens

    @property
    def is_flat(self) -> bool:
        """Whether the value is the same from edge to edge."""
        return self.start_value == self.end_value

    @property
    def falls(self) -> bool:
        """Whether the value is lower at the end than at the start; every shape is monotone."""
        return self.last_value < self.start_value

    @cached_property
    def last_value(self) -> float:
        """The value at `end_tokens`: `end_value`, or what the curve gives where it keeps a pace of its own."""
        if self.curve.arrives:
            return self.end_value
        return self.curve.value(1.0, start=self.start_value, end=self.end_value)

    @cached_property
    def curve(self) -> Shape:
        """The shape with its parameters, which follow from the segment."""
        if self.exponent is not None:
            return Power(self.exponent)
        if self.half_life_tokens is not None:
            return HalfLife(self.num_tokens / self.half_life_tokens)
        if self.shape == "exponential":
            return Exponential(self.end_value / self.start_value)
        if self.shape == "inverse_sqrt":
            return InverseSqrt(self.num_tokens / self.start_tokens)
        return SHAPES[self.shape]()

    def to_dict(self) -> dict[str, Any]:
        """The fields that are set, ready for JSON, whose floats are exact.

        >>> Segment(0, 100, 0.0, 1.0).to_dict()["end_tokens"]
        100
        """
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> "Segment":
        """The segment that `to_dict` wrote. Raises ScheduleError on a key that is unknown or missing.

        >>> Segment.from_dict({"start_tokens": 0, "end_tokens": 9, "start_value": 1.0, "end_value": 0.0}).shape
        'linear'
        """
        known = {field.name for field in fields(cls)}
        for key in state:
            if key not in known:
                raise ScheduleError(f"segment {dict(state)}: unknown key {key!r}; {nearest(key, known=known)}")
        for key in ("start_tokens", "end_tokens", "start_value", "end_value"):
            if key not in state:
                raise ScheduleError(f"segment {dict(state)}: {key} is missing; add it")
        return cls(**state)

    @overload
    def _progress(self, tokens: int) -> float: ...
    @overload
    def _progress(self, tokens: NDArray[np.int64]) -> NDArray[np.float64]: ...
    def _progress(self, tokens: Any) -> Any:
        return (tokens - self.start_tokens) / self.num_tokens

    def _values(self, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
        progress = np.clip(self._progress(tokens), 0.0, 1.0)
        values = self.curve.value(progress, start=self.start_value, end=self.end_value)
        values = np.where(tokens <= self.start_tokens, self.start_value, values)
        return np.where(tokens >= self.end_tokens, self.last_value, values)

    def _problems(self) -> Iterator[str]:
        yield from self._field_problems()
        yield from self._parameter_problems()
        start, end = self.start_value, self.end_value
        if self.shape == "constant" and start != end:
            yield f"constant from {start} to {end}; expected equal values, or name the shape of the change"
        if self.shape == "exponential" and min(start, end) <= 0:
            yield f"exponential from {start} to {end}; expected both above 0: it never reaches 0"
        if self.shape in ("half_life", "inverse_sqrt") and not 0 < start >= end:
            yield f"{self.shape} from {start} to {end}; expected a start above 0 and a floor not above the start"
        if self.shape == "inverse_sqrt" and self.start_tokens == 0:
            yield "inverse_sqrt from token 0 is infinitely steep; expected a segment before it, such as a warmup"

    def _field_problems(self) -> Iterator[str]:
        for name in ("start_tokens", "end_tokens"):
            if type(getattr(self, name)) is not int:
                yield f"{name}={getattr(self, name)!r}; expected an int"
        if not 0 <= self.start_tokens < self.end_tokens:
            yield "expected 0 <= start_tokens < end_tokens"
        for name in ("start_value", "end_value"):
            if not _is_finite(getattr(self, name)) or getattr(self, name) < 0:
                yield f"{name}={getattr(self, name)!r}; expected a finite number of at least 0"
        if self.shape not in SHAPES:
            yield f"shape={self.shape!r} is unknown; {nearest(self.shape, known=SHAPES)}"

    def _parameter_problems(self) -> Iterator[str]:
        for name, owner in (("exponent", "power"), ("half_life_tokens", "half_life")):
            given = getattr(self, name)
            if self.shape != owner and given is not None:
                yield f"{name}={given} is set, but shape={self.shape!r}; only {owner} takes it, remove it"
            if self.shape == owner and not (_is_finite(given) and given > 0):
                yield f"shape={owner!r} with {name}={given!r}; expected a number above 0"


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
