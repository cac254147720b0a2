"""What is held out for validation: runs of whole documents, and the training windows that stay clear of them.

    tokens     0        S        2S       3S       4S       5S       6S       7S
    held out                        [== run ==)
    rows       |   0    | guard  | touches  touches | guard  |   1    |   2    |

Row r covers tokens r*S to r*S + S, the last as a label only, so a row may touch a run by its label alone.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from .apportion import Ints
from .errors import DataError
from .token_store import TokenStore

Run = tuple[int, int]


@dataclass(frozen=True)
class Holdout:
    """Held-out runs as (first token, end token), in order and apart: all that later generations need to know.

    >>> Holdout(((30, 40),)).training_rows(num_tokens=81, window_tokens=10).starts([0, 1, 2, 3]).tolist()
    [0, 50, 60, 70]
    """

    runs: tuple[Run, ...] = ()

    @classmethod
    def choose(cls, tokens: TokenStore, *, share: float, num_runs: int = 1, window_tokens: int) -> "Holdout":
        """Whole documents for at least ``share`` of the tokens: the end of each of ``num_runs`` equal stretches.

        One run suits data that was shuffled when written, more runs data that was not. Each run holds at least one
        window; a share too small for that many gets fewer runs. Raises DataError unless 0 <= share <= 0.5, and where
        documents are so long that nothing would be left to train on.
        """
        if not (0 <= share <= 0.5 and num_runs >= 1):
            got = f"holdout of {share} in {num_runs} runs"
            raise DataError(f"{tokens.prefix}: {got}; expected a share from 0 to 0.5 in 1 or more runs")
        if share == 0:
            return cls()
        held, row_tokens = int(share * tokens.num_tokens), window_tokens + 1
        num_runs = max(1, min(num_runs, held // row_tokens))
        run_tokens = max(held // num_runs, row_tokens)
        ends = [(k + 1) * tokens.num_tokens // num_runs for k in range(num_runs)]
        runs = _merge([_run_before(tokens, end, run_tokens) for end in ends])
        if runs == [(0, tokens.num_tokens)]:
            got = f"holding out {held:,} tokens takes all {tokens.num_documents:,} documents"
            raise DataError(f"{tokens.prefix}: {got}; give it more of them or a holdout of 0")
        return cls(tuple(runs))

    def training_rows(self, *, num_tokens: int, window_tokens: int, spare_rows: int = 0) -> "RowIntervals":
        """Rows of ``window_tokens`` that neither touch a run nor stand next to a row that does.

        The last ``spare_rows`` of each stretch are given up: with one, rows may be moved by up to a window's tokens.
        More tokens add rows after those there are, and change none of them.
        """
        end_row = max(0, (num_tokens - 1) // window_tokens)
        barred = [(-(-first // window_tokens) - 2, -(-end // window_tokens) + 1) for first, end in self.runs]
        edges = [0, *(edge for pair in barred for edge in pair), end_row]
        kept = [(max(a, 0), min(b, end_row)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
        sizes = [(a * window_tokens, b - a - spare_rows) for a, b in kept]
        return RowIntervals.of([(first, rows) for first, rows in sizes if rows > 0], window_tokens)

    def validation_rows(self, *, window_tokens: int) -> "RowIntervals":
        """Windows cut inside each run, from its first token."""
        sizes = [(first, (end - first - 1) // window_tokens) for first, end in self.runs]
        return RowIntervals.of([(first, rows) for first, rows in sizes if rows > 0], window_tokens)

    def holds(self, positions: Ints) -> npt.NDArray[np.bool_]:
        """Whether each token position is held out."""
        edges = np.array([edge for run in self.runs for edge in run], np.int64)
        return np.asarray(np.searchsorted(edges, positions, side="right") % 2 == 1)


@dataclass(frozen=True, eq=False)
class RowIntervals:
    """Rows numbered through a few stretches of adjacent windows; row to first token in O(log stretches)."""

    first_rows: Ints  # (stretches + 1,) first row of each stretch, and at last the number of rows
    first_tokens: Ints  # (stretches,)
    window_tokens: int

    @classmethod
    def of(cls, stretches: list[tuple[int, int]], window_tokens: int) -> "RowIntervals":
        """From (first token, rows) of each stretch."""
        first_rows = np.cumsum([0, *(rows for _, rows in stretches)])
        return cls(first_rows, np.array([token for token, _ in stretches], np.int64), window_tokens)

    @property
    def num_rows(self) -> int:
        """Rows in all stretches."""
        return int(self.first_rows[-1])

    def starts(self, rows: Ints) -> Ints:
        """First token of each row's window."""
        rows = np.asarray(rows, np.int64)
        return self._shifts[self.first_rows.searchsorted(rows, side="right") - 1] + rows * self.window_tokens

    @cached_property
    def _shifts(self) -> Ints:
        """(stretches,) What each adds to a row's number times its tokens."""
        return self.first_tokens - self.first_rows[:-1] * self.window_tokens

    def rows_before(self, position: int) -> int:
        """Rows that begin before a token.

        >>> rows = RowIntervals.of([(0, 2), (50, 3)], window_tokens=10)
        >>> [rows.rows_before(position) for position in (0, 1, 10, 50, 51, 999)]
        [0, 1, 1, 2, 3, 5]
        """
        stretch = int(np.searchsorted(self.first_tokens, position, side="left")) - 1
        if stretch < 0:
            return 0
        begun = -(-(position - int(self.first_tokens[stretch])) // self.window_tokens)
        return min(int(self.first_rows[stretch]) + begun, int(self.first_rows[stretch + 1]))


def _run_before(tokens: TokenStore, position: int, run_tokens: int) -> Run:
    """Whole documents of at least ``run_tokens`` that end with the one before or at ``position``."""
    last = tokens.document_of_token(np.array([position - 1]))
    end = int(tokens.document_starts(last + 1)[0])
    first = tokens.document_of_token(np.array([max(0, end - run_tokens)]))
    return int(tokens.document_starts(first)[0]), end


def _merge(runs: list[Run]) -> list[Run]:
    """Runs in order, those that overlap or touch as one."""
    merged: list[Run] = []
    for first, end in runs:
        if merged and first <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((first, end))
    return merged
