"""The difference of two schedules, as a person would say it.

    from 42B tokens on: decay starts 8B earlier, floor 3e-5 -> 0

Parts of what lies after the first differing token are laid beside each other by their kind: what stands on both sides
is compared, what stands on one is described.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import SequenceMatcher

from .parts import Part, parts
from .schedule import Schedule
from .segment import Segment
from .words import format_tokens as tokens_
from .words import format_value as value_


def difference_in_words(old: Schedule, new: Schedule) -> str:
    """Where two schedules part, and what is different after it; empty if nothing is.

    >>> from schedulers.builders import wsd
    >>> old = wsd(3e-4, warmup_tokens=2 * 10**9, decay_tokens=10**10, total_tokens=6 * 10**10, floor=3e-5)
    >>> new = wsd(3e-4, warmup_tokens=2 * 10**9, decay_tokens=18 * 10**9, total_tokens=6 * 10**10)
    >>> difference_in_words(old, new)
    'from 42B tokens on: decay starts 8B earlier, floor 3e-5 -> 0'
    """
    start = first_differing_token(old, new)
    if start is None:
        return ""
    clauses = list(dict.fromkeys(_clauses(old, new, start))) or ["other segments between the same levels"]
    return f"from {tokens_(start)} tokens on: {', '.join(clauses)}"


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


def _clauses(old: Schedule, new: Schedule, start: int) -> Iterator[str]:
    before, after = _ahead(old, start), _ahead(new, start)
    if "stable" not in (parts(old)[0].kind, parts(new)[0].kind):
        yield from _changed("first value", old.segments[0].start_value, new.segments[0].start_value)
    for was, now in _side_by_side(before, after):
        if was and now:
            yield from _compared(was, now, old, new)
        elif was:
            yield _gone(was, old, start)
        elif now:
            yield _described(now, new)
    if old.joints[-1] >= start:
        yield from _moved("schedule ends", old.joints[-1], new.joints[-1])
    else:
        yield f"schedule ends at {tokens_(new.joints[-1])}"


def _ahead(schedule: Schedule, start: int) -> list[Part]:
    """The parts that end after a token; stretches that hold what was reached before them are left out."""
    new_levels = {at for at in (schedule.joints[0], *(jump.tokens for jump in schedule.jumps())) if at >= start}
    found = (part for part in parts(schedule) if part.end_tokens > start)
    return [part for part in found if part.kind != "stable" or part.start_tokens in new_levels]


def _side_by_side(before: Sequence[Part], after: Sequence[Part]) -> list[tuple[Part | None, Part | None]]:
    """Pairs of one kind, in order, and what has none; the last of several is matched first: it is the decay."""
    kinds = [part.kind for part in reversed(before)], [part.kind for part in reversed(after)]
    pairs: list[tuple[Part | None, Part | None]] = []
    for tag, i, i_end, j, j_end in SequenceMatcher(None, *kinds, autojunk=False).get_opcodes():
        ours, theirs = before[::-1][i:i_end], after[::-1][j:j_end]
        if tag == "equal":
            pairs += zip(ours, theirs, strict=True)
        else:
            pairs += [*((None, part) for part in theirs), *((part, None) for part in ours)]
    return pairs[::-1]


def _compared(was: Part, now: Part, old: Schedule, new: Schedule) -> Iterator[str]:
    kind, name, plural = was.kind, _name(was, old), "" if was.kind == "waves" else "s"
    if kind != "warmup":
        yield from _moved(f"{name} start{plural}", was.start_tokens, now.start_tokens)
    if kind == "waves":
        yield from _waves(was, now)
    elif kind != "stable":
        yield from _texts(name, _shape(was), _shape(now))
    if kind == "warmup" or (_is_held(was, old) and kind != "stable") or _is_held(now, new):
        yield from _moved(f"{name} end{plural}", was.end_tokens, now.end_tokens)
    yield from _changed(_level_name(was, now, old, new), was.last_value, now.last_value)


def _level_name(was: Part, now: Part, old: Schedule, new: Schedule) -> str:
    """What the value at the end of a part is called."""
    if (was.last_value, now.last_value) == (old.peak, new.peak):
        return "peak"
    if was.kind == "decay" and (parts(old)[-1], parts(new)[-1]) == (was, now):
        return "floor"
    return "stable level" if was.kind in ("stable", "waves") else f"end of the {_name(was, old)}"


def _waves(was: Part, now: Part) -> Iterator[str]:
    yield from _texts("", _count(was), _count(now))
    if was.extremes != now.extremes:
        yield f"waves between {_between(was)} -> between {_between(now)}"


def _gone(part: Part, schedule: Schedule, start: int) -> str:
    """A part that the new schedule doesn't have, or has no more of than is past."""
    if part.start_tokens >= start:
        return f"no {_name(part, schedule)}"
    return f"{_name(part, schedule)} cut at {value_(schedule.value(start))}"


def _described(part: Part, schedule: Schedule) -> str:
    """A part that only the new schedule has."""
    at, end = tokens_(part.start_tokens), value_(part.last_value)
    if part.kind == "waves":
        joins = f", then {end}" if _is_held(part, schedule) else ""
        return f"{_count(part)} from {at} to {tokens_(part.end_tokens)} between {_between(part)}{joins}"
    if part.kind == "stable":
        return f"holds {end} from {at}"
    return f"{_VERBS[part.kind]} at {at} over {tokens_(part.end_tokens - part.start_tokens)} to {end} ({_shape(part)})"


_VERBS = {"warmup": "warms up", "rewarmup": "warms up again", "decay": "decays"}


def _name(part: Part, schedule: Schedule) -> str:
    """The part's kind, with its place where the schedule has several."""
    if part.kind == "stable":
        return f"step to {value_(part.last_value)}"
    word = {"rewarmup": "second warmup"}.get(part.kind, part.kind)
    several = sum(other.kind == part.kind for other in parts(schedule)) > 1
    return f"{word} at {tokens_(part.start_tokens)}" if several else word


def _shape(part: Part) -> str:
    names = list(dict.fromkeys(_shape_of(segment) for segment in part.segments))
    return " then ".join(names) if len(names) <= 3 else f"{len(names)} segments"


def _shape_of(segment: Segment) -> str:
    if segment.half_life_tokens is not None:
        name = f"half-life of {tokens_(segment.half_life_tokens)}"
    else:
        name = segment.shape if segment.exponent is None else f"{segment.shape} {value_(segment.exponent)}"
    return name if segment.uncut_end_tokens is None else f"{name} cut at {tokens_(segment.end_tokens)}"


def _count(waves: Part) -> str:
    count = len(waves.segments) // 2
    return f"{count} wave{'s' if count > 1 else ''}"


def _between(waves: Part) -> str:
    return " and ".join(map(value_, waves.extremes))


def _is_held(part: Part, schedule: Schedule) -> bool:
    """Whether a stable stretch follows."""
    found = parts(schedule)
    index = found.index(part)
    return index + 1 < len(found) and found[index + 1].kind == "stable"


def _changed(name: str, old: float, new: float) -> Iterator[str]:
    if old != new:
        digits = next((n for n in range(6, 17) if value_(old, n) != value_(new, n)), 17)
        yield f"{name} {value_(old, digits)} -> {value_(new, digits)}"


def _texts(name: str, old: str, new: str) -> Iterator[str]:
    if old != new:
        yield f"{name} {old} -> {new}".strip()


def _moved(what: str, old: int, new: int) -> Iterator[str]:
    if old != new:
        yield f"{what} {tokens_(abs(new - old))} {'later' if new > old else 'earlier'}"
