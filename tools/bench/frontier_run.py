"""A run of frontier size on paper: 300 sources, 15T tokens in windows of 4,096, nothing to read."""

import numpy as np

from mixer.generations import Generation, SourceHistory
from mixer.history import History
from mixer.mixture import Mixture
from mixer.spans import Span

NUM_SOURCES = 300
WINDOW_TOKENS = 4096
NUM_SAMPLES = 15 * 10**12 // WINDOW_TOKENS
FIRST_BATCH_SAMPLES = 512
SOURCE_ROWS = 10**8

WEIGHTS: list[float] = np.geomspace(1, 1000, NUM_SOURCES).tolist()


def frontier_mixture(num_samples: int = NUM_SAMPLES) -> Mixture:
    """The run's mixture, or that of a longer run.

    >>> frontier_mixture().num_samples
    3662109375
    """
    names = [f"source-{k}" for k in range(NUM_SOURCES)]
    sources = {name: SourceHistory((Generation(0, SOURCE_ROWS),)) for name in names}
    spans = [Span(0, num_samples, dict(zip(names, WEIGHTS, strict=True)))]
    return Mixture(History(seed=1, sequence_length=WINDOW_TOKENS, sources=sources, spans=spans))
