"""Batch-size ramps and the exact step table under them, against a loop that walks every step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulers.batch_size import BatchSizeRamp, Steps
from schedulers.errors import ScheduleError


@st.composite
def ramps(draw):
    tokens = sorted(draw(st.sets(st.integers(1, 3000), max_size=5)))
    sizes = draw(st.lists(st.integers(1, 40), min_size=len(tokens) + 1, max_size=len(tokens) + 1))
    return BatchSizeRamp(tuple(zip((0, *tokens), sizes, strict=True)))


def walk(ramp, sequence_length, total_samples):
    """(first sample, size) of every step, by simulation."""
    sample, steps = 0, []
    while sample + ramp.at(sample * sequence_length) <= total_samples:
        steps.append((sample, ramp.at(sample * sequence_length)))
        sample += steps[-1][1]
    return steps, sample


@given(ramps(), st.integers(1, 20), st.integers(0, 600))
def test_the_table_equals_a_walk(ramp, sequence_length, total_samples):
    table = Steps(ramp, sequence_length=sequence_length, total_samples=total_samples)
    steps, trained = walk(ramp, sequence_length, total_samples)
    assert table.num_steps == len(steps)
    assert table.leftover_samples == total_samples - trained
    assert [(table.first_sample(k), table.batch_size(k)) for k in range(table.num_steps)] == steps
    assert table.first_sample(table.num_steps) == trained
    step_of = [k for k, (_, size) in enumerate(steps) for _ in range(size)]
    assert [table.step_of_sample(n) for n in range(trained)] == step_of


def test_a_size_begins_with_the_first_step_at_or_past_its_token():
    ramp = BatchSizeRamp(((0, 4), (70, 8)))
    steps = Steps(ramp, sequence_length=10, total_samples=40)
    # Samples 4 to 7 begin at 40 tokens, before 70, and reach past it.
    assert [(steps.first_sample(k), steps.batch_size(k)) for k in range(6)] == [
        (0, 4), (4, 4), (8, 8), (16, 8), (24, 8), (32, 8),
    ]  # fmt: skip
    assert (steps.num_steps, steps.leftover_samples) == (6, 0)


def test_an_entry_that_a_step_leaps_over_has_no_steps():
    ramp = BatchSizeRamp(((0, 100), (5, 7), (6, 50)))
    steps = Steps(ramp, sequence_length=1, total_samples=250)
    assert [steps.batch_size(k) for k in range(steps.num_steps)] == [100, 50, 50, 50]


def test_the_run_ends_where_the_next_batch_does_not_fit():
    ramp = BatchSizeRamp(((0, 4), (8, 100), (108, 1)))
    steps = Steps(ramp, sequence_length=1, total_samples=50)
    assert (steps.num_steps, steps.first_sample(2), steps.leftover_samples) == (2, 8, 42)
    none = Steps(ramp, sequence_length=1, total_samples=3)
    assert (none.num_steps, none.first_sample(0), none.leftover_samples) == (0, 0, 3)


def test_fifteen_trillion_tokens_are_arithmetic():
    ramp = BatchSizeRamp(((0, 3072), (469_000_000_000, 15360)))
    steps = Steps(ramp, sequence_length=4096, total_samples=15 * 10**12 // 4096)
    first_large = -(-469_000_000_000 // (3072 * 4096))
    assert steps.batch_size(first_large - 1) == 3072
    assert steps.batch_size(first_large) == 15360
    assert steps.first_sample(first_large) == first_large * 3072
    assert steps.num_steps == first_large + (steps.total_samples - first_large * 3072) // 15360
    assert 0 <= steps.leftover_samples < 15360


def test_at():
    ramp = BatchSizeRamp(((0, 768), (250, 1536), (251, 3)))
    assert [ramp.at(tokens) for tokens in (0, 249, 250, 251, 10**15)] == [768, 768, 1536, 3, 3]
    with pytest.raises(ScheduleError, match="at -1 tokens; expected at least 0"):
        ramp.at(-1)


def test_out_of_range():
    steps = Steps(BatchSizeRamp(((0, 4),)), sequence_length=10, total_samples=11)
    assert steps.first_sample(2) == 8
    for call, value, words in [
        (steps.first_sample, 3, "step=3; expected 0 <= step < 3"),
        (steps.batch_size, 2, "step=2; expected 0 <= step < 2"),
        (steps.batch_size, -1, "step=-1"),
        (steps.step_of_sample, 8, "sample=8; expected 0 <= sample < 8"),
    ]:
        with pytest.raises(ScheduleError, match=words):
            call(value)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ((), r"ramp \(\); expected its first entry at token 0"),
        (((1, 8),), "expected its first entry at token 0"),
        (((0, 8), (0, 9)), r"ramp\[1\] begins at 0 tokens; expected more than 0"),
        (((0, 8), (5, 9), (4, 9)), r"ramp\[2\] begins at 4 tokens; expected more than 5"),
        (((0, 0),), r"ramp\[0\]=\(0, 0\); expected ints, the size above 0"),
        (((0, 8), (2e9, 9)), r"ramp\[1\]=\(2000000000\.0, 9\); expected ints"),
    ],
)
def test_refused_ramps(entries, words):
    with pytest.raises(ScheduleError, match=words):
        BatchSizeRamp(entries)


def test_refused_lengths():
    ramp = BatchSizeRamp(((0, 8),))
    with pytest.raises(ScheduleError, match="sequence_length=0; expected at least 1 token"):
        Steps(ramp, sequence_length=0, total_samples=1)
    with pytest.raises(ScheduleError, match="total_samples=-1; expected at least 0"):
        Steps(ramp, sequence_length=1, total_samples=-1)
