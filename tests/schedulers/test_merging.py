"""Merging imitates a decay exactly where the updates don't depend on the weights."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulers.builders import constant, wsd
from schedulers.changes import decay_from
from schedulers.errors import ScheduleError
from schedulers.merging import merge_weights

SHAPES = st.sampled_from(["linear", "cosine", "1-sqrt", "square", "mirror_cosine", "half_cosine"])


@given(SHAPES, st.floats(0.0, 1.0), st.lists(st.integers(1, 50), min_size=1, max_size=8), st.integers(0, 99))
def test_the_merge_is_the_run_that_decayed(shape, floor, gaps, seed):
    tokens = [100, *(100 + np.cumsum(gaps)).tolist()]
    decay = decay_from(constant(1.0), 100, decay_tokens=tokens[-1] - 100, floor=floor, decay=shape)
    # One update a token; within a gap they are alike, as at checkpoints no more is known.
    updates = np.repeat(np.random.default_rng(seed).normal(size=len(gaps)), gaps)
    stable = np.concatenate([[0.0], np.cumsum(updates)])
    rates = [decay.integral(n, n + 1) for n in range(100, tokens[-1])]
    weights = merge_weights(decay, tokens)
    assert sum(weights) == pytest.approx(1.0, rel=1e-12)
    merged = sum(weight * stable[n - 100] for weight, n in zip(weights, tokens, strict=True))
    assert merged == pytest.approx(float(np.dot(rates, updates)), abs=1e-9)


def test_without_a_decay_the_last_checkpoint_is_taken_whole():
    assert merge_weights(constant(3e-4), [10, 20, 30]) == pytest.approx((0.0, 0.0, 1.0), abs=1e-12)


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        ([10], "expected at least two, increasing"),
        ([10, 10], "expected at least two, increasing"),
        ([0, 10], "the rate is 0 at the first checkpoint"),
        ([5, 20, 30], "rises between two checkpoints"),
    ],
)
def test_refusals(tokens, words):
    with pytest.raises(ScheduleError, match=words):
        merge_weights(wsd(1.0, warmup_tokens=20, decay_tokens=10, total_tokens=50), tokens)
