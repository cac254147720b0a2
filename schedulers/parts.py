"""A schedule as a person sees it: a warmup, stable stretches, waves, decays, and warming up again."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from .schedule import Schedule
from .segment import Segment

Kind = Literal["warmup", "stable", "waves", "decay", "rewarmup"]


@dataclass(frozen=True)
class Part:
    """Segments in a row that have one name."""

    kind: Kind
    segments: tuple[Segment, ...]

    @property
    def start_tokens(self) -> int:
        """Its first token."""
        return self.segments[0].start_tokens

    @property
    def end_tokens(self) -> int:
        """One past its last token."""
        return self.segments[-1].end_tokens

    @property
    def last_value(self) -> float:
        """The value at its end."""
        return self.segments[-1].last_value

    @property
    def extremes(self) -> tuple[float, float]:
        """The least and the largest value."""
        values = [value for segment in self.segments for value in (segment.start_value, segment.last_value)]
        return min(values), max(values)


def parts(schedule: Schedule) -> tuple[Part, ...]:
    """The parts of a schedule, in order; each segment belongs to one.

    A wave is a fall and a rise, or a rise and a fall, of one shape, neither more than twice as long as the other.
    Any other rise after the first is warming up again. A schedule that ends in a fall ends in a decay.

    >>> from schedulers.builders import wsd
    >>> [part.kind for part in parts(wsd(1.0, warmup_tokens=10, decay_tokens=20, total_tokens=100))]
    ['warmup', 'stable', 'decay']
    """
    jumps = {jump.tokens for jump in schedule.jumps()}
    found: list[Part] = []
    for kind, segments in _named(schedule.segments, jumps):
        goes_on = kind == "waves" or segments[0].start_tokens not in jumps
        if found and found[-1].kind == kind and goes_on:
            segments = (*found.pop().segments, *segments)
        found.append(Part(kind, segments))
    return tuple(found)


def _named(segments: tuple[Segment, ...], jumps: set[int]) -> Iterator[tuple[Kind, tuple[Segment, ...]]]:
    index = 0
    while index < len(segments):
        taken = 2 if _is_wave(segments[index:], jumps) and index > 0 else 1
        yield "waves" if taken == 2 else _kind(segments, index), segments[index : index + taken]
        index += taken


def _is_wave(ahead: tuple[Segment, ...], jumps: set[int]) -> bool:
    """Whether the next two segments are one."""
    if len(ahead) < 2 or ahead[1].start_tokens in jumps or ahead[0].shape != ahead[1].shape:
        return False
    left, right = ahead[:2]
    alike = left.num_tokens <= 2 * right.num_tokens and right.num_tokens <= 2 * left.num_tokens
    return alike and ((left.falls and right.rises) or (left.rises and right.falls and len(ahead) > 2))


def _kind(segments: tuple[Segment, ...], index: int) -> Kind:
    if segments[index].falls:
        return "decay"
    if segments[index].rises:
        return "warmup" if all(segment.rises for segment in segments[:index]) else "rewarmup"
    return "stable"
