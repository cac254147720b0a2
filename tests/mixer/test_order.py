from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixer.apportion import Ints
from mixer.errors import DataError
from mixer.generations import Generation, Growth, Shuffle, SourceHistory
from mixer.history import History
from mixer.order import Order
from mixer.spans import Span

growths = st.lists(
    st.tuples(st.integers(0, 30), st.integers(1, 12), st.sampled_from(["next_epoch", "append"])), max_size=4
)


def order_of(source: SourceHistory, sequence_length: int = 16) -> Order:
    return Order.of(5, sequence_length, {"other": SourceHistory((Generation(0, 3),)), "web": source})


def rows_of(source: SourceHistory, first: int, end: int) -> list[int]:
    rows: list[int] = order_of(source).read(np.full(end - first, 1), np.arange(first, end))[2].tolist()
    return rows


@given(st.integers(1, 20), growths, st.sampled_from(["each_epoch", "once", "off"]))
@settings(deadline=None, max_examples=150)
def test_growth_keeps_the_past_and_every_epoch_whole(
    rows: int, growths: list[tuple[int, int, Growth]], shuffle: Shuffle
) -> None:
    """Whatever grows when: rows are given evenly, and from the last growth on each once an epoch."""
    source, draw = SourceHistory((Generation(0, rows, num_tokens=rows),), shuffle), 0
    for ahead, added, how in growths:
        draw, rows = draw + ahead, rows + added
        past = rows_of(source, 0, draw)
        source = source.grown(Generation(0, rows, num_tokens=rows), draw, how)
        assert rows_of(source, 0, draw) == past
    last = source.generations[-1]
    assert last.num_rows == rows
    assert sorted(rows_of(source, last.first_draw, last.first_draw + rows)) == list(range(rows))
    times = np.bincount(rows_of(source, 0, last.first_draw), minlength=rows)
    assert (np.diff(times) <= 0).all(), "older rows were never given less often"
    if any(bridge.carries and bridge.num_tokens == rows for bridge in source.generations):
        assert times.min() >= 1, "a bridge gives the rows that are new"


def test_growing_twice_in_one_open_epoch() -> None:
    web = (
        SourceHistory((Generation(0, 10),)).grown(Generation(0, 14), 4, "append").grown(Generation(0, 17), 7, "append")
    )
    first, second, third = web.generations[1:]
    assert (first.first_draw, first.num_rows, first.carries, first.first_row) == (4, 10, 6, 10)
    assert (second.first_draw, second.num_rows, second.carries, second.first_row) == (7, 10, 7, 14)
    assert (third.first_draw, third.num_rows, third.carries) == (17, 17, 0)
    assert sorted(rows_of(web, 0, 17)) == list(range(17))
    assert rows_of(web, 0, 7) == rows_of(SourceHistory(web.generations[:2]), 0, 7)


def test_growth_at_the_edges_of_an_epoch() -> None:
    web = SourceHistory((Generation(0, 10),))
    new = Generation(0, 14, "b", num_tokens=9)
    for how in ("next_epoch", "append"):
        assert web.grown(new, 0, how).generations == (new,), "nothing was read"  # type: ignore[arg-type]
        assert web.grown(new, 20, how).generations[1:] == (replace(new, first_draw=20),)  # type: ignore[arg-type]
        assert web.grown(Generation(0, 10), 7, how) == web, "nothing grew"  # type: ignore[arg-type]
    assert [g.first_draw for g in web.grown(new, 9, "next_epoch").generations] == [0, 10]
    assert [g.first_draw for g in web.grown(new, 11, "append").generations] == [0, 11, 24]
    same_rows = web.grown(Generation(0, 10, "b"), 3, "append")
    assert [g.first_draw for g in same_rows.generations] == [0, 10], "no new row, so the epoch goes on"


