"""What a schedule does in a run that its author may not have meant: a line each, with what to do about it."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Literal, NamedTuple

from .batch_size import Steps
from .schedule import Schedule
from .segment import Segment
from .words import format_tokens as words
from .words import format_value

_NEARLY_THERE = 0.01  # of a decay, or of a run: a hundred steps or more end closer than that
_FAR_FROM_FLOOR = 0.1  # of a decay that keeps a pace of its own
_IF_MEANT = "or leave it if it is meant"


class Finding(NamedTuple):
    """What is wrong with `about`, and with which segment of the schedule, if it is one's."""

    about: Literal["learning_rate", "beside", "batch_size"]
    segment: int | None
    text: str
    is_jump: bool = False  # a jump that is nothing else, which may be meant


def lint(schedule: Schedule, steps: Steps) -> list[Finding]:
    """Every finding about a schedule in the run of these steps; empty if there is none.

    Runs end a little before their schedules: less than 1% of a run that fills no batch, and a last step that is off
    the floor by less than 1% of the decay, are no findings.

    >>> from schedulers.batch_size import BatchSizeRamp
    >>> from schedulers.builders import linear_to_zero
    >>> line = linear_to_zero(1.0, warmup_tokens=20, total_tokens=100, initial=0.1)
    >>> lint(line, Steps(BatchSizeRamp(((0, 10),)), sequence_length=1, total_samples=100))[0].text
    'the last step begins at 90 tokens and runs at 0.125, not at 0; end the decay 10 tokens earlier'
    """
    if not steps.num_steps:
        return [Finding("batch_size", None, "the run has no whole global batch; train longer or on smaller batches")]
    rate = [*_start(schedule, steps), *_joints(schedule), *_last_rise(schedule), *_decay(schedule, steps)]
    return [
        *(Finding("learning_rate", segment, text, text.endswith(_IF_MEANT)) for segment, text in rate),
        *(Finding("batch_size", None, text) for text in _batches(schedule, steps)),
    ]


def lint_beside(curve: Schedule, steps: Steps) -> list[Finding]:
    """Every finding about a curve beside the learning rate: jumps at a curve's edge, and a fall that is not finished.

    Such a curve may begin, rise and end anywhere, and a step from one number to another is stated as such.

    >>> from schedulers.batch_size import BatchSizeRamp
    >>> from schedulers.row import Row
    >>> steps = Steps(BatchSizeRamp(((0, 10),)), sequence_length=1, total_samples=100)
    >>> lint_beside(Row(0, 0.1).hold(50).to(0.05, 0).to(0.01, 50).schedule(), steps)[0].text
    'at 50 tokens from 0.1 to 0.05: a jump; begin with 0.1, or leave it if it is meant'
    """
    found = [*_jumps_at_curves(curve)]
    if steps.num_steps:
        found += [(index, text) for index, fall in _last_fall(curve) for text in _unfinished(curve, fall, steps)]
    return [Finding("beside", index, text, text.endswith(_IF_MEANT)) for index, text in found]


def _jumps_at_curves(schedule: Schedule) -> Iterator[tuple[int, str]]:
    for index, text in _joints(schedule):
        if not (schedule.segments[index - 1].is_flat and schedule.segments[index].is_flat):
            yield index, text


def _start(schedule: Schedule, steps: Steps) -> Iterator[tuple[int, str]]:
    first, trained = schedule.segments[0], _trained(steps)
    last_step = trained - _last_batch_tokens(steps)
    if schedule.value(0) == 0.0:
        yield 0, "the first step runs at 0 and learns nothing; warm up from a value above 0"
    if first.rises and first.end_tokens > last_step:
        yield 0, f"the warmup ends at {words(first.end_tokens)} tokens, the run at {words(trained)}; shorten it"


def _joints(schedule: Schedule) -> Iterator[tuple[int, str]]:
    jumps = {jump.tokens: jump for jump in schedule.jumps()}
    before_that = (None, *schedule.segments)
    for index, (earlier, (left, right)) in enumerate(zip(before_that, pairwise(schedule.segments), strict=False), 1):
        jump = jumps.get(left.end_tokens)
        if jump is None:
            continue
        was, now = format_value(jump.left), format_value(jump.right)
        place = f"at {words(jump.tokens)} tokens from {was} to {now}"
        if right.is_flat and earlier is not None and _is_wave(earlier, left):
            yield index, f"{place}: a wave ends off the level after it; end it at {now}"
        else:
            yield index, f"{place}: a jump; begin with {was}, {_IF_MEANT}"


