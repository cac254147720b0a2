"""Every builder against its formula written out again, its edges, and the parts that it refuses."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulers.builders import (
    constant,
    cosine,
    half_cosine,
    linear_to_zero,
    multi_cosine,
    multi_step,
    power_schedule,
    triangular,
    wsd,
    wsd_s,
)
from schedulers.errors import ScheduleError
from schedulers.schedule import Jump

PEAK = 3e-4
LENGTHS = {"warmup_tokens": 100, "decay_tokens": 100, "total_tokens": 1000}


def test_wsd_with_any_decay():
    schedule = wsd(
        PEAK, warmup_tokens=100, decay_tokens=200, total_tokens=1000, floor=3e-5, decay="power", exponent=1.5
    )
    assert [schedule.value(n) for n in (0, 50, 100, 800, 1000, 9999)] == [0.0, 1.5e-4, PEAK, PEAK, 3e-5, 3e-5]
    assert schedule.value(900) == pytest.approx(3e-5 + 2.7e-4 * 0.5**1.5, rel=1e-15)
    assert schedule.jumps() == ()


def test_a_warmup_may_begin_above_zero_or_be_left_out():
    assert wsd(1.0, warmup_tokens=10, decay_tokens=10, total_tokens=30, initial=0.1).value(0) == 0.1
    none = wsd(1.0, warmup_tokens=0, decay_tokens=10, total_tokens=30)
    assert none.joints == (0, 20, 30)
    assert none.value(0) == 1.0


def test_wsd_without_a_stable_part_is_two_segments():
    assert wsd(1.0, warmup_tokens=10, decay_tokens=20, total_tokens=30).joints == (0, 10, 30)


def test_constant_holds_for_ever():
    assert [constant(1.0, warmup_tokens=10).value(n) for n in (5, 10, 10**15)] == [0.5, 1.0, 1.0]
    assert constant(1.0).value(0) == 1.0


def test_cosine_and_linear_end_with_the_run():
    schedule = cosine(PEAK, warmup_tokens=100, total_tokens=1100, floor=3e-5)
    for n in (101, 350, 600, 1099):
        wanted = 3e-5 + 0.5 * 2.7e-4 * (1 + math.cos(math.pi * (n - 100) / 1000))
        assert schedule.value(n) == pytest.approx(wanted, rel=1e-13)
    assert schedule.value(1100) == schedule.value(2000) == 3e-5
    line = linear_to_zero(PEAK, warmup_tokens=100, total_tokens=1100)
    assert [line.value(n) for n in (100, 600, 1100)] == [PEAK, PEAK / 2, 0.0]


def test_half_cosine_is_olmos_stretch():
    """eta + (lr - eta) (1 + cos(pi c / T)) / 2 with c = tokens - W + (T - W) over T = 2 (T - W)."""
    schedule = half_cosine(1.0, warmup_tokens=100, total_tokens=1100, floor=0.1)
    for n in (101, 350, 600, 1099):
        c, total = n - 100 + 1000, 2000
        assert schedule.value(n) == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi * c / total)) / 2, rel=1e-13)
    assert [schedule.value(n) for n in (100, 1100)] == [0.55, 0.1]


def test_deepseeks_steps():
    schedule = multi_step(1.0, warmup_tokens=5, total_tokens=100, drops=[(80, 0.316), (90, 0.1)])
    assert schedule.jumps() == (Jump(80, 1.0, 0.316), Jump(90, 0.316, 0.1))
    assert schedule.joints == (0, 5, 80, 90, 100)


def test_wsd_s_returns_to_the_peak():
    schedule = wsd_s(1.0, warmup_tokens=10, period_tokens=[100, 200, 50], decay_tokens=20, floor=0.1, decay="linear")
    assert schedule.decay_starts() == (80, 280, 330)
    assert schedule.jumps() == (Jump(100, 0.1, 1.0), Jump(300, 0.1, 1.0))
    assert [schedule.value(n) for n in (90, 99, 100, 350)] == [0.55, pytest.approx(0.145), 1.0, 0.1]


def test_cosine_cycles_restart_hard_or_warm():
    hard = multi_cosine(1.0, warmup_tokens=10, cycle_tokens=[100, 200], floor=0.1, crest_factor=0.5)
    assert hard.jumps() == (Jump(110, 0.1, 0.5),)
    warm = multi_cosine(1.0, warmup_tokens=10, cycle_tokens=[100, 200], floor=0.1, rewarmup_tokens=50)
    assert warm.jumps() == ()
    assert [warm.value(n) for n in (60, 110, 135, 160, 235, 310)] == [0.55, 0.1, 0.55, 1.0, 0.55, 0.1]


@given(st.integers(1, 50), st.integers(0, 400))
def test_triangular_is_smiths_formula(half, n):
    cycle = math.floor(1 + n / (2 * half))
    x = abs(n / half - 2 * cycle + 1)
    wanted = 1.0 + 2.0 * max(0.0, 1 - x) * 0.5 ** (cycle - 1)
    ours = triangular(1.0, 3.0, half_cycle_tokens=half, num_cycles=400 // (2 * half) + 1, crest_factor=0.5)
    assert ours.value(n) == pytest.approx(wanted, rel=1e-12)


def test_power_schedule_is_the_least_of_peak_and_power():
    schedule = power_schedule(
        0.01, coefficient=40.0, exponent=0.51, warmup_tokens=10**6, decay_tokens=10**9, total_tokens=10**10
    )
    tokens = np.geomspace(10**6, 9 * 10**9, 50).astype(np.int64)
    wanted = np.minimum(0.01, 40.0 * tokens.astype(float) ** -0.51)
    assert schedule.value(tokens) == pytest.approx(wanted, rel=1e-6)
    assert schedule.jumps() == ()
    assert schedule.value(10**10) == 0.0


def test_power_schedule_that_is_below_the_peak_after_warmup_or_never():
    below = power_schedule(1.0, coefficient=1.0, exponent=0.5, **LENGTHS)
    assert [below.value(n) for n in (100, 400)] == [0.1, 0.05]
    for coefficient, exponent in ((1e6, 0.5), (1e6, 0.01)):  # they meet at 1e12 and at 1e600 tokens
        never = power_schedule(1.0, coefficient=coefficient, exponent=exponent, **LENGTHS)
        assert [never.value(n) for n in (100, 899, 950, 1000)] == [1.0, 1.0, 0.5, 0.0]


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: wsd(1.0, warmup_tokens=60, decay_tokens=50, total_tokens=100), "more than 100 tokens"),
        (lambda: wsd(1.0, warmup_tokens=-1, decay_tokens=50, total_tokens=100), "warmup_tokens=-1"),
        (lambda: wsd(1.0, warmup_tokens=1, decay_tokens=5, total_tokens=100, floor=2.0), "floor=2.0 lies above"),
        (lambda: cosine(1.0, warmup_tokens=101, total_tokens=100), "more than 100 tokens"),
        (lambda: wsd_s(1.0, warmup_tokens=1, period_tokens=[9], decay_tokens=[1, 2]), "2 decays for 1 periods"),
        (lambda: wsd_s(1.0, warmup_tokens=5, period_tokens=[9], decay_tokens=5), "wsd_s, period to 9"),
        (
            lambda: multi_step(1.0, warmup_tokens=5, total_tokens=9, drops=[(4, 0.5)]),
            "a drop at 4 tokens; expected from 5",
        ),
        (lambda: multi_step(1.0, warmup_tokens=5, total_tokens=9, drops=[(10, 0.5)]), "a drop at 10 .* from 5 to 9"),
        (lambda: multi_step(1.0, warmup_tokens=5, total_tokens=4, drops=[]), "warmup_tokens=5 is more than 4"),
        (
            lambda: triangular(1.0, 3.0, half_cycle_tokens=0, num_cycles=1),
            "half_cycle_tokens=0, num_cycles=1; expected",
        ),
        (lambda: multi_step(1.0, warmup_tokens=5, total_tokens=9, drops=[(6, 1.5)]), "factor=1.5 at 6"),
        (lambda: multi_cosine(1.0, warmup_tokens=5, cycle_tokens=[9, 9], rewarmup_tokens=10), "cycle 1"),
        (lambda: wsd(1.0, warmup_tokens=1, decay_tokens=5, total_tokens=9, decay="cosin"), "did you mean 'cosine'"),
        (lambda: power_schedule(1.0, coefficient=-1.0, **LENGTHS), "coefficient=-1.0, .*; expected all above 0"),
        (lambda: power_schedule(1.0, coefficient=math.nan, **LENGTHS), "coefficient=nan, .*; expected all above 0"),
        (lambda: power_schedule(1.0, coefficient=1.0, exponent=0.0, **LENGTHS), "exponent=0.0; expected all above 0"),
        (lambda: power_schedule(0.0, coefficient=1.0, **LENGTHS), "peak=0.0, .*; expected all above 0"),
        (lambda: power_schedule(1.0, coefficient=0.01, **{**LENGTHS, "warmup_tokens": 0}), "first token on; warm up"),
        (
            lambda: power_schedule(1.0, coefficient=0.8, exponent=1.0, warmup_tokens=0, decay_tokens=1, total_tokens=1),
            "first token on; warm up",
        ),
        (lambda: power_schedule(1.0, coefficient=1.0, **{**LENGTHS, "warmup_tokens": 950}), "more than 1000 tokens"),
        (lambda: triangular(3.0, 1.0, half_cycle_tokens=5, num_cycles=1), "lies above the peak"),
    ],
)
def test_refusals(build, words):
    with pytest.raises(ScheduleError, match=words) as caught:
        build()
    assert "\n" not in str(caught.value)
