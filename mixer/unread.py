"""A source of which part was read before, by whatever reader: how often each token was, and rows of the rest.

    tokens    0     10    20    30    40    50        read: [0, 10), [20, 35), [25, 35) a second time
    times     |  1  |  0  |1| 2 |   0       |
    unread          [=====)     [===========)         laid end to end and cut into rows: nothing is read again

Unread rows run on over the joints, as rows do over the ends of documents; with attention `document` a joint keeps what
meets there apart, as the end of a document does. To ask instead which rows of a whole source
are untouched would leave little: a window of several short documents seldom has all of them unread.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from .apportion import Ints
from .flat_tokens import split_at
from .generations import Generation
from .holdout import Holdout
from .rows import Loss
from .text import Attention, WindowSource, document_parts, keep_apart
from .token_store import TokenStore, documents_between
from .windows import Windows


@dataclass(frozen=True, eq=False)
class Joined:
    """FlatTokens of .bin laid end to end.

    >>> Joined.of(np.array([100, 50]), np.array([3, 4])).ranges(np.array([2]), np.array([6]))
    (array([102,  50]), array([103,  53]))
    """

    tokens: Ints  # (stretches,) first token of each in .bin
    starts: Ints  # (stretches + 1,) place of each among all, and at last the length of all

    @classmethod
    def of(cls, tokens: Ints, lengths: Ints) -> "Joined":
        """From each stretch's first token and length."""
        return cls(tokens, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))

    def ranges(self, firsts: Ints, ends: Ints) -> tuple[Ints, Ints]:
        """First and end token in .bin of every part of the places [first, end), in order; empty parts are left out."""
        stretch, begin, end = split_at(self.starts, firsts, ends)
        shift = self.tokens[stretch] - self.starts[stretch]
        return begin + shift, end + shift

    def places(self, first: int, end: int) -> tuple[Ints, Ints]:
        """First and end place of every part of the tokens [first, end) of .bin that is here.

        >>> [ends.tolist() for ends in Joined.of(np.array([50, 100]), np.array([4, 3])).places(52, 101)]
        [[2, 4], [4, 5]]
        """
        lengths = np.diff(self.starts)
        begin = np.clip(first - self.tokens, 0, lengths)
        stop = np.clip(end - self.tokens, 0, lengths)
        kept = begin < stop
        return (self.starts[:-1] + begin)[kept], (self.starts[:-1] + stop)[kept]


@dataclass(frozen=True, eq=False)
class Reads:
    """How often each token was an input of the model: ``times[i]`` on tokens [edges[i], edges[i + 1]).

    The token after a row's last is its label only; it is the next row's first input, and counted there.
    """

    edges: Ints  # (stretches + 1,) from 0 to the number of tokens
    times: Ints  # (stretches,)
    train: tuple[int, int]  # tokens that may be trained on; the others stay held out

    @classmethod
    def of(cls, ranges: tuple[Ints, Ints], train: tuple[int, int], num_tokens: int) -> "Reads":
        """From the first and end token of all that was read, in any order and as often as it was.

        >>> Reads.of((np.array([0, 20, 25]), np.array([10, 35, 35])), (0, 50), 50).times.tolist()
        [1, 0, 1, 2, 0]
        """
        edges = np.unique(np.concatenate([[0, num_tokens, *train], *ranges]))
        begun, ended = (np.bincount(np.searchsorted(edges, at), minlength=len(edges)) for at in ranges)
        return cls(edges, np.cumsum(begun - ended)[:-1], train)

    def unread(self) -> tuple[Ints, Ints]:
        """First and end token of the stretches to train on that were never read."""
        firsts, ends = self.edges[:-1], self.edges[1:]
        kept = (self.times == 0) & (firsts >= self.train[0]) & (ends <= self.train[1])
        return firsts[kept], ends[kept]

    def tokens_read(self, starts: Ints, *, window_tokens: int) -> Ints:
        """Tokens of each window that were read once or more: 0 if it is untouched, ``window_tokens`` if fully read."""
        return self._before(starts + window_tokens) - self._before(starts)

    def _before(self, positions: Ints) -> Ints:
        lengths = np.where(self.times > 0, np.diff(self.edges), 0)
        before = np.concatenate([[0], np.cumsum(lengths)])
        return np.asarray(np.interp(positions, self.edges, before), np.int64)  # slopes are 0 and 1: exact to 2^53


