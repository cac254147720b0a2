import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mixer.errors import DataError
from mixer.generations import SourceHistory
from mixer.manifest import Manifest
from mixer.source import CountedSource, PackedSource, Windows, WindowSource, mean_loss_tokens, open_source

Write = Callable[..., Path]

TEXT = [[10 * d + k for k in range(7)] for d in range(9)]
CHATS = [[100 * d + k for k in range(size)] for d, size in enumerate((6, 4, 3, 9, 5), start=1)]
MASKS = [[int(k % 2 == 1) for k in range(len(chat))] for chat in CHATS]
PAD = 999


@pytest.fixture
def text(tmp_path: Path, write_tokens: Write) -> Path:
    return write_tokens(tmp_path / "web", TEXT)


@pytest.fixture
def chat(tmp_path: Path, write_tokens: Write) -> Path:
    write_tokens(tmp_path / "sft.mask", MASKS, "u1")
    return write_tokens(tmp_path / "sft", CHATS)


def write_manifest(prefix: Path, **changes: object) -> None:
    state = {
        "kind": "chat",
        "tokens": 27,
        "documents": 5,
        "supervised_tokens": 12,
        "tokenizer": {"sha256": "abc"},
        "special_tokens": {"eod": 0, "pad": PAD},
    }
    Path(f"{prefix}.json").write_text(json.dumps({**state, **changes}))


def open_chat(prefix: Path, **options: object) -> PackedSource:
    source = open_source(prefix, name="sft", sequence_length=8, kind="chat", pad=PAD, **options)  # type: ignore[arg-type]
    assert isinstance(source, PackedSource)
    return source


def read(source: WindowSource | PackedSource, rows: list[int], *, validation: bool = False) -> Windows:
    out = Windows.empty(len(rows), source.sequence_length)
    source.fill(np.array(rows), out, np.arange(len(rows)), validation=validation)
    return out


def test_text_rows_are_windows_and_their_labels(text: Path) -> None:
    source = open_source(text, name="web", sequence_length=10)
    flat = [token for document in TEXT for token in document]
    assert (source.num_rows, source.num_validation_rows, mean_loss_tokens(source)) == (6, 0, 10.0)
    out = read(source, [5, 0, 5])
    assert out.tokens.tolist() == [flat[50:60], flat[0:10], flat[50:60]]
    assert out.labels.tolist() == [flat[51:61], flat[1:11], flat[51:61]]
    assert (out.loss_mask == 1).all()
    assert out.position_ids.tolist() == [list(range(10))] * 3
    assert not out.segments.any()
    assert (source.documents(0), source.documents(5)) == ([0, 1], [7, 8])
    assert source.generations()[-1].num_rows == 6


def test_rows_go_where_they_are_asked_for(text: Path) -> None:
    out = Windows.empty(4, 10)
    out.tokens[:] = out.labels[:] = -7
    open_source(text, name="web", sequence_length=10).fill(np.array([1, 0]), out, at=np.array([3, 1]))
    assert (out.tokens[[0, 2]] == -7).all()
    assert out.tokens[3, 0] == 13
    assert out.tokens[1, 0] == 0


def test_held_out_text_is_read_as_validation_only(text: Path) -> None:
    source = open_source(text, name="web", sequence_length=5, holdout_share=0.2, holdout_runs=1)
    held = {token for document in TEXT[7:] for token in document}
    rows = read(source, list(range(source.num_rows)))
    assert not held & {*rows.tokens.ravel().tolist(), *rows.labels.ravel().tolist()}
    validation = read(source, list(range(source.num_validation_rows)), validation=True)
    assert {*validation.tokens.ravel().tolist(), *validation.labels.ravel().tolist()} <= held
    assert source.documents(0, validation=True) == [7]
    again = open_source(text, name="web", sequence_length=5, history=SourceHistory(source.generations()))
    assert again.generations()[-1] == source.generations()[-1]


def test_packed_rows_keep_conversations_apart(chat: Path) -> None:
    source = open_chat(chat, loss="assistant")
    order = [source.documents(row) for row in range(source.num_rows)]
    assert order == [[3], [0, 1], [4, 2]]
    out = read(source, [1, 2])
    first, second = CHATS[4], CHATS[2]
    assert out.tokens[1].tolist() == [*first[:-1], *second[:-1], PAD, PAD]
    assert out.labels[1].tolist() == [*first[1:], *second[1:], PAD, PAD]
    assert out.loss_mask[1].tolist() == [1, 0, 1, 0, 1, 0, 0, 0]
    assert out.position_ids[1].tolist()[:6] == [0, 1, 2, 3, 0, 1]
    assert out.segments.tolist() == [[0, 0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 1, -1, -1]]


