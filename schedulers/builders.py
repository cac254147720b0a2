"""The schedules in use, by name. Each is a list of segments; all lengths are tokens, see `schedulers.clock` for others.

    learning_rate = wsd(3e-4, warmup_tokens=2_000_000, decay_tokens=20_000_000, total_tokens=100_000_000)

A warmup of 0 tokens starts at the peak. `decay` is the name of a shape, and what else the shape takes follows by name:
`decay="power", exponent=1.5`. Each raises ScheduleError where its parts don't fit into the run or a floor lies above
the peak. Past the end every schedule holds its last value.
"""

import math
from collections.abc import Sequence
from typing import Any

from .cycles import append_cycles, crest
from .errors import ScheduleError
from .row import Row
from .schedule import Schedule


def constant(peak: float, *, warmup_tokens: int = 0, initial: float = 0.0) -> Schedule:
    """A warmup and then the peak for ever, to be ended at will by `schedulers.changes.decay_from`.

    >>> constant(1.0, warmup_tokens=10).value(10**15)
    1.0
    """
    return _warmed(peak, initial, warmup_tokens).hold(1).schedule()


def wsd(
    peak: float,
    *,
    warmup_tokens: int,
    decay_tokens: int,
    total_tokens: int,
    floor: float = 0.0,
    decay: str = "1-sqrt",
    initial: float = 0.0,
    **parameters: Any,
) -> Schedule:
    """Warmup, stable, decay (arXiv 2404.06395); the decay ends with the run.

    >>> wsd(1.0, warmup_tokens=10, decay_tokens=20, total_tokens=100).joints
    (0, 10, 80, 100)
    """
    _check_floor("wsd", peak, floor)
    stable_tokens = _rest("wsd", total_tokens, warmup_tokens=warmup_tokens, decay_tokens=decay_tokens)
    row = _warmed(peak, initial, warmup_tokens).hold(stable_tokens)
    return row.to(floor, decay_tokens, decay, **parameters).schedule()


def wsd_s(
    peak: float,
    *,
    warmup_tokens: int,
    period_tokens: Sequence[int],
    decay_tokens: int | Sequence[int],
    floor: float = 0.0,
    decay: str = "1-sqrt",
    initial: float = 0.0,
    **parameters: Any,
) -> Schedule:
    """WSD-S (arXiv 2410.05192): every period ends in a decay; the next goes on from there, at the peak.

    The return to the peak is a jump. The warmup is part of the first period. `decay_tokens` is one length, or one a
    period.

    >>> wsd_s(1.0, warmup_tokens=10, period_tokens=[100, 200], decay_tokens=[20, 40]).decay_starts()
    (80, 260)
    """
    _check_floor("wsd_s", peak, floor)
    decays = decay_tokens if isinstance(decay_tokens, Sequence) else [decay_tokens] * len(period_tokens)
    if len(decays) != len(period_tokens):
        raise ScheduleError(f"wsd_s: {len(decays)} decays for {len(period_tokens)} periods; expected as many")
    row = _warmed(peak, initial, warmup_tokens)
    end = 0
    for length, falling in zip(period_tokens, decays, strict=True):
        end += length
        stable_tokens = _rest(f"wsd_s, period to {end}", end, before=row.tokens, decay_tokens=falling)
        row.to(peak, 0).hold(stable_tokens).to(floor, falling, decay, **parameters)
    return row.schedule()


def cosine(peak: float, *, warmup_tokens: int, total_tokens: int, floor: float = 0.0, initial: float = 0.0) -> Schedule:
    """Warmup, then half a cosine to the floor at the end of the run (arXiv 1608.03983, one cycle).

    >>> cosine(1.0, warmup_tokens=10, total_tokens=110, floor=0.1).value(60)
    0.55
    """
    _check_floor("cosine", peak, floor)
    rest = _rest("cosine", total_tokens, warmup_tokens=warmup_tokens)
    return _warmed(peak, initial, warmup_tokens).to(floor, rest, "cosine").schedule()


