"""Another future for a schedule that is running: rewind, decay from here, extend, stretch, warm up again.

Each answers a new schedule that has the old one's past up to `at_tokens`, so `Schedule.first_difference` finds nothing
before it. A ramp or a decay under way is cut there, never stretched. A schedule has no state, so to rewind is to choose
an earlier `at_tokens`.
"""

from dataclasses import replace
from typing import Any

from .errors import ScheduleError
from .row import Row
from .schedule import Schedule
from .segment import Segment


def past(schedule: Schedule, at_tokens: int) -> Schedule:
    """What comes before a token, whose value is held from there on; the start of every other change.

    >>> from schedulers.builders import wsd
    >>> schedule = wsd(1.0, warmup_tokens=10, decay_tokens=20, total_tokens=100, decay="linear")
    >>> past(schedule, 90).value(95)
    0.5
    """
    if at_tokens <= schedule.joints[0]:
        raise ScheduleError(f"change at {at_tokens} tokens; expected a position after {schedule.joints[0]}, the start")
    kept = [segment for segment in schedule.segments if segment.start_tokens < at_tokens]
    if kept[-1].end_tokens > at_tokens:
        kept[-1] = kept[-1].cut(at_tokens)
    row = Row.after(Schedule(tuple(kept)))
    return row.hold(at_tokens - row.tokens).schedule()


def decay_from(
    schedule: Schedule,
    at_tokens: int,
    *,
    decay_tokens: int,
    floor: float = 0.0,
    decay: str = "1-sqrt",
    **parameters: Any,
) -> Schedule:
    """Decay from here: a branch off the stable part, or the end of one that was to go on for ever.

    >>> from schedulers.builders import constant
    >>> decay_from(constant(1.0, warmup_tokens=10), 100, decay_tokens=50, decay="linear").value(125)
    0.5
    """
    row = Row.after(past(schedule, at_tokens))
    if floor > row.value:
        raise ScheduleError(f"decay from {at_tokens} tokens: floor={floor} lies above the value there, {row.value:g}")
    return row.to(floor, decay_tokens, decay, **parameters).schedule()


def extended(schedule: Schedule, at_tokens: int, *, by_tokens: int) -> Schedule:
    """A longer horizon: the value at `at_tokens` is held for `by_tokens`, and everything ahead comes so much later.

    Raises:
        ScheduleError: `at_tokens` lies inside a ramp or a decay, which would be stretched by it.

    >>> from schedulers.builders import wsd
    >>> extended(wsd(1.0, warmup_tokens=10, decay_tokens=20, total_tokens=100), 50, by_tokens=1000).joints
    (0, 10, 50, 1050, 1080, 1100)
    """
    for segment in schedule.segments:
        if segment.start_tokens < at_tokens < segment.end_tokens and not segment.is_flat:
            span = f"{segment.start_tokens} to {segment.end_tokens}"
            raise ScheduleError(
                f"extend at {at_tokens} tokens: a {segment.shape} runs from {span} and can't be stretched; "
                "extend at its start, or end it here with decay_from"
            )
    before = Row.after(past(schedule, at_tokens)).hold(by_tokens).schedule()
    ahead = [
        _shifted(_rest(segment, at_tokens), by_tokens)
        for segment in schedule.segments
        if segment.end_tokens > at_tokens
    ]
    return Schedule((*before.segments, *ahead))


def stretched(schedule: Schedule, at_tokens: int, *, end_tokens: int, shape: str = "half_cosine") -> Schedule:
    """The decay under way is cut here, and its floor is reached at `end_tokens` instead, along another curve.

    A cosine cut in its middle goes on without a bend where the rest is as long as its first half was.

    >>> from schedulers.builders import cosine
    >>> longer = stretched(cosine(1.0, warmup_tokens=10, total_tokens=110), 60, end_tokens=1000)
    >>> longer.value(60), longer.value(1000)
    (0.5, 0.0)
    """
    floor = schedule.segments[-1].last_value
    return decay_from(schedule, at_tokens, decay_tokens=end_tokens - at_tokens, floor=floor, decay=shape)


def rewarmed(
    schedule: Schedule,
    at_tokens: int,
    *,
    peak: float,
    warmup_tokens: int,
    decay_tokens: int,
    stable_tokens: int = 0,
    floor: float = 0.0,
    decay: str = "cosine",
    **parameters: Any,
) -> Schedule:
    """Warm up again from the value here, for continued pretraining (arXiv 2403.08763): warmup, stable, decay.

    >>> from schedulers.builders import linear_to_zero
    >>> done = linear_to_zero(1.0, warmup_tokens=10, total_tokens=100)
    >>> rewarmed(done, 100, peak=0.5, warmup_tokens=10, decay_tokens=90).value(110)
    0.5
    """
    row = Row.after(past(schedule, at_tokens)).to(peak, warmup_tokens).hold(stable_tokens)
    if floor > peak:
        raise ScheduleError(f"rewarmed: floor={floor} lies above the peak, {peak}; lower it")
    return row.to(floor, decay_tokens, decay, **parameters).schedule()


def _rest(segment: Segment, at_tokens: int) -> Segment:
    """What is ahead of a flat segment; others lie ahead whole."""
    return segment if segment.start_tokens >= at_tokens else replace(segment, start_tokens=at_tokens)


def _shifted(segment: Segment, by_tokens: int) -> Segment:
    """The same curve later; one that goes by the run's own clock keeps the clock it had."""
    needs_clock = segment.shape in ("inverse_sqrt", "power_law") and segment.timescale_tokens is None
    return replace(
        segment,
        start_tokens=segment.start_tokens + by_tokens,
        end_tokens=segment.end_tokens + by_tokens,
        timescale_tokens=segment.start_tokens if needs_clock else segment.timescale_tokens,
        uncut_end_tokens=segment.uncut_end_tokens and segment.uncut_end_tokens + by_tokens,
    )
