"""Errors that a user of the schedulers can cause, each one line: where, got, expected, what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class ScheduleError(ValueError):
    """A segment, a schedule or a batch-size table that can't be used as given."""


def nearest(name: str, *, known: Iterable[str]) -> str:
    """The end of an error line about an unknown name: the nearest known one, or all of them.

    >>> nearest("cosin", known=["cosine", "linear"])
    "did you mean 'cosine'?"
    """
    names = sorted(known)
    close = get_close_matches(str(name), names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(names)}"
