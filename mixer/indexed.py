"""Megatron's .bin/.idx pair, memory-mapped: tokens of many documents back to back, and where each begins.

    corpus.bin   the tokens, no header
    corpus.idx   magic (9 bytes), version 1 (u64), dtype code (u8), sequences n (u64), document indices m (u64),
                 length of each sequence (n x i32), its byte offset (n x i64), first sequence of each document (m x i64)

All numbers are little endian. Documents are one sequence each in what ``prepare`` and Megatron's own tool write.
"""

import os
import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from .apportion import Ints
from .errors import DataError
from .flat_tokens import FlatTokens, map_file
from .token_store import search_documents, store_fingerprint

MAGIC = b"MMIDIDX\x00\x00"
TOKEN_DTYPES = {1: "<u1", 2: "<i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}
_HEADER = struct.Struct("<9sQBQQ")


@dataclass(frozen=True, eq=False)
class IndexedTokens:
    """One .bin/.idx pair, opened by ``IndexedTokens.open(prefix)``; reading costs page cache, not memory."""

    prefix: str
    tokens: npt.NDArray[Any]  # (num_tokens,) of the dtype on disk
    lengths: npt.NDArray[np.int32]  # (sequences,) in tokens
    offsets: Ints  # (sequences,) in bytes
    document_indices: Ints  # (num_documents + 1,) in sequences

    @classmethod
    def open(cls, prefix: str | os.PathLike[str]) -> "IndexedTokens":
        """Map ``prefix``.bin and ``prefix``.idx, checking header, sizes and the last entry.

        Raises DataError for a missing file, a foreign or truncated .idx, and a .bin of another size than .idx says.
        """
        prefix = os.fspath(prefix)
        index = map_file(f"{prefix}.idx")
        dtype, sequences, documents = _read_header(f"{prefix}.idx", index)
        at_offsets, at_documents = _HEADER.size + 4 * sequences, _HEADER.size + 12 * sequences
        opened = cls(
            prefix=prefix,
            tokens=_tokens(f"{prefix}.bin", dtype),
            lengths=index[_HEADER.size : at_offsets].view("<i4"),
            offsets=index[at_offsets:at_documents].view("<i8"),
            document_indices=index[at_documents : at_documents + 8 * documents].view("<i8"),
        )
        opened._check_last_entry()
        return opened

    @property
    def num_tokens(self) -> int:
        """Tokens in .bin."""
        return len(self.tokens)

    @cached_property
    def flat(self) -> FlatTokens:
        """All tokens, for reading."""
        return FlatTokens([self.tokens])

    @property
    def num_documents(self) -> int:
        """Documents, empty ones included."""
        return len(self.document_indices) - 1

    def document_starts(self, documents: Ints) -> Ints:
        """First token of each document; ``num_documents`` itself gives ``num_tokens``."""
        sequences = self.document_indices[documents]
        # Not ``take``: numbers in .idx are not aligned, and it would copy them all at every call.
        starts: Ints = self.offsets[sequences.clip(0, len(self.offsets) - 1)] // self.tokens.itemsize
        starts[sequences >= len(self.offsets)] = self.num_tokens
        return starts

    def document_of_token(self, positions: npt.ArrayLike) -> Ints:
        """Number of the document that holds each token; DataError outside the file."""
        return search_documents(self, np.asarray(positions, np.int64))

    def fingerprint(self, num_tokens: int | None = None) -> str:
        """sha256 of the first ``num_tokens`` tokens' document bounds and both ends, as TokenStore says."""
        return store_fingerprint(self, num_tokens)

    def _check_last_entry(self) -> None:
        last = int(self.offsets[-1]) + int(self.lengths[-1]) * self.tokens.itemsize
        size = self.tokens.nbytes
        if last != size:
            raise DataError(f"{self.prefix}.bin: {size:,} bytes, but {self.prefix}.idx says {last:,}; write both again")
        edges = int(self.document_indices[0]), int(self.document_indices[-1])
        if int(self.offsets[0]) != 0 or edges != (0, len(self.lengths)):
            got = f"documents span sequences {edges[0]:,} to {edges[1]:,} of {len(self.lengths):,}"
            raise DataError(f"{self.prefix}.idx: {got}, first offset {self.offsets[0]:,}; write it again")


def _read_header(path: str, index: npt.NDArray[np.uint8]) -> tuple[str, int, int]:
    """Dtype, number of sequences and number of document indices, checked against the file's size."""
    if len(index) < _HEADER.size:
        raise DataError(f"{path}: {len(index)} bytes, shorter than a header of {_HEADER.size}; write it again")
    magic, version, code, sequences, documents = _HEADER.unpack(index[: _HEADER.size].tobytes())
    if magic != MAGIC:
        raise DataError(f"{path}: begins with {magic!r}, expected {MAGIC!r}; this is not a Megatron .idx")
    if version != 1:
        raise DataError(f"{path}: version {version}, expected 1")
    if code not in TOKEN_DTYPES:
        raise DataError(f"{path}: dtype code {code}, expected an integer type ({', '.join(map(str, TOKEN_DTYPES))})")
    expected = _HEADER.size + 12 * sequences + 8 * documents
    if len(index) != expected:
        raise DataError(f"{path}: {len(index):,} bytes, but its header says {expected:,}; write it again")
    if not sequences or not documents:
        raise DataError(f"{path}: {sequences} sequences in {documents} document indices; expected some of each")
    return TOKEN_DTYPES[code], sequences, documents


def _tokens(path: str, dtype: str) -> npt.NDArray[Any]:
    raw = map_file(path)
    itemsize = np.dtype(dtype).itemsize
    if len(raw) % itemsize:
        raise DataError(f"{path}: {len(raw):,} bytes are not a whole number of {itemsize}-byte tokens; write it again")
    return raw.view(dtype)
