"""One stretch of a schedule: two token positions, a value at each, and a shape between them.

warmup = Segment(0, 2_000_000, 0.0, 3e-4)
stable = Segment(2_000_000, 80_000_000, 3e-4, 3e-4, "constant")
decay = Segment(80_000_000, 100_000_000, 3e-4, 3e-5, "1-sqrt")
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from .curve import Shape
from .errors import ScheduleError, nearest
from .scaling import Exponential, HalfLife, InverseSqrt, PowerLaw
from .shapes import SHAPES, OneMinusPower, Power

_PARAMETERS = {  # which shapes take it, and whether they need it
    "exponent": (("power", "1-power", "power_law"), True),
    "half_life_tokens": (("half_life",), True),
    "timescale_tokens": (("inverse_sqrt", "power_law"), False),
}
_OWN_PACE = ("half_life", "inverse_sqrt", "power_law")


@dataclass(frozen=True)
class Segment:
    """A curve from `start_value` at `start_tokens` to `end_value` at `end_tokens`.

    Three shapes don't arrive at `end_value` but stop at it: `half_life`, `inverse_sqrt` and `power_law` keep a pace
    of their own, and `end_value` is their floor.

    Args:
        start_tokens: First token of the segment, at least 0.
        end_tokens: One past its last token, above `start_tokens`.
        start_value: The value at `start_tokens`, exactly; finite, at least 0.
        end_value: The value at `end_tokens`, exactly, or the floor; finite, at least 0.
        shape: A name of `schedulers.shapes.SHAPES`.
        exponent: Of `power`, `1-power` and `power_law`, above 0.
        half_life_tokens: Of `half_life`, above 0.
        timescale_tokens: Of `inverse_sqrt` and `power_law`: what their own clock shows at the start, above 0;
            `start_tokens` if left out, the run's own clock.
        uncut_end_tokens: Where the curve would have ended, if it was cut at `end_tokens`; `end_value` belongs there.

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
    timescale_tokens: int | None = None
    uncut_end_tokens: int | None = None

    def __post_init__(self) -> None:
        for problem in self._problems():
            raise ScheduleError(f"segment {self.start_tokens!r} to {self.end_tokens!r} tokens: {problem}")

    @overload
    def value(self, tokens: int) -> float: ...
    @overload
    def value(self, tokens: NDArray[np.int64]) -> NDArray[np.float64]: ...
    def value(self, tokens: int | NDArray[np.int64]) -> float | NDArray[np.float64]:
        """The value at a token position: `start_value` up to the start, `last_value` from the end on.

        An array agrees with its numbers within one unit in the last place of the larger edge value. Between two tokens
        lies the same curve; an array with NaN in it is refused.

        >>> Segment(0, 100, 1.0, 0.5, "half_life", half_life_tokens=50).value(50)
        0.5
        """
        if isinstance(tokens, np.ndarray):
            tokens = positions(tokens)
            inside = self.values_inside(np.clip(tokens, self.start_tokens, self.end_tokens))
            return np.where(tokens >= self.end_tokens, self.last_value, inside)
        if tokens <= self.start_tokens:
            return self.start_value
        if tokens >= self.end_tokens:
            return self.last_value
        return self._value_inside(tokens)

    def values_inside(self, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
        """The values at positions from `start_tokens` on and before `end_tokens`, which is not checked.

        >>> Segment(0, 100, 0.0, 1.0).values_inside(np.array([0, 25])).tolist()
        [0.0, 0.25]
        """
        done = (tokens - self.start_tokens).astype(np.float64)
        values = self.curve.value(done, self._curve_tokens, start=self.start_value, end=self.end_value)
        if not self._starts_exactly:
            np.copyto(values, self.start_value, where=done == 0.0)
        return values

    def integral(self, start_tokens: float, end_tokens: float) -> float:
        """The integral of the value over [start_tokens, end_tokens), within the segment, in value x tokens.

        It is a difference of closed forms, off by at most 4e-15 of larger edge value x whole length: little beside a
        whole segment, but a relative error of 1e-9 and more in a part of it shorter than a millionth.

        >>> Segment(0, 100, 0.0, 1.0).integral(0, 100)
        50.0
        """
        if not self.start_tokens <= start_tokens <= end_tokens <= self.end_tokens:
            span, asked = (self.start_tokens, self.end_tokens), (start_tokens, end_tokens)
            raise ScheduleError(f"integral over {asked} of a segment over {span}; ask for a part of it, in order")
        before, upto = (
            self.curve.integral(
                (edge - self.start_tokens) / self._curve_tokens, start=self.start_value, end=self.end_value
            )
            for edge in (start_tokens, end_tokens)
        )
        return (upto - before) * self._curve_tokens

    def cut(self, at_tokens: int) -> "Segment":
        """The segment up to a position inside it: what is cut keeps its pace, and is never stretched.

        >>> decay = Segment(0, 100, 1.0, 0.0).cut(40)
        >>> decay.end_tokens, decay.last_value, decay.value(20)
        (40, 0.6, 0.8)
        """
        if not self.start_tokens < at_tokens < self.end_tokens:
            raise ScheduleError(
                f"cut at {at_tokens} tokens; expected one inside {self.start_tokens}..{self.end_tokens}"
            )
        return replace(self, end_tokens=at_tokens, uncut_end_tokens=None if self.is_flat else self.curve_end_tokens)

    @property
    def num_tokens(self) -> int:
        """Length in tokens."""
        return self.end_tokens - self.start_tokens

    @property
    def curve_end_tokens(self) -> int:
        """Where the curve ends, or would have ended if it was cut."""
        return self.end_tokens if self.uncut_end_tokens is None else self.uncut_end_tokens

    @property
    def is_flat(self) -> bool:
        """Whether the value is the same from edge to edge."""
        return self.start_value == self.end_value

    @property
    def falls(self) -> bool:
        """Whether the value is lower at the end than at the start; every shape is monotone."""
        return self.last_value < self.start_value

    @property
    def rises(self) -> bool:
        """Whether the value is higher at the end than at the start."""
        return self.last_value > self.start_value

    @cached_property
    def last_value(self) -> float:
        """The value at `end_tokens`: `end_value`, or where the curve stands if it has its own pace or was cut."""
        if self.curve.arrives and self.uncut_end_tokens is None:
            return self.end_value
        return self._value_inside(self.end_tokens)

    @cached_property
    def curve(self) -> Shape:
        """The shape with its parameters, which follow from the segment."""
        if self.shape == "exponential":
            return Exponential(self.end_value / self.start_value)
        if self.half_life_tokens is not None:
            return HalfLife(self._curve_tokens / self.half_life_tokens)
        if self.shape in ("inverse_sqrt", "power_law"):
            growth = self._curve_tokens / (self.timescale_tokens or self.start_tokens)
            return PowerLaw(growth, self.exponent) if self.exponent is not None else InverseSqrt(growth)
        if self.exponent is not None:
            return Power(self.exponent) if self.shape == "power" else OneMinusPower(self.exponent)
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
        if not isinstance(state, Mapping):
            raise ScheduleError(f"segment {state!r}; expected a mapping of its fields")
        known = {field.name for field in fields(cls)}
        for key in state:
            if key not in known:
                raise ScheduleError(f"segment {dict(state)}: unknown key {key!r}; {nearest(key, known=known)}")
        for key in ("start_tokens", "end_tokens", "start_value", "end_value"):
            if key not in state:
                raise ScheduleError(f"segment {dict(state)}: {key} is missing; add it")
        return cls(**state)

    def _value_inside(self, tokens: int) -> float:
        done = float(tokens - self.start_tokens)
        return self.curve.value(done, self._curve_tokens, start=self.start_value, end=self.end_value)

    @cached_property
    def _curve_tokens(self) -> float:
        return float(self.curve_end_tokens - self.start_tokens)

    @cached_property
    def _starts_exactly(self) -> bool:
        return self._value_inside(self.start_tokens) == self.start_value

    def _problems(self) -> Iterator[str]:
        yield from self._field_problems()
        yield from self._parameter_problems()
        start, end = self.start_value, self.end_value
        if self.shape == "constant" and start != end:
            yield f"constant from {start} to {end}; expected equal values, or name the shape of the change"
        if self.shape == "exponential" and not (min(start, end) > 0 and 0 < end / start < math.inf):
            yield f"exponential from {start} to {end}; expected both above 0: it never reaches 0"
        if self.shape in _OWN_PACE and not 0 < start >= end:
            yield f"{self.shape} from {start} to {end}; expected a start above 0 and a floor not above the start"
        if self.shape in ("inverse_sqrt", "power_law") and not (self.start_tokens or self.timescale_tokens):
            yield f"{self.shape} from token 0 is infinitely steep; expected timescale_tokens, or a warmup before it"

    def _field_problems(self) -> Iterator[str]:
        for name in ("start_tokens", "end_tokens"):
            if type(getattr(self, name)) is not int:
                yield f"{name}={getattr(self, name)!r}; expected an int"
        if not 0 <= self.start_tokens < self.end_tokens:
            yield "expected 0 <= start_tokens < end_tokens"
        uncut = self.uncut_end_tokens
        if uncut is not None and not (type(uncut) is int and uncut > self.end_tokens):
            yield f"uncut_end_tokens={self.uncut_end_tokens!r}; expected one after end_tokens, or none"
        for name in ("start_value", "end_value"):
            if not _is_finite(getattr(self, name)) or getattr(self, name) < 0:
                yield f"{name}={getattr(self, name)!r}; expected a finite number of at least 0"
        if not isinstance(self.shape, str) or self.shape not in SHAPES:
            yield f"shape={self.shape!r} is unknown; {nearest(self.shape, known=SHAPES)}"

    def _parameter_problems(self) -> Iterator[str]:
        for name, (owners, needed) in _PARAMETERS.items():
            given = getattr(self, name)
            if self.shape not in owners and given is not None:
                yield f"{name}={given} is set, but shape={self.shape!r}; {' or '.join(owners)} takes it, remove it"
            if self.shape in owners and (needed or given is not None) and not (_is_finite(given) and given > 0):
                yield f"shape={self.shape!r} with {name}={given!r}; expected a number above 0"


def positions(tokens: NDArray[Any]) -> NDArray[Any]:
    """Token positions as int64 or, where they are not whole, float64; narrower integers could not hold a joint.

    >>> positions(np.array([1, 2], dtype=np.int32)).dtype, positions(np.array([0.5])).dtype
    (dtype('int64'), dtype('float64'))
    """
    if tokens.dtype.kind != "f":
        return tokens.astype(np.int64, copy=False)
    if np.isnan(tokens).any():
        raise ScheduleError("token positions with NaN among them; expected numbers")
    return tokens.astype(np.float64, copy=False)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
