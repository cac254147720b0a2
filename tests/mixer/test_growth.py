"""What must hold of sources of every kind, grown or not: nothing held out is read, and rows keep their numbers."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixer.errors import DataError
from mixer.generations import Growth, SourceHistory, Window
from mixer.holdout import Holdout
from mixer.indexed import IndexedTokens
from mixer.order import Order
from mixer.packed import PackedSource
from mixer.source import open_source
from mixer.text import WindowSource
from mixer.token_store import TokenFiles, TokenStore
from mixer.windows import PADDING, Windows

Memory = Callable[..., IndexedTokens]
Write = Callable[..., Path]
Rows = WindowSource | PackedSource

PAD = 9_999
document_lengths = st.lists(st.integers(0, 50), min_size=4, max_size=60).filter(lambda sizes: sum(sizes) > 150)
MODES: tuple[Window, ...] = ("concatenated", "document", "packed")


def source_of(store: TokenStore, window: int, holdout: Holdout, mode: Window, extents: tuple[int, ...]) -> Rows:
    if mode == "concatenated":
        return WindowSource("web", store, window, holdout, epoch_offset=True)
    return PackedSource("web", store, window, holdout, None, PAD, windows=mode, extents=extents)


def read(source: Rows, num_rows: int, *, offset: int = 0, validation: bool = False) -> np.ndarray:
    """Inputs and labels of the first rows, padding as PAD: (rows, 2, S). Tokens are numbered by their position."""
    out = Windows.empty(num_rows, source.sequence_length)
    offsets = np.full(num_rows, offset)
    source.fill(np.arange(num_rows), out, np.arange(num_rows), offsets=offsets, validation=validation)
    if not source.plain:
        assert ((out.segments == PADDING) == (out.loss_mask == 0)).all()
        assert (out.tokens[out.segments == PADDING] == PAD).all()
    return np.stack([out.tokens, out.labels], axis=1)


@given(
    document_lengths,
    st.lists(st.integers(0, 50), min_size=1, max_size=20).filter(lambda sizes: sum(sizes) > 0),
    st.floats(0.01, 0.4),
    st.integers(1, 5),
    st.integers(2, 20),
    st.sampled_from(MODES),
    st.data(),
)
@settings(deadline=None, max_examples=300)
def test_nothing_held_out_is_trained_on_and_rows_keep_their_numbers(
    memory_tokens: Memory,
    sizes: list[int],
    added: list[int],
    share: float,
    runs: int,
    window: int,
    mode: Window,
    data: st.DataObject,
) -> None:
    first = memory_tokens(sizes)
    grown = TokenFiles((first, memory_tokens(added, "<u2", first.num_tokens)))
    try:
        holdout = Holdout.choose(first, share=share, num_runs=runs, window_tokens=window)
        before = source_of(first, window, holdout, mode, ())
    except DataError:
        return
    after = source_of(grown, window, holdout, mode, (first.num_tokens, grown.num_tokens))
    offset = data.draw(st.integers(0, window - 1)) if mode == "concatenated" else 0
    for source in (before, after):
        trained = read(source, source.num_rows, offset=offset)
        assert not holdout.holds(trained[trained != PAD]).any()
        held = read(source, source.num_validation_rows, validation=True)
        assert holdout.holds(held[held != PAD]).all()
    assert np.array_equal(read(after, before.num_rows, offset=offset), read(before, before.num_rows, offset=offset))
    assert after.generation(first.num_tokens) == before.generations()[-1]
    assert (after.num_validation_rows, after.num_rows >= before.num_rows) == (before.num_validation_rows, True)


@given(document_lengths, st.integers(2, 20), st.sampled_from(["document", "packed"]))
@settings(deadline=None)
def test_inside_documents_every_label_is_predicted_once(
    memory_tokens: Memory, sizes: list[int], window: int, mode: Window
) -> None:
    source = source_of(memory_tokens(sizes), window, Holdout(), mode, ())
    pairs = read(source, source.num_rows).transpose(0, 2, 1).reshape(-1, 2)
    pairs = pairs[pairs[:, 0] != PAD]
    document = np.repeat(np.arange(len(sizes)), sizes)
    assert (pairs[:, 1] == pairs[:, 0] + 1).all()
    assert (document[pairs[:, 0]] == document[pairs[:, 1]]).all()
    assert len(set(pairs[:, 1].tolist())) == len(pairs) == sum(max(0, size - 1) for size in sizes)
    if mode == "document":
        assert all(len(source.documents(row)) == 1 for row in range(source.num_rows))
    asked = {(d, row) for d in range(len(sizes)) for row in source.rows_of_document(d).tolist()}
    assert asked == {(d, row) for row in range(source.num_rows) for d in source.documents(row)}


TEXT = [[10 * d + k for k in range(7)] for d in range(30)]


@pytest.mark.parametrize("mode", MODES)
def test_a_source_is_opened_again_with_its_history(tmp_path: Path, write_tokens: Write, mode: Window) -> None:
    options = {"name": "web", "sequence_length": 5, "windows": mode, "pad": None if mode == "concatenated" else 400}
    prefix = write_tokens(tmp_path / "web", TEXT[:20])
    first = open_source(prefix, holdout_share=0.2, **options)  # type: ignore[arg-type]
    history = SourceHistory(first.generations())
    same = open_source(prefix, history=history, **options)  # type: ignore[arg-type]
    assert same.generations() == first.generations()

    write_tokens(prefix, TEXT[:25])  # in its last file, and in a file added
    more = write_tokens(tmp_path / "more", TEXT[25:])
    grown = open_source([prefix, more], history=history, **options)  # type: ignore[arg-type]
    now = grown.generations()[-1]
    assert now.holdout == first.holdout.runs
    assert (now.num_tokens, now.num_rows > first.num_rows) == (7 * 30, True)

    joined = SourceHistory((*first.generations(), replace(now, first_draw=99)))
    again = open_source([prefix, more], history=joined, **options)  # type: ignore[arg-type]
    assert again.generations()[-1] == now
    with pytest.raises(DataError, match="source web: num_tokens is 175, but the run reads 210; the data has shrunk"):
        open_source(prefix, history=joined, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", ["next_epoch", "append"])
def test_data_that_grows_again_before_it_is_read_opens_at_each_resume(
    tmp_path: Path, write_tokens: Write, mode: Window, how: Growth
) -> None:
    options = {"name": "web", "sequence_length": 5, "windows": mode, "pad": None if mode == "concatenated" else 400}
    prefix = write_tokens(tmp_path / "web", TEXT[:20])
    history = SourceHistory(open_source(prefix, **options).generations())  # type: ignore[arg-type]
    read, draw = list[list[int]](), 0
    for num_documents, then in [(20, how), (23, how), (26, how), (26, how), (29, "next_epoch"), (29, how), (30, how)]:
        draw += 2
        write_tokens(prefix, TEXT[:num_documents])
        source = open_source(prefix, history=history.fixed(draw), **options)  # type: ignore[arg-type]
        history = history.grown(source.generations()[-1], draw, then)  # type: ignore[arg-type]
        _, _, rows, _ = Order.of(1, 5, {"web": history}).read(np.zeros(400, np.int64), np.arange(400))
        out = Windows.empty(400, 5)
        source.fill(rows, out, np.arange(400))
        assert out.labels[: len(read)].tolist() == read, "what was read stays"
        read = out.labels[: draw + 2].tolist()
    assert set(rows.tolist()) == set(range(source.num_rows))


def test_a_source_that_changed_under_its_history_is_refused(tmp_path: Path, write_tokens: Write) -> None:
    prefix = write_tokens(tmp_path / "web", TEXT)
    history = SourceHistory(open_source(prefix, name="web", sequence_length=5).generations())
    with pytest.raises(DataError, match="source web: window is document, but the run reads concatenated"):
        open_source(prefix, name="web", sequence_length=5, windows="document", pad=400, history=history)
    with pytest.raises(DataError, match="source web: num_rows is 40, but the run reads 41"):
        open_source(prefix, name="web", sequence_length=5, epoch_offset=True, history=history)
    write_tokens(prefix, [[7, *TEXT[0][1:]], *TEXT[1:], [1, 2]])
    with pytest.raises(
        DataError, match=r"source web: fingerprint is \w+, but the run reads \w+; the data or how it is"
    ):
        open_source(prefix, name="web", sequence_length=5, history=history)
