"""Whole schedules: joints, held ends, jumps, where decays begin, integrals, and the locked past."""

import json
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulers.errors import ScheduleError
from schedulers.schedule import Jump, Schedule
from schedulers.segment import Segment

MAX, MIN = 3e-4, 3e-5
WSD = Schedule(
    (
        Segment(0, 100, 0.0, MAX),
        Segment(100, 800, MAX, MAX, "constant"),
        Segment(800, 1000, MAX, MIN, "1-sqrt"),
    )
)
# Decay, back to the peak at once, decay again, then a floor.
RESTARTS = Schedule(
    (
        Segment(0, 10, 0.0, 1.0),
        Segment(10, 20, 1.0, 0.5, "cosine"),
        Segment(20, 30, 0.5, 0.25),
        Segment(30, 40, 1.0, 0.5, "half_life", half_life_tokens=20),
        Segment(40, 50, 0.25, 0.25, "constant"),
        Segment(50, 60, 0.25, 0.75, "cosine"),
        Segment(60, 70, 0.75, 0.0),
    )
)


@st.composite
def schedules(draw):
    edges = sorted(draw(st.sets(st.integers(0, 2000), min_size=2, max_size=8)))
    values = draw(st.lists(st.sampled_from([0.0, 1e-5, 0.1, 0.25, 1.0]), min_size=len(edges), max_size=len(edges)))
    shapes = st.sampled_from(
        ["linear", "cosine", "1-sqrt", "square", "mirror_cosine", "half_cosine", "megatron_exponential"]
    )
    return Schedule(
        tuple(
            Segment(a, b, x, y, draw(shapes)) for a, b, x, y in zip(edges, edges[1:], values, values[1:], strict=False)
        )
    )


def test_megatrons_wsd_to_the_last_bit():
    golden = {
        0: 0.0, 50: 0.00015, 100: 3e-4, 101: 3e-4, 500: 3e-4, 800: 3e-4, 801: 2.809081169079632e-4,
        850: 1.6499999999999997e-4, 900: 1.0908116907963214e-4, 950: 6.617314097820157e-5,
        999: 3.067584586598997e-5, 1000: 3e-5, 1001: 3e-5, 10**15: 3e-5,
    }  # fmt: skip
    assert {n: WSD.value(n) for n in golden} == golden


def test_a_joint_belongs_to_the_later_segment():
    assert [RESTARTS.value(n) for n in (29, 30, 39, 40)] == [
        pytest.approx(0.275, rel=1e-15),
        1.0,
        pytest.approx(0.5 ** (9 / 20), rel=1e-15),
        0.25,
    ]


def test_ends_are_held():
    late = Schedule((Segment(10, 20, 1.0, 0.5),))
    assert [late.value(n) for n in (0, 9, 10, 15, 19, 20, 21)] == [1.0, 1.0, 1.0, 0.75, 0.55, 0.5, 0.5]
    assert late.integral(0, 10) == 10.0
    assert late.integral(20, 30) == 5.0
    assert late.integral(0, 30) == 10.0 + 7.5 + 5.0
    assert late.integral(0, 4) == 4.0
    assert late.integral(25, 25) == 0.0
    assert late.integral(25, 27) == 1.0


def test_joints():
    assert WSD.joints == (0, 100, 800, 1000)
    assert WSD.jumps() == ()
    assert RESTARTS.jumps() == (Jump(30, 0.25, 1.0), Jump(40, 0.5**0.5, 0.25))


def test_decay_starts():
    assert WSD.decay_starts() == (800,)
    assert RESTARTS.decay_starts() == (10, 30, 60)
    assert Schedule((Segment(0, 9, 1.0, 0.0),)).decay_starts() == (0,)
    assert Schedule((Segment(0, 9, 0.0, 1.0),)).decay_starts() == ()


def test_a_jump_down_inside_a_decay_does_not_begin_another():
    down = Schedule((Segment(0, 10, 1.0, 0.5), Segment(10, 20, 0.4, 0.2), Segment(20, 30, 0.2, 0.0)))
    assert down.decay_starts() == (0,)


@given(schedules(), st.lists(st.integers(0, 2100), min_size=1))
def test_array_agrees_with_numbers(schedule, tokens):
    array = schedule.value(np.array(tokens, dtype=np.int64))
    assert array.shape == (len(tokens),)
    assert abs(array - [schedule.value(n) for n in tokens]).max() <= np.spacing(1.0)


@pytest.mark.parametrize("lowest", [-5, 0])
def test_many_positions_in_any_order(lowest):
    tokens = np.random.default_rng(0).integers(lowest, 80, 70_001)
    values = np.array([RESTARTS.value(n) for n in range(lowest, 80)])[tokens - lowest]
    for order in (slice(None), np.argsort(tokens), slice(None, None, 2)):
        assert (abs(RESTARTS.value(tokens[order]) - values[order]) <= np.spacing(1.0)).all()


