"""Waves: they join the stable level, value and slope, at any lengths and levels."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulers.errors import ScheduleError
from schedulers.waves import lengths, warm_waves_stable_decay

REST = {"warmup_tokens": 1000, "stable_tokens": 2000, "decay_tokens": 3000}


def waves(kind="falling", crests="decaying", peak=1.0, stable=0.25, trough=0.1, wave_tokens=(100, 200, 400), **more):
    return warm_waves_stable_decay(
        peak, stable=stable, trough=trough, wave_tokens=wave_tokens, kind=kind, crests=crests, **REST, **more
    )


def turns(schedule):
    return [schedule.value(n) for n in schedule.joints[1:-2]]


@pytest.mark.parametrize(
    ("kind", "crests", "wanted"),
    [
        ("falling", "decaying", [1.0, 0.1, 0.25 ** (1 / 3), 0.1, 0.25 ** (2 / 3), 0.1, 0.25]),
        ("falling", "equal", [1.0, 0.1, 1.0, 0.1, 1.0, 0.1, 0.25]),
        ("rising", "decaying", [0.1, 1.0, 0.1, 0.25 ** (1 / 3), 0.1, 0.25 ** (2 / 3), 0.25]),
        ("rising", "equal", [0.1, 1.0, 0.1, 1.0, 0.1, 1.0, 0.25]),
    ],
)
def test_crests_and_troughs(kind, crests, wanted):
    schedule = waves(kind, crests)
    assert turns(schedule) == pytest.approx(wanted, rel=1e-15)
    assert schedule.joints == (0, 1000, 1050, 1100, 1200, 1300, 1500, 1700, 3700, 6700)
    assert schedule.value(1700) == schedule.value(3700) == 0.25
    assert schedule.value(6700) == 0.0


def test_waves_of_equal_crests_at_the_stable_level_are_a_cosine_with_whole_cycles():
    """Hugging Face's cosine with num_cycles = 3, from 1 down to 0.1 and back, three times."""
    import math

    schedule = waves(stable=1.0, wave_tokens=(200, 200, 200))
    for n in (0, 1, 57, 150, 333, 599):
        wanted = 0.1 + 0.9 * 0.5 * (1 + math.cos(2 * math.pi * 3 * n / 600))
        assert schedule.value(1000 + n) == pytest.approx(wanted, rel=1e-12)


@given(
    st.sampled_from(["falling", "rising"]),
    st.sampled_from(["decaying", "equal"]),
    st.tuples(st.floats(0.0, 1.0), st.floats(1e-3, 1.0), st.floats(1e-3, 1.0)),
    st.lists(st.integers(2, 10**9), min_size=1, max_size=6),
)
def test_nothing_jumps_and_everything_lies_between_trough_and_peak(kind, crests, levels, wave_tokens):
    trough, stable, peak = sorted(levels)
    schedule = waves(kind, crests, peak, stable, trough, wave_tokens, floor=0.0)
    assert schedule.jumps() == ()
    assert all(trough <= value <= peak for value in turns(schedule))
    end = 1000 + sum(wave_tokens)
    assert schedule.joints[-3] == end
    assert schedule.value(end) == stable


def test_half_waves_are_level_where_they_meet():
    schedule = waves(wave_tokens=(200_000, 400_000))
    for joint in schedule.joints[2:-2]:
        assert abs(schedule.value(joint) - schedule.value(joint - 1)) < 1e-9
        assert abs(schedule.value(joint + 1) - schedule.value(joint)) < 1e-9


@given(st.integers(1, 10**14), st.integers(1, 9), st.sampled_from([1, 2, 0.5, 1.1]))
def test_lengths_add_up_and_grow(total, count, growth):
    parts = lengths(total, count, growth=growth)
    assert sum(parts) == total
    assert len(parts) == count
    for shorter, longer in pairwise(parts):
        assert abs(longer - growth * shorter) <= 1 + growth


def test_refusals():
    for changes, words in [
        ({"stable": 2.0}, "expected them in this order"),
        ({"trough": 0.5}, "expected them in this order"),
        ({"wave_tokens": ()}, "expected at least one"),
        ({"wave_tokens": (100, 1)}, "each of 2 tokens or more"),
        ({"floor": 0.5}, "floor=0.5 lies above stable=0.25"),
        ({"kind": "up"}, "expected falling or rising"),
    ]:
        with pytest.raises(ScheduleError, match=words):
            waves(**changes)
    with pytest.raises(ScheduleError, match="count=0"):
        lengths(10, 0)
