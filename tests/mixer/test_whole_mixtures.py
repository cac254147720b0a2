"""Properties of a whole mixture, through its public face: rows once an epoch, and positions beyond 32 bits."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mixer.generations import Generation, Shuffle, SourceHistory
from mixer.history import History
from mixer.mixture import Mixture
from mixer.spans import Ramp, Skip, Span

ROWS = 10**12
LENGTH = 2**42


@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=5),
    weights=st.lists(st.integers(1, 9), min_size=5, max_size=5),
    shuffle=st.sampled_from(["each_epoch", "once", "off"]),
    ramp=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_each_row_is_read_once_in_each_epoch(
    sizes: list[int], weights: list[int], shuffle: Shuffle, ramp: bool
) -> None:
    names = [f"s{k}" for k in range(len(sizes))]
    start, end = (dict(zip(names, ends, strict=False)) for ends in (weights, weights[::-1]))
    spans = [Span(0, 150, start), Span(150, 400, end, ramp=Ramp(150, 400, start) if ramp else None)]
    sources = {name: SourceHistory((Generation(0, size),), shuffle) for name, size in zip(names, sizes, strict=True)}
    located = Mixture(History(seed=3, sequence_length=8, sources=sources, spans=spans)).locate(np.arange(400))
    for k, size in enumerate(sizes):
        mine = located[located.source == k]
        assert np.array_equal(mine.draw, np.arange(len(mine)))
        for epoch in range(len(mine) // size):
            assert np.array_equal(np.sort(mine.row[mine.epoch == epoch]), np.arange(size))
        assert len(np.unique(mine.row[mine.epoch == len(mine) // size])) == len(mine) % size


def huge(shape: str) -> Mixture:
    """2^42 samples: three sources of 10^12 rows and one of 1,000; constant weights, or a ramp over all of the run."""
    start, end = {"a": 0.5, "b": 0.3, "c": 0.2}, {"a": 0.1, "b": 0.2, "c": 0.6, "few": 0.1}
    ramp = None if shape == "constant" else Ramp(2**30, LENGTH, start, shape)  # type: ignore[arg-type]
    rows = {"a": ROWS, "b": ROWS, "c": ROWS, "few": 1000}
    return Mixture(
        History(
            seed=5,
            sequence_length=4096,
            sources={name: SourceHistory((Generation(0, size),)) for name, size in rows.items()},
            spans=[Span(0, 2**30, start), Span(2**30, LENGTH, end, ramp=ramp)],
            skips=[Skip(2**41 - 5, 2**41 + 5)],
        )
    )


MIXTURES = {shape: huge(shape) for shape in ("constant", "linear", "cosine")}


@given(
    shape=st.sampled_from(list(MIXTURES)),
    first=st.sampled_from([0, 2**30, 2**31, 2**32, 2**41, LENGTH - 40]).flatmap(
        lambda edge: st.integers(max(0, edge - 2**20), min(edge + 2**20, LENGTH - 40))
    ),
)
@settings(deadline=None, max_examples=100)
def test_positions_beyond_32_and_41_bits_are_exact(shape: str, first: int) -> None:
    """Draws go on from the counts one by one, no row is read twice in an epoch, and rows lead back to their samples."""
    mixture = MIXTURES[shape]
    located = mixture.locate(np.arange(first, first + 40))
    if not first < 2**41 - 5 < first + 40:  # there the skip passes draws over
        for k, (before, after) in enumerate(
            zip(mixture.counts(first).values(), mixture.counts(first + 40).values(), strict=True)
        ):
            assert located.draw[located.source == k].tolist() == list(range(before, after))
    rows = np.where(located.source == 3, 1000, ROWS)
    assert ((located.row >= 0) & (located.row < rows)).all()
    assert np.array_equal(located.epoch, located.draw // rows)
    for at in (0, 39):
        name = mixture.names[located.source[at]]
        if name != "few":
            samples, found = mixture.samples_of(name, located.row[at : at + 1])
            assert located.draw[at] in found.draw
            assert samples[found.draw == located.draw[at]].tolist() == [first + at]
