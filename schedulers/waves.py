"""Warmup, cosine waves, stable, decay: the waves take most of the run and join the stable level without a jump.

    peak      .     .
             / \\   / \\   crests, here decaying
            /   \\_/   \\_______  stable
    trough          \\          \\_ floor

Falling waves begin at the peak, go down to the trough and come back up; rising ones begin at the trough. Every half
wave is half a cosine, level at both its edges, so from the first crest on nothing jumps or bends up to the decay.
"""

from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import Any, Literal

from .errors import ScheduleError
from .row import Row
from .schedule import Schedule


def warm_waves_stable_decay(
    peak: float,
    *,
    stable: float,
    trough: float,
    warmup_tokens: int,
    wave_tokens: Sequence[int],
    stable_tokens: int,
    decay_tokens: int,
    kind: Literal["falling", "rising"] = "falling",
    crests: Literal["decaying", "equal"] = "decaying",
    floor: float = 0.0,
    decay: str = "1-sqrt",
    initial: float = 0.0,
    **parameters: Any,
) -> Schedule:
    """Warmup, one cosine wave for each of `wave_tokens`, then stable, then decay; the run ends with the decay.

    Decaying crests go from `peak` to `stable` by equal factors: falling waves reach `stable` with their last crest,
    rising ones with the end of their last wave. Equal crests all stand at `peak`. Either way the last half wave ends
    at `stable`. A wave of odd length has the shorter half first.

    Args:
        peak: The first crest.
        stable: The level that the waves join, from `trough` to `peak`, above 0.
        trough: The lowest value of a wave.
        wave_tokens: The length of each wave, at least 2 tokens; see `lengths` for equal and growing ones.

    Raises:
        ScheduleError: Levels out of order, a wave too short, or a part that no segment can be made of.

    >>> schedule = warm_waves_stable_decay(
    ...     1.0, stable=0.25, trough=0.1, warmup_tokens=10, wave_tokens=[100, 200], stable_tokens=50, decay_tokens=40)
    >>> [schedule.value(tokens) for tokens in (10, 60, 110, 210, 310, 360, 400)]
    [1.0, 0.1, 0.5, 0.1, 0.25, 0.25, 0.0]
    """
    if floor > stable:
        raise ScheduleError(f"waves: floor={floor} lies above stable={stable}; lower it")
    if stable_tokens < 0:
        more = f"{-stable_tokens} tokens more than the run"
        raise ScheduleError(f"waves: warmup, waves and decay are {more}; shorten one")
    row = Row(0, initial).to(trough if kind == "rising" else peak, warmup_tokens)
    append_waves(row, peak=peak, trough=trough, stable=stable, wave_tokens=wave_tokens, kind=kind, crests=crests)
    return row.hold(stable_tokens).to(floor, decay_tokens, decay, **parameters).schedule()


def append_waves(
    row: Row,
    *,
    peak: float,
    trough: float,
    stable: float,
    wave_tokens: Sequence[int],
    kind: Literal["falling", "rising"] = "falling",
    crests: Literal["decaying", "equal"] = "decaying",
    shape: Literal["cosine", "linear"] = "cosine",
) -> Row:
    """Waves at the end of a row, down from `peak` or up from `trough`, to `stable`; a row that is elsewhere jumps.

    The arguments are those of `warm_waves_stable_decay`; `linear` half waves are triangles.

    >>> append_waves(Row(0, 1.0), peak=1.0, trough=0.1, stable=0.5, wave_tokens=[10]).schedule().value(5)
    0.1
    """
    _check(peak, trough, stable, wave_tokens, kind, crests)
    heights = _crests(peak, stable, len(wave_tokens), decaying=crests == "decaying")
    turns = _falling(heights, trough, stable) if kind == "falling" else _rising(heights, trough, stable)
    row.to(turns[0], 0)
    for length, middle, end in zip(wave_tokens, turns[1::2], turns[2::2], strict=True):
        row.to(middle, length // 2, shape).to(end, length - length // 2, shape)
    return row


def lengths(total_tokens: int, count: int, *, growth: float | Fraction = 1) -> tuple[int, ...]:
    """A total cut into `count` lengths, each `growth` times the one before it; they add up to the total exactly.

    >>> lengths(700, 3, growth=2), lengths(10, 3)
    ((100, 200, 400), (3, 4, 3))
    """
    if count < 1 or growth <= 0:
        raise ScheduleError(f"lengths: count={count}, growth={growth}; expected at least 1, and above 0")
    ratio = Fraction(growth)
    parts = [ratio**index for index in range(count)]
    whole = sum(parts)
    edges = [0, *(round(total_tokens * upto / whole) for upto in accumulate(parts))]
    return tuple(end - start for start, end in pairwise(edges))


def _crests(peak: float, stable: float, count: int, *, decaying: bool) -> list[float]:
    if not decaying:
        return [peak] * count
    return [peak * (stable / peak) ** (index / count) for index in range(count)]


def _falling(crests: Sequence[float], trough: float, stable: float) -> list[float]:
    """crest, trough, crest, ..., trough, stable."""
    return [turn for crest in crests for turn in (crest, trough)] + [stable]


def _rising(crests: Sequence[float], trough: float, stable: float) -> list[float]:
    """trough, crest, trough, ..., crest, stable."""
    return [turn for crest in crests for turn in (trough, crest)] + [stable]


def _check(peak: float, trough: float, stable: float, wave_tokens: Sequence[int], kind: str, crests: str) -> None:
    if not 0 <= trough <= stable <= peak or stable <= 0:
        levels = f"trough={trough}, stable={stable}, peak={peak}"
        raise ScheduleError(f"waves: {levels}; expected them in this order, from 0, and stable above 0")
    if kind not in ("falling", "rising") or crests not in ("decaying", "equal"):
        raise ScheduleError(f"waves: kind={kind!r}, crests={crests!r}; expected falling or rising, decaying or equal")
    if not wave_tokens or min(wave_tokens) < 2:
        got = f"the shortest of {len(wave_tokens)} has {min(wave_tokens)} tokens" if wave_tokens else "none"
        raise ScheduleError(f"waves: {got}; expected at least one, each of 2 tokens or more")
