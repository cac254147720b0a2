"""Megatron's .bin/.idx pair, memory-mapped: tokens of many documents back to back, and where each begins.

    corpus.bin   the tokens, no header
    corpus.idx   magic (9 bytes), version 1 (u64), dtype code (u8), sequences n (u64), document indices m (u64),
                 length of each sequence (n x i32), its byte offset (n x i64), first sequence of each document (m x i64)

All numbers are little endian. Documents are one sequence each in what ``prepare`` and Megatron's own tool write.
"""

import hashlib
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .apportion import Ints
from .errors import DataError

MAGIC = b"MMIDIDX\x00\x00"
TOKEN_DTYPES = {1: "<u1", 2: "<i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}
_HEADER = struct.Struct("<9sQBQQ")
_EDGE_BYTES = 2**20  # of either end of .bin, read for the fingerprint


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
        index = _map(f"{prefix}.idx")
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

    @property
    def num_documents(self) -> int:
        """Documents, empty ones included."""
        return len(self.document_indices) - 1

    def document_starts(self, documents: Ints) -> Ints:
        """First token of each document; ``num_documents`` itself gives ``num_tokens``."""
        sequences = self.document_indices[documents]
        inside = np.minimum(sequences, len(self.offsets) - 1)
        starts = self.offsets[inside] // self.tokens.itemsize
        return np.where(sequences < len(self.offsets), starts, self.num_tokens)

    def document_of_token(self, positions: npt.ArrayLike) -> Ints:
        """Number of the document that holds each token, by bisection in the mapped index."""
        positions = np.asarray(positions, np.int64)
        if positions.size and (positions.min() < 0 or positions.max() >= self.num_tokens):
            raise DataError(f"{self.prefix}: token positions outside 0 to {self.num_tokens - 1:,}")
        return _bisect(self.document_starts, self.num_documents, positions)

    def fingerprint(self) -> str:
        """Sizes, all of .idx and both ends of .bin as one sha256, so that a changed file is noticed when opened."""
        digest = hashlib.sha256()
        with open(f"{self.prefix}.idx", "rb") as file:
            while block := file.read(_EDGE_BYTES):
                digest.update(block)
        with open(f"{self.prefix}.bin", "rb") as file:
            size = file.seek(0, os.SEEK_END)
            for start in (0, max(0, size - _EDGE_BYTES)):
                file.seek(start)
                digest.update(file.read(_EDGE_BYTES))
        digest.update(struct.pack("<Q", size))
        return digest.hexdigest()

    def _check_last_entry(self) -> None:
        last = int(self.offsets[-1]) + int(self.lengths[-1]) * self.tokens.itemsize
        size = self.tokens.nbytes
        if last != size:
            raise DataError(f"{self.prefix}.bin: {size:,} bytes, but {self.prefix}.idx says {last:,}; write both again")
        edges = int(self.document_indices[0]), int(self.document_indices[-1])
        if int(self.offsets[0]) != 0 or edges != (0, len(self.lengths)):
            got = f"documents span sequences {edges[0]:,} to {edges[1]:,} of {len(self.lengths):,}"
            raise DataError(f"{self.prefix}.idx: {got}, first offset {self.offsets[0]:,}; write it again")


def _map(path: str) -> npt.NDArray[np.uint8]:
    try:
        return np.asarray(np.memmap(path, np.uint8, mode="r"))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; expected a .bin and .idx pair, as `prepare` writes") from error
    except ValueError as error:
        raise DataError(f"{path}: empty; write the data again") from error


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
    raw = _map(path)
    itemsize = np.dtype(dtype).itemsize
    if len(raw) % itemsize:
        raise DataError(f"{path}: {len(raw):,} bytes are not a whole number of {itemsize}-byte tokens; write it again")
    return raw.view(dtype)


def _bisect(starts: Callable[[Ints], Ints], count: int, positions: Ints) -> Ints:
    """Last k in 0 .. count - 1 with starts(k) <= position, for rising starts with starts(0) = 0."""
    low, high = np.zeros_like(positions), np.full_like(positions, count)
    for _ in range(count.bit_length()):
        middle = (low + high) // 2
        passed = starts(middle) <= positions
        low, high = np.where(passed, middle, low), np.where(passed, high, middle)
    return low
