"""Conversations as a source: best-fit packed into windows, each kept to itself.

tokens        a0 a1 a2 b0 b1 b2 b3 pad        a and b are two conversations, each one token longer than shown
labels        a1 a2 a3 b1 b2 b3 b4 pad
loss_mask      0  1  1  0  0  1  1  0         of `assistant`: 1 where the label is the assistant's
position_ids   0  1  2  0  1  2  3  7
segments       0  0  0  1  1  1  1 -1
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from .apportion import Ints
from .errors import DataError
from .history import Generation
from .holdout import Holdout
from .indexed import IndexedTokens
from .packing import Overlong, Packing, concatenated_ranges
from .rows import PADDING, Loss, Windows, check_rows


@dataclass(frozen=True, eq=False)
class PackedSource:
    """Conversations, one document each, packed whole; ``mask`` (uint8, aligned) is 1 where the assistant speaks."""

    name: str
    tokens: IndexedTokens
    mask: IndexedTokens
    sequence_length: int
    holdout: Holdout

    pad: int
    loss: Loss = "all"
    overlong: Overlong = "split"

    def __post_init__(self) -> None:
        if self.mask.num_tokens != self.tokens.num_tokens or self.mask.tokens.dtype != np.uint8:
            got = f"{self.mask.num_tokens:,} entries of {self.mask.tokens.dtype}"
            expected = f"one uint8 for each of {self.tokens.num_tokens:,} tokens"
            raise DataError(f"{self.mask.prefix}: {got}; expected {expected}; prepare the data again")
        if self.loss not in ("all", "assistant"):
            raise DataError(f"source {self.name}: loss is {self.loss!r}; expected all or assistant")
        check_rows(self.name, self.num_rows, self.tokens.num_tokens, self.sequence_length)

    @cached_property
    def training(self) -> Packing:
        """Plan of the training rows."""
        return self._plan(~self._held_out)

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

    def fill(self, rows: Ints, out: Windows, at: Ints, *, validation: bool = False) -> None:
        """Write ``rows`` into rows ``at`` of ``out``, padded with tokens that no loss counts."""
        plan = self.validation if validation else self.training
        out.tokens[at], out.labels[at], out.loss_mask[at], out.segments[at] = self.pad, self.pad, 0, PADDING
        pieces, segment, row = plan.pieces_of(rows)
        place = concatenated_ranges(pieces.length)
        column = concatenated_ranges(np.bincount(row, pieces.length, len(rows)).astype(np.int64))
        source = np.repeat(self._starts[pieces.document] + pieces.start, pieces.length) + place
        target = at[np.repeat(row, pieces.length)], column
        out.tokens[target] = self.tokens.tokens[source]
        out.labels[target] = self.tokens.tokens[source + 1]
        out.loss_mask[target] = self._supervised[source + 1]
        out.position_ids[target] = place
        out.segments[target] = np.repeat(segment, pieces.length)

    def documents(self, row: int, *, validation: bool = False) -> list[int]:
        """Numbers of the conversations that a row is made of."""
        plan = self.validation if validation else self.training
        pieces, _, _ = plan.pieces_of(np.array([row]))
        return [int(document) for document in pieces.document]

    def generation(self) -> Generation:
        """This state of the data, as a source's history begins with it."""
        return Generation(0, self.num_rows, self._fingerprint, self.holdout.runs, "packed")

    @cached_property
    def _fingerprint(self) -> str:
        parts = (
            self.tokens.fingerprint(),
            self.mask.fingerprint(),
            self.training.fingerprint(),
            str(self.pad),
            self.loss,
        )
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()

    @cached_property
    def _starts(self) -> Ints:
        return self.tokens.document_starts(np.arange(self.tokens.num_documents + 1))

    @cached_property
    def _held_out(self) -> npt.NDArray[np.bool_]:
        return self.holdout.holds(self._starts[:-1])

    @cached_property
    def _supervised(self) -> npt.NDArray[np.uint8]:
        everything = np.broadcast_to(np.uint8(1), self.tokens.tokens.shape)
        return self.mask.tokens if self.loss == "assistant" else everything

    def _plan(self, chosen: npt.NDArray[np.bool_]) -> Packing:
        lengths = np.diff(self._starts)
        return Packing.plan(
            lengths, self._supervised, window_tokens=self.sequence_length, overlong=self.overlong, chosen=chosen
        )
