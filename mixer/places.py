"""Where the samples of a run are read, found many at once: a call costs little more for 1,000 samples than for one."""

import numpy as np

from .apportion import Ints
from .mixture import Located, Mixture
from .steps import Step

LOCATED_AT_ONCE = 4096  # samples


class Places:
    """The places of samples near those asked for last.

    >>> from mixer.history import History
    >>> from mixer.generations import Generation, SourceHistory
    >>> from mixer.spans import Span
    >>> sources = {"web": SourceHistory([Generation(0, 50)]), "code": SourceHistory([Generation(0, 20)])}
    >>> history = History(seed=1, sequence_length=8, sources=sources, spans=[Span(0, 100, {"web": 3, "code": 1})])
    >>> places = Places(Mixture(history))
    >>> places.bins(Step(0, 64, 8))[:2]
    ([(0, 0), (0, 1), (1, 0)], [2, 4, 2])
    """

    def __init__(self, mixture: Mixture) -> None:
        self._mixture = mixture
        self._first = self._end = 0

    @property
    def num_samples(self) -> int:
        """Samples of the run."""
        return self._mixture.num_samples

    def of(self, first: int, end: int) -> Located:
        """Places of samples [first, end). Raises DataError outside the run."""
        self._reach(first, end)
        return self._located[first - self._first : end - self._first]

    def bins(self, step: Step) -> tuple[list[tuple[int, int]], list[int], Ints]:
        """(source, epoch) of a step in order, its samples in each, and each sample's index into the first."""
        self._reach(step.first_sample, step.end)
        pair = self._pair[step.first_sample - self._first : step.end - self._first]
        count = np.bincount(pair)
        occur = count.nonzero()[0]
        return [self._pairs[k] for k in occur.tolist()], count[occur].tolist(), occur.searchsorted(pair)

    def _reach(self, first: int, end: int) -> None:
        if self._first <= first and end <= self._end:
            return
        far = max(end, min(first + LOCATED_AT_ONCE, self.num_samples))
        self._located = self._mixture.locate(np.arange(first, far))
        self._first, self._end = first, far
        epochs = int(self._located.epoch.max(initial=0)) + 1
        pairs, self._pair = np.unique(self._located.source * epochs + self._located.epoch, return_inverse=True)
        self._pairs = [divmod(pair, epochs) for pair in pairs.tolist()]
