"""A source of which part was read before, by whatever reader: how often each token was, and rows of the rest.

    tokens    0     10    20    30    40    50        read: [0, 10), [20, 35), [25, 35) a second time
    times     |  1  |  0  |1| 2 |   0       |
    unread          [=====)     [===========)         laid end to end and cut into rows: nothing is read again

Rows of ``UnreadSource`` run on over the joints, as they do over the ends of documents. To ask instead which rows of a
whole source are untouched would leave little: a window of several short documents seldom has all of them unread.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .apportion import Ints
from .errors import DataError
from .history import Generation
from .holdout import Holdout, RowIntervals
from .indexed import IndexedTokens
from .packing import concatenated_ranges
from .rows import Loss, Windows


@dataclass(frozen=True, eq=False)
class Joined:
    """Stretches of .bin laid end to end.

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
        first = np.searchsorted(self.starts, firsts, side="right") - 1
        parts = np.searchsorted(self.starts, ends, side="left") - first
        stretch = np.repeat(first, parts) + concatenated_ranges(parts)
        begin = np.maximum(np.repeat(firsts, parts), self.starts[stretch])
        end = np.minimum(np.repeat(ends, parts), self.starts[stretch + 1])
        shift = self.tokens[stretch] - self.starts[stretch]
        kept = begin < end
        return (begin + shift)[kept], (end + shift)[kept]


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
    """Text that was never read: windows of S + 1 tokens cut every S from the unread stretches laid end to end.

    Validation rows are cut from what the earlier reader did not train on. Raises DataError where no row is left.
    """

    name: str
    tokens: IndexedTokens
    sequence_length: int
    reads: Reads

    loss: Loss = "all"
    row_supervised: Ints | None = None
    row_filled: Ints | None = None

    def __post_init__(self) -> None:
        if self.num_rows < 1:
            left = f"{int(self.left.starts[-1]):,} of {self.tokens.num_tokens:,} tokens are unread"
            raise DataError(f"source {self.name}: {left}, less than a row; open it whole, and it is read again")

    @cached_property
    def left(self) -> Joined:
        """The unread stretches laid end to end."""
        firsts, ends = self.reads.unread()
        return Joined.of(firsts, ends - firsts)

    @cached_property
    def holdout(self) -> Holdout:
        """What lies outside the part to train on."""
        first, end = self.reads.train
        edges = [(0, first), (end, self.tokens.num_tokens)]
        return Holdout(tuple((a, b) for a, b in edges if a < b))

    @cached_property
    def validation(self) -> RowIntervals:
        """Where the held-out rows begin."""
        return self.holdout.validation_rows(window_tokens=self.sequence_length)

    @property
    def num_rows(self) -> int:
        """Training rows."""
        return max(0, int(self.left.starts[-1]) - 1) // self.sequence_length

    @property
    def num_validation_rows(self) -> int:
        """Held-out rows."""
        return self.validation.num_rows

    @property
    def mean_loss_tokens(self) -> float:
        """Every position is supervised."""
        return float(self.sequence_length)

    def fill(self, rows: Ints, out: Windows, at: Ints, *, validation: bool = False) -> None:
        """Write ``rows`` into rows ``at`` of ``out``."""
        firsts, ends = self.ranges(rows, validation=validation)
        places = np.repeat(firsts, ends - firsts) + concatenated_ranges(ends - firsts)
        windows = self.tokens.tokens[places].reshape(len(rows), self.sequence_length + 1)
        out.tokens[at], out.labels[at] = windows[:, :-1], windows[:, 1:]

    def documents(self, row: int, *, validation: bool = False) -> list[int]:
        """Numbers of the documents that a row is made of."""
        firsts, ends = self.ranges(np.array([row]), validation=validation)
        pairs = zip(self.tokens.document_of_token(firsts), self.tokens.document_of_token(ends - 1), strict=True)
        return sorted({document for first, last in pairs for document in range(int(first), int(last) + 1)})

    def ranges(self, rows: Ints, *, validation: bool = False) -> tuple[Ints, Ints]:
        """First and end token in .bin of every part of the rows, labels included, in order."""
        if validation:
            starts = self.validation.starts(rows)
            return starts, starts + self.sequence_length + 1
        firsts = np.asarray(rows, np.int64) * self.sequence_length
        return self.left.ranges(firsts, firsts + self.sequence_length + 1)

    def generation(self) -> Generation:
        """This state of the data, as a source's history begins with it."""
        return Generation(0, self.num_rows, self._fingerprint, self.holdout.runs, "concatenated")

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256(self.tokens.fingerprint().encode())
        for stretches in self.reads.unread():
            digest.update(stretches.astype("<i8").tobytes())
        return digest.hexdigest()