def _is_wave(earlier: Segment, left: Segment) -> bool:
    return (earlier.falls and left.rises) or (earlier.rises and left.falls and left.shape == "cosine")


def _last_rise(schedule: Schedule) -> Iterator[tuple[int, str]]:
    """A schedule whose last change goes up, above everything before it, once its warmup is over."""
    moving = [(index, segment) for index, segment in enumerate(schedule.segments) if not segment.is_flat]
    if not moving or all(segment.rises for segment in schedule.segments[: moving[-1][0] + 1]):
        return
    index, last = moving[-1]
    if last.falls:
        return
    peak = max(max(segment.start_value, segment.last_value) for segment in schedule.segments[:index])
    if last.last_value > peak:
        up, peak_before = format_value(last.last_value), format_value(peak)
        yield index, f"the last change goes up to {up}: a floor above the peak, {peak_before}; lower it"


def _decay(schedule: Schedule, steps: Steps) -> Iterator[tuple[int, str]]:
    """The last decay: whether it ends in the run, at its floor, and whether a step is run there."""
    for index, decay in _last_fall(schedule):
        texts = tuple(_unfinished(schedule, decay, steps)) or _last_step(decay, steps)
        yield from ((index, text) for text in texts)


def _last_fall(schedule: Schedule) -> list[tuple[int, Segment]]:
    """The last falling segment with its number; empty where none falls."""
    return [(index, segment) for index, segment in enumerate(schedule.segments) if segment.falls][-1:]


def _unfinished(schedule: Schedule, decay: Segment, steps: Steps) -> Iterator[str]:
    trained = _trained(steps)
    if decay.end_tokens - trained >= _last_batch_tokens(steps):
        reached = format_value(schedule.value(trained), 3)
        end = f"the decay ends at {words(decay.end_tokens)} tokens, after the run's {words(trained)}"
        yield f"{end}, which stops at {reached}; end it with the run"
    elif not decay.curve.arrives and _left(decay, decay.last_value) > _FAR_FROM_FLOOR:
        stop, floor = format_value(decay.last_value, 3), format_value(decay.end_value)
        fix = "give it more tokens, or a shape that arrives"
        yield f"the {decay.shape} decay stops at {stop} and never reaches {floor}; {fix}"


def _last_step(decay: Segment, steps: Steps) -> Iterator[str]:
    last = _trained(steps) - _last_batch_tokens(steps)
    runs_at, floor = decay.value(last), decay.last_value
    if _left(decay, runs_at) - _left(decay, floor) > _NEARLY_THERE:
        place = f"the last step begins at {words(last)} tokens and runs at {format_value(runs_at)}"
        earlier = words(decay.end_tokens - last)
        yield f"{place}, not at {format_value(floor)}; end the decay {earlier} tokens earlier"


def _left(decay: Segment, value: float) -> float:
    """What share of the way down is left at a value."""
    return (value - decay.end_value) / (decay.start_value - decay.end_value)


def _batches(schedule: Schedule, steps: Steps) -> Iterator[str]:
    """Windows that fill no batch, and horizons that were counted in batches of the final size."""
    final, left, trained = steps.ramp.entries[-1][1], steps.leftover_samples, _trained(steps)
    is_ramp, end = len(steps.ramp.entries) > 1, schedule.joints[-1]
    batch_tokens = final * steps.sequence_length
    if is_ramp and abs(end - trained) >= batch_tokens and end == steps.num_steps * batch_tokens:
        yield (
            f"the schedule ends at {words(end)} tokens, as if all {steps.num_steps} steps had the final batch size; "
            f"under the ramp the run ends at {words(trained)}: give its lengths in tokens"
        )
    shifted = is_ramp and left and steps.total_samples % final == 0
    if shifted or left > _NEARLY_THERE * steps.total_samples:
        less, more = (words(samples * steps.sequence_length) for samples in (left, final - left))
        windows = f"the last {left} windows ({less} tokens) fill no batch"
        cause = "the ramp shifts the end: " if shifted else ""
        yield f"{cause}{windows}; train so much less, or {more} tokens more"


def _trained(steps: Steps) -> int:
    """Tokens of the run's whole batches."""
    return steps.first_sample(steps.num_steps) * steps.sequence_length


def _last_batch_tokens(steps: Steps) -> int:
    return steps.batch_size(steps.num_steps - 1) * steps.sequence_length