def test_packed_rows_know_their_sums(chat: Path) -> None:
    source = open_chat(chat, loss="assistant")
    out = read(source, list(range(source.num_rows)))
    assert source.row_supervised.tolist() == out.loss_mask.sum(axis=1).tolist()
    assert source.row_filled.tolist() == (out.segments >= 0).sum(axis=1).tolist()
    assert mean_loss_tokens(source) == out.loss_mask.sum() / source.num_rows
    everything = open_chat(chat)
    assert everything.num_validation_rows == 0
    assert everything.row_supervised.tolist() == everything.row_filled.tolist()
    assert everything.generations()[-1].fingerprint != source.generations()[-1].fingerprint


def test_held_out_conversations_are_packed_apart(chat: Path) -> None:
    source = open_chat(chat, holdout_share=0.3, holdout_runs=1)
    assert sorted(d for row in range(source.num_rows) for d in source.documents(row)) == [0, 1, 2]
    rows = range(source.num_validation_rows)
    assert sorted(d for row in rows for d in source.documents(row, validation=True)) == [3, 4]
    assert read(source, [0], validation=True).tokens[0].tolist() == CHATS[3][:-1]


def test_the_manifest_gives_kind_and_pad(chat: Path) -> None:
    write_manifest(chat)
    source = open_source(chat, name="sft", sequence_length=8)
    assert isinstance(source, PackedSource)
    assert source.pad == PAD
    assert Manifest.read(chat) == Manifest("chat", 27, 5, 12, "abc", 0, PAD)
    assert Manifest.read("nowhere") is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": 28}, "sft.json: 28 tokens, but the .idx has 27; prepare again"),
        ({"kind": "text"}, "source sft: its files hold text, the recipe says chat"),
        ({"kind": "image"}, "sft.json: kind is 'image'; expected text or chat"),
        ({"special_tokens": {"eod": 3, "pad": 3}}, "sft.json: pad and eod are both 3; choose a pad id of its own"),
        ({"special_tokens": None}, "sft.json: .*expected kind, tokens"),
    ],
)
def test_a_manifest_that_disagrees_is_refused(chat: Path, changes: dict[str, object], message: str) -> None:
    write_manifest(chat, **changes)
    with pytest.raises(DataError, match=message):
        open_chat(chat)


def test_a_manifest_that_is_not_json_is_refused(chat: Path) -> None:
    Path(f"{chat}.json").write_text("{")
    with pytest.raises(DataError, match=r"sft.json: not JSON"):
        open_chat(chat)


def test_requests_that_can_not_be_met_are_refused(text: Path, chat: Path, tmp_path: Path, write_tokens: Write) -> None:
    with pytest.raises(DataError, match="source web: 63 tokens make no training row; a window takes 64"):
        open_source(text, name="web", sequence_length=63)
    with pytest.raises(DataError, match="source web: loss is 'assistant'; text has no assistant"):
        open_source(text, name="web", sequence_length=8, loss="assistant")
    with pytest.raises(DataError, match="source sft: no pad id in a manifest"):
        open_source(chat, name="sft", sequence_length=8, kind="chat")
    with pytest.raises(DataError, match="source sft: loss is 'user'; expected all or assistant"):
        open_chat(chat, loss="user")
    write_tokens(tmp_path / "sft.mask", MASKS[:-1], "u1")
    with pytest.raises(DataError, match=r"sft.mask: 22 entries of uint8; expected one uint8 for each of 27 tokens"):
        open_chat(chat)


def test_conversations_in_several_files_are_packed_as_one(tmp_path: Path, chat: Path, write_tokens: Write) -> None:
    parts = [tmp_path / "first", tmp_path / "second"]
    for prefix, which in zip(parts, (slice(2), slice(2, None)), strict=True):
        write_tokens(Path(f"{prefix}.mask"), MASKS[which], "u1")
        write_tokens(prefix, CHATS[which], "i4")
    options = {"name": "sft", "sequence_length": 8, "kind": "chat", "pad": PAD, "loss": "assistant"}
    one, two = open_source(chat, **options), open_source(parts, **options)  # type: ignore[arg-type]
    rows = list(range(one.num_rows))
    for ours, theirs in zip(vars(read(two, rows)).values(), vars(read(one, rows)).values(), strict=True):
        assert np.array_equal(ours, theirs)


