"""Cycles: down to a floor, and up again for the next one, at once or along a line (SGDR, arXiv 1608.03983)."""

from collections.abc import Sequence

from .errors import ScheduleError
from .row import Row


def append_cycles(
    row: Row,
    *,
    peak: float,
    floor: float,
    cycle_tokens: Sequence[int],
    crest_factor: float = 1.0,
    rewarmup_tokens: int = 0,
    shape: str = "cosine",
) -> Row:
    """Cycles at the end of a row, the first from `peak`; a row that is elsewhere jumps there.

    The k-th crest is `peak * crest_factor ** k`, not below the floor. A restart is hard, a jump up, where
    `rewarmup_tokens` is 0; else each cycle after the first begins with so many tokens on a line back up.

    Raises:
        ScheduleError: A floor above the peak, a factor below 0, no cycle, or one not longer than its rewarmup.

    >>> append_cycles(Row(0, 1.0), peak=1.0, floor=0.0, cycle_tokens=[10, 20]).schedule().value(20)
    0.5
    """
    _check(peak, floor, cycle_tokens, crest_factor, rewarmup_tokens)
    for index, length in enumerate(cycle_tokens):
        rising = rewarmup_tokens if index else 0
        row.to(max(floor, crest(peak, crest_factor, index)), rising).to(floor, length - rising, shape)
    return row


def crest(height: float, crest_factor: float, index: int) -> float:
    """The height of crest `index`, counted from 0. Raises ScheduleError where it is too large for a float.

    >>> crest(8.0, 0.5, 2)
    2.0
    """
    try:
        return height * crest_factor**index
    except OverflowError:
        raise ScheduleError(f"crest_factor={crest_factor:g}; crest {index} is no finite number") from None


def _check(peak: float, floor: float, cycle_tokens: Sequence[int], crest_factor: float, rewarmup_tokens: int) -> None:
    if not 0 <= floor <= peak:
        raise ScheduleError(f"cycles: floor={floor}, peak={peak}; expected a floor from 0 to the peak")
    if crest_factor < 0 or rewarmup_tokens < 0:
        got = f"crest_factor={crest_factor}, rewarmup_tokens={rewarmup_tokens}"
        raise ScheduleError(f"cycles: {got}; expected at least 0")
    for index, length in enumerate(cycle_tokens):
        if length < 1:
            raise ScheduleError(f"cycles: cycle {index} has {length} tokens; expected at least 1; take fewer cycles")
        if index and length <= rewarmup_tokens:
            expected = f"more than its rewarmup, {rewarmup_tokens}; shorten that"
            raise ScheduleError(f"cycles: cycle {index} has {length} tokens; expected {expected}")
    if not cycle_tokens:
        raise ScheduleError("cycles: none; expected the length of one at least")