def linear_to_zero(peak: float, *, warmup_tokens: int, total_tokens: int, initial: float = 0.0) -> Schedule:
    """D2Z (arXiv 2502.15938): warmup, then a line to 0 at the end of the run.

    >>> linear_to_zero(1.0, warmup_tokens=10, total_tokens=110).value(60)
    0.5
    """
    rest = _rest("linear_to_zero", total_tokens, warmup_tokens=warmup_tokens)
    return _warmed(peak, initial, warmup_tokens).to(0.0, rest).schedule()


def half_cosine(
    peak: float, *, warmup_tokens: int, total_tokens: int, floor: float = 0.0, initial: float = 0.0
) -> Schedule:
    """Warmup to midway between floor and peak, then the second half of a cosine whose first half is left out.

    OLMo 3 stretched the horizon of a cosine with it from the cosine's middle on; to carry a running schedule on in
    this way, see `schedulers.changes.stretched`.

    >>> schedule = half_cosine(1.0, warmup_tokens=10, total_tokens=110)
    >>> schedule.value(10), schedule.value(110)
    (0.5, 0.0)
    """
    _check_floor("half_cosine", peak, floor)
    rest = _rest("half_cosine", total_tokens, warmup_tokens=warmup_tokens)
    middle = floor + 0.5 * (peak - floor)
    return _warmed(middle, initial, warmup_tokens).to(floor, rest, "half_cosine").schedule()


def multi_step(
    peak: float,
    *,
    warmup_tokens: int,
    total_tokens: int,
    drops: Sequence[tuple[int, float]],
    initial: float = 0.0,
) -> Schedule:
    """The peak, then at each (token, factor) a jump to factor x peak.

    DeepSeek LLM (arXiv 2401.02954) drops to 0.316 after 80% of the tokens and to 0.1 after 90%.

    >>> schedule = multi_step(1.0, warmup_tokens=10, total_tokens=100, drops=[(80, 0.316), (90, 0.1)])
    >>> [schedule.value(tokens) for tokens in (79, 80, 90)]
    [1.0, 0.316, 0.1]
    """
    row = _warmed(peak, initial, warmup_tokens)
    for at_tokens, factor in drops:
        if factor > 1.0:
            raise ScheduleError(f"multi_step: factor={factor} at {at_tokens} tokens; expected at most 1")
        if not row.tokens <= at_tokens <= total_tokens:
            expected = f"from {row.tokens} to {total_tokens}, after the warmup and in order"
            raise ScheduleError(f"multi_step: a drop at {at_tokens} tokens; expected {expected}")
        row.hold(at_tokens - row.tokens).to(factor * peak, 0)
    return row.hold(_rest("multi_step", total_tokens, warmup_tokens=row.tokens)).schedule()


def multi_cosine(
    peak: float,
    *,
    warmup_tokens: int,
    cycle_tokens: Sequence[int],
    floor: float = 0.0,
    crest_factor: float = 1.0,
    rewarmup_tokens: int = 0,
    initial: float = 0.0,
) -> Schedule:
    """Cosine cycles to the floor, one after the other (SGDR, arXiv 1608.03983).

    A restart is hard, a jump up, where `rewarmup_tokens` is 0; else each cycle after the first begins with so many
    tokens on a line back up. The k-th crest is `peak * crest_factor ** k`, not below the floor.

    >>> schedule = multi_cosine(1.0, warmup_tokens=10, cycle_tokens=[100, 200], crest_factor=0.5)
    >>> schedule.value(110), schedule.value(310)
    (0.5, 0.0)
    """
    row = _warmed(peak, initial, warmup_tokens)
    append_cycles(
        row,
        peak=peak,
        floor=floor,
        cycle_tokens=cycle_tokens,
        crest_factor=crest_factor,
        rewarmup_tokens=rewarmup_tokens,
    )
    return row.schedule()