def test_text_is_kept_inside_documents_where_a_pad_id_is_known(text: Path) -> None:
    source = open_source(text, name="web", sequence_length=4, windows="document", pad=PAD)
    out = read(source, [0, 1])
    assert out.tokens.tolist() == [[0, 1, 2, 3], [4, 5, PAD, PAD]]
    assert out.labels.tolist() == [[1, 2, 3, 4], [5, 6, PAD, PAD]]
    assert out.loss_mask.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert out.position_ids[:, :2].tolist() == [[0, 1], [0, 1]]
    assert out.segments.tolist() == [[0, 0, 0, 0], [0, 0, -1, -1]]
    assert (source.num_rows, mean_loss_tokens(source)) == (18, 3.0)
    packed = open_source(text, name="web", sequence_length=4, windows="packed", pad=PAD)
    assert packed.num_rows == 14  # nine of 4 tokens, and the nine of 2 that are left in pairs
    assert packed.generations()[-1].window == "packed"


def test_data_in_the_order_of_its_making_is_held_out_in_many_places(tmp_path: Path, write_tokens: Write) -> None:
    prefix = write_tokens(tmp_path / "web", [[1] * 10] * 400)
    options = {"name": "web", "sequence_length": 8, "holdout_share": 0.1}
    manifest = {"kind": "text", "tokens": 4000, "documents": 400, "supervised_tokens": 4000}
    for shuffle_seed, runs in ((7, 1), (None, 16)):
        write_manifest(prefix, **manifest, shuffle_seed=shuffle_seed)
        assert len(open_source(prefix, **options).holdout.runs) == runs  # type: ignore[arg-type]
    write_manifest(prefix, **manifest, shuffle_seed=7)
    unknown = write_tokens(tmp_path / "unknown", [[1] * 10] * 400)
    for several in ([prefix, prefix], [prefix, unknown]):
        assert len(open_source(several, **options).holdout.runs) == 16  # type: ignore[arg-type]
    assert len(open_source(prefix, **options, holdout_runs=3).holdout.runs) == 3  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"windows": "document"}, "source web: no pad id in a manifest of .*web; state one"),
        ({"windows": "documents"}, "source web: windows are 'documents'; expected concatenated, document, packed"),
        (
            {"windows": "packed", "pad": 9, "epoch_offset": True},
            "epoch_offset moves concatenated windows; leave it out",
        ),
        ({"windows": "packed", "pad": 9, "attention": "document"}, "packed windows keep documents apart as they are"),
        ({"kind": "chat", "windows": "concatenated"}, "windows are 'concatenated'; expected packed or document"),
        ({"attention": "row"}, "attention is 'row'; expected window or document"),
    ],
)
def test_options_that_do_not_go_together_are_refused(text: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_source(text, name="web", sequence_length=8, **options)  # type: ignore[arg-type]


def test_files_that_do_not_go_together_are_refused(text: Path, chat: Path) -> None:
    both = [text, chat]
    write_manifest(chat)
    write_manifest(text, kind="text", tokens=63, special_tokens={"eod": 5, "pad": 6})
    with pytest.raises(DataError, match="source mix: some files hold text, others conversations; make two sources"):
        open_source(both, name="mix", sequence_length=8)
    with pytest.raises(DataError, match="source mix: pad id 5 ends documents too; choose a pad id of its own"):
        open_source(text, name="mix", sequence_length=8, windows="packed", pad=5)
    write_manifest(chat, kind="text")
    with pytest.raises(DataError, match=r"source mix: its files pad with ids \[6, 999\]; state one"):
        open_source(both, name="mix", sequence_length=8, windows="packed")
    with pytest.raises(DataError, match="no path of data; give one or more"):
        open_source([], name="mix", sequence_length=8)


def test_a_counted_source_plans_but_does_not_read() -> None:
    source = CountedSource("web", 1001, 10)
    assert (source.num_rows, mean_loss_tokens(source), source.documents(0)) == (100, 10.0, [])
    assert mean_loss_tokens(CountedSource("sft", 1001, 10, stated_loss_tokens=4.5)) == 4.5
    with pytest.raises(DataError, match="source web: states 1,001 tokens but no data; give its path to read it"):
        source.fill(np.array([0]), Windows.empty(1, 10), np.array([0]))
    with pytest.raises(DataError, match="source web: 10 tokens make no training row"):
        CountedSource("web", 10, 10)
