"""Conversations: tokens and loss mask worked out by hand, and what makes a record bad."""

import json
from pathlib import Path

import numpy as np
import pytest

from tools.check.data import check
from tools.errors import UserError
from tools.prepare.chat import chat_encoder, prepare_chat, read_turns
from tools.prepare.python_corpus import train_tokenizer
from tools.prepare.records import BadRecord

END, USER, ASSISTANT, SYSTEM, STOP = 0, 2, 3, 4, 5
A, B, C, NEWLINE = 70, 71, 72, 204
TWO_TURNS = [{"role": "user", "content": "ab"}, {"role": "assistant", "content": "c"}]
FOUR_TURNS = [
    *({"role": "system", "content": "b"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "bc"}),
    *({"role": "user", "content": "c"}, {"role": "assistant", "content": "a\n"}),
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Six special tokens, then the 256 bytes: the 188 visible ones first ("!" is 6), then the others ("\n" is 204).
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_tokenizer(iter([]), vocab_size=262, path=path)
    return path


def prepare(records: list[object], tokenizer: Path, folder: Path, **options: object) -> tuple[list[int], list[int]]:
    source = folder / "chat.jsonl"
    source.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    options = {"workers": 1, "shuffle": False, **options}
    prepare_chat([str(source)], tokenizer=tokenizer, out=folder / "sft", **options)  # type: ignore[arg-type]
    assert check(folder / "sft").problems == ()
    tokens, mask = np.fromfile(folder / "sft.bin", "<u2"), np.fromfile(folder / "sft.mask.bin", "u1")
    return tokens.tolist(), mask.tolist()


def test_tokens_and_mask_by_hand(tokenizer: Path, tmp_path: Path) -> None:
    tokens, mask = prepare([{"messages": TWO_TURNS}], tokenizer, tmp_path)
    assert tokens == [USER, NEWLINE, A, B, STOP, NEWLINE, ASSISTANT, NEWLINE, C, STOP, NEWLINE, END]
    assert mask == [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 1]


def test_system_and_several_turns_by_hand(tokenizer: Path, tmp_path: Path) -> None:
    tokens, mask = prepare([{"messages": FOUR_TURNS}], tokenizer, tmp_path)
    pieces = [
        ([SYSTEM, NEWLINE, B, STOP, NEWLINE], [0, 0, 0, 0, 0]),
        ([USER, NEWLINE, A, STOP, NEWLINE], [0, 0, 0, 0, 0]),
        ([ASSISTANT, NEWLINE, B, C, STOP, NEWLINE], [0, 0, 1, 1, 1, 0]),
        ([USER, NEWLINE, C, STOP, NEWLINE], [0, 0, 0, 0, 0]),
        ([ASSISTANT, NEWLINE, A, NEWLINE, STOP, NEWLINE], [0, 0, 1, 1, 1, 0]),
        ([END], [1]),
    ]
    assert tokens == [token for part, _ in pieces for token in part]
    assert mask == [bit for _, part in pieces for bit in part]


def test_prompt_and_completion_equal_two_messages(tokenizer: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    messages = prepare([{"messages": TWO_TURNS}], tokenizer, tmp_path / "a")
    assert prepare([{"prompt": "ab", "completion": "c"}], tokenizer, tmp_path / "b") == messages


def test_mask_index_has_the_lengths_of_the_tokens(tokenizer: Path, tmp_path: Path) -> None:
    prepare([{"messages": TWO_TURNS}, {"messages": FOUR_TURNS}], tokenizer, tmp_path, shuffle=True, seed=3)
    from megatron.core.datasets.indexed_dataset import IndexedDataset

    tokens, mask = IndexedDataset(str(tmp_path / "sft")), IndexedDataset(str(tmp_path / "sft.mask"))
    assert sorted(tokens.sequence_lengths.tolist()) == [12, 28]
    assert tokens.sequence_lengths.tolist() == mask.sequence_lengths.tolist()
    assert mask.index.dtype is np.uint8
    for number in range(2):
        supervised = tokens[number][mask[number] == 1].tolist()
        assert supervised in ([C, STOP, END], [B, C, STOP, A, NEWLINE, STOP, END])


def test_manifest_counts_supervised_tokens_and_duplicates(tokenizer: Path, tmp_path: Path) -> None:
    prepare([{"messages": TWO_TURNS}, {"prompt": "ab", "completion": "c"}], tokenizer, tmp_path)
    manifest = json.loads((tmp_path / "sft.json").read_text())
    kept = {name: manifest[name] for name in ("kind", "documents", "tokens", "supervised_tokens", "duplicates_removed")}
    assert kept == {"kind": "chat", "documents": 1, "tokens": 12, "supervised_tokens": 3, "duplicates_removed": 1}
    assert sorted(manifest["files"]) == ["sft.bin", "sft.idx", "sft.mask.bin", "sft.mask.idx"]


def test_tables_and_workers_give_the_same_files(tokenizer: Path, tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    conversations = [TWO_TURNS, FOUR_TURNS]
    for name in ("lines", "table", "workers"):
        (tmp_path / name).mkdir()
    records = [{"messages": turns} for turns in conversations]
    lines = prepare(records, tokenizer, tmp_path / "lines")
    assert prepare(records, tokenizer, tmp_path / "workers", workers=2) == lines
    path = tmp_path / "chat.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"messages": conversations}), path)
    prepare_chat([str(path)], tokenizer=tokenizer, out=tmp_path / "table" / "sft", shuffle=False, workers=1)
    assert np.fromfile(tmp_path / "table" / "sft.bin", "<u2").tolist() == lines[0]
    assert np.fromfile(tmp_path / "table" / "sft.mask.bin", "u1").tolist() == lines[1]


@pytest.mark.parametrize(
    ("record", "got"),
    [
        ({"text": "x"}, "fields text"),
        ({"prompt": "x"}, "fields prompt"),
        ({"messages": "x"}, "messages of another shape"),
        ({"messages": []}, "no word of an assistant"),
        ({"messages": TWO_TURNS[:1]}, "no word of an assistant"),
        ({"prompt": "x", "completion": ""}, "no word of an assistant"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role 'tool'"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content of type list"),
    ],
)
def test_bad_conversations(record: dict[str, object], got: str) -> None:
    with pytest.raises(BadRecord) as caught:
        read_turns(record)
    assert caught.value.got == got


def test_bad_conversation_names_file_and_line(tokenizer: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"chat\.jsonl:2: got no word of an assistant"):
        prepare([{"messages": TWO_TURNS}, {"messages": TWO_TURNS[:1]}], tokenizer, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["chat.jsonl"]


def test_missing_role_token_is_named(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models

    bare = Tokenizer(models.BPE())
    bare.add_special_tokens(["<|endoftext|>", "<|pad|>", "<|system|>", "<|user|>", "<|end|>"])
    bare.save(str(tmp_path / "bare.json"))
    with pytest.raises(UserError, match=r"bare\.json: got special tokens .*; expected <\|assistant\|>"):
        chat_encoder(tmp_path / "bare.json")


def test_padding_must_not_be_the_end_token(tokenizer: Path) -> None:
    with pytest.raises(UserError, match="as padding and as end; expected two tokens"):
        chat_encoder(tokenizer, padding_token="<|endoftext|>")
