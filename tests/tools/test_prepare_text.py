"""Text sources: exact bytes, the same for all kinds of input and numbers of workers; nothing left after an error."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import zstandard

from mixer.indexed import IndexedTokens
from tools.check.data import check
from tools.errors import UserError
from tools.prepare.python_corpus import train_tokenizer
from tools.prepare.text import TextEncoder, prepare_text, text_encoder
from tools.prepare.vocabulary import read_vocabulary, token_dtype

TEXTS = ["ab", "a <|endoftext|> b", "h\u00e9", "line\n\nline", "x" * 300]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # No text, no merges: six special tokens, then the 256 bytes, "!" first; so "a" is 6 + ord("a") - ord("!") = 70.
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_tokenizer(iter([]), vocab_size=262, path=path)
    return path


def write_lines(path: Path, records: list[object]) -> str:
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return str(path)


def records(texts: list[str]) -> list[object]:
    return [{"text": text} for text in texts]


def prepare(inputs: list[str], tokenizer: Path, out: Path, **options: object) -> dict[str, bytes]:
    prepare_text(inputs, tokenizer=tokenizer, out=out, **{"workers": 1, **options})  # type: ignore[arg-type]
    assert check(out).problems == ()
    return {end: out.with_name(out.name + end).read_bytes() for end in (".bin", ".idx")}


def documents(out: Path) -> list[list[int]]:
    stored = IndexedTokens.open(out)
    return [part.tolist() for part in np.split(stored.tokens, np.cumsum(stored.lengths)[:-1])]


def test_bytes_on_disk_are_exact(tokenizer: Path, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "a.jsonl", records(["ab", "c"]))
    files = prepare([source], tokenizer, tmp_path / "out" / "web", shuffle=False)
    assert files[".bin"] == np.array([70, 71, 0, 72, 0], "<u2").tobytes()
    header = b"MMIDIDX\x00\x00" + (1).to_bytes(8, "little") + b"\x08" + bytes([2, *[0] * 7, 3, *[0] * 7])
    body = np.array([3, 2], "<i4").tobytes() + np.array([0, 6], "<i8").tobytes() + np.array([0, 1, 2], "<i8").tobytes()
    assert files[".idx"] == header + body


def test_manifest(tokenizer: Path, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "a.jsonl", records(["ab", "c", "ab"]))
    prepare([source], tokenizer, tmp_path / "out" / "web", seed=5)
    manifest = json.loads((tmp_path / "out" / "web.json").read_text())
    assert {name: entry["bytes"] for name, entry in manifest.pop("files").items()} == {"web.bin": 10, "web.idx": 82}
    assert manifest.pop("tokenizer")["file"] == "tokenizer.json"
    assert manifest == {
        "version": 1,
        "name": "web",
        "kind": "text",
        "documents": 2,
        "tokens": 5,
        "supervised_tokens": 5,
        "dtype": "uint16",
        "special_tokens": {"eod": 0, "pad": 1},
        "duplicates_removed": 1,
        "bad_records": 0,
        "shuffle_seed": 5,
        "provenance": f"annealmix prepare text, field 'text' of {source}",
    }
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("tokenizer.json", "web.bin", "web.idx", "web.json")
    ]


def test_special_tokens_in_the_text_stay_text(tokenizer: Path, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "a.jsonl", records(["<|endoftext|>"]))
    prepare([source], tokenizer, tmp_path / "web")
    assert documents(tmp_path / "web") == [[*(6 + ord(letter) - 33 for letter in "<|endoftext|>"), 0]]


def test_truncation_in_the_tokenizer_file_cuts_nothing(tokenizer: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    cutting = Tokenizer.from_file(str(tokenizer))
    cutting.enable_truncation(max_length=2)
    cutting.enable_padding(length=2)
    cutting.save(str(tmp_path / "cutting.json"))
    encoder = text_encoder(tmp_path / "cutting.json")
    assert encoder.vocabulary.encode(["a", "abcd"]) == [[70], [70, 71, 72, 73]]


def test_megatron_reads_what_was_written(tokenizer: Path, tmp_path: Path) -> None:
    prepare([write_lines(tmp_path / "a.jsonl", records(TEXTS))], tokenizer, tmp_path / "web")
    from megatron.core.datasets.indexed_dataset import IndexedDataset

    dataset = IndexedDataset(str(tmp_path / "web"))
    assert [row.tolist() for row in dataset[:]] == documents(tmp_path / "web")
    assert dataset.document_indices.tolist() == [0, 1, 2, 3, 4, 5]


def test_every_kind_of_input_gives_the_same_files(
    tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets
    import pyarrow
    import pyarrow.parquet

    plain = Path(write_lines(tmp_path / "a.jsonl", records(TEXTS)))
    expected = prepare([str(plain)], tokenizer, tmp_path / "expected" / "web")
    half = plain.read_bytes().index(b"\n") + 1
    compress = zstandard.ZstdCompressor().compress
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    (tmp_path / "a.jsonl.zst").write_bytes(compress(plain.read_bytes()[:half]) + compress(plain.read_bytes()[half:]))
    pyarrow.parquet.write_table(pyarrow.table({"n": range(5), "text": TEXTS}), tmp_path / "a.parquet")
    dataset = datasets.Dataset.from_dict({"text": TEXTS, "n": list(range(5))})
    dataset.save_to_disk(tmp_path / "saved")
    asked = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *names, **split: asked.append((names, split)) or dataset)
    kinds = [str(tmp_path / name) for name in ("a.jsonl.gz", "a.jsonl.zst", "a.parquet", "saved")]
    for number, kind in enumerate([*kinds, "hub:some/name:en@train"]):
        assert prepare([kind], tokenizer, tmp_path / str(number) / "web") == expected, kind
    assert asked == [(("some/name", "en"), {"split": "train"})]


def test_any_number_of_workers_gives_the_same_files(
    tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.prepare.inputs.PIECE_BYTES", 200)
    for part in range(3):
        write_lines(tmp_path / f"{part}.jsonl", records([f"{part} {number} {'x' * number}" for number in range(50)]))
    inputs = [str(tmp_path / "*.jsonl")]
    one = prepare(inputs, tokenizer, tmp_path / "one" / "web", workers=1)
    two = prepare(inputs, tokenizer, tmp_path / "two" / "web", workers=2)
    assert one == two
    assert len(documents(tmp_path / "one" / "web")) == 150


def test_seed_decides_the_order_and_nothing_else(tokenizer: Path, tmp_path: Path) -> None:
    inputs = [write_lines(tmp_path / "a.jsonl", records([f"document {number}" for number in range(30)]))]
    first = prepare(inputs, tokenizer, tmp_path / "first", seed=1)
    again = prepare(inputs, tokenizer, tmp_path / "again", seed=1)
    prepare(inputs, tokenizer, tmp_path / "other", seed=2)
    prepare(inputs, tokenizer, tmp_path / "still", shuffle=False)
    assert first == again
    assert documents(tmp_path / "first") != documents(tmp_path / "other")
    assert sorted(documents(tmp_path / "first")) == sorted(documents(tmp_path / "still"))
    assert json.loads((tmp_path / "still.json").read_text())["shuffle_seed"] is None


def test_duplicates_across_files_are_dropped_after_the_first(tokenizer: Path, tmp_path: Path) -> None:
    write_lines(tmp_path / "1.jsonl", records(["a", "b", "a"]))
    write_lines(tmp_path / "2.jsonl", records(["b", "c"]))
    inputs = [str(tmp_path / "?.jsonl")]
    prepare(inputs, tokenizer, tmp_path / "web", shuffle=False)
    assert documents(tmp_path / "web") == [[70, 0], [71, 0], [72, 0]]
    prepare(inputs, tokenizer, tmp_path / "all", shuffle=False, dedup=False)
    assert documents(tmp_path / "all") == [[70, 0], [71, 0], [70, 0], [71, 0], [72, 0]]


BAD_LINES = [
    ('{"text": ', "no JSON (Expecting value: line 1 column 10 (char 9)); expected one JSON object a line"),
    ("[1]", "a JSON list; expected one JSON object a line"),
    ('{"body": "x"}', "fields body; expected a field 'text'"),
    ('{"text": 7}', "field 'text' of type int; expected text"),
    ('{"text": ""}', "an empty field 'text'; expected text"),
    ('{"text": "\\ud800"}', "field 'text' with half a surrogate pair; expected valid Unicode"),
]


@pytest.mark.parametrize(("line", "reason"), BAD_LINES)
def test_bad_record_stops_with_file_and_line(line: str, reason: str, tokenizer: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"text": "ok"}}\n\n{line}\n{{"text": "fine"}}')
    with pytest.raises(UserError) as caught:
        prepare([str(path)], tokenizer, tmp_path / "out" / "web")
    fix = "mend it, or leave such records out with --on-error skip"
    assert str(caught.value) == f"{path}:3: got {reason}; {fix}"
    assert list((tmp_path / "out").iterdir()) == []


def test_bad_records_are_skipped_and_counted(
    tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "a"}\n' + b"\n".join(line.encode() for line, _ in BAD_LINES) + b'\n\xff\n{"text": "b"}')
    prepare([str(path)], tokenizer, tmp_path / "web", shuffle=False, on_error="skip")
    assert documents(tmp_path / "web") == [[70, 0], [71, 0]]
    assert json.loads((tmp_path / "web.json").read_text())["bad_records"] == 7
    assert capsys.readouterr().out == "web: 2 documents, 4 tokens; left out: 0 duplicates, 7 bad records\n"


def test_bad_row_of_a_table_is_named_by_its_index(tokenizer: Path, tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["x"] * 200 + [None]}), path)
    with pytest.raises(UserError, match=r"a\.parquet\[200\]: got field 'text' of type NoneType; expected text"):
        prepare([str(path)], tokenizer, tmp_path / "web")


def test_an_error_leaves_the_old_source_whole(tokenizer: Path, tmp_path: Path) -> None:
    good = write_lines(tmp_path / "good.jsonl", records(TEXTS))
    before = prepare([good], tokenizer, tmp_path / "out" / "web")
    bad = write_lines(tmp_path / "bad.jsonl", [*records(TEXTS), {"text": None}])
    with pytest.raises(UserError):
        prepare([bad], tokenizer, tmp_path / "out" / "web")
    assert check(tmp_path / "out" / "web").problems == ()
    assert {end: (tmp_path / "out" / f"web{end}").read_bytes() for end in (".bin", ".idx")} == before
    assert len(list((tmp_path / "out").iterdir())) == 4


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_truncated_archive_is_an_error_even_when_skipping(suffix: str, tokenizer: Path, tmp_path: Path) -> None:
    data = "".join(f'{{"text": "document {number}"}}\n' for number in range(999)).encode()
    packed = gzip.compress(data) if suffix == "gz" else zstandard.compress(data)
    path = tmp_path / f"a.jsonl.{suffix}"
    path.write_bytes(packed[:-9])
    with pytest.raises(UserError, match=rf"a\.jsonl\.{suffix}: got unreadable data .*; expected a whole file"):
        prepare([str(path)], tokenizer, tmp_path / "web", on_error="skip")


def test_wrong_inputs_are_one_clear_line(tokenizer: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "a.parquet").write_text("x")
    one = write_lines(tmp_path / "a.jsonl", records(["x"]))
    for inputs, message in [
        ([], "--input: got nothing"),
        ([str(tmp_path / "none*.jsonl")], "got no such file"),
        ([str(tmp_path / "a.txt")], "got a file of unknown kind; expected .jsonl"),
        ([str(tmp_path / "a.parquet")], "a.parquet: got unreadable data"),
        ([str(tmp_path)], "got a plain folder; expected a saved data set"),
        ([one, str(tmp_path / "*.jsonl")], "a.jsonl: got the same input twice"),
        (["hub:name"], "got no split; expected hub:NAME@SPLIT"),
    ]:
        with pytest.raises(UserError) as caught:
            prepare(inputs, tokenizer, tmp_path / "web")
        assert message in str(caught.value)


def test_wrong_options_are_one_clear_line(tokenizer: Path, tmp_path: Path) -> None:
    one = write_lines(tmp_path / "a.jsonl", records(["x"]))
    for options, message in [
        ({"on_error": "ignore"}, "--on-error: got ignore; expected stop or skip"),
        ({"workers": -1}, "--workers: got -1; expected 1 or more"),
        ({"seed": -1}, "--seed: got -1; expected 0 or more"),
        ({"end_token": "</s>"}, "expected </s>"),
        ({"out": tmp_path / "tokenizer"}, "got the name 'tokenizer'; expected a prefix such as data/mine/web"),
        ({"out": tmp_path}, "got a folder; expected a prefix"),
    ]:
        with pytest.raises(UserError) as caught:
            prepare([one], tokenizer, **{"out": tmp_path / "web", **options})  # type: ignore[arg-type]
        assert message in str(caught.value)


def test_missing_and_foreign_tokenizers_are_refused(tokenizer: Path, tmp_path: Path) -> None:
    one = write_lines(tmp_path / "a.jsonl", records(["x"]))
    (tmp_path / "broken.json").write_text("{}")
    for path, message in [(tmp_path / "none.json", "no such file"), (tmp_path / "broken.json", "does not load")]:
        with pytest.raises(UserError, match=message):
            prepare([one], path, tmp_path / "web")
    other = tmp_path / "tokenizer.json"
    train_tokenizer(iter(["some text"]), vocab_size=263, path=other)
    with pytest.raises(UserError, match="got another tokenizer; expected the same as"):
        prepare([one], tokenizer, tmp_path / "web")


def test_dtype_is_cut_where_megatron_cuts_it() -> None:
    from megatron.core.datasets.indexed_dataset import DType

    for size in (262, 65499, 65500, 65501, 200_000):
        assert token_dtype(size) == DType.optimal_dtype(size).__name__


def test_large_vocabulary_is_stored_as_int32(tokenizer: Path, tmp_path: Path) -> None:
    large = read_vocabulary(tokenizer)
    large = type(large)(path=large.path, sha256=large.sha256, size=70_000)
    from tools.prepare.pipeline import Options, build_source

    encoder = TextEncoder(vocabulary=large, field="text", end=0, padding=1)
    source = write_lines(tmp_path / "a.jsonl", records(["ab"]))
    build_source([source], encoder=encoder, out=tmp_path / "web", options=Options(workers=1), provenance="test")
    assert (tmp_path / "web.bin").read_bytes() == np.array([70, 71, 0], "<i4").tobytes()
