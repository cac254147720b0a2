"""What a schedule does in a run that its author may not have meant: a line each, with what to do about it."""

import math
from collections.abc import Iterator
from itertools import pairwise

from .batch_size import Steps
from .schedule import Jump, Schedule
from .segment import Segment
from .words import tokens_in_words as words


def lint(schedule: Schedule, steps: Steps) -> list[str]:
    """Every finding about a schedule in the run of these steps; empty if there is none.

    >>> from schedulers.batch_size import BatchSizeRamp
    >>> from schedulers.builders import linear_to_zero
    >>> line = linear_to_zero(1.0, warmup_tokens=20, total_tokens=100, initial=0.1)
    >>> lint(line, Steps(BatchSizeRamp(((0, 10),)), sequence_length=1, total_samples=100))
    ['the last step begins at 90 tokens and runs at 0.125, not at 0; end the decay 10 tokens earlier']
    """
    if not steps.num_steps:
        return ["the run has no whole global batch; train longer or on smaller batches"]
    trained = steps.first_sample(steps.num_steps) * steps.sequence_length
    last = steps.first_sample(steps.num_steps - 1) * steps.sequence_length
    return [
        *_start(schedule, trained),
        *_joints(schedule),
        *_end(schedule, trained),
        *_last_step(schedule, last, trained),
        *_ramp(schedule, steps, trained),
    ]


def _start(schedule: Schedule, trained: int) -> Iterator[str]:
    first = schedule.segments[0]
    if schedule.value(0) == 0.0:
        yield "the first step runs at 0 and learns nothing; warm up from a value above 0"
    if first.rises and first.end_tokens > trained:
        yield f"the warmup ends at {words(first.end_tokens)} tokens, after the run's {words(trained)}; shorten it"


def _joints(schedule: Schedule) -> Iterator[str]:
    jumps = {jump.tokens: jump for jump in schedule.jumps()}
    before_that = (None, *schedule.segments)
    for earlier, (left, right) in zip(before_that, pairwise(schedule.segments), strict=False):
        jump = jumps.get(left.end_tokens)
        if jump is None:
            continue
        if right.is_flat and earlier is not None and _is_wave(earlier, left):
            yield f"{_place(jump)}: a wave ends off the level after it; end it at {jump.right:g}"
        else:
            yield f"{_place(jump)}: a jump; begin with {jump.left:g}, or leave it if it is meant"


def _end(schedule: Schedule, trained: int) -> Iterator[str]:
    decay, moving = _last_decay(schedule), [segment for segment in schedule.segments if not segment.is_flat]
    peak_before = max((max(segment.start_value, segment.last_value) for segment in moving[:-1]), default=math.inf)
    if moving and moving[-1].last_value > peak_before:
        yield f"the last change goes up to {moving[-1].last_value:g}: a floor above the peak, {peak_before:g}; lower it"
    if decay is None:
        return
    if trained < decay.end_tokens:
        reached = schedule.value(trained)
        yield (
            f"the decay ends at {words(decay.end_tokens)} tokens, after the run's {words(trained)}, "
            f"which stops at {reached:.3g}; end it with the run"
        )
    elif not decay.curve.arrives and decay.last_value > decay.end_value:
        yield (
            f"the {decay.shape} decay stops at {decay.last_value:g} and never reaches {decay.end_value:g}; "
            "give it more tokens, or a shape that arrives"
        )


def _last_step(schedule: Schedule, last: int, trained: int) -> Iterator[str]:
    decay = _last_decay(schedule)
    if decay is None or not last < decay.end_tokens <= trained or schedule.value(last) == decay.last_value:
        return
    yield (
        f"the last step begins at {words(last)} tokens and runs at {schedule.value(last):g}, not at "
        f"{decay.last_value:g}; end the decay {words(decay.end_tokens - last)} tokens earlier"
    )


def _ramp(schedule: Schedule, steps: Steps, trained: int) -> Iterator[str]:
    """Horizons that were counted in steps of the final batch size."""
    batch_tokens = steps.ramp.entries[-1][1] * steps.sequence_length
    end = schedule.joints[-1]
    if len(steps.ramp.entries) > 1 and abs(end - trained) >= batch_tokens and end == steps.num_steps * batch_tokens:
        yield (
            f"the schedule ends at {words(end)} tokens, as if all {steps.num_steps} steps had the final batch size; "
            f"under the ramp the run ends at {words(trained)}: give its lengths in tokens"
        )


def _last_decay(schedule: Schedule) -> Segment | None:
    return next((segment for segment in reversed(schedule.segments) if segment.falls), None)


def _is_wave(earlier: Segment, left: Segment) -> bool:
    return (earlier.falls and left.rises) or (earlier.rises and left.falls and left.shape == "cosine")


def _place(jump: Jump) -> str:
    return f"at {words(jump.tokens)} tokens from {jump.left:g} to {jump.right:g}"
