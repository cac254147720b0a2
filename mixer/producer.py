"""What a loader's background thread does: find the samples of steps, read this rank's, and hand them over in order."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from queue import SimpleQueue

import numpy as np

from .apportion import Ints
from .batch import GlobalBatch, ReadRows
from .mixture import Mixture
from .places import LOCATED_AT_ONCE, Bins, Places
from .reading import Reader
from .steps import Step, rank_samples


@dataclass(frozen=True, eq=False)
class Producer:
    """What the background thread runs. It knows nothing of its Loader, so that one that is dropped does not live on."""

    mixture: Mixture
    reader: Reader
    micro_batch_size: int
    rank: int
    num_ranks: int
    results: SimpleQueue[list[GlobalBatch] | BaseException | None] = field(default_factory=SimpleQueue)
    room: SimpleQueue[bool] = field(default_factory=SimpleQueue)  # an item for each list of batches to read ahead
    stopped: threading.Event = field(default_factory=threading.Event)

    def stop(self) -> None:
        """End the thread once it has read what it is at. Waits for nothing: the collector may call it anywhere."""
        self.stopped.set()
        self.room.put(False)

    def run(self, steps: Iterator[Step]) -> None:
        """Hand over all steps, and at last None or the error that ended them, for the training loop to raise."""
        try:
            for _ in map(self.results.put, self._batches(steps)):
                pass  # and no name here holds a batch while the next is read
            self.results.put(None)
        except BaseException as error:  # whatever it is, the training loop must see it
            self.results.put(error)
        finally:
            self.reader.close()

    def _batches(self, steps: Iterator[Step]) -> Iterator[list[GlobalBatch]]:
        """The steps in order: one, or several that are little work each."""
        for near in self._near(steps):
            places = Places.of(self.mixture, near)
            samples = [self._mine(step) + (step.first_sample - near[0].first_sample) for step in near]
            begin = 0
            while begin < len(near):
                if not self.room.get() or self.stopped.is_set():
                    return
                end = begin + max(1, self.reader.rows_at_once // max(1, samples[begin].size))
                batches = self._readable(near[begin:end], samples[begin:end], places.bins[begin:end], places)
                begin += len(batches)
                yield batches
                del batches

    def _near(self, steps: Iterator[Step]) -> Iterator[list[Step]]:
        """Steps in lists that are located at once, each of which follows the one before."""
        near: list[Step] = []
        try:
            for step in steps:
                if near and not self._joins(step, near):
                    yield near
                    near = []
                near.append(step)
        except Exception:  # of the schedule: the steps before it are delivered first
            yield near
            raise
        if near:
            yield near

    def _joins(self, step: Step, near: list[Step]) -> bool:
        """Not where it would fail: the steps before it are delivered first."""
        readable = step.end <= self.mixture.num_samples and step.size % (self.micro_batch_size * self.num_ranks) == 0
        follows = step.first_sample == near[-1].end
        return readable and follows and step.end - near[0].first_sample <= LOCATED_AT_ONCE

    def _readable(self, steps: list[Step], samples: list[Ints], bins: list[Bins], places: Places) -> list[GlobalBatch]:
        """All the steps, or some from the first on where one can't be read: it fails when its turn comes, alone."""
        try:
            return self._assemble(steps, samples, bins, places)
        except Exception:
            if len(steps) == 1:
                raise
        half = len(steps) // 2
        return self._readable(steps[:half], samples[:half], bins[:half], places)

    def _assemble(self, steps: list[Step], samples: list[Ints], bins: list[Bins], places: Places) -> list[GlobalBatch]:
        reads = list(self._read(np.concatenate(samples), places))
        ends = accumulate(len(own) for own in samples)
        return [
            GlobalBatch(step.number, step.first_sample, step.size, *of_step, reads, range(end - len(own), end))
            for step, own, of_step, end in zip(steps, samples, bins, ends, strict=True)
        ]

    def _read(self, samples: Ints, places: Places) -> Iterator[ReadRows]:
        """As many of the (micro-batches, size) samples at once as stay in the cache."""
        at_once = max(1, self.reader.rows_at_once // self.micro_batch_size)
        for first in range(0, len(samples), at_once):
            part = samples[first : first + at_once]
            located = places.located[part.ravel()]
            yield ReadRows(self.reader.read(located), located, places.bin_of[part])

    def _mine(self, step: Step) -> Ints:
        layout = {"micro_batch_size": self.micro_batch_size, "rank": self.rank, "num_ranks": self.num_ranks}
        return rank_samples(step.size, **layout)
