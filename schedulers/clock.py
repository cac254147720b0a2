"""Lengths in samples, steps or fractions of a run, turned into tokens once, in whole numbers.

    clock = Clock(total_tokens=10**12, sequence_length=4096, step_table=steps)
    wsd(3e-4, warmup_tokens=clock.steps(2000), decay_tokens=clock.fraction(0.1), total_tokens=clock.total_tokens)

A schedule then holds tokens alone, and no later change of batch size or layout moves its joints.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

from .batch_size import Steps
from .errors import ScheduleError, nearest

UNITS = ("tokens", "samples", "steps", "fraction")


@dataclass(frozen=True)
class Clock:
    """What the units of a run are worth in tokens.

    Args:
        total_tokens: Length of the run, which a fraction is a part of; at least 1.
        sequence_length: Tokens in a sample, at least 1.
        step_table: The steps of the run under its batch-size ramp; needed for lengths in steps alone.

    Raises:
        ScheduleError: An argument, or later a length, out of its range.

    >>> Clock(1000, sequence_length=10).samples(7)
    70
    """

    total_tokens: int
    sequence_length: int = 1
    step_table: Steps | None = None

    def __post_init__(self) -> None:
        for name in ("total_tokens", "sequence_length"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise ScheduleError(f"clock: {name}={getattr(self, name)!r}; expected an int of at least 1")
        if self.step_table is not None and self.step_table.sequence_length != self.sequence_length:
            other = self.step_table.sequence_length
            raise ScheduleError(f"clock: sequence_length={self.sequence_length}; expected the step table's, {other}")

    def samples(self, count: int) -> int:
        """Tokens in that many samples, at least 0.

        >>> Clock(1000, sequence_length=10).samples(0)
        0
        """
        return _whole("samples", count) * self.sequence_length

    def steps(self, count: int) -> int:
        """Tokens consumed before step `count` of the run, its ramp included; `num_steps` gives all that it trains on.

        >>> from schedulers.batch_size import BatchSizeRamp
        >>> table = Steps(BatchSizeRamp(((0, 4), (60, 8))), sequence_length=10, total_samples=30)
        >>> [Clock(300, 10, table).steps(count) for count in (0, 2, 3)]
        [0, 80, 160]
        """
        if self.step_table is None:
            raise ScheduleError(f"{count} steps without a step table; give the clock one, or say it in tokens")
        if count > self.step_table.num_steps:
            expected = f"at most {self.step_table.num_steps}, all of the run"
            raise ScheduleError(f"{count} steps; expected {expected}; shorten it or train longer")
        return self.step_table.first_sample(_whole("steps", count)) * self.sequence_length

    def fraction(self, share: float | Fraction) -> int:
        """The token nearest to that share of the run, 0 to 1; a half goes up. 0.1 is a tenth, not its nearest double.

        >>> Clock(10**15).fraction(0.1)
        100000000000000
        """
        if not 0 <= share <= 1:
            raise ScheduleError(f"fraction={share} of a run; expected 0 to 1")
        exact = share if isinstance(share, Fraction) else Fraction(str(float(share)))
        return int((2 * exact * self.total_tokens + 1) // 2)

    def convert(self, length: float | Fraction, unit: str) -> int:
        """Tokens in a length whose unit is given by name, one of `UNITS`.

        >>> Clock(1000, sequence_length=10).convert(7, "samples")
        70
        """
        if unit not in UNITS:
            raise ScheduleError(f"unit={unit!r}; {nearest(unit, known=UNITS)}")
        if unit == "fraction":
            return self.fraction(length)
        count = _whole(unit, length)
        return count if unit == "tokens" else self.samples(count) if unit == "samples" else self.steps(count)


def _whole(unit: str, count: float | Fraction) -> int:
    if not (0 <= count < math.inf and count == int(count)):
        raise ScheduleError(f"{count} {unit}; expected a whole number of at least 0")
    return int(count)
