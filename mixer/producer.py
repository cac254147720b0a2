"""What a loader's background threads do: in turns find the samples of steps, and side by side read this rank's."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from queue import SimpleQueue

import numpy as np

from .apportion import Ints
from .batch import GlobalBatch, ReadRows
from .mixture import Mixture
from .places import LOCATED_AT_ONCE, Bins, Places
from .reading import Reader
from .steps import Step, rank_samples

Handed = list[GlobalBatch | BaseException | None]  # an error or None, for the end of the run, comes last


@dataclass(frozen=True, eq=False)
class Piece:
    """Steps that are read together: one, or several that are little work each."""

    steps: list[Step]
    samples: list[Ints]  # of this rank, each (micro-batches, size), counted from the first of ``places``
    bins: list[Bins]
    places: Places

    def first_half(self) -> "Piece":
        """At least one step."""
        return self._part(slice(0, -(-len(self.steps) // 2)))

    def second_half(self) -> "Piece":
        """What follows the first half."""
        return self._part(slice(-(-len(self.steps) // 2), None))

    def _part(self, which: slice) -> "Piece":
        return Piece(self.steps[which], self.samples[which], self.bins[which], self.places)


class Producer:
    """What the background threads run. It knows nothing of its Loader, so that one that is dropped does not live on.

    Piece k is handed over in ``results[k % len(results)]``, and begun when the one before it there has been taken: so
    threads may be done in any order, and the consumer still finds the pieces in theirs.
    """

    def __init__(
        self,
        mixture: Mixture,
        reader: Reader,
        steps: Iterator[Step],
        *,
        micro_batch_size: int,
        rank: int,
        num_ranks: int,
        pieces_ahead: int,
    ) -> None:
        self._mixture, self._reader = mixture, reader
        self._micro_batch_size, self._rank, self._num_ranks = micro_batch_size, rank, num_ranks
        self.results = [SimpleQueue[Handed]() for _ in range(pieces_ahead)]
        self.room = SimpleQueue[bool]()  # an item for each piece to read ahead
        self.stopped = threading.Event()
        self._turn, self._taken, self._running = threading.Lock(), 0, 0
        self._pieces = self._cut(steps)
        for _ in range(pieces_ahead):
            self.room.put(True)

    def start(self, num_threads: int) -> list[threading.Thread]:
        """Threads that read pieces until ``stop``, or until there is none left."""
        self._running = num_threads
        threads = [threading.Thread(target=self._run, name="mixer-loader", daemon=True) for _ in range(num_threads)]
        for thread in threads:
            thread.start()
        return threads

    def stop(self) -> None:
        """End the threads once they have read what they are at. Waits for nothing: the collector may call it."""
        self.stopped.set()
        for _ in self.results:
            self.room.put(False)

    def _run(self) -> None:
        while self.room.get() and not self.stopped.is_set():
            number, piece = self._take()
            self.results[number % len(self.results)].put(self._read(piece))  # no name here holds a batch meanwhile
            if not isinstance(piece, Piece):
                break
        with self._turn:
            self._running -= 1
        if not self._running:
            self._reader.close()

    def _take(self) -> tuple[int, Piece | BaseException | None]:
        """The next piece and its number; the error that ends the run, or None at its end, has a number too."""
        with self._turn:
            self._taken += 1
            try:
                return self._taken - 1, next(self._pieces, None)
            except BaseException as error:  # whatever it is, the training loop must see it
                return self._taken - 1, error

    def _read(self, piece: Piece | BaseException | None) -> Handed:
        """All the steps, or those before the first that can't be read, and the error.

        Of several, each is read again to find that one: what fails once and not again does not end the run.
        """
        if not isinstance(piece, Piece):
            return [piece]
        try:
            return list(self._assemble(piece))
        except BaseException as error:  # likewise
            if len(piece.steps) == 1:
                return [error]
        first = self._read(piece.first_half())
        return first + self._read(piece.second_half()) if isinstance(first[-1], GlobalBatch) else first

    def _assemble(self, piece: Piece) -> Iterator[GlobalBatch]:
        at_once = max(1, self._reader.rows_at_once // self._micro_batch_size)
        samples = np.concatenate(piece.samples)
        reads = [self._rows(samples[k : k + at_once], piece.places) for k in range(0, len(samples), at_once)]
        ends = accumulate(len(own) for own in piece.samples)
        for step, own, bins, end in zip(piece.steps, piece.samples, piece.bins, ends, strict=True):
            first = (end - len(own)) // at_once
            numbers = range(end - len(own) - first * at_once, end - first * at_once)
            own_reads = reads[first : -(-end // at_once)]  # a batch that is kept should not keep all that was read
            yield GlobalBatch(step.number, step.first_sample, step.size, *bins, own_reads, numbers)

    def _rows(self, samples: Ints, places: Places) -> ReadRows:
        located = places.located[samples.ravel()]
        return ReadRows(self._reader.read(located), located, places.bin_of[samples])

    def _cut(self, steps: Iterator[Step]) -> Iterator[Piece]:
        for near in self._near(steps):
            places = Places.of(self._mixture, near)
            samples = [self._mine(step) + (step.first_sample - near[0].first_sample) for step in near]
            ends = np.cumsum([own.size for own in samples])
            begin = 0
            while begin < len(near):
                before = ends[begin] - samples[begin].size
                end = max(begin + 1, int(ends.searchsorted(before + self._reader.rows_at_once, side="right")))
                yield Piece(near[begin:end], samples[begin:end], places.bins[begin:end], places)
                begin = end

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
            if near:
                yield near
            raise
        if near:
            yield near

    def _joins(self, step: Step, near: list[Step]) -> bool:
        """Not where it would fail: the steps before it are delivered first."""
        readable = step.end <= self._mixture.num_samples and step.size % (self._micro_batch_size * self._num_ranks) == 0
        follows = step.first_sample == near[-1].end
        return readable and follows and step.end - near[0].first_sample <= LOCATED_AT_ONCE

    def _mine(self, step: Step) -> Ints:
        layout = {"micro_batch_size": self._micro_batch_size, "rank": self._rank, "num_ranks": self._num_ranks}
        return rank_samples(step.size, **layout)
