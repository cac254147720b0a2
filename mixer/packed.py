"""Documents kept to themselves: conversations packed into windows, and text whose windows end with its documents.

tokens        a0 a1 a2 b0 b1 b2 b3 pad        a and b are two conversations, each one token longer than shown
labels        a1 a2 a3 b1 b2 b3 b4 pad
loss_mask      0  1  1  0  0  1  1  0         of `assistant`: 1 where the label is the assistant's
position_ids   0  1  2  0  1  2  3  7
segments       0  0  0  1  1  1  1 -1

Windows `packed` are filled by best fit, longest first; for text that is arXiv 2404.10830. Windows `document` hold one
piece of one document each, cut every S tokens; its last window is padded.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from .apportion import Ints
from .errors import DataError
from .flat_tokens import FlatTokens
from .generations import Window
from .packing import Overlong, Packing, Pieces
from .rows import Loss, StoredRows
from .token_store import TokenStore
from .windows import PADDING, Windows


@dataclass(frozen=True, eq=False)
class PackedSource(StoredRows):
    """Rows of whole documents; ``mask`` (uint8, aligned) is 1 where the assistant speaks, None for text.

    ``extents`` are the tokens that the source had each time it was packed: what was added since is packed apart, so
    that rows keep their numbers. The last of them is what it has now.
    """

    mask: TokenStore | None
    pad: int
    loss: Loss = "all"
    overlong: Overlong = "split"
    windows: Window = "packed"
    extents: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.loss not in ("all", "assistant"):
            raise DataError(f"source {self.name}: loss is {self.loss!r}; expected all or assistant")
        if self.mask:
            _check_mask(self.mask, self.tokens)
        if not self.extents:
            object.__setattr__(self, "extents", (self.tokens.num_tokens,))
        super().__post_init__()

    @property
    def plain(self) -> bool:
        """Rows have padding."""
        return False

    @cached_property
    def plans(self) -> tuple[Packing, ...]:
        """Plan of the training rows of each extent."""
        edges = np.searchsorted(self._starts[:-1], [0, *self.extents])
        numbers = np.arange(self.tokens.num_documents)
        each = [(numbers >= first) & (numbers < end) for first, end in pairwise(edges.tolist())]
        return tuple(self._plan(~self._held_out & added) for added in each)

    @cached_property
    def training(self) -> Packing:
        """Plan of the training rows."""
        return Packing.joined(self.plans)

    @cached_property
    def validation(self) -> Packing:
        """Plan of the held-out rows."""
        return self._plan(self._held_out)

    @property
    def num_rows(self) -> int:
        """Training rows."""
        return self.training.num_rows

    @property
    def num_validation_rows(self) -> int:
        """Held-out rows."""
        return self.validation.num_rows

    @property
    def row_supervised(self) -> Ints:
        """Supervised positions of each training row."""
        return self.training.supervised

    @property
    def row_filled(self) -> Ints:
        """Positions of each training row that are not padding."""
        return self.training.filled

    @property
    def mean_loss_tokens(self) -> float:
        """Exact mean of supervised positions per training row."""
        return int(self.row_supervised.sum()) / self.num_rows

    def num_rows_of(self, num_tokens: int) -> int:
        """Training rows of the extents up to ``num_tokens``."""
        return sum(plan.num_rows for plan in self.plans[: self._extents_of(num_tokens)])

    def fingerprint(self, num_tokens: int) -> str:
        """That of tokens and mask, of the plans, and of what is written into the rows."""
        plans = self.plans[: self._extents_of(num_tokens)]
        parts = (
            self.tokens.fingerprint(num_tokens),
            self.mask.fingerprint(num_tokens) if self.mask else "",
            *(plan.fingerprint() for plan in plans),
            str(self.pad),
            self.loss,
        )
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()

    def fill(
        self, rows: Ints, out: Windows, at: Ints, *, offsets: Ints | None = None, validation: bool = False
    ) -> None:
        """Write ``rows`` into rows ``at`` of ``out``, padded with tokens that no loss counts."""
        plan = self.validation if validation else self.training
        out.tokens[at], out.labels[at], out.loss_mask[at], out.segments[at] = self.pad, self.pad, 0, PADDING
        pieces, segment, row = plan.pieces_of(rows)
        before = np.cumsum(pieces.length) - pieces.length
        column = before - before[segment == 0][row]
        self._write(pieces, out, zip(at[row].tolist(), column.tolist(), segment.tolist(), strict=True))

    def _write(self, pieces: Pieces, out: Windows, places: Iterable[tuple[int, int, int]]) -> None:
        """Write each piece to its (row, column, segment)."""
        firsts, positions = self._starts[pieces.document] + pieces.start, np.arange(self.sequence_length)
        tokens = self.tokens.flat.views(firsts, pieces.length + 1)
        mask: Iterable[Any] = self._supervised.views(firsts + 1, pieces.length) if self._supervised else repeat(1)
        for (row, column, segment), ids, supervised in zip(places, tokens, mask, strict=False):
            where = row, slice(column, column + len(ids) - 1)
            out.tokens[where], out.labels[where], out.loss_mask[where] = ids[:-1], ids[1:], supervised
            out.position_ids[where], out.segments[where] = positions[: len(ids) - 1], segment

    def documents(self, row: int, *, offset: int = 0, validation: bool = False) -> list[int]:
        """Numbers of the documents that a row is made of, in the order in which they stand there."""
        plan = self.validation if validation else self.training
        pieces, _, _ = plan.pieces_of(np.array([row]))
        return list(dict.fromkeys(pieces.document.tolist()))

    def rows_of_document(self, document: int) -> Ints:
        """Training rows that hold a piece of a document, in order."""
        return self.training.rows_of_document(document)

    @cached_property
    def _starts(self) -> Ints:
        return self.tokens.document_starts(np.arange(self.tokens.num_documents + 1))

    @cached_property
    def _held_out(self) -> npt.NDArray[np.bool_]:
        return self.holdout.holds(self._starts[:-1])

    @property
    def _supervised(self) -> FlatTokens | None:
        return self.mask.flat if self.mask and self.loss == "assistant" else None

    def _extents_of(self, num_tokens: int) -> int:
        if num_tokens not in self.extents:
            raise DataError(f"source {self.name}: was never packed at {num_tokens:,} tokens; open it with its history")
        return self.extents.index(num_tokens) + 1

    def _plan(self, chosen: npt.NDArray[np.bool_]) -> Packing:
        return Packing.plan(
            np.diff(self._starts),
            self._supervised,
            window_tokens=self.sequence_length,
            overlong=self.overlong,
            chosen=chosen,
            together=self.windows == "packed",
        )


def _check_mask(mask: TokenStore, tokens: TokenStore) -> None:
    dtypes = {array.dtype for array in mask.flat.arrays}
    if mask.num_tokens != tokens.num_tokens or dtypes != {np.dtype(np.uint8)}:
        got = f"{mask.num_tokens:,} entries of {', '.join(sorted(map(str, dtypes)))}"
        expected = f"one uint8 for each of {tokens.num_tokens:,} tokens"
        raise DataError(f"{mask.prefix}: {got}; expected {expected}; prepare the data again")
