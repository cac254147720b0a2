"""Skips worked out against the run: which draws they pass over, so that nothing else is repeated or left out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .apportion import Ints
from .cursors import Cursors, resolve
from .errors import DataError
from .generations import SourceHistory
from .omitted import Omitted
from .order import Order
from .spans import DocumentSkip, Skip, Span


def settled(
    order: Order,
    sources: Mapping[str, SourceHistory],
    spans: Sequence[Span],
    skips: Sequence[Skip],
    document_skips: Sequence[DocumentSkip],
) -> tuple[tuple[Skip, ...], Cursors]:
    """Skips in order of start, each with its draws, and the run's cursors with all of them.

    They are settled in order of start, documents before samples where both begin at once, so that one that is added
    later changes nothing of those before it.
    """
    names, done, barred = list(sources), list[Skip](), list[_Barred]()

    def cursors() -> Cursors:
        return _with_documents(order, names, spans, done, barred)

    for start in sorted({*(skip.start for skip in skips), *(skip.start for skip in document_skips)}):
        barred += _barred([skip for skip in document_skips if skip.start == start], names, cursors)
        for skip in (skip for skip in skips if skip.start == start):
            done.append(resolve(skip, names, cursors))
    return tuple(done), cursors()


@dataclass(frozen=True, eq=False)
class _Barred:
    """Rows of a source that no draw from ``first_draw`` on may read, its next one at ``start_sample``."""

    source: int
    rows: Ints
    start_sample: int
    first_draw: int


def _barred(skips: Sequence[DocumentSkip], names: Sequence[str], cursors: Callable[[], Cursors]) -> list[_Barred]:
    """Skips of documents that begin together: none of them moves where the others begin."""
    if not skips:
        return []
    before = cursors()
    stand = before.counts(min(skips[0].start, before.num_samples)).tolist()
    numbers = {name: k for k, name in enumerate(names)}
    each = [(skip, numbers[skip.source]) for skip in skips]
    return [_Barred(k, np.array(skip.rows, np.int64), skip.start, stand[k]) for skip, k in each]


def _with_documents(
    order: Order, names: Sequence[str], spans: Sequence[Span], skips: Sequence[Skip], barred: Sequence[_Barred]
) -> Cursors:
    """Cursors that leave out the draws of ``barred`` rows, looked up as far as the run goes and no further."""
    reach = {one.source: 0 for one in barred}
    while True:
        cursors = Cursors.of(names, spans, skips, _stages(order, barred, reach))
        ends = cursors.counts(cursors.num_samples).tolist()
        short = [k for k, upto in reach.items() if ends[k] > upto]
        if not short:
            return cursors
        reach.update({k: 2 * ends[k] - reach[k] for k in short})


def _stages(order: Order, barred: Sequence[_Barred], reach: Mapping[int, int]) -> list[tuple[int, Omitted]]:
    """From which sample on which draws are left out."""
    starts = sorted({one.start_sample for one in barred})
    return [(start, _omitted(order, [one for one in barred if one.start_sample <= start], reach)) for start in starts]


def _omitted(order: Order, barred: Sequence[_Barred], reach: Mapping[int, int]) -> Omitted:
    return Omitted(
        {
            k: np.unique(
                np.concatenate([order.draws(k, one.rows, one.first_draw, upto) for one in barred if one.source == k])
            )
            for k, upto in reach.items()
            if any(one.source == k for one in barred)
        }
    )


def check_skips(skips: Sequence[Skip], num_samples: int) -> None:
    """Raise DataError for a skip that is empty or not inside the run."""
    for k, skip in enumerate(skips):
        if not 0 <= skip.start < skip.end <= num_samples:
            got = f"samples {skip.start:,} to {skip.end:,}"
            raise DataError(f"skips[{k}]: {got}; expected start before end, inside the run's {num_samples:,} samples")


def check_document_skips(skips: Sequence[DocumentSkip], sources: Mapping[str, SourceHistory]) -> None:
    """Raise DataError for an unknown source, a start before the run, and where no row of a source is left to read."""
    for k, skip in enumerate(skips):
        if skip.source not in sources:
            known = ", ".join(sources)
            raise DataError(f"document_skips[{k}]: source {skip.source!r} is unknown; sources are {known}")
        if skip.start < 0:
            raise DataError(f"document_skips[{k}].start: {skip.start}; expected 0 or more")
    for name in {skip.source for skip in skips}:
        last = sources[name].generations[-1]
        barred = {row for skip in skips if skip.source == name for row in skip.rows}
        if sum(last.first_row <= row < last.end_row for row in barred) >= last.num_rows:
            raise DataError(f"document_skips: all {last.num_rows:,} rows of source {name} are skipped; leave it out")
