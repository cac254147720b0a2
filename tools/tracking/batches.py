"""From lines of the journal to calls of the tracker: which lines go together, which points are new, what to halve."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from .errors import RecordRefusedError
from .records import Line, read_lines
from .sent import Sent

MAX_POINTS = 1000
"""Metric points in one call, the tracker's limit."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Point:
    """One value of one metric; the tracker takes two equal ones as one."""

    key: str
    value: float
    step: int
    time_ms: int


def next_batch(lines: Iterable[Line]) -> list[Line]:
    """The lines of the next call: metrics of up to 1000 points together, anything else by itself."""
    batch: list[Line] = []
    num_points = 0
    for line in lines:
        if line.kind != "metrics":
            return batch or [line]
        num_points += len(line.record["values"]) + 1
        if batch and num_points > MAX_POINTS:
            return batch
        batch.append(line)
    return batch


def send_halving(send: Callable[[list[Item]], None], items: list[Item]) -> list[str]:
    """Send the items; if they are refused, halve them until only the culprits are left out. Returns the refusals."""
    if not items:
        return []
    try:
        send(items)
    except RecordRefusedError as error:
        if len(items) == 1:
            return [str(error)]
        middle = len(items) // 2
        return send_halving(send, items[:middle]) + send_halving(send, items[middle:])
    return []


class NewPoints:
    """Picks the points that the tracker does not have; a run that was rewound says many things twice.

    Only the values of the newest step are held, until a step comes that lies further back: then those from there on
    are read from the journal, once, and held until new ground is reached.
    """

    def __init__(self, journal: Path, *, last_step: int) -> None:
        self._journal = journal
        self._last_step = last_step
        self._known_from = last_step + 1
        self._values: dict[tuple[str, int], float | str] = {}

    def pick(self, lines: Iterable[Line], *, sent: Sent) -> list[Point]:
        """The points of these lines of metrics, without those already sent with the same value at the same step."""
        return [point for line in lines for point in self._new_points(line, sent)]

    def _new_points(self, line: Line, sent: Sent) -> Iterator[Point]:
        step = line.record["step"]
        self._turn_to(step, sent)
        for key, value in _values(line).items():
            if self._values.get((key, step)) != value:
                self._values[key, step] = value
                yield Point(key=key, value=float(value), step=step, time_ms=line.record["time_ms"])

    def _turn_to(self, step: int, sent: Sent) -> None:
        if step > self._last_step:
            self._values.clear()
            self._last_step = self._known_from = step
        elif step < self._known_from:
            self._values = {**self._read_from(step, sent), **self._values}
            self._known_from = step

    def _read_from(self, step: int, sent: Sent) -> dict[tuple[str, int], float | str]:
        found: dict[tuple[str, int], float | str] = {}
        for line in read_lines(self._journal, start=sent.run_offset, until=sent.offset):
            if line.kind == "metrics" and line.record["step"] >= step:
                found |= {(key, line.record["step"]): value for key, value in _values(line).items()}
        return found


def _values(line: Line) -> dict[str, float | str]:
    return {"tokens": line.record["tokens"], **line.record["values"]}
