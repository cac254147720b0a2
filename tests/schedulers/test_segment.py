"""One segment: golden values of Megatron's decays, both edges exact, integrals, and each refusal's words."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulers.errors import ScheduleError
from schedulers.segment import Segment
from schedulers.shapes import SHAPES

MAX, MIN = 3e-4, 3e-5
ULP = np.spacing(MAX)
OWN_PACE = ("half_life", "inverse_sqrt", "power_law")


@st.composite
def segments(draw):
    start_tokens = draw(st.integers(1, 10**12))
    end_tokens = start_tokens + draw(st.integers(1, 10**13))
    shape = draw(st.sampled_from(list(SHAPES)))
    value = st.floats(1e-8, 1e3)
    start, end = draw(value), draw(value)
    if shape == "constant":
        end = start
    if shape in OWN_PACE:
        start, end = max(start, end), draw(st.sampled_from([0.0, min(start, end)]))
    parameters = {}
    if shape in ("power", "1-power", "power_law"):
        parameters["exponent"] = draw(st.floats(0.2, 5.0))
    if shape == "half_life":
        parameters["half_life_tokens"] = max(1, (end_tokens - start_tokens) // draw(st.integers(1, 30)))
    if shape in ("inverse_sqrt", "power_law"):
        parameters["timescale_tokens"] = draw(st.none() | st.integers(1, 10**12))
    if shape != "constant":
        parameters["uncut_end_tokens"] = draw(st.none() | st.integers(end_tokens + 1, 2 * end_tokens))
    return Segment(start_tokens, end_tokens, start, end, shape, **parameters)


@st.composite
def segments_and_tokens(draw, count=8):
    segment = draw(segments())
    around = st.integers(segment.start_tokens - 1, segment.end_tokens + 1)
    return segment, draw(st.lists(around, min_size=count, max_size=count))


# Printed by Megatron's OptimizerParamScheduler: warmup 100, decay 1000, WSD decay 200, 3e-4 to 3e-5.
MEGATRON = {
    ("linear", 100): {
        101: 2.9969999999999997e-4, 500: 1.7999999999999998e-4, 800: 8.999999999999999e-5, 850: 7.499999999999998e-5,
        900: 6.000000000000001e-5, 950: 4.5e-5, 999: 3.0299999999999988e-5, 1000: 3e-5, 1001: 3e-5,
    },
    ("cosine", 100): {
        101: 2.999991775338017e-4, 500: 1.884425039850356e-4, 800: 6.158400017893797e-5, 801: 6.128172431487437e-5,
        850: 4.808657048910077e-5, 900: 3.814149619390238e-5, 950: 3.205095334335192e-5, 999: 3.0000822466198297e-5,
        1000: 3e-5, 1001: 3e-5,
    },
    ("linear", 800): {
        800: 3e-4, 801: 2.9864999999999997e-4, 850: 2.3249999999999996e-4, 900: 1.6499999999999997e-4,
        950: 9.749999999999998e-5, 999: 3.135e-5, 1000: 3e-5, 1001: 3e-5,
    },
    ("cosine", 800): {
        800: 3e-4, 801: 2.9998334538502416e-4, 850: 2.604594154601839e-4, 900: 1.6499999999999997e-4,
        950: 6.954058453981609e-5, 999: 3.001665461497582e-5, 1000: 3e-5, 1001: 3e-5,
    },
    ("1-sqrt", 800): {
        800: 3e-4, 801: 2.809081169079632e-4, 850: 1.6499999999999997e-4, 900: 1.0908116907963214e-4,
        950: 6.617314097820157e-5, 999: 3.067584586598997e-5, 1000: 3e-5, 1001: 3e-5,
    },
}  # fmt: skip


@pytest.mark.parametrize(("shape", "start"), MEGATRON)
def test_decays_equal_megatrons_to_the_last_bit(shape, start):
    decay = Segment(start, 1000, MAX, MIN, shape)
    golden = MEGATRON[shape, start]
    assert {n: decay.value(n) for n in golden} == golden


def test_inverse_sqrt_is_megatrons():
    golden = {
        101: 2.985111570629967e-4, 500: 1.3416407864998736e-4, 800: 1.0606601717798211e-4, 801: 1.0599978800063599e-4,
        850: 1.0289915108550529e-4, 900: 9.999999999999999e-5, 999: 9.491579957524989e-5, 1000: 9.486832980505137e-5,
    }  # fmt: skip
    decay = Segment(100, 1000, MAX, MIN, "inverse_sqrt")
    for n, value in golden.items():
        assert decay.value(n) == pytest.approx(value, abs=ULP)
    assert decay.value(100) == MAX
    assert decay.last_value == decay.value(1000) == decay.value(1001)  # where Megatron jumps to its minimum


def test_warmup_is_megatrons():
    warmup = Segment(0, 100, 0.0, MAX)
    assert warmup.value(0) == 0.0
    assert warmup.value(1) == 2.9999999999999997e-06
    assert warmup.value(50) == 0.00015
    assert warmup.value(99) == 0.00029699999999999996
    assert warmup.value(100) == MAX


def test_minicpm_half_life_is_not_a_length():
    decay = Segment(1000, 2000, 0.01, 0.0, "half_life", half_life_tokens=250)
    assert [decay.value(n) for n in (999, 1000, 1250, 1500, 2000, 9999)] == [
        0.01, 0.01, 0.005, 0.0025, 0.000625, 0.000625,
    ]  # fmt: skip


def test_half_life_stops_at_its_floor():
    decay = Segment(1000, 2000, 8.0, 1.0, "half_life", half_life_tokens=250)
    assert [decay.value(n) for n in (1250, 1500, 1750, 1751, 2000)] == [4.0, 2.0, 1.0, 1.0, 1.0]
    assert decay.last_value == 1.0
    falling = 8.0 * 250 / math.log(2.0) * (1 - 1 / 8)
    assert decay.integral(1000, 2000) == pytest.approx(falling + 250.0, rel=1e-15)


def test_exponential_multiplies():
    decay = Segment(0, 200, 1.0, 0.01, "exponential")
    assert [decay.value(n) for n in (0, 100, 200)] == [1.0, pytest.approx(0.1, rel=3e-16), 0.01]
    growth = Segment(0, 200, 0.01, 1.0, "exponential")
    assert [growth.value(n) for n in (0, 100, 200)] == [0.01, pytest.approx(0.1, rel=3e-16), 1.0]


def test_rises_take_the_same_shapes():
    assert Segment(0, 4, 1.0, 3.0, "cosine").value(2) == pytest.approx(2.0, rel=3e-16)
    assert Segment(0, 4, 1.0, 3.0, "1-sqrt").value(1) == 2.0
    assert Segment(0, 4, 1.0, 3.0, "square").value(2) == 1.5
    assert Segment(0, 4, 1.0, 3.0, "power", exponent=2.0).value(2) == 2.5


@given(segments_and_tokens())
def test_edges_are_exact_and_nothing_lies_outside_them(drawn):
    segment, tokens = drawn
    assert segment.value(segment.start_tokens - 1) == segment.value(segment.start_tokens) == segment.start_value
    assert segment.value(segment.end_tokens + 1) == segment.value(segment.end_tokens) == segment.last_value
    if segment.shape not in OWN_PACE and segment.uncut_end_tokens is None:
        assert segment.last_value == segment.end_value
    low, high = sorted((segment.start_value, segment.end_value))
    assert all(low <= segment.value(token) <= high for token in tokens)


@given(segments_and_tokens())
def test_monotone(drawn):
    segment, tokens = drawn
    values = np.array([segment.value(token) for token in sorted(tokens)])
    backwards = np.diff(values) * (1 if segment.start_value > segment.end_value else -1)
    last_bits = 2 * np.spacing(max(segment.start_value, segment.end_value)) if segment.shape == "mirror_cosine" else 0.0
    assert backwards.max() <= last_bits


@given(segments_and_tokens())
def test_array_agrees_with_numbers(drawn):
    segment, tokens = drawn
    numbers = np.array([segment.value(token) for token in tokens])
    array = segment.value(np.array(tokens, dtype=np.int64))
    assert abs(array - numbers).max() <= np.spacing(max(segment.start_value, segment.end_value))


@given(segments_and_tokens(count=2))
def test_integral_equals_quadrature(drawn):
    segment, tokens = drawn
    a, b = sorted(min(max(token, segment.start_tokens), segment.end_tokens) for token in tokens)
    nodes, weights = np.polynomial.legendre.leggauss(4)
    edges = np.linspace(0.0, 1.0, 2**15 + 1)
    half = np.diff(edges)[:, None] / 2
    s = edges[:-1, None] + half * (nodes + 1)
    length = (segment.uncut_end_tokens or segment.end_tokens) - segment.start_tokens
    u = (a - segment.start_tokens + (b - a) * s * s * (3 - 2 * s)) / length
    values = segment.curve.value(u, start=segment.start_value, end=segment.end_value)
    mean = float(np.sum(values * 6 * s * (1 - s) * half * weights))
    # Differences of a closed form lose what is small beside the whole segment, so the error is relative to that.
    whole = max(segment.start_value, segment.end_value) * length
    assert segment.integral(a, b) == pytest.approx(mean * (b - a), rel=1e-9, abs=4e-15 * whole)


@given(segments())
def test_json_round_trip_is_exact(segment):
    assert Segment.from_dict(json.loads(json.dumps(segment.to_dict()))) == segment


def test_falls_and_flat():
    assert Segment(0, 9, 1.0, 0.5).falls
    assert not Segment(0, 9, 0.5, 1.0).falls
    assert not Segment(0, 9, 1.0, 1.0).falls
    assert Segment(0, 9, 1.0, 1.0).is_flat


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0, 10, 1.0, 0.0, "cosin"), "shape='cosin' is unknown; did you mean 'cosine'?"),
        ((0, 10, 1.0, 0.0, "zzz"), "expected one of 1-power, 1-sqrt, constant"),
        ((10, 10, 1.0, 0.0), "expected 0 <= start_tokens < end_tokens"),
        ((-1, 10, 1.0, 0.0), "expected 0 <= start_tokens < end_tokens"),
        ((0, 2e9, 1.0, 0.0), "end_tokens=2000000000.0; expected an int"),
        ((True, 2, 1.0, 0.0), "start_tokens=True; expected an int"),
        ((0, 10, -1.0, 0.0), "start_value=-1.0; expected a finite number of at least 0"),
        ((0, 10, 1.0, math.nan), "end_value=nan; expected a finite number"),
        ((0, 10, "3e-4", 0.0), "start_value='3e-4'; expected a finite number"),
        ((0, 10, 1.0, 0.5, "constant"), "constant from 1.0 to 0.5"),
        ((0, 10, 1.0, 0.0, "exponential"), "expected both above 0"),
        ((0, 10, 1e3, 5e-324, "exponential"), "expected both above 0"),
        ((0, 10, 1.0, 0.0, []), "shape=[] is unknown"),
        ((1, 10, 0.5, 1.0, "inverse_sqrt"), "a floor not above the start"),
        ((0, 10, 1.0, 0.5, "inverse_sqrt"), "inverse_sqrt from token 0"),
        ((0, 10, 1.0, 0.5, "half_life"), "shape='half_life' with half_life_tokens=None; expected a number above 0"),
        ((0, 10, 1.0, 0.5, "power"), "shape='power' with exponent=None"),
    ],
)
def test_refusals(arguments, words):
    with pytest.raises(ScheduleError) as caught:
        Segment(*arguments)
    assert words in str(caught.value)
    assert str(caught.value).startswith("segment ")
    assert "\n" not in str(caught.value)


def test_parameters_of_another_shape_are_refused():
    with pytest.raises(ScheduleError, match=r"exponent=2\.0 is set, but shape=.linear.; power or 1-power or "):
        Segment(0, 10, 1.0, 0.0, exponent=2.0)
    with pytest.raises(ScheduleError, match=r"half_life_tokens=5 is set, but shape='cosine'"):
        Segment(0, 10, 1.0, 0.0, "cosine", half_life_tokens=5)


def test_where_a_cut_segment_would_have_ended_is_a_whole_token():
    for uncut in ("20", 20.5, 10, 5):
        with pytest.raises(ScheduleError, match=r"uncut_end_tokens=.*; expected one after end_tokens"):
            Segment(0, 10, 1.0, 0.0, uncut_end_tokens=uncut)


def test_a_floor_that_a_slow_power_law_never_reaches():
    """It would be at (1e-5)^-100 = 1e500 tokens."""
    slow = Segment(1, 10**12, 1.0, 1e-5, "power_law", exponent=0.01)
    assert slow.integral(1, 10**12) == pytest.approx((10**12) ** 0.99 / 0.99, rel=1e-9)


def test_integral_outside_is_refused():
    with pytest.raises(ScheduleError, match=r"integral over \(0, 11\) of a segment over \(0, 10\)"):
        Segment(0, 10, 1.0, 0.0).integral(0, 11)


def test_unknown_and_missing_keys_are_refused():
    good = Segment(0, 10, 1.0, 0.0).to_dict()
    with pytest.raises(ScheduleError, match=r"unknown key 'end_token'; did you mean 'end_tokens'\?"):
        Segment.from_dict({**good, "end_token": 3})
    with pytest.raises(ScheduleError, match="end_value is missing"):
        Segment.from_dict({key: value for key, value in good.items() if key != "end_value"})
