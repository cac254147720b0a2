import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixer.errors import DataError
from mixer.flat_tokens import FlatTokens
from mixer.packing import Overlong, Packing

conversations = st.lists(st.integers(0, 40), min_size=1, max_size=60)


def plan_of(sizes: list[int], window: int, overlong: Overlong = "split", mask: np.ndarray | None = None) -> Packing:
    return Packing.plan(sizes, None if mask is None else FlatTokens([mask]), window_tokens=window, overlong=overlong)


def labels_of(plan: Packing, first_tokens: np.ndarray) -> list[int]:
    """Every token that some row predicts, numbered through all conversations."""
    pieces = plan.pieces
    return [
        int(first_tokens[document]) + start + 1 + k
        for document, start, length in zip(pieces.document, pieces.start.tolist(), pieces.length.tolist(), strict=True)
        for k in range(length)
    ]


@given(conversations, st.integers(1, 30), st.sampled_from(["split", "drop", "truncate"]), st.randoms())
@settings(deadline=None, max_examples=200)
def test_every_label_is_predicted_once_and_rows_hold(
    sizes: list[int], window: int, overlong: Overlong, random: object
) -> None:
    mask = np.array([random.random() < 0.3 for _ in range(sum(sizes))], np.uint8)  # type: ignore[attr-defined]
    plan = plan_of(sizes, window, overlong, mask)
    first = np.cumsum([0, *sizes])
    labels = labels_of(plan, first)
    assert len(set(labels)) == len(labels)
    wanted = {
        int(first[k]) + t
        for k, size in enumerate(sizes)
        for t in range(1, min(size, window + 1) if overlong == "truncate" else size)
        if mask[first[k] + t] and not (overlong == "drop" and size - 1 > window)
    }
    assert {t for t in labels if mask[t]} == wanted
    assert (plan.filled <= window).all()
    assert (plan.supervised >= 1).all()
    assert plan.supervised.sum() == len(wanted)
    assert plan.num_overlong == sum(size - 1 > window for size in sizes)


def test_the_example_of_the_module() -> None:
    plan = plan_of([6, 4, 3, 9], 8)
    pieces, number, row = plan.pieces_of(np.array([1, 0, 2]))
    assert pieces.document.tolist() == [0, 1, 3, 2]
    assert number.tolist() == [0, 1, 0, 0]
    assert row.tolist() == [0, 0, 1, 2]
    assert plan.filled.tolist() == [8, 8, 2]


def test_overlong_conversations_by_policy() -> None:
    split, drop, cut = (plan_of([10, 5], 4, policy) for policy in ("split", "drop", "truncate"))
    assert sorted(zip(split.pieces.start.tolist(), split.pieces.length.tolist(), strict=True)) == [
        (0, 4),
        (0, 4),
        (4, 4),
        (8, 1),
    ]
    assert drop.pieces.document.tolist() == [1]
    assert cut.pieces.length.tolist() == [4, 4]
    assert {plan.num_overlong for plan in (split, drop, cut)} == {1}


def test_exactly_a_window_is_not_overlong() -> None:
    plan = plan_of([5], 4)
    assert (plan.num_rows, plan.num_overlong, plan.fill) == (1, 0, 1.0)
    assert plan_of([6], 4).num_overlong == 1


def test_what_predicts_nothing_is_left_out_and_counted() -> None:
    mask = np.array([1, 0, 0, 0, 1, 1], np.uint8)  # the 1 of the first conversation is its first token, no label
    plan = plan_of([3, 3], 4, mask=mask)
    assert plan.pieces.document.tolist() == [1]
    assert (plan.num_unsupervised, plan.supervised.tolist()) == (1, [2])
    nothing = plan_of([0, 1, 1], 4)
    assert (nothing.num_rows, nothing.fill, nothing.num_unsupervised) == (0, 0.0, 3)


def test_only_the_chosen_are_packed() -> None:
    plan = Packing.plan([3, 9, 4], window_tokens=4, chosen=np.array([True, False, True]))
    assert sorted(plan.pieces.document.tolist()) == [0, 2]
    assert plan.num_overlong == 0


@pytest.mark.parametrize("window", [2048, 4096])
def test_realistic_lengths_fill_98_in_100_quickly(window: int) -> None:
    lengths = np.random.default_rng(0).lognormal(5.8, 1.0, 100_000).astype(np.int64).clip(8, None)
    start = time.perf_counter()
    plan = Packing.plan(lengths, window_tokens=window)
    assert time.perf_counter() - start < 2
    assert plan.fill >= 0.98
    assert plan.pieces.length.sum() == (lengths - 1).sum()


def test_realistic_conversations_leave_no_row_unsupervised() -> None:
    rng = np.random.default_rng(3)
    lengths = rng.lognormal(5.8, 1.2, 5_000).astype(np.int64).clip(2, None)
    mask = np.repeat(rng.random(len(lengths)) < 0.7, lengths) & (rng.random(int(lengths.sum())) < 0.4)
    for overlong in ("split", "drop", "truncate"):
        plan = plan_of(lengths.tolist(), 4096, overlong, mask.astype(np.uint8))
        assert plan.num_overlong == (lengths > 4097).sum() > 0
        assert plan.fill >= 0.98
        assert plan.supervised.min() > 0
        assert plan.num_unsupervised > 1_000


def test_the_plan_depends_on_nothing_else() -> None:
    sizes = np.random.default_rng(1).integers(2, 300, 500).tolist()
    assert plan_of(sizes, 256).fingerprint() == plan_of(sizes, 256).fingerprint()
    assert plan_of(sizes, 256).fingerprint() != plan_of([*sizes[1:], 7], 256).fingerprint()


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(DataError, match="overlong: 'wrap'; expected one of split, drop, truncate"):
        plan_of([3], 4, "wrap")  # type: ignore[arg-type]
