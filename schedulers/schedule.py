"""A whole curve on the token clock: segments in a row.

    learning_rate = Schedule(
        (
            Segment(0, 2_000_000, 0.0, 3e-4),
            Segment(2_000_000, 80_000_000, 3e-4, 3e-4, "constant"),
            Segment(80_000_000, 100_000_000, 3e-4, 3e-5, "1-sqrt"),
        )
    )
    learning_rate.value(consumed_tokens)  # of the step that begins there

The value is a pure function of one integer, so there is no state to save but the segments themselves.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from .errors import ScheduleError
from .segment import Segment, positions

_COMPARED = [field.name for field in fields(Segment) if field.name != "uncut_end_tokens"]
_COMPARED.insert(_COMPARED.index("end_tokens"), "curve_end_tokens")
_CHUNK = 65_536  # positions sorted at a time: their index has 16 bits
_PIECE = 16_384  # positions evaluated at a time: what lies between stays in the cache


class Jump(NamedTuple):
    """A joint at which the value changes at once: `left` up to it, `right` from it on."""

    tokens: int
    left: float
    right: float


@dataclass(frozen=True)
class Schedule:
    """Segments in a row, each beginning at the token where the one before it ends.

    A joint belongs to the later segment. Before the first segment its start value holds, past the end the last value.

    Raises:
        ScheduleError: No segments, or two that leave a gap or overlap.

    >>> warmup, stable = Segment(0, 10, 0.0, 1.0), Segment(10, 90, 1.0, 1.0, "constant")
    >>> [Schedule((warmup, stable)).value(tokens) for tokens in (0, 5, 10, 1000)]
    [0.0, 0.5, 1.0, 1.0]
    """

    segments: tuple[Segment, ...]

    def __post_init__(self) -> None:
        if not self.segments:
            raise ScheduleError("schedule without segments; expected at least one")
        for index, (left, right) in enumerate(zip(self.segments, self.segments[1:], strict=False)):
            if left.end_tokens != right.start_tokens:
                raise ScheduleError(
                    f"segments[{index + 1}].start_tokens={right.start_tokens}; "
                    f"expected {left.end_tokens}, where segments[{index}] ends"
                )

    @overload
    def value(self, tokens: int) -> float: ...
    @overload
    def value(self, tokens: NDArray[np.int64]) -> NDArray[np.float64]: ...
    def value(self, tokens: int | NDArray[np.int64]) -> float | NDArray[np.float64]:
        """The value at a token position, or at an array of them in any order; see `Segment.value`.

        >>> Schedule((Segment(0, 4, 1.0, 0.0),)).value(np.arange(6)).tolist()
        [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
        """
        if isinstance(tokens, np.ndarray):
            return self._values(tokens)
        return self.segments[bisect_right(self._inner_joints, tokens)].value(tokens)

    def integral(self, start_tokens: float, end_tokens: float) -> float:
        """The integral of the value over [start_tokens, end_tokens), held ends included, in value x tokens.

        Exact to the last digits over whole segments; see `Segment.integral` for short parts of one.

        >>> Schedule((Segment(0, 100, 0.0, 1.0),)).integral(0, 110)
        60.0
        """
        if start_tokens > end_tokens:
            raise ScheduleError(f"integral from {start_tokens} to {end_tokens} tokens; expected them in order")
        first, last = self.joints[0], self.joints[-1]
        held_before = max(0, min(end_tokens, first) - start_tokens) * self.segments[0].start_value
        held_after = max(0, end_tokens - max(start_tokens, last)) * self.segments[-1].last_value
        spans = [(s, max(start_tokens, s.start_tokens), min(end_tokens, s.end_tokens)) for s in self.segments]
        return math.fsum([held_before, held_after, *(s.integral(a, b) for s, a, b in spans if a < b)])

    @cached_property
    def joints(self) -> tuple[int, ...]:
        """Every edge of a segment, in order: the start, where segments meet, the end.

        >>> Schedule((Segment(0, 10, 0.0, 1.0), Segment(10, 90, 1.0, 0.0))).joints
        (0, 10, 90)
        """
        return (self.segments[0].start_tokens, *(segment.end_tokens for segment in self.segments))

    @cached_property
    def peak(self) -> float:
        """The largest value; every shape is monotone, so it stands at a joint.

        >>> Schedule((Segment(0, 10, 0.0, 1.0), Segment(10, 90, 1.0, 0.0))).peak
        1.0
        """
        return max(value for segment in self.segments for value in (segment.start_value, segment.last_value))

    def jumps(self) -> tuple[Jump, ...]:
        """The joints where the value left of it is not, to the last bit, the value at it.

        >>> Schedule((Segment(0, 10, 1.0, 0.0), Segment(10, 20, 1.0, 0.0))).jumps()
        (Jump(tokens=10, left=0.0, right=1.0),)
        """
        pairs = zip(self.segments, self.segments[1:], strict=False)
        joints = (Jump(right.start_tokens, left.last_value, right.start_value) for left, right in pairs)
        return tuple(joint for joint in joints if joint.left != joint.right)

    def decay_starts(self) -> tuple[int, ...]:
        """The tokens at which the value begins to fall: branches start there.

        Falling segments in a row are one decay, unless a jump up at their joint begins another.

        >>> Schedule((Segment(0, 10, 0.0, 1.0), Segment(10, 20, 1.0, 0.5), Segment(20, 90, 0.5, 0.0))).decay_starts()
        (10,)
        """
        restarts = {jump.tokens for jump in self.jumps() if jump.right > jump.left}
        was_falling = (False, *(segment.falls for segment in self.segments))
        return tuple(
            segment.start_tokens
            for segment, goes_on in zip(self.segments, was_falling, strict=False)
            if segment.falls and (not goes_on or segment.start_tokens in restarts)
        )

    def to_dict(self) -> dict[str, Any]:
        """The schedule ready for JSON, whose floats are exact: part of the run state.

        >>> Schedule((Segment(0, 9, 1.0, 1.0, "constant"),)).to_dict()["segments"][0]["shape"]
        'constant'
        """
        return {"segments": [segment.to_dict() for segment in self.segments]}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> "Schedule":
        """The schedule that `to_dict` wrote, equal to the bit. Raises ScheduleError on anything else.

        >>> schedule = Schedule((Segment(0, 9, 0.1, 0.3),))
        >>> Schedule.from_dict(schedule.to_dict()) == schedule
        True
        """
        if not isinstance(state, Mapping) or set(state) != {"segments"}:
            got = f"with keys {sorted(state)}" if isinstance(state, Mapping) else repr(state)
            raise ScheduleError(f"schedule {got}; expected 'segments' alone")
        if not isinstance(state["segments"], list):
            raise ScheduleError(f"schedule with segments {state['segments']!r}; expected a list of them")
        return cls(tuple(Segment.from_dict(entry) for entry in state["segments"]))

    def first_difference(self, other: "Schedule", *, before_tokens: int) -> tuple[str, object, object] | None:
        """What must not have changed: the first field that differs before that token, ours and theirs, or None.

        What begins at `before_tokens` or later is free. So is the length of a flat stretch that reaches it, and how
        flat stretches are split. A ramp or a decay that is under way is not stretched, but it may be cut.

        >>> ours, theirs = Schedule((Segment(0, 10, 0.0, 1.0),)), Schedule((Segment(0, 20, 0.0, 1.0),))
        >>> ours.first_difference(theirs, before_tokens=5)
        ('segments[0].end_tokens', 10, 20)
        """
        pairs = zip(self.begun_before(before_tokens), other.begun_before(before_tokens), strict=False)
        for (index, ours), (_, theirs) in pairs:
            for name in _COMPARED:
                mine, yours = getattr(ours, name), getattr(theirs, name)
                if mine != yours:
                    return f"segments[{index}].{name.removeprefix('curve_')}", mine, yours
        return None

    @cached_property
    def _inner_joints(self) -> tuple[int, ...]:
        return self.joints[1:-1]

    def _values(self, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
        flat = np.ascontiguousarray(positions(tokens)).ravel()
        values = np.empty(flat.shape)
        for start in range(0, flat.size, _CHUNK):
            chunk = slice(start, start + _CHUNK)
            self._fill(values[chunk], flat[chunk])
        return values.reshape(tokens.shape)

    def _fill(self, values: NDArray[np.float64], tokens: NDArray[np.int64]) -> None:
        """Write the values at a chunk of positions; scattered ones are sorted first.

        A cosine of scattered arguments takes twice the time of one of sorted arguments, and a segment needs its
        positions together.
        """
        if bool((tokens[1:] >= tokens[:-1]).all()):
            self._fill_sorted(values, tokens)
            return
        in_order, order = _sorted(tokens)
        sorted_values = np.empty(tokens.shape)
        self._fill_sorted(sorted_values, in_order)
        values[order] = sorted_values

    def _fill_sorted(self, values: NDArray[np.float64], tokens: NDArray[np.int64]) -> None:
        edges = np.searchsorted(tokens, self.joints).tolist()
        values[: edges[0]] = self.segments[0].start_value
        for segment, start, end in zip(self.segments, edges, edges[1:], strict=False):
            if segment.is_flat:
                values[start:end] = segment.start_value
                continue
            for first in range(start, end, _PIECE):
                piece = slice(first, min(first + _PIECE, end))
                values[piece] = segment.values_inside(tokens[piece])
        values[edges[-1] :] = self.segments[-1].last_value

    def begun_before(self, before_tokens: int) -> list[tuple[int, Segment]]:
        """The segments begun before that token, each with its index; cut there, and flat ones joined.

        They cover all tokens from 0 to `before_tokens`, so of two pasts that agree in every pair neither is longer.

        >>> Schedule((Segment(5, 10, 1.0, 0.0),)).begun_before(5)[0][1].end_tokens
        5
        """
        past: list[tuple[int, Segment]] = []
        for index, segment in self._with_held_ends(before_tokens):
            if segment.start_tokens >= before_tokens:
                break
            if segment.is_flat:
                until = min(segment.end_tokens, before_tokens)
                segment = _flat(segment.start_tokens, until, value=segment.start_value)
                if past and past[-1][1].is_flat and past[-1][1].end_value == segment.start_value:
                    index, earlier = past.pop()
                    segment = replace(segment, start_tokens=earlier.start_tokens)
            elif segment.end_tokens > before_tokens:
                segment = segment.cut(before_tokens)
            past.append((index, segment))
        return past

    def _with_held_ends(self, until_tokens: int) -> Iterator[tuple[int, Segment]]:
        start, end = self.joints[0], self.joints[-1]
        if start > 0:
            yield 0, _flat(0, start, value=self.segments[0].start_value)
        yield from enumerate(self.segments)
        if end < until_tokens:
            yield len(self.segments), _flat(end, until_tokens, value=self.segments[-1].last_value)


def _flat(start_tokens: int, end_tokens: int, *, value: float) -> Segment:
    return Segment(start_tokens, end_tokens, value, value, "constant")


def _sorted(tokens: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """At most `_CHUNK` positions in order, and where each of them stood.

    Up to 7e13 tokens position and index fit into one integer, and to sort these takes half the time of an argsort.
    """
    if tokens.dtype != np.int64 or tokens.min() < 0 or tokens.max() >= 2**46:
        order = np.argsort(tokens)
        return tokens[order], order
    packed = tokens << 16 | np.arange(tokens.size)
    packed.sort()
    return packed >> 16, packed & 0xFFFF
