from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixer.errors import DataError
from mixer.holdout import Holdout, RowIntervals
from mixer.indexed import IndexedTokens

Memory = Callable[..., IndexedTokens]


def covered(rows: RowIntervals) -> np.ndarray:
    """Tokens that all rows read, labels included."""
    starts = rows.starts(np.arange(rows.num_rows))
    return (starts[:, None] + np.arange(rows.window_tokens + 1)).ravel()


def test_a_run_bars_the_rows_it_touches_and_one_more_on_either_side() -> None:
    rows = Holdout(((31, 49),)).training_rows(num_tokens=101, window_tokens=10)
    assert rows.starts(np.arange(rows.num_rows)).tolist() == [0, 10, 60, 70, 80, 90]


def test_a_label_alone_touches() -> None:
    touching = Holdout(((40, 45),)).training_rows(num_tokens=101, window_tokens=10)
    assert touching.starts(np.arange(touching.num_rows)).tolist() == [0, 10, 60, 70, 80, 90]
    beside = Holdout(((41, 45),)).training_rows(num_tokens=101, window_tokens=10)
    assert beside.starts(np.arange(beside.num_rows)).tolist() == [0, 10, 20, 60, 70, 80, 90]


@pytest.mark.parametrize(("tokens", "rows"), [(0, 0), (10, 0), (11, 1), (20, 1), (21, 2)])
def test_a_row_needs_its_label(tokens: int, rows: int) -> None:
    assert Holdout().training_rows(num_tokens=tokens, window_tokens=10).num_rows == rows
    assert Holdout(((5, 5 + tokens),)).validation_rows(window_tokens=10).num_rows == rows


def test_runs_at_either_end_have_a_guard_on_one_side() -> None:
    rows = Holdout(((0, 10), (95, 101))).training_rows(num_tokens=101, window_tokens=10)
    assert rows.starts(np.arange(rows.num_rows)).tolist() == [20, 30, 40, 50, 60, 70]


lengths = st.lists(st.integers(0, 60), min_size=4, max_size=80).filter(lambda sizes: sum(sizes) > 200)


@given(lengths, st.floats(0.01, 0.4), st.integers(1, 6), st.integers(1, 20))
@settings(deadline=None, max_examples=200)
def test_no_held_out_token_is_in_a_training_row(
    memory_tokens: Memory, sizes: list[int], share: float, runs: int, window: int
) -> None:
    tokens = memory_tokens(sizes)
    try:
        holdout = Holdout.choose(tokens, share=share, num_runs=runs, window_tokens=window)
    except DataError:
        return
    starts = {*tokens.document_starts(np.arange(tokens.num_documents + 1)).tolist()}
    assert all(first in starts and end in starts and first < end for first, end in holdout.runs)
    assert sum(end - first for first, end in holdout.runs) >= int(share * tokens.num_tokens) - len(holdout.runs)
    training = covered(holdout.training_rows(num_tokens=tokens.num_tokens, window_tokens=window))
    assert not holdout.holds(training).any()
    validation = holdout.validation_rows(window_tokens=window)
    assert validation.num_rows >= len(holdout.runs)
    assert holdout.holds(covered(validation)).all()


@given(lengths, st.floats(0.01, 0.4), st.integers(1, 20))
@settings(deadline=None)
def test_rows_are_all_those_that_stay_clear(memory_tokens: Memory, sizes: list[int], share: float, window: int) -> None:
    tokens = memory_tokens(sizes)
    holdout = Holdout(((tokens.num_tokens // 3, tokens.num_tokens // 3 + int(share * tokens.num_tokens)),))
    every = np.arange((tokens.num_tokens - 1) // window)
    touches = np.array([holdout.holds(np.arange(r * window, r * window + window + 1)).any() for r in every])
    barred = touches | np.append(touches[1:], False) | np.append(False, touches[:-1])
    rows = holdout.training_rows(num_tokens=tokens.num_tokens, window_tokens=window)
    if holdout.runs[0][0] < holdout.runs[0][1]:
        assert rows.starts(np.arange(rows.num_rows)).tolist() == (every[~barred] * window).tolist()


def test_runs_are_spread_evenly(memory_tokens: Memory) -> None:
    holdout = Holdout.choose(memory_tokens([10] * 100), share=0.1, num_runs=4, window_tokens=8)
    assert holdout.runs == ((220, 250), (470, 500), (720, 750), (970, 1000))
    one = Holdout.choose(memory_tokens([10] * 100), share=0.1, window_tokens=8)
    assert one.runs == ((900, 1000),)


def test_each_run_has_room_for_a_window(memory_tokens: Memory) -> None:
    holdout = Holdout.choose(memory_tokens([10] * 100), share=0.001, num_runs=4, window_tokens=30)
    assert holdout.runs == ((960, 1000),)
    assert holdout.validation_rows(window_tokens=30).num_rows == 1


def test_a_share_of_zero_holds_nothing_out(memory_tokens: Memory) -> None:
    assert Holdout.choose(memory_tokens([10] * 5), share=0, window_tokens=8) == Holdout()
    assert not Holdout().holds(np.arange(5)).any()


@pytest.mark.parametrize(
    ("sizes", "share", "message"),
    [
        ([10] * 10, 0.6, "holdout of 0.6 in 1 runs; expected a share from 0 to 0.5"),
        ([10] * 10, -0.1, "holdout of -0.1 in 1 runs"),
        ([10] * 10, float("nan"), "holdout of nan"),
        ([100], 0.1, "holding out 10 tokens takes all 1 documents; give it more of them or a holdout of 0"),
    ],
)
def test_an_impossible_holdout_is_refused(memory_tokens: Memory, sizes: list[int], share: float, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Holdout.choose(memory_tokens(sizes), share=share, window_tokens=8)
