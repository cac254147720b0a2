import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mixer.errors import DataError
from mixer.indexed import IndexedTokens
from mixer.source import open_source

DOCUMENTS = [[1, 2, 3], [4, 5], [6, 7, 8, 9]]
Write = Callable[..., Path]


def test_reads_what_the_format_says(tmp_path: Path, write_tokens: Write) -> None:
    tokens = IndexedTokens.open(write_tokens(tmp_path / "web", DOCUMENTS))
    assert tokens.tokens.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert tokens.tokens.dtype == np.uint16
    assert tokens.lengths.tolist() == [3, 2, 4]
    assert (tokens.num_tokens, tokens.num_documents) == (9, 3)
    assert tokens.document_starts(np.arange(4)).tolist() == [0, 3, 5, 9]
    assert tokens.document_of_token(np.arange(9)).tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 2]


def test_reads_what_megatron_writes(tmp_path: Path) -> None:
    megatron = pytest.importorskip("megatron.core.datasets.indexed_dataset")
    torch = pytest.importorskip("torch")
    for dtype in (np.int32, np.uint16):
        prefix = str(tmp_path / np.dtype(dtype).name)
        builder = megatron.IndexedDatasetBuilder(f"{prefix}.bin", dtype=dtype)
        builder.add_item(torch.tensor([1, 2, 3]))
        builder.add_item(torch.tensor([4, 5]))
        builder.end_document()
        builder.add_item(torch.tensor([6, 7, 8, 9]))
        builder.end_document()
        builder.finalize(f"{prefix}.idx")
        tokens, theirs = IndexedTokens.open(prefix), megatron.IndexedDataset(prefix)
        assert tokens.tokens.dtype == dtype
        assert tokens.tokens.tolist() == np.concatenate([theirs[k] for k in range(len(theirs))]).tolist()
        assert tokens.lengths.tolist() == theirs.sequence_lengths.tolist()
        assert tokens.num_documents == 2
        assert tokens.document_starts(np.arange(3)).tolist() == [0, 5, 9]
        assert tokens.document_of_token([0, 4, 5, 8]).tolist() == [0, 0, 1, 1]


def test_empty_documents_hold_no_token(tmp_path: Path, write_tokens: Write) -> None:
    tokens = IndexedTokens.open(write_tokens(tmp_path / "web", [[], [1, 2], [], [], [3], []]))
    assert tokens.num_documents == 6
    assert tokens.document_starts(np.arange(7)).tolist() == [0, 0, 2, 2, 2, 3, 3]
    assert tokens.document_of_token([0, 1, 2]).tolist() == [1, 1, 4]


def test_documents_of_tokens_by_bisection_equal_a_plain_count(tmp_path: Path, write_tokens: Write) -> None:
    lengths = np.random.default_rng(0).integers(1, 6, 500)
    tokens = IndexedTokens.open(write_tokens(tmp_path / "web", [[0] * int(n) for n in lengths], "i4"))
    expected = np.repeat(np.arange(500), lengths)
    assert np.array_equal(tokens.document_of_token(np.arange(tokens.num_tokens)), expected)


def test_one_document_is_looked_up_without_a_copy_of_the_index() -> None:
    """Numbers in .idx are not aligned; some numpy functions would copy all of them first, for each look-up."""
    documents = 500_000
    lengths = np.ones(documents, np.int32)
    offsets = np.zeros(8 * documents + 1, np.uint8)[1:].view("<i8")
    offsets[:] = np.arange(documents)
    tokens = IndexedTokens("web", np.zeros(documents, np.uint8), lengths, offsets, np.arange(documents + 1))
    tracemalloc.start()
    assert tokens.document_of_token(np.array([400_000])).tolist() == [400_000]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


def test_a_token_outside_is_refused(tmp_path: Path, write_tokens: Write) -> None:
    tokens = IndexedTokens.open(write_tokens(tmp_path / "web", DOCUMENTS))
    for position in (-1, 9):
        with pytest.raises(DataError, match="token positions outside 0 to 8"):
            tokens.document_of_token([position])


