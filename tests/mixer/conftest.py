"""Token files and sources that tests make for themselves, by a writer of .bin/.idx of their own."""

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from mixer.indexed import IndexedTokens

CODES = {"u1": 1, "i4": 4, "f4": 7, "u2": 8}


def write_pair(prefix: Path, documents: Sequence[Sequence[int]], dtype: str = "u2") -> Path:
    """Write documents of one sequence each, byte by byte as the format says."""
    lengths = np.array([len(document) for document in documents], "<i4")
    tokens = np.array([token for document in documents for token in document], f"<{dtype}")
    offsets = (np.cumsum(lengths, dtype="<i8") - lengths) * tokens.itemsize
    header = b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, CODES[dtype], len(lengths), len(lengths) + 1)
    indices = np.arange(len(lengths) + 1, dtype="<i8")
    Path(f"{prefix}.bin").write_bytes(tokens.tobytes())
    Path(f"{prefix}.idx").write_bytes(header + lengths.tobytes() + offsets.astype("<i8").tobytes() + indices.tobytes())
    return prefix


def tokens_in_memory(lengths: Sequence[int], dtype: str = "<i4") -> IndexedTokens:
    """Documents of these lengths whose tokens are 0, 1, 2, ..., without files."""
    sizes = np.array(lengths, np.int32)
    tokens = np.arange(int(sizes.sum()), dtype=dtype)
    offsets = (np.cumsum(sizes, dtype=np.int64) - sizes) * tokens.itemsize
    return IndexedTokens("memory", tokens, sizes, offsets, np.arange(len(sizes) + 1))


@pytest.fixture(scope="session")
def write_tokens() -> Callable[..., Path]:
    return write_pair


@pytest.fixture(scope="session")
def memory_tokens() -> Callable[..., IndexedTokens]:
    return tokens_in_memory
