"""Where the samples of steps are read, found many at once: a call costs little more for 1,000 samples than for one."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .apportion import Ints
from .mixture import Located, Mixture
from .steps import Step

LOCATED_AT_ONCE = 4096  # samples

Bins = tuple[list[tuple[int, int]], list[int]]  # (source, epoch) pairs that occur, in order, and the samples of each


@dataclass(frozen=True, eq=False)
class Places:
    """The places of all samples of steps that follow one another, and the (source, epoch) pairs of each step.

    >>> from mixer.history import History
    >>> from mixer.generations import Generation, SourceHistory
    >>> from mixer.spans import Span
    >>> sources = {"web": SourceHistory([Generation(0, 50)]), "code": SourceHistory([Generation(0, 20)])}
    >>> history = History(seed=1, sequence_length=8, sources=sources, spans=[Span(0, 100, {"web": 3, "code": 1})])
    >>> places = Places.of(Mixture(history), [Step(0, 64, 8), Step(1, 72, 4)])
    >>> places.bins[0], places.bin_of[8:].tolist()
    (([(0, 0), (0, 1), (1, 0)], [2, 4, 2]), [0, 1, 0, 0])
    """

    located: Located
    bin_of: Ints  # (samples,) index into the bins of a sample's step
    bins: list[Bins]  # of each step

    @classmethod
    def of(cls, mixture: Mixture, steps: Sequence[Step]) -> "Places":
        """Raises DataError outside the run."""
        located = mixture.locate(np.arange(steps[0].first_sample, steps[-1].end))
        epochs = int(located.epoch.max(initial=0)) + 1
        pairs, pair = np.unique(located.source * epochs + located.epoch, return_inverse=True)
        step = np.repeat(np.arange(len(steps)), [each.size for each in steps])
        bins, which, samples = np.unique(step * len(pairs) + pair, return_inverse=True, return_counts=True)
        edges = bins.searchsorted(np.arange(len(steps) + 1) * len(pairs))
        source_epochs = list(zip(*(part.tolist() for part in divmod(pairs[bins % len(pairs)], epochs)), strict=True))
        of_steps = [slice(*edge) for edge in pairwise(edges.tolist())]
        counts = samples.tolist()
        return cls(located, which - edges[step], [(source_epochs[k], counts[k]) for k in of_steps])
