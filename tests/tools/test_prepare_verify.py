"""Each kind of damage to a prepared source is named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tools.errors import UserError
from tools.prepare.chat import prepare_chat
from tools.prepare.python_corpus import train_tokenizer
from tools.prepare.verify import read_index, verify


@pytest.fixture
def out(tmp_path: Path) -> Path:
    train_tokenizer(iter([]), vocab_size=262, path=tmp_path / "tokenizer.json")
    lines = [json.dumps({"prompt": "a", "completion": text}) for text in ("b", "bb")]
    (tmp_path / "chat.jsonl").write_text("\n".join(lines))
    source, tokenizer = str(tmp_path / "chat.jsonl"), tmp_path / "tokenizer.json"
    prepare_chat([source], tokenizer=tokenizer, out=tmp_path / "sft", workers=1, shuffle=False)
    return tmp_path / "sft"


def forge(out: Path, name: str, data: bytes) -> None:
    """Put other bytes in a file and say in the manifest that they belong there, so that later checks are reached."""
    manifest: dict[str, Any] = json.loads(out.with_name("sft.json").read_text())
    manifest["files"][name] = {"bytes": len(data)}
    out.with_name("sft.json").write_text(json.dumps(manifest))
    out.with_name(name).write_bytes(data)


def changed(out: Path, name: str, dtype: str, values: dict[int, int]) -> bytes:
    array = np.fromfile(out.with_name(name), dtype)
    for position, value in values.items():
        array[position] = value
    return array.tobytes()


def test_whole_source_has_no_problem(out: Path) -> None:
    assert verify(out) == []
    assert read_index(out.with_name("sft.idx")).lengths.tolist() == [11, 12]


def test_size_digest_and_absence(out: Path) -> None:
    whole = out.with_name("sft.bin").read_bytes()
    out.with_name("sft.bin").write_bytes(whole[:-2])
    assert verify(out)[0] == "sft.bin: bytes: got 44; expected 46"
    out.with_name("sft.bin").write_bytes(whole[:-2] + b"\x01\x00")
    (problem,) = verify(out)
    assert problem.startswith("sft.bin: sha256: got ")
    out.with_name("sft.bin").unlink()
    assert verify(out) == ["sft.bin: bytes: got no file; expected one"]


def test_other_tokenizer(out: Path) -> None:
    out.with_name("tokenizer.json").write_text("{}")
    (problem,) = verify(out)
    assert problem.startswith("tokenizer.json: sha256: got ")


def test_token_beyond_the_vocabulary_and_missing_end(out: Path) -> None:
    forge(out, "sft.bin", changed(out, "sft.bin", "<u2", {10: 262}))
    assert verify(out) == [
        "sft.bin: token ids: got 0 to 262; expected 0 to 261",
        "sft.bin: documents without an end token: got 1; expected 0",
    ]


def test_mask_that_holds_other_values_or_counts(out: Path) -> None:
    whole = out.with_name("sft.mask.bin").read_bytes()
    forge(out, "sft.mask.bin", b"\x02" + whole[1:])
    assert verify(out) == ["sft.mask.bin: values: got up to 2; expected 0 and 1"]
    forge(out, "sft.mask.bin", b"\x01" + whole[1:])
    assert verify(out) == ["sft.mask.bin: supervised tokens: got 8; expected 7"]


def test_index_that_describes_other_documents(out: Path) -> None:
    whole = out.with_name("sft.idx").read_bytes()
    forge(out, "sft.idx", whole[:34] + np.array([12, 11], "<i4").tobytes() + whole[42:])
    assert verify(out) == [
        "sft.idx: offsets: got gaps or overlaps; expected documents back to back",
        "sft.bin: documents without an end token: got 1; expected 0",
    ]
    for damaged in (b"", whole[:20], b"x" + whole[1:], whole[:-1]):
        forge(out, "sft.idx", damaged)
        with pytest.raises(UserError, match=r"sft\.idx: got "):
            verify(out)


def test_manifest_that_is_none(out: Path) -> None:
    out.with_name("sft.json").write_text("[]")
    with pytest.raises(UserError, match="got no manifest of version 1"):
        verify(out)
    out.with_name("sft.json").unlink()
    with pytest.raises(UserError, match="got no manifest"):
        verify(out)