@dataclass(frozen=True, eq=False)
class UnreadSource:
    """Text of which a part was read before: rows 0 to U - 1 are what was never read, rows from U on the whole source.

    The unread stretches are laid end to end and cut into windows of S + 1 tokens every S; ``generations()`` begins with
    one epoch of those, so nothing is read again before all of it was read once. What the earlier reader did not train
    on stays held out.
    """

    name: str
    tokens: TokenStore
    sequence_length: int
    reads: Reads

    attention: Attention = "window"
    loss: Loss = "all"
    row_supervised: Ints | None = None
    row_filled: Ints | None = None

    @cached_property
    def whole(self) -> WindowSource:
        """All that may be trained on, read or not."""
        first, end = self.reads.train
        held_out = tuple((a, b) for a, b in ((0, first), (end, self.tokens.num_tokens)) if a < b)
        return WindowSource(self.name, self.tokens, self.sequence_length, Holdout(held_out), self.attention)

    @property
    def plain(self) -> bool:
        """Only documents kept apart need more than tokens and labels."""
        return self.whole.plain

    @property
    def holdout(self) -> Holdout:
        """What the earlier reader did not train on."""
        return self.whole.holdout

    @cached_property
    def left(self) -> Joined:
        """The unread stretches laid end to end."""
        firsts, ends = self.reads.unread()
        return Joined.of(firsts, ends - firsts)

    @property
    def num_unread_rows(self) -> int:
        """U: windows of the unread stretches; 0 where less than a window is unread."""
        return max(0, int(self.left.starts[-1]) - 1) // self.sequence_length

    @property
    def num_rows(self) -> int:
        """Training rows of both kinds."""
        return self.num_unread_rows + self.whole.num_rows

    @property
    def num_validation_rows(self) -> int:
        """Held-out rows."""
        return self.whole.num_validation_rows

    @property
    def mean_loss_tokens(self) -> float:
        """Every position is supervised."""
        return self.whole.mean_loss_tokens

    def generations(self) -> tuple[Generation, ...]:
        """One epoch of the unread rows, then the whole source for the rest of the run."""
        unread, whole = self.num_unread_rows, self.whole.generations()[-1]
        if not unread:
            return (whole,)
        first = replace(whole, num_rows=unread, fingerprint=self._fingerprint)
        return first, replace(whole, first_draw=unread, first_row=unread)

    def fill(
        self, rows: Ints, out: Windows, at: Ints, *, offsets: Ints | None = None, validation: bool = False
    ) -> None:
        """Write ``rows`` into rows ``at`` of ``out``."""
        unread = np.zeros(len(rows), np.bool_) if validation else rows < self.num_unread_rows
        if unread.any():
            firsts, ends = self.ranges(rows[unread])
            windows = self.tokens.flat.ranges(firsts, ends - firsts)
            out.put(at[unread], windows.reshape(-1, self.sequence_length + 1))
            if not self.plain:
                keep_apart(self._parts(firsts, ends), out, at[unread])
        if not unread.all():
            shift = 0 if validation else self.num_unread_rows
            self.whole.fill(rows[~unread] - shift, out, at[~unread], validation=validation)

    def documents(self, row: int, *, offset: int = 0, validation: bool = False) -> list[int]:
        """Numbers of the documents that a row is made of, in order."""
        if validation or row >= self.num_unread_rows:
            return self.whole.documents(row if validation else row - self.num_unread_rows, validation=validation)
        pairs = zip(*(edge.tolist() for edge in self.ranges(np.array([row]))), strict=True)
        return sorted({document for first, end in pairs for document in documents_between(self.tokens, first, end)})

    def rows_of_document(self, document: int) -> Ints:
        """Training rows that hold a token of a document, as an input or a label; in order."""
        first, end = self.tokens.document_starts(np.array([document, document + 1])).tolist()
        firsts, ends = self.left.places(first, end)
        spans = zip(*((edge // self.sequence_length).tolist() for edge in (firsts - 1, ends - 1)), strict=True)
        rows = {row for a, b in spans for row in range(max(0, a), min(b + 1, self.num_unread_rows))}
        return np.concatenate(
            [np.array(sorted(rows), np.int64), self.num_unread_rows + self.whole.rows_of_document(document)]
        )

    def ranges(self, rows: Ints) -> tuple[Ints, Ints]:
        """First and end token of every part of the unread rows, labels included, in order."""
        firsts = np.asarray(rows, np.int64) * self.sequence_length
        return self.left.ranges(firsts, firsts + self.sequence_length + 1)

    def _parts(self, firsts: Ints, ends: Ints) -> list[list[int]]:
        """Where documents and stretches begin in each unread row, and at last its length without the last label."""
        length, lengths = self.sequence_length, ends - firsts
        rows, places = np.divmod(np.cumsum(lengths) - lengths, length + 1)
        parts: list[list[int]] = [[] for _ in range(int(rows[-1]) + 1)]
        stretches = document_parts(self.tokens, firsts, lengths)
        for row, place, stretch in zip(rows.tolist(), places.tolist(), stretches, strict=True):
            parts[row] += [place + first for first in stretch[:-1] if place + first < length]
        return [[*firsts_of_row, length] for firsts_of_row in parts]

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256(self.tokens.fingerprint().encode())
        for stretches in self.reads.unread():
            digest.update(stretches.astype("<i8").tobytes())
        return digest.hexdigest()
