"""Batch-size ramps by their usual descriptions, in Megatron's two forms, and what a larger batch does to the rate.

ramp = doubling(256, (10**9, 4 * 10**9))                  # 256, 512 from 1B tokens on, 1024 from 4B on
step_batch_size_schedule(ramp, sequence_length=4096)      # megatron-core 0.18 and later
rampup_batch_size(ramp, sequence_length=4096)             # before
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from .batch_size import BatchSizeRamp
from .errors import ScheduleError
from .schedule import Jump, Schedule

_SUFFIXES = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_POWERS = {"none": 0.0, "sqrt": 0.5, "linear": 1.0}
Rule = Literal["none", "sqrt", "linear"]


def linear_steps(start: int, final: int, *, increment: int, ramp_tokens: int) -> BatchSizeRamp:
    """From `start` to `final` samples by equal increments, at equal distances, the last where the ramp ends.

    >>> linear_steps(4, 16, increment=4, ramp_tokens=300).entries
    ((0, 4), (100, 8), (200, 12), (300, 16))
    """
    if increment < 1 or final < start or (final - start) % increment:
        raise ScheduleError(f"ramp from {start} to {final} by {increment}; expected a whole number of increments")
    count = (final - start) // increment
    later = ((-(-ramp_tokens * k // count), start + k * increment) for k in range(1, count + 1))
    return BatchSizeRamp(((0, start), *later))


def doubling(start: int, at_tokens: Sequence[int]) -> BatchSizeRamp:
    """Twice the batch at each of the tokens.

    >>> doubling(256, (1000, 4000)).entries
    ((0, 256), (1000, 512), (4000, 1024))
    """
    return BatchSizeRamp(((0, start), *((tokens, start << k) for k, tokens in enumerate(at_tokens, 1))))


@dataclass(frozen=True)
class Coupled:
    """A learning rate times (batch size / reference) ^ 0, 1/2 or 1: `none`, `sqrt` (Adam) or `linear` (SGD).

    The batch size is the ramp's at the same tokens, so the rate jumps exactly where the batch does (arXiv 2505.23971).

    Args:
        schedule: The learning rate at the reference batch size.
        ramp: The batch sizes.
        rule: Never assumed; `none` says that nothing is scaled.
        reference_batch_size: Where the factor is 1, in samples.

    >>> from schedulers.builders import constant
    >>> Coupled(constant(1.0), doubling(4, (100,)), rule="linear", reference_batch_size=8).value(99)
    0.5
    """

    schedule: Schedule
    ramp: BatchSizeRamp
    rule: Rule
    reference_batch_size: int

    def __post_init__(self) -> None:
        if self.rule not in _POWERS or self.reference_batch_size < 1:
            got = f"rule={self.rule!r}, reference_batch_size={self.reference_batch_size}"
            raise ScheduleError(f"coupling: {got}; expected none, sqrt or linear, and at least 1 sample")

    @overload
    def value(self, tokens: int) -> float: ...
    @overload
    def value(self, tokens: NDArray[np.int64]) -> NDArray[np.float64]: ...
    def value(self, tokens: Any) -> Any:
        """The learning rate at a token position, or at an array of them.

        >>> from schedulers.builders import constant
        >>> coupled = Coupled(constant(1.0), doubling(4, (100,)), rule="sqrt", reference_batch_size=4)
        >>> coupled.value(np.array([0, 100])).tolist()
        [1.0, 1.4142135623730951]
        """
        if not isinstance(tokens, np.ndarray):
            return self.schedule.value(tokens) * self._factor(self.ramp.at(tokens))
        if (tokens < 0).any():
            raise ScheduleError(f"coupled rate at {tokens.min()} tokens; expected at least 0")
        joints, sizes = zip(*self.ramp.entries, strict=True)
        factors = np.array([self._factor(size) for size in sizes])
        return self.schedule.value(tokens) * factors[np.searchsorted(joints, tokens, side="right") - 1]

    def integral(self, start_tokens: float, end_tokens: float) -> float:
        """The integral of the value over [start_tokens, end_tokens), in value x tokens.

        >>> from schedulers.builders import constant
        >>> Coupled(constant(1.0), doubling(4, (100,)), rule="linear", reference_batch_size=4).integral(50, 150)
        150.0
        """
        if not 0 <= start_tokens <= end_tokens:
            raise ScheduleError(f"integral from {start_tokens} to {end_tokens} tokens; expected them in order, from 0")
        joints = [tokens for tokens, _ in self.ramp.entries]
        total = 0.0
        for (first, size), last in zip(self.ramp.entries, [*joints[1:], end_tokens], strict=True):
            start, end = max(first, start_tokens), min(last, end_tokens)
            if start < end:
                total += self._factor(size) * self.schedule.integral(start, end)
        return total

    @property
    def joints(self) -> tuple[int, ...]:
        """Every edge of a segment and every token at which the batch size changes, in order.

        >>> from schedulers.builders import constant
        >>> Coupled(constant(1.0), doubling(4, (100,)), rule="linear", reference_batch_size=4).joints
        (0, 1, 100)
        """
        return tuple(sorted({*self.schedule.joints, *(tokens for tokens, _ in self.ramp.entries)}))

    @property
    def peak(self) -> float:
        """The largest value that stands at a joint or is reached before one."""
        return max(*(self.value(tokens) for tokens in self.joints), *(jump.left for jump in self.jumps()))

    def jumps(self) -> tuple[Jump, ...]:
        """The joints where the rate changes at once, those of the batch size among them.

        >>> from schedulers.builders import constant
        >>> Coupled(constant(1.0), doubling(4, (100,)), rule="linear", reference_batch_size=4).jumps()
        (Jump(tokens=100, left=1.0, right=2.0),)
        """
        before = {jump.tokens: jump.left for jump in self.schedule.jumps()}
        joints = [tokens for tokens in self.joints if tokens > 0]
        lefts = (before.get(at, self.schedule.value(at)) * self._factor(self.ramp.at(at - 1)) for at in joints)
        jumps = (Jump(at, left, self.value(at)) for at, left in zip(joints, lefts, strict=True))
        return tuple(jump for jump in jumps if jump.left != jump.right)

    def to_dict(self) -> dict[str, Any]:
        """Everything it is made of, ready for JSON.

        >>> from schedulers.builders import constant
        >>> coupled = Coupled(constant(1.0), doubling(4, (100,)), rule="sqrt", reference_batch_size=4)
        >>> Coupled.from_dict(coupled.to_dict()) == coupled
        True
        """
        entries = [list(entry) for entry in self.ramp.entries]
        coupling = {"rule": self.rule, "reference_batch_size": self.reference_batch_size}
        return {"schedule": self.schedule.to_dict(), "ramp": entries, **coupling}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> "Coupled":
        """What `to_dict` wrote."""
        ramp = BatchSizeRamp(tuple((tokens, size) for tokens, size in state["ramp"]))
        return cls(Schedule.from_dict(state["schedule"]), ramp, state["rule"], state["reference_batch_size"])

    def _factor(self, batch_size: int) -> float:
        return float((batch_size / self.reference_batch_size) ** _POWERS[self.rule])


def rampup_batch_size(ramp: BatchSizeRamp, *, sequence_length: int) -> tuple[int, int, int]:
    """Megatron's `--rampup-batch-size START INCREMENT SAMPLES`, up to 0.17; its final size is `--global-batch-size`.

    Raises:
        ScheduleError: Sizes or distances of the ramp are not equal, so that this form can't say it.

    >>> rampup_batch_size(linear_steps(4, 16, increment=4, ramp_tokens=3000), sequence_length=10)
    (4, 4, 300)
    """
    start, final = ramp.entries[0][1], ramp.entries[-1][1]
    if len(ramp.entries) == 1:
        raise ScheduleError("a batch size that never changes; leave --rampup-batch-size out")
    increment, on_samples = ramp.entries[1][1] - start, _on_samples(ramp, sequence_length)
    reached = on_samples.entries[-1][0] // sequence_length
    if increment > 0 and (final - start) % increment == 0:
        for samples in (reached, reached - 1):  # where its floats round down, Megatron's last step comes a sample late
            arguments = (start, increment, samples)
            if samples and on_samples == from_rampup_batch_size(
                arguments, global_batch_size=final, sequence_length=sequence_length
            ):
                return arguments
    raise ScheduleError(f"ramp {ramp.entries}; --rampup-batch-size needs equal increments at equal distances")


def step_batch_size_schedule(ramp: BatchSizeRamp, *, sequence_length: int) -> str:
    """Megatron's `--step-batch-size-schedule`, from 0.18 on: thresholds in tokens, whole samples each.

    >>> step_batch_size_schedule(doubling(768, (250 * 10**9,)), sequence_length=1000)
    '0:768 250B:1536'
    """
    return " ".join(f"{_suffixed(at)}:{size}" for at, size in _on_samples(ramp, sequence_length).entries)


def from_rampup_batch_size(arguments: Sequence[int], *, global_batch_size: int, sequence_length: int) -> BatchSizeRamp:
    """The ramp of Megatron's START INCREMENT SAMPLES: start + int(consumed / (SAMPLES / increments)) * INCREMENT.

    >>> from_rampup_batch_size((4, 4, 300), global_batch_size=16, sequence_length=10).entries
    ((0, 4), (1000, 8), (2000, 12), (3000, 16))
    """
    if len(arguments) != 3 or arguments[2] < 1:
        raise ScheduleError(f"rampup-batch-size {list(arguments)}; expected START INCREMENT SAMPLES, each above 0")
    start, increment, samples = arguments
    if increment < 1 or global_batch_size <= start or (global_batch_size - start) % increment:
        raise ScheduleError(
            f"rampup-batch-size {start} {increment}; expected increments that reach {global_batch_size}"
        )
    per_increment = samples / ((global_batch_size - start) // increment)  # a float, as in Megatron
    entries = [(0, start)]
    for k in range(1, (global_batch_size - start) // increment + 1):
        first = next(n for n in range(max(0, int(k * per_increment) - 1), samples + 2) if int(n / per_increment) >= k)
        entries.append((first * sequence_length, start + k * increment))
    return BatchSizeRamp(tuple(entries))


def from_step_batch_size_schedule(text: str, *, sequence_length: int) -> BatchSizeRamp:
    """The ramp of Megatron's "0:768 250B:1536", whose thresholds it rounds down to whole samples.

    >>> from_step_batch_size_schedule("0:768 250B:1536", sequence_length=4096).entries[1]
    (249999998976, 1536)
    """
    entries = []
    for entry in text.replace(",", " ").split():
        threshold, _, size = entry.partition(":")
        entries.append((_count(threshold, entry) // sequence_length * sequence_length, _count(size, entry)))
    return BatchSizeRamp(tuple(sorted(entries)))


def _on_samples(ramp: BatchSizeRamp, sequence_length: int) -> BatchSizeRamp:
    """The same sizes at the same samples: a size begins with the first whole sample at or past its token."""
    rounded = ((-(-tokens // sequence_length) * sequence_length, size) for tokens, size in ramp.entries)
    return BatchSizeRamp(tuple(rounded))


def _suffixed(count: int) -> str:
    for suffix, size in reversed(_SUFFIXES.items()):
        if count and count % size == 0:
            return f"{count // size}{suffix}"
    return str(count)


def _count(text: str, entry: str) -> int:
    size = _SUFFIXES.get(text[-1:].upper(), 1)
    try:
        return int(Decimal(text[:-1] if size > 1 else text) * size)
    except (InvalidOperation, ValueError, OverflowError):
        raise ScheduleError(f"step-batch-size-schedule entry {entry!r}; expected one like 250B:1536") from None
