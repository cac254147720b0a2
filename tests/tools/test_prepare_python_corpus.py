"""The corpus of the Python installation, made from a handful of its modules."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tools.check.data import check
from tools.errors import UserError
from tools.prepare import python_corpus, python_packages
from tools.prepare.python_corpus import prepare_python_corpus
from tools.prepare.workers import ordered_map

SOURCES = ("code", "prose", "reference", "sft")
MODULES = ("bisect", "dataclasses", "functools", "heapq", "json.decoder", "statistics", "textwrap", "this")


@pytest.fixture(scope="module", autouse=True)
def few_modules() -> Iterator[None]:
    every = list(python_packages.standard_library())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(python_packages, "standard_library", lambda: (found for found in every if found[0] in MODULES))
        patch.setattr(python_packages, "DOCUMENTED", ())
        yield


def make(out: Path, *, seed: int = 1234, limit_bytes: int | None = 60_000) -> None:
    prepare_python_corpus(out, seed=seed, vocab_size=400, limit_bytes=limit_bytes, workers=1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("corpus") / "python"
    make(out)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_four_sources_and_one_tokenizer(corpus: Path) -> None:
    assert all(check(corpus / name).problems == () for name in SOURCES)
    files = [*(f"{name}{end}" for name in SOURCES for end in (".bin", ".idx", ".json")), "sft.mask.bin", "sft.mask.idx"]
    assert sorted(contents(corpus)) == sorted([*files, "corpus.json", "tokenizer.json"])
    manifests = [json.loads((corpus / f"{name}.json").read_text()) for name in SOURCES]
    assert [manifest["kind"] for manifest in manifests] == ["text", "text", "text", "chat"]
    assert all(manifest["tokenizer"]["vocab_size"] == 400 for manifest in manifests)


def test_special_tokens_have_the_first_ids(corpus: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(corpus / "tokenizer.json"))
    names = ["<|endoftext|>", "<|pad|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"]
    assert [tokenizer.token_to_id(name) for name in names] == [0, 1, 2, 3, 4, 5]


def test_limit_holds_for_each_source(corpus: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(corpus / "tokenizer.json"))
    for name in SOURCES:
        text = tokenizer.decode(np.fromfile(corpus / f"{name}.bin", "<u2").tolist())
        assert 1000 < len(text.encode()) < 62_000 + 30_000 * (name == "sft")


def test_second_run_does_nothing(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in corpus.iterdir()}
    make(corpus)
    assert capsys.readouterr().out.startswith(f"{corpus}: already made (Python 3.")
    assert {path.name: path.stat().st_mtime_ns for path in corpus.iterdir()} == before


def test_same_installation_gives_the_same_bytes_and_no_path_of_it(corpus: Path, tmp_path: Path) -> None:
    make(tmp_path / "again")
    assert contents(tmp_path / "again") == contents(corpus)
    assert not any(str(corpus.parent).encode() in data for name, data in contents(corpus).items() if ".json" in name)


def test_lost_file_or_other_seed_makes_it_anew(corpus: Path, tmp_path: Path) -> None:
    make(tmp_path / "other")
    (tmp_path / "other" / "code.bin").unlink()
    make(tmp_path / "other")
    assert contents(tmp_path / "other") == contents(corpus)
    make(tmp_path / "other", seed=7)
    assert contents(tmp_path / "other")["code.bin"] != contents(corpus)["code.bin"]


def test_no_piece_is_in_two_sources() -> None:
    collected = python_corpus.collect({}, workers=1)
    texts = {name: [record["text"] for record in collected.records[name]] for name in ("code", "prose", "reference")}
    answers = [record["messages"][1]["content"] for record in collected.records["sft"]]
    assert len(set(answers)) == len(answers) > 50
    everything = "\n".join(text for source in texts.values() for text in source)
    assert not [answer for answer in answers if len(answer) > 80 and answer in everything]
    bodies = [text for text in texts["prose"] if text.startswith("statistics\n\n")]
    assert len(bodies) == 1
    assert "Arithmetic mean (average) of data" in bodies[0]
    assert not any("Arithmetic mean (average) of data" in text for text in texts["code"])


def test_error_leaves_no_half_written_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(python_corpus, "train_tokenizer", fail)
    with pytest.raises(OSError, match="disk full"):
        make(tmp_path / "python")
    assert contents(tmp_path / "python") == {}


def test_vocabulary_must_hold_all_bytes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--vocab-size: got 261; expected at least 262"):
        prepare_python_corpus(tmp_path, vocab_size=261)


def test_ordered_map_keeps_the_order_and_takes_no_more_than_it_needs() -> None:
    taken = []

    def numbers() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    answers = ordered_map(abs, numbers(), workers=2)
    assert [next(answers) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert len(taken) <= 12
    answers.close()
    with pytest.raises(UserError, match="--workers: got 0"):
        list(ordered_map(abs, [1], workers=0))


def test_worker_that_dies_is_one_clear_line() -> None:
    with pytest.raises(UserError, match="--workers: got a worker process that died"):
        list(ordered_map(os._exit, [1, 1, 1], workers=2))
