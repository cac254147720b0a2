"""Rows of text: documents kept apart inside windows, and windows cut at another offset."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixer.errors import DataError
from mixer.holdout import Holdout
from mixer.indexed import IndexedTokens
from mixer.text import WindowSource, document_parts
from mixer.windows import Windows

Memory = Callable[..., IndexedTokens]

lengths = st.lists(st.integers(0, 9), min_size=3, max_size=40).filter(lambda sizes: sum(sizes) > 40)


def read(source: WindowSource, rows: np.ndarray, offsets: np.ndarray | None = None) -> Windows:
    out = Windows.empty(len(rows), source.sequence_length)
    source.fill(rows, out, np.arange(len(rows)), offsets=offsets)
    return out


@given(lengths, st.integers(1, 12), st.integers(0, 11))
@settings(deadline=None, max_examples=150)
def test_positions_and_segments_begin_again_with_each_document(
    memory_tokens: Memory, sizes: list[int], window: int, offset: int
) -> None:
    tokens = memory_tokens(sizes)
    offset = min(offset, window - 1)
    source = WindowSource("web", tokens, window, Holdout(), "document", epoch_offset=True)
    rows = np.arange(source.num_rows)
    out = read(source, rows, np.full(len(rows), offset))
    document = np.repeat(np.arange(len(sizes)), sizes)
    for row in rows.tolist():
        owners = document[out.tokens[row]]
        starts = [k for k in range(window) if k == 0 or owners[k] != owners[k - 1]]
        positions = [k - max(start for start in starts if start <= k) for k in range(window)]
        assert out.position_ids[row].tolist() == positions
        assert out.segments[row].tolist() == [sum(start <= k for start in starts) - 1 for k in range(window)]
    assert (out.loss_mask == 1).all()
    assert (out.labels == out.tokens + 1).all()


def test_the_example_of_the_module(memory_tokens: Memory) -> None:
    tokens = memory_tokens([10, 3, 0, 4])
    assert document_parts(tokens, np.array([7, 0]), 8) == [[0, 3, 6, 8], [0, 8]]


def test_rows_are_written_where_they_are_asked_for(memory_tokens: Memory) -> None:
    source = WindowSource("web", memory_tokens([5] * 5), 8, Holdout(), "document")
    out = Windows.empty(3, 8)
    source.fill(np.array([1, 0]), out, np.array([2, 0]))
    assert out.position_ids.tolist() == [[0, 1, 2, 3, 4, 0, 1, 2], list(range(8)), [0, 1, 0, 1, 2, 3, 4, 0]]
    assert out.segments[[0, 2], -1].tolist() == [1, 2]
    assert not source.plain
    assert WindowSource("web", source.tokens, 8, Holdout()).plain


@given(lengths, st.integers(1, 12), st.booleans())
@settings(deadline=None, max_examples=100)
def test_rows_of_a_document_are_those_that_hold_it_at_some_offset(
    memory_tokens: Memory, sizes: list[int], window: int, epoch_offset: bool
) -> None:
    tokens = memory_tokens(sizes)
    holdout = Holdout.choose(tokens, share=0.2, window_tokens=window)
    try:
        source = WindowSource("web", tokens, window, holdout, epoch_offset=epoch_offset)
    except DataError:
        return
    offsets = range(window) if epoch_offset else [0]
    held = {(d, row) for row in range(source.num_rows) for k in offsets for d in source.documents(row, offset=k)}
    assert {(d, row) for d in range(len(sizes)) for row in source.rows_of_document(d).tolist()} == held


def test_an_offset_moves_a_window(memory_tokens: Memory) -> None:
    source = WindowSource("web", memory_tokens([41]), 10, Holdout(), epoch_offset=True)
    assert source.num_rows == 3  # one of four is given up
    out = read(source, np.array([0, 2]), np.array([0, 9]))
    assert out.tokens[:, 0].tolist() == [0, 29]
    assert out.labels[:, -1].tolist() == [10, 39]
    for offset in (-1, 10):
        with pytest.raises(
            DataError, match=r"source web: offsets .* expected 0 to 9 of training rows, with epoch_offs"
        ):
            read(source, np.array([0]), np.array([offset]))
    still = WindowSource("web", source.tokens, 10, Holdout())
    assert read(still, np.array([3]), np.array([0])).tokens[0, 0] == 30
    with pytest.raises(DataError, match="source web: offsets 1 to 1; expected"):
        read(still, np.array([0]), np.array([1]))


def test_an_unknown_attention_is_refused(memory_tokens: Memory) -> None:
    with pytest.raises(DataError, match="source web: attention is 'all'; expected window or document"):
        WindowSource("web", memory_tokens([41]), 10, Holdout(), "all")  # type: ignore[arg-type]
