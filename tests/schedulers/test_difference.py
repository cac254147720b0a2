"""The difference of two schedules in words, to the letter; and the token at which they part."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulers.builders import constant, cosine, multi_cosine, multi_step, wsd, wsd_s
from schedulers.changes import decay_from, extended, past, rewarmed, stretched
from schedulers.difference import difference_in_words, first_differing_token
from schedulers.parts import parts
from schedulers.row import Row
from schedulers.schedule import Schedule
from schedulers.segment import Segment
from schedulers.waves import warm_waves_stable_decay

B = 10**9
PLAIN = {"warmup_tokens": 2 * B, "decay_tokens": 10 * B, "total_tokens": 60 * B, "floor": 3e-5}
OLD = wsd(3e-4, **PLAIN)
FOR_EVER = constant(3e-4, warmup_tokens=2 * B)
COSINE = cosine(3e-4, warmup_tokens=2 * B, total_tokens=60 * B, floor=3e-5)
TWICE = rewarmed(OLD, 60 * B, peak=3e-4, warmup_tokens=B, decay_tokens=B)


def stable():
    return Row(0, 0.0).to(3e-4, 2 * B)


def decayed(row):
    return row.to(3e-5, 10 * B, "1-sqrt")


def waves(**changes):
    arguments = {
        "stable": 1.5e-4, "trough": 1e-4, "warmup_tokens": 2 * B, "wave_tokens": [10 * B, 10 * B],
        "stable_tokens": 28 * B, "decay_tokens": 10 * B, "floor": 3e-5, **changes,
    }  # fmt: skip
    return warm_waves_stable_decay(3e-4, **arguments)


def two_waves_inside():
    row = stable().hold(8 * B)
    for _ in range(2):
        row.to(1e-4, 4 * B, "cosine").to(3e-4, 4 * B, "cosine")
    return decayed(row.hold(24 * B)).schedule()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"decay_tokens": 18 * B, "floor": 0.0}, "from 42B tokens on: decay starts 8B earlier, floor 3e-5 -> 0"),
        ({"total_tokens": 70 * B}, "from 50B tokens on: decay starts 10B later, schedule ends 10B later"),
        ({"total_tokens": 55 * B}, "from 45B tokens on: decay starts 5B earlier, schedule ends 5B earlier"),
        ({"decay": "linear"}, "from 50B tokens on: decay 1-sqrt -> linear"),
        ({"decay": "power", "exponent": 1.5}, "from 50B tokens on: decay 1-sqrt -> power 1.5"),
        ({"peak": 2e-4}, "from 0 tokens on: peak 3e-4 -> 2e-4"),
        ({"warmup_tokens": 3 * B}, "from 0 tokens on: warmup ends 1B later"),
        ({"initial": 1e-5}, "from 0 tokens on: first value 0 -> 1e-5"),
        ({"floor": 3.0000001e-5}, "from 50B tokens on: floor 3e-5 -> 3.0000001e-5"),
    ],
)
def test_one_number_changed(changes, words):
    assert difference_in_words(OLD, wsd(**{"peak": 3e-4, **PLAIN, **changes})) == words


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            FOR_EVER,
            decay_from(FOR_EVER, 42 * B, decay_tokens=5 * B),
            "from 42B tokens on: decays at 42B over 5B to 0 (1-sqrt), schedule ends at 47B",
        ),
        (
            OLD,
            decay_from(OLD, 42 * B, decay_tokens=5 * B),
            "from 42B tokens on: decay starts 8B earlier, floor 3e-5 -> 0, schedule ends 13B earlier",
        ),
        (OLD, past(OLD, 55 * B), "from 55B tokens on: decay cut at 1.09081e-4, schedule ends 5B earlier"),
        (
            COSINE,
            stretched(COSINE, 31 * B, end_tokens=120 * B),
            "from 31B tokens on: decay cosine -> cosine cut at 31B then half_cosine, schedule ends 60B later",
        ),
        (
            OLD,
            extended(OLD, 45 * B, by_tokens=40 * B),
            "from 50B tokens on: decay starts 40B later, schedule ends 40B later",
        ),
        (
            OLD,
            TWICE,
            "from 60B tokens on: warms up again at 60B over 1B to 3e-4 (linear), "
            "decays at 61B over 1B to 0 (cosine), schedule ends 2B later",
        ),
        (TWICE, OLD, "from 60B tokens on: no second warmup, no decay at 61B, schedule ends 2B earlier"),
        (
            COSINE,
            OLD,
            "from 2B tokens on: decay starts 48B later, decay cosine -> 1-sqrt",
        ),
        (
            OLD,
            two_waves_inside(),
            "from 10B tokens on: 2 waves from 10B to 26B between 1e-4 and 3e-4, then 3e-4",
        ),
        (OLD, waves(), "from 2B tokens on: 2 waves from 2B to 22B between 1e-4 and 3e-4, then 1.5e-4"),
        (waves(), wsd(1.5e-4, **PLAIN), "from 0 tokens on: peak 3e-4 -> 1.5e-4, no waves"),
        (waves(), waves(trough=5e-5), "from 2B tokens on: waves between 1e-4 and 3e-4 -> between 5e-5 and 3e-4"),
        (
            waves(crests="equal"),
            waves(crests="equal", wave_tokens=[10 * B] * 3, stable_tokens=18 * B),
            "from 17B tokens on: 2 waves -> 3 waves, waves end 10B later",
        ),
        (
            OLD,
            stable().hold(40 * B).to(1e-4, 2 * B).hold(6 * B).to(3e-5, 10 * B, "1-sqrt").schedule(),
            "from 42B tokens on: decays at 42B over 2B to 1e-4 (linear)",
        ),
        (
            OLD,
            decayed(stable().hold(38 * B)).hold(10 * B).schedule(),
            "from 40B tokens on: decay starts 10B earlier, decay ends 10B earlier",
        ),
        (
            OLD,
            multi_step(3e-4, warmup_tokens=2 * B, total_tokens=60 * B, drops=[(48 * B, 0.3), (54 * B, 0.1)]),
            "from 48B tokens on: no decay, holds 9e-5 from 48B, holds 3e-5 from 54B",
        ),
        (
            wsd_s(3e-4, warmup_tokens=2 * B, period_tokens=[30 * B, 30 * B], decay_tokens=3 * B),
            wsd_s(3e-4, warmup_tokens=2 * B, period_tokens=[30 * B, 30 * B], decay_tokens=[3 * B, 5 * B]),
            "from 55B tokens on: decay at 57B starts 2B earlier",
        ),
        (
            OLD,
            Schedule((Segment(0, 2 * B, 0.0, 3e-4, "cosine"), *OLD.segments[1:])),
            "from 0 tokens on: warmup linear -> cosine",
        ),
        (
            stable().to(0.0, 9 * B, "half_life", half_life_tokens=B).schedule(),
            stable().to(0.0, 9 * B, "half_life", half_life_tokens=2 * B).schedule(),
            "from 2B tokens on: decay half-life of 1B -> half-life of 2B, floor 5.85937e-7 -> 1.32583e-5",
        ),
        (
            Row(0, 1.0).hold(50).to(0.5, 10).to(1.0, 10).hold(30).schedule(),
            Row(0, 1.0).hold(50).to(0.5, 8).to(1.0, 12).hold(30).schedule(),
            "from 50 tokens on: other segments between the same levels",
        ),
    ],
)
def test_pairs_in_words(old, new, words):
    assert difference_in_words(old, new) == words


def kinds(schedule):
    return [part.kind for part in parts(schedule)]


def test_parts_by_name():
    assert kinds(TWICE) == ["warmup", "stable", "decay", "rewarmup", "decay"]
    assert kinds(waves()) == ["warmup", "waves", "stable", "decay"]
    assert kinds(waves(kind="rising")) == ["warmup", "waves", "stable", "decay"]
    assert [len(part.segments) for part in parts(waves(kind="rising"))] == [1, 4, 1, 1]
    short = Row(0, 0.0).to(1.0, 10).hold(50).to(0.1, 100).to(1.0, 40).to(0.0, 50).schedule()
    assert kinds(short) == ["warmup", "stable", "decay", "rewarmup", "decay"]
    again = multi_cosine(1.0, warmup_tokens=10, cycle_tokens=[100, 100], rewarmup_tokens=10)
    assert kinds(again) == ["warmup", "decay", "rewarmup", "decay"]
    hard = multi_cosine(1.0, warmup_tokens=10, cycle_tokens=[100, 100])
    assert kinds(hard) == ["warmup", "decay", "decay"]
    assert kinds(Row(0, 0.0).to(0.5, 10).to(1.0, 10).hold(10).to(1.0, 0).hold(5).schedule()) == ["warmup", "stable"]


@given(st.integers(101, 1500))
def test_the_first_differing_token_is_where_values_part(at):
    old = wsd(1.0, warmup_tokens=100, decay_tokens=200, total_tokens=1000, floor=0.1, decay="cosine")
    changed = decay_from(old, at, decay_tokens=50)
    token = first_differing_token(old, changed)
    assert old.first_difference(changed, before_tokens=token) is None
    assert old.value(token + 1) != changed.value(token + 1)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 50)), min_size=1, max_size=8), st.integers(0, 400))
def test_any_two_schedules_differ_in_words_or_are_one(levels, at):
    row = Row(0, 0.5)
    for value, length in levels:
        row.to(value, length)
    old = row.schedule()
    assert difference_in_words(old, old) == ""
    if old.value(at + 1):
        new = decay_from(old, at + 1, decay_tokens=7, floor=old.value(at + 1) / 2)
        assert difference_in_words(old, new).startswith("from ")
        assert difference_in_words(new, old).startswith("from ")