def test_positions_too_large_to_be_packed_with_their_index():
    far = Schedule((Segment(0, 2**45, 0.0, 1.0), Segment(2**45, 2**50, 1.0, 0.0, "cosine")))
    for top in (2**46, 2**51):
        tokens = np.random.default_rng(1).integers(0, top, 1000)
        tokens[:4] = [0, top - 1, 2**45, 2**45 - 1]
        assert far.value(tokens) == pytest.approx([far.value(n) for n in tokens.tolist()], abs=np.spacing(1.0), rel=0)


def test_array_of_any_form():
    grid = np.arange(1200, dtype=np.int32).reshape(3, 400)
    assert WSD.value(grid).shape == (3, 400)
    assert WSD.value(np.arange(0)).shape == (0,)
    assert WSD.value(np.array([1000, 0, 800])).tolist() == [MIN, 0.0, MAX]
    kinds = ("int8", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")
    assert [WSD.value(np.array([5, 100], dtype=kind)).tolist() for kind in kinds] == [[WSD.value(5), MAX]] * 8
    assert WSD.value(np.array(850)).item() == WSD.value(850)
    far = Schedule((Segment(10**13, 2 * 10**13, 1.0, 0.0),))
    assert far.segments[0].value(np.array([5], dtype=np.int32)).tolist() == [1.0]
    assert far.value(np.array([5, 6], dtype=np.int32)).tolist() == [1.0, 1.0]
    joints = np.array(RESTARTS.joints)
    assert RESTARTS.value(joints).tolist() == [RESTARTS.value(n) for n in RESTARTS.joints]


def test_positions_between_tokens_lie_on_the_same_curve():
    for between in ([2000.0, 99.5, 0.25, 800.125, 999.75], [0.25, -math.inf, 800.125, math.inf, 999.75]):
        assert WSD.value(np.array(between)).tolist() == [WSD.value(position) for position in between]
    for curve in (WSD, WSD.segments[0]):
        with pytest.raises(ScheduleError, match="NaN among them"):
            curve.value(np.array([1.0, math.nan]))


@given(schedules())
def test_continuous_where_no_jump_is_declared(schedule):
    assert schedule.jumps() == ()
    for segment in schedule.segments:
        assert schedule.value(segment.start_tokens) == segment.start_value
        assert segment.value(segment.end_tokens) == schedule.value(segment.end_tokens)


@given(schedules(), st.tuples(st.integers(0, 2100), st.integers(0, 2100), st.integers(0, 2100)))
def test_integral_adds_up(schedule, positions):
    a, b, c = sorted(positions)
    assert schedule.integral(a, c) == pytest.approx(schedule.integral(a, b) + schedule.integral(b, c), abs=1e-11)


WAVES = Schedule(
    (
        Segment(0, 100_000, 0.1, 1.0, "cosine"),
        Segment(100_000, 300_000, 1.0, 0.5, "mirror_cosine"),
        Segment(300_000, 500_000, 0.5, 1.0),
        Segment(500_000, 800_000, 0.9, 0.9, "constant"),
        Segment(800_000, 900_000, 0.9, 0.1, "square", uncut_end_tokens=1_000_000),
    )
)


@pytest.fixture(scope="module")
def summed():
    """The values at the middle of every token, summed up to each."""
    middles = [s.value(np.arange(s.start_tokens, s.end_tokens) + 0.5) for s in WAVES.segments]
    held = np.full(100_000, WAVES.segments[-1].last_value)
    return np.cumsum(np.concatenate([[0.0], *middles, held]))


@given(st.tuples(st.integers(0, 1_000_000), st.integers(0, 1_000_000)))
def test_integral_equals_dense_quadrature(summed, positions):
    start, end = sorted(positions)
    assert WAVES.integral(start, end) == pytest.approx(summed[end] - summed[start], rel=1e-9, abs=1e-9)


def test_integral_of_wsd():
    decay = 200 * (MIN + (MAX - MIN) / 3)
    assert WSD.integral(0, 1000) == pytest.approx(50 * MAX + 700 * MAX + decay, rel=1e-15)
    assert WSD.integral(0, 1010) == pytest.approx(50 * MAX + 700 * MAX + decay + 10 * MIN, rel=1e-15)
    with pytest.raises(ScheduleError, match="integral from 10 to 9 tokens"):
        WSD.integral(10, 9)


@given(schedules())
def test_json_round_trip_is_exact(schedule):
    assert Schedule.from_dict(json.loads(json.dumps(schedule.to_dict()))) == schedule


def test_it_travels_to_other_processes():
    assert RESTARTS.value(35) == pickle.loads(pickle.dumps(RESTARTS)).value(35)


def test_refusals():
    with pytest.raises(ScheduleError, match="without segments"):
        Schedule(())
    with pytest.raises(ScheduleError, match=r"segments\[1\]\.start_tokens=11; expected 10, where segments\[0\] ends"):
        Schedule((Segment(0, 10, 0.0, 1.0), Segment(11, 20, 1.0, 0.0)))
    for state, words in [
        ({"segment": []}, r"keys \['segment'\]; expected 'segments' alone"),
        (5, "schedule 5; expected 'segments' alone"),
        ({"segments": 5}, "schedule with segments 5; expected a list"),
        ({"segments": [5]}, "segment 5; expected a mapping"),
    ]:
        with pytest.raises(ScheduleError, match=words):
            Schedule.from_dict(state)


def replaced(index, segment):
    segments = list(WSD.segments)
    segments[index] = segment
    return Schedule(tuple(segments))


def test_the_future_is_free():
    other_decay = replaced(2, Segment(800, 4000, MAX, 0.0, "cosine"))
    assert WSD.first_difference(other_decay, before_tokens=800) is None
    assert WSD.first_difference(other_decay, before_tokens=801) == ("segments[2].end_tokens", 1000, 4000)


def test_a_flat_stretch_may_end_elsewhere():
    longer = Schedule((*WSD.segments[:1], Segment(100, 900, MAX, MAX, "constant"), Segment(900, 950, MAX, 0.0)))
    assert WSD.first_difference(longer, before_tokens=700) is None
    assert WSD.first_difference(longer, before_tokens=801) == ("segments[1].end_tokens", 800, 801)
    assert longer.first_difference(WSD, before_tokens=801) == ("segments[1].end_tokens", 801, 800)


def test_a_flat_stretch_may_be_split():
    split = (Segment(100, 300, MAX, MAX, "constant"), Segment(300, 800, MAX, MAX, "linear"))
    pieces = Schedule((WSD.segments[0], *split, WSD.segments[2]))
    assert WSD.first_difference(pieces, before_tokens=10**6) is None
    last = Schedule((*pieces.segments[:-1], Segment(800, 1000, MAX, MIN, "cosine")))
    assert pieces.first_difference(last, before_tokens=900) == ("segments[3].shape", "1-sqrt", "cosine")


def test_a_running_ramp_is_not_stretched():
    stretched = Schedule((Segment(0, 120, 0.0, MAX), Segment(120, 800, MAX, MAX, "constant"), WSD.segments[2]))
    assert WSD.first_difference(stretched, before_tokens=0) is None
    assert WSD.first_difference(stretched, before_tokens=1) == ("segments[0].end_tokens", 100, 120)


def test_a_running_decay_may_be_cut_from_here_on():
    cut = replaced(2, WSD.segments[2].cut(900))
    assert [cut.value(n) for n in (899, 900, 5000)] == [WSD.value(899), WSD.value(900), WSD.value(900)]
    assert WSD.first_difference(cut, before_tokens=900) is None
    assert WSD.first_difference(cut, before_tokens=901) == ("segments[2].end_tokens", 901, 900)
    shorter = replaced(2, Segment(800, 900, MAX, MIN, "1-sqrt"))
    assert cut.first_difference(shorter, before_tokens=850) == ("segments[2].end_tokens", 1000, 900)


def test_the_held_end_is_past_too():
    extended = Schedule((*WSD.segments, Segment(1000, 2000, MIN, 0.0)))
    held = Schedule((*WSD.segments, Segment(1000, 2000, MIN, MIN, "constant")))
    assert WSD.first_difference(extended, before_tokens=1000) is None
    assert WSD.first_difference(held, before_tokens=1500) is None
    assert WSD.first_difference(extended, before_tokens=1500) == ("segments[3].end_tokens", 1500, 2000)


def test_the_held_start_is_past_too():
    late, early = Schedule((Segment(10, 20, 1.0, 0.0),)), Schedule((Segment(5, 20, 1.0, 0.0),))
    assert late.first_difference(early, before_tokens=5) is None
    assert late.first_difference(early, before_tokens=7) == ("segments[0].end_tokens", 7, 5)


@given(schedules(), schedules(), st.integers(0, 2100))
def test_no_difference_means_the_same_values_before(ours, theirs, before):
    difference = ours.first_difference(theirs, before_tokens=before)
    assert (difference is None) == (theirs.first_difference(ours, before_tokens=before) is None)
    if difference is None:
        assert [ours.value(n) for n in range(before)] == [theirs.value(n) for n in range(before)]


@given(schedules(), st.integers(0, 2100))
def test_a_schedule_does_not_differ_from_itself(schedule, before):
    assert schedule.first_difference(schedule, before_tokens=before) is None
