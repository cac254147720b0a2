"""Token files of any size for the benchmarks, written at the speed of the disk; ids are random, or all 0 in a hole."""

import struct
from pathlib import Path

import numpy as np

from mixer.indexed import MAGIC

VOCAB_SIZE = 50_000
DOCUMENT_TOKENS = 1_000
LARGE_DOCUMENT_TOKENS = 100_000
_UINT16 = 8  # dtype code of .idx
_PIECE = 2**24  # tokens drawn at a time


def write_random(prefix: Path, num_tokens: int, *, seed: int) -> Path:
    """Documents of 1,000 tokens, the last one longer, of ids below 50,000."""
    rng = np.random.default_rng(seed)
    with open(f"{prefix}.bin", "wb") as file:
        for first in range(0, num_tokens, _PIECE):
            size = min(_PIECE, num_tokens - first)
            rng.integers(0, VOCAB_SIZE, size, dtype=np.uint16).tofile(file)
    return _write_index(prefix, num_tokens, DOCUMENT_TOKENS)


def write_hole(prefix: Path, num_tokens: int) -> Path:
    """A sparse file: it reads as zeros and takes no room on disk."""
    with open(f"{prefix}.bin", "wb") as file:
        file.truncate(2 * num_tokens)
    return _write_index(prefix, num_tokens, LARGE_DOCUMENT_TOKENS)


def _write_index(prefix: Path, num_tokens: int, document_tokens: int) -> Path:
    documents = max(1, num_tokens // document_tokens)
    starts = np.arange(documents, dtype=np.int64) * document_tokens
    lengths = np.diff(starts, append=num_tokens).astype("<i4")
    header = struct.pack("<9sQBQQ", MAGIC, 1, _UINT16, documents, documents + 1)
    with open(f"{prefix}.idx", "wb") as file:
        file.write(header)
        for part in (lengths, (2 * starts).astype("<i8"), np.arange(documents + 1, dtype="<i8")):
            part.tofile(file)
    return prefix
