"""What sample n reads: source, draw, generation, epoch and row, for any samples in any order and without state.

mixture = Mixture(history)
mixture.locate(np.array([0, 1, 10**9]))     # the same answer whenever, and on whatever machine, it is asked
mixture.counts(10**9)                       # {"web": 700000000, ...}: draws before that sample
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from .apportion import Ints
from .cursors import Cursors
from .history import History


@dataclass(frozen=True, eq=False)
class Located:
    """Where samples are read, one entry a sample.

    ``source`` indexes ``Mixture.names``; ``draw`` numbers what a source gives over the whole run, ``epoch`` its passes
    over the rows of a ``generation``, and ``row`` those rows; ``offset`` is by how many tokens a row's window is moved.
    """

    source: Ints
    draw: Ints
    generation: Ints
    epoch: Ints
    row: Ints
    offset: Ints

    def __getitem__(self, which: npt.NDArray[np.generic] | slice) -> "Located":
        columns = self.source, self.draw, self.generation, self.epoch, self.row, self.offset
        return Located(*[column[which] for column in columns])

    def __len__(self) -> int:
        return len(self.source)


@dataclass(frozen=True, eq=False)
class Mixture:
    """A history made ready for questions.

    >>> from mixer.generations import Generation, SourceHistory
    >>> from mixer.spans import Span
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
        """Source, draw, generation, epoch, row and offset of each sample. Raises DataError outside the run."""
        source, draw = self.cursors.locate(samples)
        return self.rows(source, draw)

    def rows(self, source: Ints, draw: Ints) -> Located:
        """Generation, epoch, row and offset of draws that need not belong to any sample."""
        generation, epoch, row, offset = self.history.order.read(source, draw)
        return Located(source=source, draw=draw, generation=generation, epoch=epoch, row=row, offset=offset)

    def counts(self, sample: int) -> dict[str, int]:
        """Draws of each source before ``sample``; its cursor there. Draws that a skip passed over are among them."""
        return dict(zip(self.names, self.cursors.counts(sample).tolist(), strict=True))

    def reads(self, sample: int) -> dict[str, int]:
        """Samples of each source before ``sample``: its draws without those that skips passed over."""
        return dict(zip(self.names, self.cursors.reads(sample).tolist(), strict=True))

    def bounds(self, sample: int | None = None) -> dict[str, float]:
        """For each source, by how many samples its reads may differ from the integral of the share asked for.

        It holds at every sample up to ``sample``, the run's end unless told, and is the sum over what begins before
        it: at most 1.68 for each span of constant weights, 3.87 for each ramp, and once more for a ramp that an edit
        or a cap changed on its way. Over a window of samples [a, b) it is the sum of both ends' bounds.

        >>> from mixer.generations import Generation, SourceHistory
        >>> from mixer.spans import Span
        >>> sources = {"web": SourceHistory([Generation(0, 50)]), "code": SourceHistory([Generation(0, 20)])}
        >>> run = History(seed=1, sequence_length=8, sources=sources, spans=[Span(0, 100, {"web": 3, "code": 1})])
        >>> {name: round(bound, 3) for name, bound in Mixture(run).bounds().items()}
        {'web': 0.5, 'code': 0.5}
        """
        bounds = self.cursors.bounds(self.num_samples if sample is None else sample)
        return dict(zip(self.names, bounds.tolist(), strict=True))

    def exhausted_at(self, name: str, draws: int) -> int | None:
        """First sample that reads past the first ``draws`` draws of a source; None if the run never does."""
        return self.cursors.first_sample_from(self.names.index(name), draws)

    def read_by(self, name: str) -> int:
        """First sample before which all is read that the run reads of a source; 0 if it reads nothing."""
        return self.cursors.read_by(self.names.index(name))

    def samples_of(self, name: str, rows: Ints) -> tuple[Ints, Located]:
        """Every sample of the run that reads any of these rows of a source, in order, and where it stands.

        It comes from the inverse of the shuffle and of the apportionment, in O(rows x epochs): nothing is scanned.

        >>> from mixer.generations import Generation, SourceHistory
        >>> from mixer.spans import Span
        >>> sources = {"web": SourceHistory([Generation(0, 50)])}
        >>> mixture = Mixture(History(seed=1, sequence_length=8, sources=sources, spans=[Span(0, 120, {"web": 1})]))
        >>> samples, located = mixture.samples_of("web", mixture.locate(np.array([7])).row)
        >>> samples[0].tolist(), located.epoch.tolist()[:2]
        (7, [0, 1])
        """
        k = self.names.index(name)
        draws = self.history.order.draws(k, rows, 0, self.counts(self.num_samples)[name])
        pairs = [(sample, draw) for draw in draws.tolist() if (sample := self.cursors.sample_at(k, draw)) is not None]
        samples, read = np.array(pairs, np.int64).reshape(-1, 2).T
        return samples, self.rows(np.full_like(read, k), read)