def test_the_fingerprint_sees_every_end(tmp_path: Path, write_tokens: Write) -> None:
    long = [list(range(1000))] * 1500  # 3 MB, of which the middle is not read
    prints = set()
    for at, value in ((0, 7), (1_499_999, 7), (0, 0)):
        flat = np.array(long).ravel()
        flat[at] = value
        prefix = write_tokens(tmp_path / "web", flat.reshape(1500, 1000).tolist())
        prints.add(IndexedTokens.open(prefix).fingerprint())
    assert len(prints) == 3
    assert IndexedTokens.open(write_tokens(tmp_path / "other", long)).fingerprint() in prints
    assert IndexedTokens.open(write_tokens(tmp_path / "web", long[:-1])).fingerprint() not in prints


def patch(path: Path, at: int, data: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[at : at + len(data)] = data
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("at", "data", "message"),
    [
        (0, b"PARQUET\0\0", r"web.idx: begins with b'PARQUET.*expected b'MMIDIDX.*not a Megatron .idx"),
        (9, struct.pack("<Q", 2), "web.idx: version 2, expected 1"),
        (17, b"\7", r"web.idx: dtype code 7, expected an integer type \(1, 2, 3, 4, 5, 8\)"),
        (18, struct.pack("<Q", 4), "web.idx: 102 bytes, but its header says 114"),
        (18, struct.pack("<QQ", 0, 0), "web.idx: 102 bytes, but its header says 34"),
        (42, struct.pack("<i", 5), "web.bin: 18 bytes, but .*web.idx says 20; write both again"),
        (34 + 12, struct.pack("<q", 2), "first offset 2; write it again"),
        (34 + 36 + 24, struct.pack("<q", 2), "documents span sequences 0 to 2 of 3"),
    ],
)
def test_a_damaged_index_is_one_clear_error(
    tmp_path: Path, write_tokens: Write, at: int, data: bytes, message: str
) -> None:
    prefix = write_tokens(tmp_path / "web", DOCUMENTS)
    patch(tmp_path / "web.idx", at, data)
    with pytest.raises(DataError, match=message):
        IndexedTokens.open(prefix)


@pytest.mark.parametrize(("offset", "document"), [(-2, 0), (4_000, 1), (2**62, 1)])
def test_an_offset_outside_the_tokens_is_found_when_a_source_opens(
    tmp_path: Path, write_tokens: Write, offset: int, document: int
) -> None:
    prefix = write_tokens(tmp_path / "web", DOCUMENTS)
    patch(tmp_path / "web.idx", 34 + 12 + 8, struct.pack("<q", offset))
    with pytest.raises(DataError, match=rf"web: documents from {document} on do not begin one after the other"):
        open_source(prefix, name="web", sequence_length=4).generations()


@pytest.mark.parametrize(
    ("file", "size", "message"),
    [
        ("web.idx", 0, "web.idx: empty"),
        ("web.idx", 33, "web.idx: 33 bytes, shorter than a header of 34"),
        ("web.idx", 101, "web.idx: 101 bytes, but its header says 102"),
        ("web.bin", 0, "web.bin: empty"),
        ("web.bin", 16, "web.bin: 16 bytes, but .*web.idx says 18; write both again"),
        ("web.bin", 17, "web.bin: 17 bytes are not a whole number of 2-byte tokens"),
    ],
)
def test_a_truncated_file_is_one_clear_error(
    tmp_path: Path, write_tokens: Write, file: str, size: int, message: str
) -> None:
    prefix = write_tokens(tmp_path / "web", DOCUMENTS)
    (tmp_path / file).write_bytes((tmp_path / file).read_bytes()[:size])
    with pytest.raises(DataError, match=message) as caught:
        IndexedTokens.open(prefix)
    assert "\n" not in str(caught.value)


def test_a_bin_longer_than_its_index_is_refused(tmp_path: Path, write_tokens: Write) -> None:
    prefix = write_tokens(tmp_path / "web", DOCUMENTS)
    (tmp_path / "web.bin").write_bytes((tmp_path / "web.bin").read_bytes() + b"\0\0")
    with pytest.raises(DataError, match=r"web.bin: 20 bytes, but .*web.idx says 18; write both again"):
        IndexedTokens.open(prefix)


def test_a_missing_file_is_named(tmp_path: Path, write_tokens: Write) -> None:
    with pytest.raises(DataError, match=r"web.idx: No such file"):
        IndexedTokens.open(tmp_path / "web")
    write_tokens(tmp_path / "web", DOCUMENTS)
    (tmp_path / "web.bin").unlink()
    with pytest.raises(DataError, match=r"web.bin: No such file"):
        IndexedTokens.open(tmp_path / "web")
