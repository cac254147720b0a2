"""Text: windows of S + 1 tokens cut every S tokens from the documents laid end to end.

tokens        a7 a8 a9 b0 b1 b2 c0 c1        a window that begins in document a
labels        a8 a9 b0 b1 b2 c0 c1 c2
position_ids   0  1  2  3  4  5  6  7        attention `window`: one segment, the documents see each other
position_ids   0  1  2  0  1  2  0  1        attention `document`: positions begin again, and
segments       0  0  0  1  1  1  2  2        attention stays inside each document

The loss stays on every position, the one that predicts a document's first token included, as Megatron's
--reset-attention-mask leaves it without --eod-mask-loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal, get_args

import numpy as np

from .apportion import Ints
from .errors import DataError
from .flat_tokens import concatenated_ranges
from .generations import Window
from .holdout import RowIntervals
from .rows import Loss, StoredRows
from .token_store import TokenStore, documents_between
from .windows import Windows

Attention = Literal["window", "document"]


@dataclass(frozen=True, eq=False)
class WindowSource(StoredRows):
    """Rows of text. With ``epoch_offset`` one row of each stretch between held-out runs is given up, so that windows
    may be moved by 0 to S - 1 tokens and still touch nothing that is held out.
    """

    attention: Attention = "window"
    epoch_offset: bool = False

    loss: Loss = "all"
    row_supervised: Ints | None = None
    row_filled: Ints | None = None

    def __post_init__(self) -> None:
        if self.attention not in get_args(Attention):
            expected = " or ".join(get_args(Attention))
            raise DataError(f"source {self.name}: attention is {self.attention!r}; expected {expected}")
        super().__post_init__()

    @property
    def windows(self) -> Window:
        """They run on over the ends of documents."""
        return "concatenated"

    @property
    def plain(self) -> bool:
        """Only documents kept apart need more than tokens and labels."""
        return self.attention == "window"

    @cached_property
    def training(self) -> RowIntervals:
        """Where the training rows begin."""
        return self._training(self.tokens.num_tokens)

    @cached_property
    def validation(self) -> RowIntervals:
        """Where the held-out rows begin."""
        return self.holdout.validation_rows(window_tokens=self.sequence_length)

    @property
    def num_rows(self) -> int:
        """Training rows."""
        return self.training.num_rows

    @property
    def num_validation_rows(self) -> int:
        """Held-out rows."""
        return self.validation.num_rows

    @property
    def mean_loss_tokens(self) -> float:
        """Every position is supervised."""
        return float(self.sequence_length)

    def num_rows_of(self, num_tokens: int) -> int:
        """Training rows of the first ``num_tokens`` tokens; more tokens add rows after them."""
        return self._training(num_tokens).num_rows

    def fingerprint(self, num_tokens: int) -> str:
        """That of the tokens."""
        return self.tokens.fingerprint(num_tokens)

    def fill(
        self, rows: Ints, out: Windows, at: Ints, *, offsets: Ints | None = None, validation: bool = False
    ) -> None:
        """Write ``rows`` into rows ``at`` of ``out``."""
        starts = self.starts(rows, validation=validation)
        if offsets is not None and np.count_nonzero(offsets):
            starts = self._moved(starts, offsets, validation)
        out.put(at, self.tokens.flat.windows(starts, self.sequence_length + 1))
        if self.attention == "document":
            keep_apart(document_parts(self.tokens, starts, self.sequence_length), out, at)

    def documents(self, row: int, *, offset: int = 0, validation: bool = False) -> list[int]:
        """Numbers of the documents that a row is made of."""
        start = int(self.starts(np.array([row]), validation=validation)[0]) + offset
        return documents_between(self.tokens, start, start + self.sequence_length + 1)

    def rows_of_document(self, document: int) -> Ints:
        """Training rows that hold, at some offset, a token of a document, as an input or a label; in order."""
        first, end = self.tokens.document_starts(np.array([document, document + 1])).tolist()
        reach = self.sequence_length + (self.sequence_length - 1 if self.epoch_offset else 0)
        rows = self.training.rows_before(first - reach), self.training.rows_before(end)
        return np.arange(*rows) if first < end else np.arange(0)

    def starts(self, rows: Ints, *, validation: bool = False) -> Ints:
        """First token of each row."""
        return (self.validation if validation else self.training).starts(rows)

    def _training(self, num_tokens: int) -> RowIntervals:
        return self.holdout.training_rows(
            num_tokens=num_tokens, window_tokens=self.sequence_length, spare_rows=int(self.epoch_offset)
        )

    def _moved(self, starts: Ints, offsets: Ints, validation: bool) -> Ints:
        if not self.epoch_offset or validation or offsets.min() < 0 or offsets.max() >= self.sequence_length:
            got = f"offsets {offsets.min()} to {offsets.max()}"
            expected = f"0 to {self.sequence_length - 1} of training rows, with epoch_offset"
            raise DataError(f"source {self.name}: {got}; expected {expected}")
        return starts + offsets


def keep_apart(parts: Sequence[Sequence[int]], out: Windows, at: Ints) -> None:
    """Begin positions and segments again with each part but the first, of rows ``at``; ``document_parts`` says how.

    Part by part: arrays of a whole batch would be new memory each time, which takes three times as long.
    """
    places = np.arange(out.tokens.shape[1])
    for row, edges in zip(at.tolist(), parts, strict=True):
        for number, (first, end) in enumerate(pairwise(edges[1:]), 1):  # the first part stands there already
            out.position_ids[row, first:end] = places[: end - first]
            out.segments[row, first:end] = number


def document_parts(tokens: TokenStore, starts: Ints, lengths: Ints | int) -> list[list[int]]:
    """Of each window [start, start + length): where the parts of its documents begin in it, and at last its length.

    The first part begins at 0, wherever its document began.

    >>> from .indexed import IndexedTokens
    >>> sizes, offsets = np.array([10, 3], np.int32), np.array([0, 10])
    >>> tokens = IndexedTokens("web", np.zeros(13, np.uint8), sizes, offsets, np.arange(3))
    >>> document_parts(tokens, np.array([7, 0]), np.array([5, 2]))
    [[0, 3, 5], [0, 2]]
    """
    lengths = np.broadcast_to(lengths, starts.shape)
    apart, windows = int(lengths.max(initial=1)), np.arange(len(starts) + 1)
    first, last = tokens.document_of_token(np.concatenate([starts, starts + lengths - 1])).reshape(2, -1)
    window = np.repeat(windows[:-1], last - first)
    bounds = tokens.document_starts(np.repeat(first + 1, last - first) + concatenated_ranges(last - first))
    places = np.unique(np.concatenate([windows[:-1] * apart, window * apart + bounds - starts[window]]))
    own = pairwise(np.searchsorted(places, windows * apart).tolist())
    firsts = (places % apart).tolist()
    return [[*firsts[a:b], length] for (a, b), length in zip(own, lengths.tolist(), strict=True)]
