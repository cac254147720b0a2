import struct
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest

from mixer import scan as scan_module
from mixer.indexed import IndexedTokens
from mixer.scan import scan
from mixer.source import open_tokens

DOCUMENTS = [[1, 2, 3], [], [4, 5], [6, 7, 8, 9]]
LENGTHS, OFFSETS, INDICES = 34, 34 + 16, 34 + 48  # where they begin in the .idx
Write = Callable[..., Path]


def patch(path: Path, at: int, data: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[at : at + len(data)] = data
    path.write_bytes(bytes(content))


def test_what_is_whole_has_no_problem(tmp_path: Path, write_tokens: Write) -> None:
    prefix, read = write_tokens(tmp_path / "web", DOCUMENTS), []
    found = scan(open_tokens([prefix, prefix]), vocab_size=10, progress=read.append)
    assert found.problems == []
    assert (found.num_documents, found.num_tokens, found.empty_documents) == (8, 18, 2)
    assert (found.shortest_tokens, found.longest_tokens) == (2, 4)
    assert (found.smallest_id, found.largest_id, found.dtypes) == (1, 9, {"uint16"})
    assert sum(read) == 18


@pytest.mark.parametrize("entries", [1, 2, 100])
@pytest.mark.parametrize(
    ("at", "data", "problems"),
    [
        (
            OFFSETS + 16,
            struct.pack("<q", 4),
            ["offset that is not the lengths before it: 1, the first 4 at sequence 2"],
        ),
        (
            OFFSETS + 16,
            struct.pack("<q", 400),
            [
                "offset that is not the lengths before it: 1, the first 400 at sequence 2",
                "offset outside .bin: 1, the first 400 at sequence 2",
            ],
        ),
        (INDICES + 8, struct.pack("<q", 3), ["document that ends before it begins: 1, the first 3 at document 1"]),
        (
            INDICES + 8,
            struct.pack("<q", 70),
            [
                "document that ends before it begins: 1, the first 70 at document 1",
                "document outside the sequences: 1, the first 70 at document 1",
            ],
        ),
        (
            LENGTHS + 4,
            struct.pack("<i", -1),
            [
                "sequence of negative length: 1, the first -1 at sequence 1",
                "offset that is not the lengths before it: 2, the first 6 at sequence 2",
            ],
        ),
    ],
)
def test_every_entry_of_the_index_is_looked_at(
    tmp_path: Path,
    write_tokens: Write,
    monkeypatch: pytest.MonkeyPatch,
    entries: int,
    at: int,
    data: bytes,
    problems: list[str],
) -> None:
    monkeypatch.setattr(scan_module, "_ENTRIES", entries)
    prefix = write_tokens(tmp_path / "web", DOCUMENTS)
    patch(tmp_path / "web.idx", at, data)
    assert scan(IndexedTokens.open(prefix)).problems == [f"{prefix}.idx: {problem}" for problem in problems]


@pytest.mark.parametrize("tokens", [1, 4, 100])
def test_every_token_is_looked_at(
    tmp_path: Path, write_tokens: Write, monkeypatch: pytest.MonkeyPatch, tokens: int
) -> None:
    monkeypatch.setattr(scan_module, "_TOKENS", tokens)
    web = write_tokens(tmp_path / "web", DOCUMENTS)
    assert scan(open_tokens(web), vocab_size=8).problems == [
        f"{web}: token id outside 0 to 7: 2, the first 8 at token 7"
    ]
    negative = write_tokens(tmp_path / "negative", [[1, -2], [-3]], "i4")
    assert scan(open_tokens(negative)).problems == [f"{negative}: token id outside 0: 2, the first -2 at token 1"]
    mask = write_tokens(tmp_path / "web.mask", [[0, 1, 2]], "u1")
    assert scan(open_tokens(mask), is_mask=True).problems == [
        f"{mask}: token id outside 0 to 1: 1, the first 2 at token 2"
    ]


def test_tables_are_scanned_too(tmp_path: Path) -> None:
    content = pyarrow.table({"input_ids": [[1, 2], [], [300]]})
    with pyarrow.OSFile(str(tmp_path / "web.arrow"), "wb") as file, pyarrow.ipc.new_stream(file, content.schema) as to:
        to.write_table(content)
    found = scan(open_tokens(tmp_path / "web.arrow"), vocab_size=300)
    assert found.problems == [f"{tmp_path / 'web.arrow'}: token id outside 0 to 299: 1, the first 300 at token 2"]
    assert (found.num_documents, found.num_tokens, found.empty_documents, found.dtypes) == (3, 3, 1, {"int64"})