def triangular(
    low: float, high: float, *, half_cycle_tokens: int, num_cycles: int, crest_factor: float = 1.0
) -> Schedule:
    """Cyclical learning rates (arXiv 1506.01186): lines between `low` and a crest, up and down, from `low` on.

    The k-th crest is `low + (high - low) * crest_factor ** k`; 1/2 is the paper's `triangular2`.

    >>> triangular(1.0, 3.0, half_cycle_tokens=10, num_cycles=2, crest_factor=0.5).value(30)
    2.0
    """
    _check_floor("triangular", high, low)
    if half_cycle_tokens < 1 or num_cycles < 1:
        got = f"half_cycle_tokens={half_cycle_tokens}, num_cycles={num_cycles}"
        raise ScheduleError(f"triangular: {got}; expected at least 1 of each")
    row = Row(0, low)
    for cycle in range(num_cycles):
        row.to(low + crest(high - low, crest_factor, cycle), half_cycle_tokens).to(low, half_cycle_tokens)
    return row.schedule()


def power_schedule(
    peak: float,
    *,
    coefficient: float,
    warmup_tokens: int,
    decay_tokens: int,
    total_tokens: int,
    exponent: float = 0.51,
    floor: float = 0.0,
    decay: str = "linear",
    initial: float = 0.0,
    **parameters: Any,
) -> Schedule:
    """min(peak, coefficient * tokens^-exponent) between warmup and decay: the power scheduler (arXiv 2408.13359).

    The paper's coefficient is 4.6 x the batch size in sequences, its exponent 0.51. The peak holds up to the nearest
    token at which the power law meets it, and from there on peak * (meeting / tokens)^exponent, so that the curve is
    continuous; it is off the law by less than exponent / meeting, relatively.

    >>> lengths = {"warmup_tokens": 10, "decay_tokens": 100, "total_tokens": 1000}
    >>> schedule = power_schedule(1.0, coefficient=10.0, exponent=0.5, **lengths)
    >>> schedule.joints, schedule.value(400)
    ((0, 10, 100, 900, 1000), 0.5)
    """
    _check_floor("power_schedule", peak, floor)
    rest = _rest("power_schedule", total_tokens, warmup_tokens=warmup_tokens, decay_tokens=decay_tokens)
    decay_start = warmup_tokens + rest
    meeting = _meeting(peak, coefficient, exponent, warmup_tokens, decay_start)
    after_warmup = min(peak, coefficient * float(max(warmup_tokens, 1)) ** -exponent)
    row = _warmed(after_warmup, initial, warmup_tokens).hold(meeting - warmup_tokens)
    if meeting < decay_start:
        row.to(0.0, decay_start - meeting, "power_law", exponent=exponent)
    _check_floor("power_schedule, decay", row.value, floor)
    return row.to(floor, decay_tokens, decay, **parameters).schedule()


def _meeting(peak: float, coefficient: float, exponent: float, earliest: int, latest: int) -> int:
    """The token nearest to where coefficient * tokens^-exponent comes down to the peak, within the two."""
    if not (peak > 0 and exponent > 0 and 0 < coefficient < math.inf):
        got = f"peak={peak}, coefficient={coefficient}, exponent={exponent}"
        raise ScheduleError(f"power_schedule: {got}; expected all above 0")
    if coefficient * float(max(latest, 1)) ** -exponent >= peak:
        return latest
    meeting = min(latest, max(earliest, round(float((coefficient / peak) ** (1.0 / exponent)))))
    if meeting == 0:
        raise ScheduleError(f"power_schedule: the law is below the peak, {peak}, from the first token on; warm up")
    return meeting


def _warmed(peak: float, initial: float, warmup_tokens: int) -> Row:
    return Row(0, initial).to(peak, warmup_tokens)


def _check_floor(builder: str, peak: float, floor: float) -> None:
    if floor > peak:
        raise ScheduleError(f"{builder}: floor={floor} lies above the peak, {peak}; lower it")


def _rest(builder: str, total_tokens: int, **parts_tokens: int) -> int:
    """What the parts leave of the whole; ScheduleError if they are longer than it, or one is negative."""
    for name, length in parts_tokens.items():
        if length < 0:
            raise ScheduleError(f"{builder}: {name}={length}; expected at least 0")
    rest = total_tokens - sum(parts_tokens.values())
    if rest < 0:
        parts = " + ".join(f"{name}={length}" for name, length in parts_tokens.items())
        raise ScheduleError(f"{builder}: {parts} is more than {total_tokens} tokens; shorten one or train longer")
    return rest
