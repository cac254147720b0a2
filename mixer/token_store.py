"""What rows are cut from: many documents back to back, wherever they are stored.

    IndexedTokens    indexed.py    one .bin/.idx pair of Megatron's
    TableTokens      tables.py     one column of token ids in arrow or parquet tables
    TokenFiles       here          several of them end to end, read as one

Documents and tokens are numbered from 0 through all files, in the order in which the files are named.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from .apportion import Ints
from .errors import DataError
from .flat_tokens import FlatTokens

EDGE_TOKENS = 2**16  # of either end of each file, read for the fingerprint: thousands of files still open fast
_STRETCHES, _STRETCH = 64, 1024  # of documents, whose bounds are read for the fingerprint: however many there are


class TokenStore(Protocol):
    """Tokens of documents, opened for reading in any order."""

    @property
    def prefix(self) -> str:
        """What errors call it: a path, without .bin."""

    @property
    def num_tokens(self) -> int:
        """Tokens in all documents."""

    @property
    def num_documents(self) -> int:
        """Documents, empty ones included."""

    @property
    def flat(self) -> FlatTokens:
        """All tokens, for reading."""

    def document_starts(self, documents: Ints) -> Ints:
        """First token of each document; ``num_documents`` itself gives ``num_tokens``."""

    def document_of_token(self, positions: Ints) -> Ints:
        """Number of the document that holds each token; DataError outside the store."""

    def fingerprint(self, num_tokens: int | None = None) -> str:
        """sha256 that notices a change in the first ``num_tokens`` tokens (all unless told), and no growth after them.

        It stands for the bounds of documents that begin there (of more than 65,536 in a file, those of 64 stretches, so
        that billions open in no time) and for the tokens at both ends of each file.
        """


@dataclass(frozen=True, eq=False)
class TokenFiles:
    """Several stores end to end; windows run on over the joints, and dtypes may differ."""

    stores: tuple[TokenStore, ...]

    @cached_property
    def prefix(self) -> str:
        """The first file, and how many more there are."""
        return f"{self.stores[0].prefix} and {len(self.stores) - 1} more"

    @cached_property
    def first_tokens(self) -> Ints:
        """First token of each store, and at last the number of all: (stores + 1,)."""
        return np.concatenate([[0], np.cumsum([store.num_tokens for store in self.stores], dtype=np.int64)])

    @cached_property
    def first_documents(self) -> Ints:
        """First document of each store, and at last the number of all: (stores + 1,)."""
        return np.concatenate([[0], np.cumsum([store.num_documents for store in self.stores], dtype=np.int64)])

    @property
    def num_tokens(self) -> int:
        """Tokens in all files."""
        return int(self.first_tokens[-1])

    @property
    def num_documents(self) -> int:
        """Documents in all files."""
        return int(self.first_documents[-1])

    @cached_property
    def flat(self) -> FlatTokens:
        """All tokens, for reading."""
        return FlatTokens([array for store in self.stores for array in store.flat.arrays])

    def document_starts(self, documents: Ints) -> Ints:
        """First token of each document; ``num_documents`` itself gives ``num_tokens``."""
        documents = np.asarray(documents, np.int64)
        which = np.searchsorted(self.first_documents, documents, side="right") - 1
        starts = np.full(documents.shape, self.num_tokens, np.int64)
        for k in np.unique(which[which < len(self.stores)]).tolist():
            mine = which == k
            local = self.stores[k].document_starts(documents[mine] - self.first_documents[k])
            starts[mine] = self.first_tokens[k] + local
        return starts

    def document_of_token(self, positions: Ints) -> Ints:
        """Number of the document that holds each token; DataError outside the files."""
        positions = checked_positions(self, positions)
        which = np.searchsorted(self.first_tokens, positions, side="right") - 1
        documents = np.empty(positions.shape, np.int64)
        for k in np.unique(which).tolist():
            mine = which == k
            local = self.stores[k].document_of_token(positions[mine] - self.first_tokens[k])
            documents[mine] = self.first_documents[k] + local
        return documents

    def fingerprint(self, num_tokens: int | None = None) -> str:
        """That of the files up to ``num_tokens``; of one file alone its own, so that a list may begin with one."""
        num_tokens = self.num_tokens if num_tokens is None else num_tokens
        begun = [k for k, first in enumerate(self.first_tokens[:-1].tolist()) if first < num_tokens]
        left = [min(num_tokens - int(self.first_tokens[k]), self.stores[k].num_tokens) for k in begun]
        prints = [self.stores[k].fingerprint(tokens) for k, tokens in zip(begun, left, strict=True)]
        return prints[0] if len(prints) == 1 else hashlib.sha256(" ".join(prints).encode()).hexdigest()


def store_fingerprint(store: TokenStore, num_tokens: int | None) -> str:
    """Fingerprint of one file's first ``num_tokens`` tokens, from its document bounds and both ends of its tokens.

    Raises DataError where it has not so many, or its index points outside it.
    """
    num_tokens = store.num_tokens if num_tokens is None else num_tokens
    if not 0 < num_tokens <= store.num_tokens:
        raise DataError(f"{store.prefix}: {store.num_tokens:,} tokens, expected {num_tokens:,}; the data has changed")
    begun = int(store.document_of_token(np.array([num_tokens - 1]))[0]) + 1
    looked_at = _spread(begun)
    starts = store.document_starts(looked_at)
    wrong = np.flatnonzero(np.diff(starts, prepend=0, append=num_tokens - 1) < 0)
    if wrong.size:
        got = f"documents from {looked_at[max(0, wrong[0] - 1)]:,} on do not begin one after the other, inside the file"
        raise DataError(f"{store.prefix}: {got}; `annealmix check` tells which")
    digest = hashlib.sha256(num_tokens.to_bytes(8, "little") + begun.to_bytes(8, "little"))
    digest.update(starts.astype("<i8").tobytes())
    edge = min(EDGE_TOKENS, num_tokens)
    digest.update(store.flat.ranges(np.array([0, num_tokens - edge]), np.array([edge, edge])).tobytes())
    return digest.hexdigest()


def _spread(count: int) -> Ints:
    """Of ``count`` documents all, or evenly spaced stretches of them, those at both ends among them."""
    if count <= _STRETCHES * _STRETCH:
        return np.arange(count)
    firsts = np.arange(_STRETCHES) * (count - _STRETCH) // (_STRETCHES - 1)
    return np.asarray((firsts[:, None] + np.arange(_STRETCH)).ravel(), np.int64)


def search_documents(store: TokenStore, positions: Ints) -> Ints:
    """Document of each token, by bisection in what may be a mapped index."""
    positions = checked_positions(store, positions)
    return bisect(store.document_starts, store.num_documents, positions)


def checked_positions(store: TokenStore, positions: Ints) -> Ints:
    """The positions as int64; DataError where one is outside the store."""
    positions = np.asarray(positions, np.int64)
    if positions.size and (positions.min() < 0 or positions.max() >= store.num_tokens):
        raise DataError(f"{store.prefix}: token positions outside 0 to {store.num_tokens - 1:,}")
    return positions


def bisect(starts: Callable[[Ints], Ints], count: int, positions: Ints) -> Ints:
    """Last k in 0 .. count - 1 with starts(k) <= position, of rising starts.

    starts(0) is 0, and starts(count) past every position.

    >>> bisect(lambda k: np.array([0, 3, 3, 5])[k], 3, np.array([0, 2, 3, 4])).tolist()
    [0, 0, 2, 2]
    """
    found = np.zeros_like(positions)
    for k in reversed(range(count.bit_length())):
        further = np.minimum(found + 2**k, count)
        found = np.where(starts(further) <= positions, further, found)
    return found


def documents_between(store: TokenStore, first: int, end: int) -> list[int]:
    """Documents with a token in [first, end), in order."""
    low, high = store.document_of_token(np.array([first, end - 1])).tolist()
    starts = store.document_starts(np.arange(low, high + 2))
    return [low + k for k in np.flatnonzero(np.diff(starts)).tolist()]


def joined(stores: Sequence[TokenStore]) -> TokenStore:
    """One store of several; of one, itself."""
    return stores[0] if len(stores) == 1 else TokenFiles(tuple(stores))
