"""Changes of a running schedule: the past stays to the bit, decays are cut and never stretched, the rest is said."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulers.builders import constant, cosine, linear_to_zero, wsd
from schedulers.changes import decay_from, extended, past, rewarmed, stretched
from schedulers.difference import first_differing_token
from schedulers.errors import ScheduleError
from schedulers.schedule import Schedule
from schedulers.segment import Segment

B = 10**9
WSD = wsd(1.0, warmup_tokens=100, decay_tokens=200, total_tokens=1000, floor=0.1, decay="cosine")
CHANGES = {
    "past": past,
    "decay_from": lambda schedule, at: decay_from(schedule, at, decay_tokens=50),
    "stretched": lambda schedule, at: stretched(schedule, at, end_tokens=at + 400, shape="linear"),
    "rewarmed": lambda schedule, at: rewarmed(schedule, at, peak=2.0, warmup_tokens=10, decay_tokens=90),
}


@given(st.sampled_from(sorted(CHANGES)), st.integers(101, 1500))
def test_the_past_is_kept_to_the_bit(name, at):
    changed = CHANGES[name](WSD, at)
    assert WSD.first_difference(changed, before_tokens=at) is None
    assert [changed.value(n) for n in range(at)] == [WSD.value(n) for n in range(at)]
    assert changed.value(at) == WSD.value(at)
    assert changed.jumps() == ()
    assert Schedule.from_dict(json.loads(json.dumps(changed.to_dict()))) == changed


@given(st.sampled_from(sorted(CHANGES)), st.integers(200, 1200), st.integers(101, 199))
def test_a_change_may_be_changed_again_and_rewound(name, at, earlier):
    again = decay_from(CHANGES[name](WSD, at), earlier, decay_tokens=5)
    assert WSD.first_difference(again, before_tokens=earlier) is None
    assert again.value(earlier + 5) == 0.0


def test_a_running_decay_is_cut_and_not_stretched():
    held = past(WSD, 900)
    assert [held.value(n) for n in (850, 900, 5000)] == [WSD.value(850), WSD.value(900), WSD.value(900)]
    assert held.segments[-1].uncut_end_tokens == 1000
    assert past(held, 850).segments[-1].end_tokens == 850
    stretched_instead = wsd(1.0, warmup_tokens=100, decay_tokens=400, total_tokens=1200, floor=0.1, decay="cosine")
    assert WSD.first_difference(stretched_instead, before_tokens=900) == ("segments[2].end_tokens", 1000, 1200)


def test_the_integral_of_a_cut_decay_is_the_integral_of_its_part():
    assert past(WSD, 900).integral(0, 900) == pytest.approx(WSD.integral(0, 900), rel=1e-14)
    assert past(WSD, 900).integral(900, 910) == pytest.approx(10 * WSD.value(900), rel=1e-14)


def test_decay_at_will_ends_a_constant():
    ended = decay_from(constant(1.0, warmup_tokens=10), 500, decay_tokens=100, floor=0.1, decay="linear")
    assert [ended.value(n) for n in (10, 499, 500, 550, 600)] == [1.0, 1.0, 1.0, 0.55, 0.1]


def test_a_longer_horizon_moves_what_is_ahead():
    longer = extended(WSD, 500, by_tokens=1000)
    assert [longer.value(n + 1000) for n in (800, 850, 1000)] == [WSD.value(n) for n in (800, 850, 1000)]
    assert longer.value(1500) == 1.0
    assert first_differing_token(WSD, longer) == 800
    at_joint = extended(WSD, 100, by_tokens=7)
    assert at_joint.joints == (0, 100, 107, 807, 1007)
    root = Schedule(
        (Segment(0, 100, 0.0, 1.0), Segment(100, 200, 1.0, 1.0), Segment(200, 900, 1.0, 0.0, "inverse_sqrt"))
    )
    assert extended(root, 150, by_tokens=50).value(650) == root.value(600)


def test_a_decay_under_way_is_not_extended():
    with pytest.raises(ScheduleError, match="a cosine runs from 800 to 1000 and can't be stretched"):
        extended(WSD, 900, by_tokens=10)


def test_half_a_cosine_stretched_to_its_own_length_is_the_cosine():
    schedule = cosine(1.0, warmup_tokens=100, total_tokens=1100)
    same = stretched(schedule, 600, end_tokens=1100)
    assert [same.value(n) for n in range(1101)] == pytest.approx([schedule.value(n) for n in range(1101)], abs=3e-16)


def test_rewarmup_goes_on_from_where_the_run_ended():
    again = rewarmed(
        linear_to_zero(1.0, warmup_tokens=10, total_tokens=100), 100, peak=0.5, warmup_tokens=20, decay_tokens=80
    )
    assert [again.value(n) for n in (100, 110, 120, 160, 200)] == [0.0, 0.25, 0.5, 0.25, 0.0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda: past(WSD, 0), "change at 0 tokens; expected a position after 0"),
        (lambda: decay_from(WSD, 990, decay_tokens=5, floor=0.9), "floor=0.9 lies above the value there"),
        (lambda: decay_from(WSD, 500, decay_tokens=-5), "segment of -5 tokens"),
        (lambda: rewarmed(WSD, 500, peak=0.1, warmup_tokens=1, decay_tokens=5, floor=0.9), "above the peak"),
    ],
)
def test_refusals(change, words):
    with pytest.raises(ScheduleError, match=words):
        change()
