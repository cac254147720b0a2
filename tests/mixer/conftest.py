"""Token files and sources that tests make for themselves, by a writer of .bin/.idx of their own."""

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from mixer.generations import SourceHistory
from mixer.history import History
from mixer.indexed import IndexedTokens
from mixer.mixture import Mixture
from mixer.rows import Source
from mixer.source import open_source
from mixer.spans import Span

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


def tokens_in_memory(lengths: Sequence[int], dtype: str = "<i4", first_token: int = 0) -> IndexedTokens:
    """Documents of these lengths whose tokens are 0, 1, 2, ... from ``first_token`` on, without files."""
    sizes = np.array(lengths, np.int32)
    tokens = np.arange(first_token, first_token + int(sizes.sum()), dtype=dtype)
    offsets = (np.cumsum(sizes, dtype=np.int64) - sizes) * tokens.itemsize
    return IndexedTokens("memory", tokens, sizes, offsets, np.arange(len(sizes) + 1))


@pytest.fixture(scope="session")
def write_tokens() -> Callable[..., Path]:
    return write_pair


@pytest.fixture(scope="session")
def memory_tokens() -> Callable[..., IndexedTokens]:
    return tokens_in_memory


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Source]:
    """Two sources of text and one of packed conversations, of 8 positions a row."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for name, documents in (("web", 40), ("code", 12)):
        write_pair(folder / name, [rng.integers(0, 60_000, 20).tolist() for _ in range(documents)])
    chats = [rng.integers(0, 60_000, int(size)).tolist() for size in rng.integers(3, 9, 40)]
    write_pair(folder / "sft", chats)
    write_pair(folder / "sft.mask", [[k % 2 for k in range(len(chat))] for chat in chats], "u1")
    options = {"sequence_length": 8, "holdout_share": 0.1}
    return {
        "web": open_source(folder / "web", name="web", **options),  # type: ignore[arg-type]
        "code": open_source(folder / "code", name="code", **options),  # type: ignore[arg-type]
        "sft": open_source(folder / "sft", name="sft", kind="chat", pad=0, loss="assistant", **options),  # type: ignore[arg-type]
    }


@pytest.fixture(scope="session")
def mixture(sources: dict[str, Source]) -> Mixture:
    """168 samples, the conversations among the last 78."""
    spans = [Span(0, 90, {"web": 0.7, "code": 0.3}), Span(90, 168, {"web": 0.4, "code": 0.2, "sft": 0.4})]
    histories = {name: SourceHistory(source.generations()) for name, source in sources.items()}
    return Mixture(History(seed=3, sequence_length=8, sources=histories, spans=spans))
