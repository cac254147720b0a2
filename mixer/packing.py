"""Conversations packed whole into windows, by a plan that depends on nothing but lengths and masks.

    conversations of 6, 4, 3 and 9 tokens, window 8        positions: 5, 3, 2 and 8 (labels are shifted by one)

    row 0   | 3 3 3 3 3 3 3 3 |
    row 1   | 0 0 0 0 0 1 1 1 |
    row 2   | 2 2 . . . . . . |                            fill 18/24

Best fit, longest first: each piece goes to the fullest window that still has room for it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from .apportion import Ints
from .errors import DataError
from .flat_tokens import FlatTokens, concatenated_ranges

Overlong = Literal["split", "drop", "truncate"]


@dataclass(frozen=True, eq=False)
class Pieces:
    """FlatTokens of conversations that fit a window, one entry each; ``length`` positions span one token more."""

    document: Ints
    start: Ints  # first token, counted from the conversation's own first
    length: Ints  # positions

    def __getitem__(self, which: npt.NDArray[np.generic]) -> "Pieces":
        return Pieces(self.document[which], self.start[which], self.length[which])


@dataclass(frozen=True, eq=False)
class Packing:
    """A plan: row r holds pieces offsets[r] to offsets[r + 1], in that order, and padding after them.

    >>> plan = Packing.plan([6, 4, 3, 9], window_tokens=8)
    >>> plan.num_rows, plan.fill, plan.pieces.document.tolist()
    (3, 0.75, [3, 0, 1, 2])
    """

    window_tokens: int
    offsets: Ints  # (rows + 1,)
    pieces: Pieces
    supervised: Ints  # (rows,) supervised positions
    num_overlong: int  # conversations longer than a window: split, dropped or truncated, as the policy says
    num_unsupervised: int  # pieces left out because no position in them is supervised, or there is none at all

    @classmethod
    def plan(
        cls,
        lengths: npt.ArrayLike,
        mask: FlatTokens | None = None,
        *,
        window_tokens: int,
        overlong: Overlong = "split",
        chosen: npt.NDArray[np.bool_] | None = None,
        together: bool = True,
    ) -> "Packing":
        """Pack the ``chosen`` of the conversations of ``lengths`` tokens (all of them unless told).

        ``mask``, one entry a token, is 1 where a token is to be predicted and 0 elsewhere; without one all are. Pieces
        share rows where they fit ``together``; else each has a row of its own, in order. Best fit takes 1 to 2 us
        a piece: minutes for 100 million documents.

        A conversation of L tokens takes L - 1 positions: its inputs are all tokens but the last, its labels all but the
        first. One of more than ``window_tokens`` positions is split (no label twice), dropped or truncated. A piece
        without a supervised label is left out, so every row has one. Raises DataError for another policy.
        """
        if overlong not in get_args(Overlong):
            raise DataError(f"overlong: {overlong!r}; expected one of {', '.join(get_args(Overlong))}")
        lengths = np.asarray(lengths, np.int64)
        chosen = np.ones(len(lengths), np.bool_) if chosen is None else chosen
        pieces = _cut(lengths, window_tokens, overlong)
        pieces = pieces[chosen[pieces.document]]
        labels = _supervised(pieces, np.cumsum(lengths) - lengths, mask)
        kept, labels = pieces[labels > 0], labels[labels > 0]
        order, offsets = _best_fit(kept.length, window_tokens) if together else _one_each(len(kept.length))
        return cls(
            window_tokens=window_tokens,
            offsets=offsets,
            pieces=kept[order],
            supervised=_row_sums(labels[order], offsets),
            num_overlong=int((lengths[chosen] - 1 > window_tokens).sum()),
            num_unsupervised=len(pieces.length) - len(kept.length),
        )

    @classmethod
    def joined(cls, plans: Sequence["Packing"]) -> "Packing":
        """The rows of several plans, one plan after the other.

        >>> plan = Packing.plan([6, 4], window_tokens=8)
        >>> Packing.joined([plan, plan]).offsets.tolist()
        [0, 2, 4]
        """
        pieces = [plan.pieces for plan in plans]
        counts = np.concatenate([np.diff(plan.offsets) for plan in plans])
        return cls(
            window_tokens=plans[0].window_tokens,
            offsets=np.concatenate([[0], np.cumsum(counts)]),
            pieces=Pieces(*(np.concatenate([getattr(p, f.name) for p in pieces]) for f in fields(Pieces))),
            supervised=np.concatenate([plan.supervised for plan in plans]),
            num_overlong=sum(plan.num_overlong for plan in plans),
            num_unsupervised=sum(plan.num_unsupervised for plan in plans),
        )

    @property
    def num_rows(self) -> int:
        """Windows made."""
        return len(self.offsets) - 1

    @property
    def filled(self) -> Ints:
        """Positions of each row that are not padding."""
        return _row_sums(self.pieces.length, self.offsets)

    @property
    def fill(self) -> float:
        """Share of all positions that are not padding; 0 of no rows."""
        return int(self.pieces.length.sum()) / max(1, self.num_rows * self.window_tokens)

    def pieces_of(self, rows: Ints) -> tuple[Pieces, Ints, Ints]:
        """Pieces of ``rows``, row after row; the number of each in its row, and the index of that row in ``rows``."""
        counts = self.offsets[rows + 1] - self.offsets[rows]
        number = concatenated_ranges(counts)
        pieces = self.pieces[np.repeat(self.offsets[rows], counts) + number]
        return pieces, number, np.repeat(np.arange(len(rows)), counts)

    def rows_of_document(self, document: int) -> Ints:
        """Rows that hold a piece of a conversation, in order."""
        pieces = np.flatnonzero(self.pieces.document == document)
        return np.unique(np.searchsorted(self.offsets, pieces, side="right") - 1)

    def fingerprint(self) -> str:
        """sha256 of the plan."""
        digest = hashlib.sha256(str(self.window_tokens).encode())
        for array in (self.offsets, self.pieces.document, self.pieces.start, self.pieces.length):
            digest.update(array.astype("<i8").tobytes())
        return digest.hexdigest()


def _cut(lengths: Ints, window: int, overlong: Overlong) -> Pieces:
    """Pieces of at most ``window`` positions, in order of conversation; neighbours share the token between them."""
    positions = np.maximum(lengths - 1, 0)
    if overlong == "truncate":
        positions = np.minimum(positions, window)
    elif overlong == "drop":
        positions = np.where(positions > window, 0, positions)
    count = np.maximum(-(-positions // window), 1)
    document = np.repeat(np.arange(len(lengths)), count)
    start = concatenated_ranges(count) * window
    return Pieces(document, start, np.minimum(positions[document] - start, window))


def _supervised(pieces: Pieces, first_tokens: Ints, mask: FlatTokens | None) -> Ints:
    """Supervised labels of each piece: those of its tokens after the first."""
    if mask is None:
        return pieces.length
    return mask.sums(first_tokens[pieces.document] + pieces.start + 1, pieces.length)


def _one_each(num_pieces: int) -> tuple[Ints, Ints]:
    return np.arange(num_pieces), np.arange(num_pieces + 1)


def _best_fit(lengths: Ints, window: int) -> tuple[Ints, Ints]:
    """Order in which pieces stand in the rows, and where each row begins in it."""
    rooms: list[list[int]] = [[] for _ in range(window + 1)]  # rows by positions left
    open_rooms = 0  # bit k is set where rooms[k] is not empty
    row_of = np.empty(len(lengths), np.int64)
    num_rows = 0
    longest_first = np.argsort(-lengths, kind="stable")
    for piece, length in zip(longest_first.tolist(), lengths[longest_first].tolist(), strict=True):
        fitting = open_rooms >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            row = rooms[room].pop()
            if not rooms[room]:
                open_rooms ^= 1 << room
        else:
            room, row = window, num_rows
            num_rows += 1
        row_of[piece] = row
        if room > length:
            rooms[room - length].append(row)
            open_rooms |= 1 << room - length
    order = longest_first[np.argsort(row_of[longest_first], kind="stable")]
    return order, np.searchsorted(row_of[order], np.arange(num_rows + 1))


def _row_sums(values: Ints, offsets: Ints) -> Ints:
    """Sum of each row's values."""
    sums: Ints = np.concatenate([[0], np.cumsum(values)])
    return sums[offsets[1:]] - sums[offsets[:-1]]
