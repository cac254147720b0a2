"""Token counts and the difference of two schedules, as a person would say them."""

from collections.abc import Iterator
from dataclasses import replace

from .schedule import Schedule
from .segment import Segment

_SUFFIXES = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K"))


def tokens_in_words(tokens: int) -> str:
    """A token count with a suffix, exact or to three digits.

    >>> tokens_in_words(42_000_000_000), tokens_in_words(999), tokens_in_words(1_234_567)
    ('42B', '999', '1.23M')
    """
    for size, suffix in _SUFFIXES:
        if tokens >= size:
            return f"{float(f'{tokens / size:.3g}'):g}{suffix}"
    return str(tokens)


def difference_in_words(old: Schedule, new: Schedule) -> str:
    """Where two schedules part, and what is different after it; empty if nothing is.

    >>> from schedulers.builders import wsd
    >>> old = wsd(3e-4, warmup_tokens=2 * 10**9, decay_tokens=10**10, total_tokens=6 * 10**10, floor=3e-5)
    >>> new = wsd(3e-4, warmup_tokens=2 * 10**9, decay_tokens=18 * 10**9, total_tokens=6 * 10**10)
    >>> difference_in_words(old, new)
    'from 42B tokens on: decay starts 8B earlier, floor 3e-05 -> 0'
    """
    start = first_differing_token(old, new)
    if start is None:
        return ""
    clauses = list(_clauses(old, new)) or ["other segments between the same levels"]
    return f"from {tokens_in_words(start)} tokens on: {', '.join(clauses)}"


def first_differing_token(old: Schedule, new: Schedule) -> int | None:
    """The token up to which two schedules are the same curve; None if they are so for ever.

    How flat stretches are split makes no difference, nor does a schedule's end if its last value is held after it.

    >>> from schedulers.builders import constant
    >>> first_differing_token(constant(1.0, warmup_tokens=10), constant(1.0, warmup_tokens=20))
    0
    """
    beyond = max(old.joints[-1], new.joints[-1]) + 1
    pairs = zip(old.begun_before(beyond), new.begun_before(beyond), strict=False)
    for (_, ours), (_, theirs) in pairs:
        if ours != theirs:
            return min(ours.end_tokens, theirs.end_tokens) if _one_curve(ours, theirs) else ours.start_tokens
    return None


def _one_curve(ours: Segment, theirs: Segment) -> bool:
    """Whether two segments from the same token on differ in where they end alone."""
    if ours.is_flat and theirs.is_flat:
        return ours.start_value == theirs.start_value
    same_end = replace(theirs, end_tokens=ours.end_tokens, uncut_end_tokens=ours.uncut_end_tokens)
    return ours.curve_end_tokens == theirs.curve_end_tokens and ours == same_end


def _clauses(old: Schedule, new: Schedule) -> Iterator[str]:
    yield from _level("first value", old.segments[0].start_value, new.segments[0].start_value)
    yield from _moved("warmup ends", _warmup_end(old), _warmup_end(new))
    yield from _level("peak", old.peak, new.peak)
    yield from _decays(old, new)
    yield from _level("floor", old.segments[-1].last_value, new.segments[-1].last_value)
    yield from _moved("schedule ends", old.joints[-1], new.joints[-1])


def _decays(old: Schedule, new: Schedule) -> Iterator[str]:
    before, after = old.decay_starts(), new.decay_starts()
    if len(before) != len(after):
        yield f"{len(before)} decays -> {len(after)}"
        return
    for index, (was, now) in enumerate(zip(before, after, strict=True)):
        name = "decay" if len(before) == 1 else f"decay {index + 1}"
        yield from _moved(f"{name} starts", was, now)
        shapes = [
            next(s.shape for s in schedule.segments if s.start_tokens == at)
            for schedule, at in ((old, was), (new, now))
        ]
        if shapes[0] != shapes[1]:
            yield f"{name} {shapes[0]} -> {shapes[1]}"


def _warmup_end(schedule: Schedule) -> int:
    first = schedule.segments[0]
    return first.end_tokens if first.rises else first.start_tokens


def _level(name: str, old: float, new: float) -> Iterator[str]:
    if old != new:
        yield f"{name} {old:g} -> {new:g}"


def _moved(what: str, old: int, new: int) -> Iterator[str]:
    if old != new:
        yield f"{what} {tokens_in_words(abs(new - old))} {'later' if new > old else 'earlier'}"
