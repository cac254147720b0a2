"""The steps of a run, and the samples of each that one data-parallel rank reads."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .apportion import Ints
from .errors import DataError


class Steps(Protocol):
    """The steps of a run, as ``schedulers`` lays them out."""

    @property
    def num_steps(self) -> int:
        """Steps in the run."""

    def first_sample(self, step: int) -> int:
        """First sample of a step."""

    def batch_size(self, step: int) -> int:
        """Samples of a step."""


@dataclass(frozen=True)
class Step:
    """Samples [first_sample, first_sample + size) of all ranks. Raises DataError where these are none.

    >>> Step(3, 24, 8).end
    32
    """

    number: int
    first_sample: int
    size: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise DataError(f"step {self.number}: a global batch of {self.size} samples; expected at least 1")

    @property
    def end(self) -> int:
        """First sample of the step after it."""
        return self.first_sample + self.size


def steps_from(start_step: int, batch_sizes: Steps | Iterable[tuple[int, int]]) -> Iterator[Step]:
    """Steps from ``start_step`` on, of a schedule or of (first sample, size) for each of them.

    >>> list(steps_from(7, [(56, 8)]))
    [Step(number=7, first_sample=56, size=8)]
    """
    if isinstance(batch_sizes, Iterable):
        return (Step(number, *sizes) for number, sizes in enumerate(batch_sizes, start_step))
    numbers = range(start_step, batch_sizes.num_steps)
    return (Step(number, batch_sizes.first_sample(number), batch_sizes.batch_size(number)) for number in numbers)


def check_layout(*, micro_batch_size: int, rank: int, num_ranks: int) -> None:
    """Raise DataError unless the rank is one of them, and a micro-batch has a sample or more.

    >>> check_layout(micro_batch_size=2, rank=3, num_ranks=4)
    """
    if not (0 <= rank < num_ranks and micro_batch_size >= 1):
        got = f"rank {rank} of {num_ranks}, micro_batch_size {micro_batch_size}"
        raise DataError(f"layout of the loader: {got}; expected a rank from 0 to below the size, 1 or more samples")


def rank_samples(size: int, *, micro_batch_size: int, rank: int, num_ranks: int) -> Ints:
    """Samples of one rank, counted from the first of the global batch: (micro-batches, micro_batch_size).

    Raises DataError where micro-batches do not divide the global batch.

    >>> rank_samples(8, micro_batch_size=2, rank=1, num_ranks=2).tolist()
    [[2, 3], [6, 7]]
    """
    together = micro_batch_size * num_ranks
    if size % together:
        got = f"{micro_batch_size} a micro-batch on {num_ranks} ranks"
        raise DataError(f"global batch of {size} samples: {got} do not divide it; make it a multiple of {together}")
    return np.arange(size).reshape(-1, num_ranks, micro_batch_size)[:, rank]
