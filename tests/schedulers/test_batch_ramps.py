"""Ramps: Megatron's two forms there and back, against its own calculator; the coupling of the learning rate."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulers.batch_ramps import (
    Coupled,
    doubling,
    from_rampup_batch_size,
    from_step_batch_size_schedule,
    linear_steps,
    rampup_batch_size,
    step_batch_size_schedule,
)
from schedulers.batch_size import BatchSizeRamp, Steps
from schedulers.builders import wsd
from schedulers.errors import ScheduleError
from schedulers.row import Row

CURVE = wsd(1.0, warmup_tokens=100, decay_tokens=200, total_tokens=1000)


@given(st.integers(1, 8), st.integers(1, 6), st.integers(1, 9), st.integers(20, 400), st.integers(1, 16))
def test_rampup_is_megatrons_calculator_at_every_sample(start, increment, count, samples, length):
    from megatron.core.num_microbatches_calculator import RampupBatchsizeNumMicroBatchesCalculator

    final = start + increment * count
    theirs = RampupBatchsizeNumMicroBatchesCalculator(final, 1, 1, False, 0, start, increment, samples)
    ours = from_rampup_batch_size((start, increment, samples), global_batch_size=final, sequence_length=length)
    for consumed in range(samples + 3):
        theirs.update(consumed, False)
        assert ours.at(consumed * length) == theirs.get_current_global_batch_size()
    rendered = rampup_batch_size(ours, sequence_length=length)
    assert from_rampup_batch_size(rendered, global_batch_size=final, sequence_length=length) == ours


def test_rampup_whose_last_step_comes_a_sample_late():
    """165 / (165 / 7) is a little less than 7."""
    ramp = from_rampup_batch_size((1, 1, 165), global_batch_size=8, sequence_length=1)
    assert ramp.entries[-1] == (166, 8)
    assert rampup_batch_size(ramp, sequence_length=1) == (1, 1, 165)


def megatrons_step_size(text, length, consumed_samples):
    """The rule of megatron-core 0.18: thresholds in tokens // sequence length, the last one passed counts."""
    suffixes = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
    sizes = []
    for entry in text.split():
        threshold, size = entry.split(":")
        scale = suffixes.get(threshold[-1], 1)
        sizes.append((int(float(threshold.rstrip("KMBT")) * scale) // length, int(size)))
    return [size for threshold, size in sorted(sizes) if consumed_samples >= threshold][-1]


@given(st.sets(st.integers(1, 5000), max_size=4), st.integers(1, 64), st.data())
def test_step_schedules_render_to_the_same_sizes(thresholds, length, data):
    later = sorted({-(-tokens // length) for tokens in thresholds})
    sizes = data.draw(st.lists(st.integers(1, 99), min_size=len(later) + 1, max_size=len(later) + 1))
    tokens = [0, *(sample * length - data.draw(st.integers(0, length - 1)) for sample in later)]
    ramp = BatchSizeRamp(tuple(zip(tokens, sizes, strict=True)))
    text = step_batch_size_schedule(ramp, sequence_length=length)
    again = from_step_batch_size_schedule(text, sequence_length=length)
    for sample in range(5000 // length + 2):
        assert ramp.at(sample * length) == again.at(sample * length) == megatrons_step_size(text, length, sample)


def test_descriptions():
    assert doubling(4, (10, 30)).entries == ((0, 4), (10, 8), (30, 16))
    assert linear_steps(4, 4, increment=1, ramp_tokens=9).entries == ((0, 4),)
    assert linear_steps(2, 5, increment=1, ramp_tokens=10).entries == ((0, 2), (4, 3), (7, 4), (10, 5))
    assert step_batch_size_schedule(doubling(768, (250 * 10**9,)), sequence_length=4096) == "0:768 250000003072:1536"


@pytest.mark.parametrize(("rule", "factor"), [("none", 1.0), ("sqrt", 2.0), ("linear", 4.0)])
def test_coupling_scales_the_rate_where_the_batch_grows(rule, factor):
    coupled = Coupled(CURVE, BatchSizeRamp(((0, 8), (500, 32))), rule, 8)
    assert [coupled.value(n) for n in (499, 500)] == [1.0, factor]
    tokens = np.arange(1100)
    assert coupled.value(tokens).tolist() == [coupled.value(int(n)) for n in tokens]
    wanted = CURVE.integral(0, 500) + factor * CURVE.integral(500, 1100)
    assert coupled.integral(0, 1100) == pytest.approx(wanted, rel=1e-15)
    assert coupled.integral(600, 700) == pytest.approx(100 * factor)


def test_the_rate_of_a_step_is_that_of_its_batch():
    ramp = BatchSizeRamp(((0, 4), (70, 8)))
    table, coupled = Steps(ramp, sequence_length=10, total_samples=40), Coupled(CURVE, ramp, "linear", 4)
    for step in range(table.num_steps):
        tokens = 10 * table.first_sample(step)
        assert coupled.value(tokens) == CURVE.value(tokens) * table.batch_size(step) / 4


def test_a_coupled_rate_has_the_joints_and_jumps_of_both():
    """The batch doubles inside the warmup, at the jump of the curve, and after its end."""
    curve = Row(0, 0.0).to(1.0, 100).to(0.5, 0).hold(100).schedule()
    coupled = Coupled(curve, doubling(4, (50, 100, 300)), "linear", 8)
    assert coupled.joints == (0, 50, 100, 200, 300)
    assert coupled.jumps() == ((50, 0.25, 0.5), (300, 1.0, 2.0))  # at 100 the two cancel
    assert coupled.peak == 2.0
    assert Coupled.from_dict(json.loads(json.dumps(coupled.to_dict()))) == coupled


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: linear_steps(4, 9, increment=2, ramp_tokens=9), "a whole number of increments"),
        (lambda: Coupled(CURVE, doubling(4, ()), "square", 4), "rule='square'"),
        (lambda: rampup_batch_size(doubling(4, (10, 30)), sequence_length=1), "equal increments at equal distances"),
        (lambda: rampup_batch_size(doubling(4, ()), sequence_length=1), "never changes"),
        (lambda: from_rampup_batch_size((4, 4), global_batch_size=8, sequence_length=1), "START INCREMENT SAMPLES"),
        (lambda: from_rampup_batch_size((4, 4, 0), global_batch_size=8, sequence_length=1), "each above 0"),
        (lambda: from_rampup_batch_size((4, 4, -9), global_batch_size=8, sequence_length=1), "each above 0"),
        (lambda: from_rampup_batch_size((4, 3, 9), global_batch_size=8, sequence_length=1), "increments that reach 8"),
        (lambda: from_step_batch_size_schedule("0:4 x:8", sequence_length=1), "entry 'x:8'"),
        (lambda: from_step_batch_size_schedule("5:4", sequence_length=1), "first entry at token 0"),
        (lambda: from_step_batch_size_schedule("0:4 nan:8", sequence_length=1), "entry 'nan:8'"),
        (lambda: from_step_batch_size_schedule("0:4 inf:8", sequence_length=1), "entry 'inf:8'"),
        (lambda: Coupled(CURVE, doubling(4, (9,)), "sqrt", 4).value(-1), "at -1 tokens; expected at least 0"),
        (lambda: Coupled(CURVE, doubling(4, (9,)), "sqrt", 4).value(np.array([5, -1])), "at -1 tokens; expected at"),
        (lambda: Coupled(CURVE, doubling(4, (9,)), "sqrt", 4).integral(5, 4), "integral from 5 to 4 tokens"),
        (lambda: Coupled(CURVE, doubling(4, (9,)), "sqrt", 4).integral(-5, 4), "integral from -5 to 4 tokens"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(ScheduleError, match=words):
        call()
