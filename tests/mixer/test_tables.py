"""Tables of token ids, written by pyarrow and datasets themselves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from mixer.errors import DataError
from mixer.source import open_source, open_tokens
from mixer.tables import TableTokens, _ids
from mixer.windows import Windows

DOCUMENTS = [[1, 2, 3], [], [4, 5], [6, 7, 8, 9], [10]]
FLAT = [token for document in DOCUMENTS for token in document]


def table(documents: list[Any] = DOCUMENTS, kind: Any = None, column: str = "input_ids") -> Any:
    kind = kind or pyarrow.list_(pyarrow.int32())
    return pyarrow.table({column: pyarrow.array(documents, kind)})


def write_stream(path: Path, content: Any, rows_per_batch: int = 2) -> Path:
    with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_stream(file, content.schema) as writer:
        writer.write_table(content, max_chunksize=rows_per_batch)
    return path


def write_file(path: Path, content: Any, **options: Any) -> Path:
    with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_file(file, content.schema, **options) as writer:
        writer.write_table(content)
    return path


def check(tokens: Any) -> None:
    assert (tokens.num_tokens, tokens.num_documents) == (10, 5)
    assert tokens.document_starts(np.arange(6)).tolist() == [0, 3, 3, 5, 9, 10]
    assert tokens.document_of_token(np.arange(10)).tolist() == [0, 0, 0, 2, 2, 3, 3, 3, 3, 4]
    assert tokens.flat.windows(np.array([0, 2]), 8).tolist() == [FLAT[:8], FLAT[2:]]


@pytest.mark.parametrize("ids", ["int32", "int64", "uint16", "uint32"])
@pytest.mark.parametrize("lists", [pyarrow.list_, pyarrow.large_list])
def test_every_kind_of_list_is_read(tmp_path: Path, ids: str, lists: Callable[..., Any]) -> None:
    content = table(kind=lists(getattr(pyarrow, ids)()))
    tokens = open_tokens(write_stream(tmp_path / "web.arrow", content))
    check(tokens)
    assert tokens.flat.dtype == np.dtype(ids)
    check(open_tokens(write_file(tmp_path / "file.arrow", content)))


def test_a_slice_of_a_table_is_read_from_where_it_begins(tmp_path: Path) -> None:
    content = table([[99, 98], *DOCUMENTS, [97]]).slice(1, 5)
    check(open_tokens(write_file(tmp_path / "web.arrow", content)))
    ids, offsets = _ids(content.column("input_ids").chunk(0))  # pyarrow writes it anew; other writers may not
    assert (ids.tolist(), offsets.tolist()) == (FLAT, [0, 3, 3, 5, 9, 10])


def test_ids_are_not_copied(tmp_path: Path) -> None:
    path = write_stream(tmp_path / "web.arrow", table())
    tokens = open_tokens(path)
    assert not any(array.flags.writeable or array.flags.owndata for array in tokens.flat.arrays)
    assert str(path) in Path("/proc/self/maps").read_text()


def test_a_folder_of_datasets_keeps_its_order(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    made = datasets.Dataset.from_dict({"input_ids": DOCUMENTS, "text": ["x"] * 5})
    made.save_to_disk(tmp_path / "web", num_shards=3)
    check(open_tokens(tmp_path / "web"))
    datasets.DatasetDict({"train": made}).save_to_disk(tmp_path / "split")
    with pytest.raises(DataError, match="split: several splits; name the folder of one of them"):
        open_tokens(tmp_path / "split")
    check(open_tokens(tmp_path / "split" / "train"))


def test_parquet_goes_through_the_cache_of_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "web").mkdir()
    pyarrow.parquet.write_table(table(DOCUMENTS[:2]), tmp_path / "web" / "0.parquet")
    pyarrow.parquet.write_table(table(DOCUMENTS[2:]), tmp_path / "web" / "1.parquet")
    check(open_tokens(tmp_path / "web"))
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.arrow")}
    check(open_tokens([tmp_path / "web" / "0.parquet", tmp_path / "web" / "1.parquet"]))
    again = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.arrow")}
    assert written
    assert written == again
    (tmp_path / "bad.parquet").write_bytes(b"x" * 100)
    with pytest.raises(DataError, match=r"bad.parquet: .*expected a parquet table") as caught:
        open_tokens(tmp_path / "bad.parquet")
    assert "\n" not in str(caught.value)


def test_a_folder_of_arrow_files_is_read_in_order_of_name(tmp_path: Path) -> None:
    for name, documents in (("b", DOCUMENTS[2:]), ("a", DOCUMENTS[:2])):
        write_stream(tmp_path / f"{name}.arrow", table(documents))
    check(open_tokens(tmp_path))
    (tmp_path / "c.parquet").touch()
    with pytest.raises(DataError, match=r"3 tables; expected a folder of .arrow or of .parquet files"):
        open_tokens(tmp_path)


def test_tables_and_indexed_files_are_one_source(tmp_path: Path, write_tokens: Callable[..., Path]) -> None:
    path = write_stream(tmp_path / "web.arrow", table(DOCUMENTS[:3]))
    pair = write_tokens(tmp_path / "more", DOCUMENTS[3:])
    source = open_source([path, pair], name="web", sequence_length=4)
    out = Windows.text(2, 4)
    source.fill(np.arange(2), out, np.arange(2))
    assert out.tokens.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert source.documents(1) == [2, 3]
    assert source.generations()[-1].num_tokens == 10


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (table(column="ids"), r"web.arrow: no column 'input_ids'; it has ids"),
        (pyarrow.table({"input_ids": ["a"]}), r"column 'input_ids' is string; expected lists of token ids"),
        (table([[1.5]], pyarrow.list_(pyarrow.float32())), r"column 'input_ids' is list<.*float.*expected lists of"),
        (table([[1], None]), r"column 'input_ids' has nulls"),
        (table([[1, None]]), r"column 'input_ids' has nulls"),
        (table([[], []]), r"no tokens in column 'input_ids'"),
    ],
)
def test_a_table_of_something_else_is_one_clear_error(tmp_path: Path, content: Any, message: str) -> None:
    path = write_stream(tmp_path / "web.arrow", content)
    with pytest.raises(DataError, match=message) as caught:
        open_tokens(path)
    assert "\n" not in str(caught.value)


def test_what_is_no_table_is_named(tmp_path: Path) -> None:
    options = pyarrow.ipc.IpcWriteOptions(compression="zstd")
    write_file(tmp_path / "small.arrow", table([[7] * 1000]), options=options)
    (tmp_path / "bad.arrow").write_bytes(b"no table")
    (tmp_path / "cut.arrow").write_bytes((write_stream(tmp_path / "web.arrow", table())).read_bytes()[:300])
    for name, message in (
        ("small.arrow", "compressed, so it can't be mapped; write it again uncompressed"),
        ("bad.arrow", "expected an arrow table"),
        ("cut.arrow", "expected an arrow table"),
        ("none.arrow", "No such file"),
        ("none.parquet", "No such file"),
    ):
        with pytest.raises(DataError, match=message):
            open_tokens(tmp_path / name)


def test_a_table_that_grew_keeps_the_fingerprint_of_what_it_was(tmp_path: Path) -> None:
    before = TableTokens.open(str(write_stream(tmp_path / "a.arrow", table())))
    after = TableTokens.open(str(write_stream(tmp_path / "b.arrow", table([*DOCUMENTS, [], [3, 4]]), 3)))
    assert after.fingerprint(before.num_tokens) == before.fingerprint() != after.fingerprint()
