"""Passes over a source's rows, and draws: one from the other, over all states that its data went through."""

from collections.abc import Iterator
from fractions import Fraction

from .generations import SourceHistory


def allowed_draws(source: SourceHistory, max_epochs: float) -> int:
    """Draws of a source in ``max_epochs`` passes over its rows, rounded down; new rows count from where they join.

    >>> from mixer.generations import Generation
    >>> allowed_draws(SourceHistory((Generation(0, 1000),)), 0.3)
    300
    """
    left = Fraction(repr(max_epochs))
    for first, end, weight in _parts(source):
        if end is None or (end - first) * weight >= left:
            return first + int(left / weight)
        left -= (end - first) * weight
    raise AssertionError("the last generation has no end")


def epochs_of(source: SourceHistory, draws: int) -> float:
    """Passes over a source's rows in its first ``draws``: the inverse of ``allowed_draws``.

    Rows that join an open epoch are read in what is left of it, so that epoch ends as one pass over all rows.

    >>> from mixer.generations import Generation
    >>> epochs_of(SourceHistory((Generation(0, 1000), Generation(2000, 4000))), 4000)
    2.5
    >>> bridged = SourceHistory((Generation(0, 10), Generation(4, 11, carries=6), Generation(15, 15)))
    >>> [epochs_of(bridged, draws) for draws in (4, 15, 30)]
    [0.4, 1.0, 2.0]
    """
    parts = _parts(source)
    return float(sum(weight * (min(draws, end or draws) - first) for first, end, weight in parts if first < draws))


def _parts(source: SourceHistory) -> Iterator[tuple[int, int | None, Fraction]]:
    """First and end draw of each generation, None where it goes on, and what one draw is of a pass."""
    ends = [*(generation.first_draw for generation in source.generations[1:]), None]
    weight = Fraction(0)
    for generation, end in zip(source.generations, ends, strict=True):
        open_part = generation.carries * weight if generation.carries else Fraction(1)
        weight = open_part / generation.num_rows
        yield generation.first_draw, end, weight