def test_rows_that_begin_later_are_numbered_from_there() -> None:
    unread = SourceHistory((Generation(0, 4), Generation(4, 6, first_row=4)))
    assert sorted(rows_of(unread, 0, 4)) == [0, 1, 2, 3]
    assert sorted(rows_of(unread, 4, 10)) == sorted(rows_of(unread, 10, 16)) == [4, 5, 6, 7, 8, 9]
    grown = unread.grown(Generation(0, 8, num_tokens=14, first_row=4), 6, "append")
    assert sorted(rows_of(grown, 4, 12)) == list(range(4, 12))


@given(st.integers(1, 20), growths, st.sampled_from(["each_epoch", "once", "off"]), st.integers(0, 60))
@settings(deadline=None, max_examples=100)
def test_draws_are_the_inverse_of_rows(
    rows: int, growths: list[tuple[int, int, Growth]], shuffle: Shuffle, first: int
) -> None:
    source, draw = SourceHistory((Generation(0, rows, num_tokens=rows),), shuffle), 0
    for ahead, added, how in growths:
        draw, rows = draw + ahead, rows + added
        source = source.grown(Generation(0, rows, num_tokens=rows), draw, how)
    read = rows_of(source, 0, 120)
    asked: Ints = np.array([0, rows - 1, rows // 2, rows + 5])
    found = order_of(source).draws(1, asked, first, 120).tolist()
    assert found == [draw for draw in range(first, 120) if read[draw] in asked]


def test_far_draws_of_large_sources_invert() -> None:
    web = SourceHistory((Generation(0, 10**12), Generation(2 * 10**12, 10**12 + 7)))
    far = np.array([0, 2**31, 2**40, 2 * 10**12 - 1, 2 * 10**12, 2**42, 2**43])
    _, epochs, rows, _ = order_of(web).read(np.ones_like(far), far)
    assert epochs.tolist() == [0, 0, 1, 1, 0, 2, 6]
    for draw, row in zip(far.tolist(), rows.tolist(), strict=True):
        assert order_of(web).draws(1, np.array([row]), draw, draw + 1).tolist() == [draw]


def test_windows_move_in_every_epoch_but_the_first() -> None:
    moved = SourceHistory((Generation(0, 10), Generation(20, 15)), epoch_offset=True)
    offsets = order_of(moved, 1000).read(np.ones(65, np.int64), np.arange(65))[3]
    by_epoch = [set(offsets[a:b].tolist()) for a, b in ((0, 10), (10, 20), (20, 35), (35, 50), (50, 65))]
    assert by_epoch[0] == {0}
    assert all(len(epoch) == 1 for epoch in by_epoch)
    assert len(set.union(*by_epoch)) == 5
    assert all(0 <= offset < 1000 for offset in offsets.tolist())
    still = order_of(replace(moved, epoch_offset=False), 1000)
    assert not still.read(np.ones(65, np.int64), np.arange(65))[3].any()


def test_carried_rows_keep_the_offset_of_their_own_epoch() -> None:
    web = SourceHistory((Generation(0, 10),), epoch_offset=True)
    grown = web.grown(Generation(0, 14, num_tokens=14), 13, "append")
    before = order_of(web, 1000).read(np.ones(7, np.int64), np.arange(13, 20))
    _, _, rows, offsets = order_of(grown, 1000).read(np.ones(11, np.int64), np.arange(13, 24))
    assert set(offsets[rows < 10].tolist()) == set(before[3].tolist())
    assert len(set(offsets[rows >= 10].tolist())) == 1
    assert set(rows[rows < 10].tolist()) == set(before[2].tolist())


def test_a_bridge_must_carry_what_is_left() -> None:
    for carries, message in ((5, "carries 5 draws of 9; expected the 6 left"), (9, "carries 9 draws of 9")):
        web = SourceHistory((Generation(0, 10), Generation(4, 9, first_row=10, carries=carries)))
        with pytest.raises(DataError, match=r"sources.web.generations\[1\]: " + message):
            History(1, 8, {"web": web}, [Span(0, 10, {"web": 1})])
