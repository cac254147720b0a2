"""What sample n reads: source, draw, generation, epoch and row, for any samples in any order and without state.

mixture = Mixture(history)
mixture.locate(np.array([0, 1, 10**9]))     # the same answer whenever, and on whatever machine, it is asked
mixture.counts(10**9)                       # {"web": 700000000, ...}: draws before that sample
"""

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import numpy.typing as npt

from .apportion import Ints
from .cursors import Cursors
from .history import History
from .shuffle import ROUNDS, key_of, permute

_LOW = 2**44 - 1


@dataclass(frozen=True, eq=False)
class Located:
    """Where samples are read, one entry a sample.

    ``source`` indexes ``Mixture.names``; ``draw`` numbers what a source gives over the whole run, ``epoch`` its passes
    over the rows of a ``generation``, and ``row`` those rows.
    """

    source: Ints
    draw: Ints
    generation: Ints
    epoch: Ints
    row: Ints

    def __getitem__(self, which: npt.NDArray[np.generic] | slice) -> "Located":
        return Located(**{field.name: getattr(self, field.name)[which] for field in fields(self)})

    def __len__(self) -> int:
        return len(self.source)


@dataclass(frozen=True, eq=False)
class Mixture:
    """A history made ready for questions.

    >>> from mixer.history import Generation, History, SourceHistory, Span
    >>> sources = {"web": SourceHistory([Generation(0, 50)]), "code": SourceHistory([Generation(0, 20)])}
    >>> spans = [Span(0, 100, {"web": 3, "code": 1})]
    >>> mixture = Mixture(History(seed=1, sequence_length=8, sources=sources, spans=spans))
    >>> mixture.locate(np.arange(4)).source.tolist(), mixture.counts(100)
    ([0, 1, 0, 0], {'web': 75, 'code': 25})
    """

    history: History

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the sources, in the history's order."""
        return tuple(self.history.sources)

    @cached_property
    def cursors(self) -> Cursors:
        """Draws of every source at every sample."""
        return self.history.cursors()

    @property
    def num_samples(self) -> int:
        """Length of the run."""
        return self.history.num_samples

    def locate(self, samples: Ints) -> Located:
        """Source, draw, generation, epoch and row of each sample. Raises DataError outside the run."""
        source, draw = self.cursors.locate(samples)
        return self.rows(source, draw)

    def rows(self, source: Ints, draw: Ints) -> Located:
        """Generation, epoch and row of draws that need not belong to any sample."""
        table = self._table
        entry = table.find(source, draw)
        num_rows = table.num_rows[entry]
        epoch, place = np.divmod(draw - table.first_draw[entry], num_rows)
        row = table.shuffled(self.history.seed, entry, epoch, place)
        return Located(source=source, draw=draw, generation=table.generation[entry], epoch=epoch, row=row)

    def counts(self, sample: int) -> dict[str, int]:
        """Draws of each source before ``sample``; its cursor there. Draws that a skip passed over are among them."""
        return dict(zip(self.names, self.cursors.counts(sample).tolist(), strict=True))

    @cached_property
    def _table(self) -> "_Generations":
        return _Generations.of(self.history)


@dataclass(frozen=True, eq=False)
class _Generations:
    """All generations of all sources as arrays, by source and then by first draw."""

    names: tuple[str, ...]  # (entries,)
    source: Ints  # (entries,) and so on
    generation: Ints
    first_draw: Ints
    num_rows: Ints
    reshuffled: npt.NDArray[np.bool_]  # anew each epoch
    in_order: npt.NDArray[np.bool_]  # not shuffled at all

    @classmethod
    def of(cls, history: History) -> "_Generations":
        entries = [
            (name, k, g, generation.first_draw, generation.num_rows, source.shuffle)
            for k, (name, source) in enumerate(history.sources.items())
            for g, generation in enumerate(source.generations)
        ]
        names, source, generation, first_draw, num_rows, shuffle = zip(*entries, strict=True)
        return cls(
            names=names,
            source=np.array(source, np.int64),
            generation=np.array(generation, np.int64),
            first_draw=np.array(first_draw, np.int64),
            num_rows=np.array(num_rows, np.int64),
            reshuffled=np.array(shuffle) == "each_epoch",
            in_order=np.array(shuffle) == "off",
        )

    def find(self, source: Ints, draw: Ints) -> Ints:
        """Entry of each draw: the last of its source that begins at or before it."""
        return np.searchsorted(_joined(self.source, self.first_draw), _joined(source, draw), side="right") - 1

    def shuffled(self, seed: int, entry: Ints, epoch: Ints, place: Ints) -> Ints:
        """Row read at each place of an epoch."""
        keyed = _joined(entry, np.where(self.reshuffled[entry], epoch, 0))
        _, first, which = np.unique(keyed, return_index=True, return_inverse=True)
        pairs = zip(entry[first].tolist(), (keyed[first] & _LOW).tolist(), strict=True)
        keys = [key_of(seed, self.names[e], generation=int(self.generation[e]), epoch=n) for e, n in pairs]
        rows = permute(place, self.num_rows[entry], np.array(keys, np.uint64).reshape(-1, ROUNDS)[which])
        return np.where(self.in_order[entry], place, rows)


def _joined(high: Ints, low: Ints) -> Ints:
    """Two numbers as one that sorts by the first and then the second; the second is below 2^44."""
    return (high << 44) | low
