"""``check``: each kind of damage to a source is named in a line, and whole ones are measured."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from mixer.indexed import IndexedTokens
from tools.check.command import show_check
from tools.check.data import Asked, check, sources_at
from tools.errors import UserError
from tools.prepare.chat import prepare_chat
from tools.prepare.python_corpus import train_tokenizer


@pytest.fixture
def out(tmp_path: Path) -> Path:
    train_tokenizer(iter([]), vocab_size=262, path=tmp_path / "tokenizer.json")
    lines = [json.dumps({"prompt": "a", "completion": text}) for text in ("b", "bb")]
    (tmp_path / "chat.jsonl").write_text("\n".join(lines))
    source, tokenizer = str(tmp_path / "chat.jsonl"), tmp_path / "tokenizer.json"
    prepare_chat([source], tokenizer=tokenizer, out=tmp_path / "sft", workers=1, shuffle=False)
    return tmp_path / "sft"


def problems(path: Path, **asked: Any) -> list[str]:
    """Without the folder that each line begins with."""
    return [line.removeprefix(f"{path.parent}/") for line in check(path, Asked(**asked)).problems]


def forge(out: Path, name: str, data: bytes) -> None:
    """Put other bytes in a file and say in the manifest that they belong there, so that later checks are reached."""
    claim(out, files={name: {"bytes": len(data)}})
    out.with_name(name).write_bytes(data)


def claim(out: Path, **changes: Any) -> None:
    manifest = json.loads(out.with_name("sft.json").read_text())
    out.with_name("sft.json").write_text(json.dumps(manifest | changes))


def changed(out: Path, name: str, dtype: str, values: dict[int, int]) -> bytes:
    array = np.fromfile(out.with_name(name), dtype)
    for position, value in values.items():
        array[position] = value
    return array.tobytes()


def test_a_whole_source_has_no_problem_and_its_sizes(out: Path) -> None:
    assert check(out).problems == ()
    assert check(out, Asked(sequence_length=16)).summary == {
        "documents": 2,
        "tokens": 23,
        "dtype": "uint16",
        "shortest": 11,
        "longest": 12,
        "empty": 0,
        "max_id": int(IndexedTokens.open(out).tokens.max()),
        "supervised_tokens": 7,
        "rows": 2,
        "fill": (10 + 11) / 32,
    }


def test_size_digest_and_absence(out: Path) -> None:
    whole = out.with_name("sft.bin").read_bytes()
    out.with_name("sft.bin").write_bytes(whole[:-2])
    assert problems(out)[0] == "sft.bin: bytes: got 44; expected 46"
    out.with_name("sft.bin").write_bytes(whole[:-2] + b"\x01\x00")
    (problem,) = problems(out)
    assert problem.startswith("sft.bin: sha256: got ")
    out.with_name("sft.bin").unlink()
    assert problems(out) == ["sft.bin: got no file; expected one, which the manifest lists"]


def test_another_tokenizer_than_the_manifest_names(out: Path) -> None:
    out.with_name("tokenizer.json").write_text("{}")
    (problem,) = problems(out)
    assert problem.startswith("tokenizer.json: sha256: got ")


def test_ids_beyond_the_vocabulary_and_missing_end_tokens(out: Path) -> None:
    forge(out, "sft.bin", changed(out, "sft.bin", "<u2", {10: 262}))
    assert problems(out) == [
        "sft: token id outside 0 to 261: 1, the first 262 at token 10",
        "sft: documents without an end token: got 1; expected 0",
    ]
    assert problems(out, vocab_size=263) == ["sft: documents without an end token: got 1; expected 0"]


def test_a_mask_of_other_values_counts_or_documents(out: Path) -> None:
    whole = out.with_name("sft.mask.bin").read_bytes()
    forge(out, "sft.mask.bin", b"\x02" + whole[1:])
    assert "sft.mask: token id outside 0 to 1: 1, the first 2 at token 0" in problems(out)
    forge(out, "sft.mask.bin", b"\x01" + whole[1:])
    assert problems(out) == ["sft: supervised_tokens: got 8; expected 7, as in sft.json"]
    forge(out, "sft.mask.bin", whole)
    index = out.with_name("sft.mask.idx").read_bytes()
    swapped = np.array([12, 11], "<i4").tobytes() + np.array([0, 12], "<i8").tobytes()
    forge(out, "sft.mask.idx", index[:34] + swapped + index[58:])
    assert problems(out) == [f"sft.mask.idx: got other document lengths; expected those of {out}.idx"]


def test_counts_that_are_not_the_manifests(out: Path) -> None:
    claim(out, files={}, documents=3, dtype="int32")
    assert problems(out) == [
        "sft: documents: got 2; expected 3, as in sft.json",
        "sft: dtype: got uint16; expected int32, as in sft.json",
    ]


def test_an_index_inside_which_something_is_wrong(out: Path) -> None:
    """Header, size and last entry are right, so opening it notices nothing."""
    whole = out.with_name("sft.idx").read_bytes()
    forge(out, "sft.idx", whole[:58] + np.array([0, 9, 2], "<i8").tobytes())
    assert problems(out)[:2] == [
        "sft.idx: document that ends before it begins: 1, the first 9 at document 1",
        "sft.idx: document outside the sequences: 1, the first 9 at document 1",
    ]
    forge(
        out,
        "sft.idx",
        whole[:34] + np.array([12, 11], "<i4").tobytes() + np.array([0, 24], "<i8").tobytes() + whole[58:],
    )
    assert problems(out) == [
        f"sft.mask.idx: got other document lengths; expected those of {out}.idx",
        "sft: documents without an end token: got 1; expected 0",
    ]
    for damaged in (b"", whole[:20], b"x" + whole[1:], whole[:-1]):
        forge(out, "sft.idx", damaged)
        (problem,) = problems(out)
        assert problem.startswith("sft.idx: ")


def test_data_without_a_manifest(out: Path) -> None:
    for name in ("sft.json", "tokenizer.json"):
        out.with_name(name).unlink()
    assert check(out).summary["documents"] == 2
    assert problems(out, vocab_size=3)[0].startswith("sft: token id outside 0 to 2: ")


def test_a_manifest_that_is_none(out: Path) -> None:
    out.with_name("sft.json").write_text("[]")
    (problem,) = problems(out)
    assert problem.startswith("sft.json: ")


def test_tables(tmp_path: Path) -> None:
    table = pyarrow.table({"input_ids": pyarrow.array([[1, 2, 3], [], [70_000]], pyarrow.list_(pyarrow.int32()))})
    with pyarrow.OSFile(str(tmp_path / "a.arrow"), "wb") as file, pyarrow.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    assert check(tmp_path / "a.arrow").summary == {
        "documents": 3,
        "tokens": 4,
        "dtype": "int32",
        "shortest": 1,
        "longest": 3,
        "empty": 1,
        "max_id": 70_000,
    }
    (problem,) = problems(tmp_path / "a.arrow", column="text")
    assert "text" in problem


def test_what_a_path_stands_for(out: Path) -> None:
    for name in ("sft", "sft.bin", "sft.idx"):
        assert sources_at(out.with_name(name)) == [out]
    assert sources_at(out.parent) == [out]  # its mask is no source of its own
    with pytest.raises(UserError, match=r"nothing: got no data; expected a name before \.bin and \.idx"):
        sources_at(out.with_name("nothing"))


def test_the_command_prints_sizes_or_problems(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert show_check([out.parent], Asked())
    printed = capsys.readouterr()
    assert printed.out.split()[:4] == ["source", "documents", "tokens", "dtype"]
    assert str(out) in printed.out
    assert printed.err == ""
    assert not show_check([out, out], Asked(vocab_size=3))
    printed = capsys.readouterr()
    assert [line.startswith(f"{out}: token id outside") for line in printed.out.splitlines()] == [True] * 2
    assert not show_check([out], Asked(vocab_size=3), as_json=True)
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["path"], len(found["problems"]), found["summary"]) == (str(out), 1, {})


def test_the_vocabulary_of_a_tokenizer(out: Path) -> None:
    assert show_check([out], Asked(), tokenizer=out.with_name("tokenizer.json"))
    with pytest.raises(UserError, match="check: got --vocab-size and --tokenizer; expected one of them"):
        show_check([out], Asked(vocab_size=3), tokenizer=out.with_name("tokenizer.json"))
