"""How many samples a step takes, as a function of the tokens consumed before it, and which samples each step covers.

    ramp = BatchSizeRamp(((0, 256), (1_000_000, 512)))     # 512 from the first step at or past 1M tokens
    steps = Steps(ramp, sequence_length=4096, total_samples=10_000)
    steps.first_sample(7), steps.batch_size(7)

Nothing here iterates over steps: every answer costs a look-up in a table as long as the ramp.
"""

from bisect import bisect_right
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import NamedTuple

from .errors import ScheduleError


@dataclass(frozen=True)
class BatchSizeRamp:
    """Pairs (from_tokens, global_batch_size): a size holds from its token on, until the next pair's.

    Args:
        entries: The first from token 0, tokens strictly increasing, sizes in samples, at least 1.

    Raises:
        ScheduleError: No entries, or one that breaks these rules.

    >>> BatchSizeRamp(((0, 256), (1000, 512))).at(1000)
    512
    """

    entries: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if not self.entries or self.entries[0][0] != 0:
            raise ScheduleError(f"batch-size ramp {self.entries}; expected its first entry at token 0")
        for index, (tokens, size) in enumerate(self.entries):
            if type(tokens) is not int or type(size) is not int or size < 1:
                raise ScheduleError(f"batch-size ramp[{index}]=({tokens!r}, {size!r}); expected ints, the size above 0")
            if index and tokens <= self.entries[index - 1][0]:
                raise ScheduleError(
                    f"batch-size ramp[{index}] begins at {tokens} tokens; "
                    f"expected more than {self.entries[index - 1][0]}, where the entry before it begins"
                )

    def at(self, consumed_tokens: int) -> int:
        """Samples in the global batch of a step before which `consumed_tokens` were consumed, at least 0.

        >>> BatchSizeRamp(((0, 256), (1000, 512))).at(999)
        256
        """
        if consumed_tokens < 0:
            raise ScheduleError(f"batch size at {consumed_tokens} tokens; expected at least 0")
        return self.entries[bisect_right(self._from_tokens, consumed_tokens) - 1][1]

    @cached_property
    def _from_tokens(self) -> tuple[int, ...]:
        return tuple(tokens for tokens, _ in self.entries)


class Run(NamedTuple):
    """Steps of one size in a row: a line of the step table."""

    first_step: int
    first_sample: int
    batch_size: int
    num_steps: int


@dataclass(frozen=True)
class Steps:
    """The steps of a run of `total_samples` under a ramp; the last one is the last whole global batch.

    A step's size is the ramp's at the tokens consumed before it, so a step may reach past the token at which the
    next size begins, and that size starts with the step after it. Steps and samples count from 0.

    Args:
        ramp: The batch size by tokens.
        sequence_length: Tokens in a sample, at least 1.
        total_samples: Samples that the run may take, at least 0.

    Raises:
        ScheduleError: An argument, or later a step or a sample, out of its range.

    >>> steps = Steps(BatchSizeRamp(((0, 4), (60, 8))), sequence_length=10, total_samples=30)
    >>> [steps.first_sample(step) for step in range(steps.num_steps + 1)], steps.leftover_samples
    ([0, 4, 8, 16, 24], 6)
    """

    ramp: BatchSizeRamp
    _: KW_ONLY
    sequence_length: int
    total_samples: int

    def __post_init__(self) -> None:
        if self.sequence_length < 1:
            raise ScheduleError(f"sequence_length={self.sequence_length}; expected at least 1 token")
        if self.total_samples < 0:
            raise ScheduleError(f"total_samples={self.total_samples}; expected at least 0")

    @property
    def num_steps(self) -> int:
        """Whole global batches in the run."""
        last = self.runs[-1]
        return last.first_step + last.num_steps

    @property
    def leftover_samples(self) -> int:
        """Samples after the last whole global batch, which the run does not train on."""
        return self.total_samples - self.first_sample(self.num_steps)

    def first_sample(self, step: int) -> int:
        """The first sample of a step, 0 <= step <= num_steps; of `num_steps` itself, the samples trained on.

        >>> Steps(BatchSizeRamp(((0, 4),)), sequence_length=10, total_samples=30).first_sample(2)
        8
        """
        _check("step", step, limit=self.num_steps + 1)
        run = self._run_of_step(step)
        return run.first_sample + (step - run.first_step) * run.batch_size

    def batch_size(self, step: int) -> int:
        """Samples in a step's global batch, 0 <= step < num_steps.

        >>> Steps(BatchSizeRamp(((0, 4),)), sequence_length=10, total_samples=30).batch_size(6)
        4
        """
        _check("step", step, limit=self.num_steps)
        return self._run_of_step(step).batch_size

    def step_of_sample(self, sample: int) -> int:
        """The step that trains on a sample, which must not be one of those left over.

        >>> Steps(BatchSizeRamp(((0, 4),)), sequence_length=10, total_samples=30).step_of_sample(7)
        1
        """
        _check("sample", sample, limit=self.total_samples - self.leftover_samples)
        run = self.runs[bisect_right(self._first_samples, sample) - 1]
        return run.first_step + (sample - run.first_sample) // run.batch_size

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """The whole step table: a line for each size that has steps, in order; one line without steps in an empty run.

        >>> Steps(BatchSizeRamp(((0, 4), (60, 8))), sequence_length=10, total_samples=30).runs[1]
        Run(first_step=2, first_sample=8, batch_size=8, num_steps=2)
        """
        lines = self._lines()
        return tuple(line for line in lines if line.num_steps) or lines[:1]

    def _lines(self) -> tuple[Run, ...]:
        runs, step, sample = [], 0, 0
        next_from_tokens = (*(tokens for tokens, _ in self.ramp.entries[1:]), None)
        for (_, size), until_tokens in zip(self.ramp.entries, next_from_tokens, strict=True):
            fitting = (self.total_samples - sample) // size
            wanted = fitting if until_tokens is None else self._steps_until(until_tokens, sample=sample, size=size)
            runs.append(Run(step, sample, size, min(wanted, fitting)))
            step, sample = step + runs[-1].num_steps, sample + runs[-1].num_steps * size
            if fitting < wanted:
                break
        return tuple(runs)

    def _steps_until(self, tokens: int, *, sample: int, size: int) -> int:
        """Steps of one size, from a sample on, that begin before that token; none if it has been passed."""
        ahead = tokens - sample * self.sequence_length
        return max(0, -(-ahead // (size * self.sequence_length)))

    @cached_property
    def _first_steps(self) -> tuple[int, ...]:
        return tuple(run.first_step for run in self.runs)

    @cached_property
    def _first_samples(self) -> tuple[int, ...]:
        return tuple(run.first_sample for run in self.runs)

    def _run_of_step(self, step: int) -> Run:
        return self.runs[bisect_right(self._first_steps, step) - 1]


def _check(name: str, value: int, *, limit: int) -> None:
    if not 0 <= value < limit:
        raise ScheduleError(f"{name}={value}; expected 0 <= {name} < {limit}")
