"""Segments laid in a row, each beginning where the one before it ended."""

from typing import Any

from .errors import ScheduleError
from .schedule import Schedule
from .segment import Segment


class Row:
    """Collects segments from a token and a value on; the builders are written with it.

    >>> row = Row(0, 0.0).to(1.0, 10).hold(80).to(0.0, 10, "1-sqrt")
    >>> row.schedule().joints
    (0, 10, 90, 100)
    """

    def __init__(self, start_tokens: int, value: float) -> None:
        self.tokens, self.value = start_tokens, value
        self._segments: list[Segment] = []

    @classmethod
    def after(cls, schedule: Schedule) -> "Row":
        """A row that goes on where a schedule ends.

        >>> Row.after(Schedule((Segment(0, 10, 0.0, 1.0),))).hold(5).tokens
        15
        """
        row = cls(schedule.joints[-1], schedule.segments[-1].last_value)
        row._segments.extend(schedule.segments)
        return row

    def to(self, value: float, num_tokens: int, shape: str = "linear", **parameters: Any) -> "Row":
        """Travel to a value in so many tokens; in 0 tokens at once, which is a jump or another start.

        A segment between equal values is a constant. A curve with a pace of its own leaves the row where it stands.

        >>> Row(0, 1.0).to(0.5, 0).to(0.0, 10).schedule().value(0)
        0.5
        """
        if num_tokens < 0:
            raise ScheduleError(f"a segment of {num_tokens} tokens at {self.tokens} tokens; shorten the one before")
        self.value = value if num_tokens == 0 else self._append(value, num_tokens, shape, parameters)
        self.tokens += num_tokens
        return self

    def hold(self, num_tokens: int) -> "Row":
        """Stay at the value for so many tokens.

        >>> Row(0, 1.0).hold(10).schedule().segments[0].shape
        'constant'
        """
        return self.to(self.value, num_tokens, "constant")

    def cut(self, at_tokens: int) -> "Row":
        """End the last segment at a token inside it: it keeps its pace, and the row goes on from where it stands.

        >>> Row(0, 1.0).to(0.0, 10).cut(4).value
        0.6
        """
        self._segments[-1] = self._segments[-1].cut(at_tokens)
        self.tokens, self.value = at_tokens, self._segments[-1].last_value
        return self

    def schedule(self) -> Schedule:
        """The segments as a schedule; ScheduleError if there are none.

        >>> Row(0, 1.0).hold(3).schedule().joints
        (0, 3)
        """
        return Schedule(tuple(self._segments))

    def _append(self, value: float, num_tokens: int, shape: str, parameters: dict[str, Any]) -> float:
        if value == self.value and shape not in ("half_life", "inverse_sqrt", "power_law"):
            shape, parameters = "constant", {}
        segment = Segment(self.tokens, self.tokens + num_tokens, self.value, value, shape, **parameters)
        self._segments.append(segment)
        return segment.last_value
