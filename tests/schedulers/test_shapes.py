"""Shapes alone: exact values at round progress, monotone, closed-form area against quadrature, array against number."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulers.curve import Scaling, Shape
from schedulers.scaling import Exponential, HalfLife, InverseSqrt, PowerLaw
from schedulers.shapes import (
    SHAPES,
    Constant,
    Cosine,
    HalfCosine,
    Linear,
    MegatronExponential,
    MirrorCosine,
    OneMinusPower,
    OneMinusSqrt,
    Power,
    Square,
)

ARRIVING = [
    Linear(), Cosine(), OneMinusSqrt(), Square(), Power(0.5), Power(1.5), Power(3.0),
    OneMinusPower(0.3), OneMinusPower(3.0), MirrorCosine(), HalfCosine(), MegatronExponential(),
]  # fmt: skip
SCALING = [
    Exponential(0.01), Exponential(8.0), Exponential(1.0), HalfLife(0.3), HalfLife(6.0), InverseSqrt(9.0),
    PowerLaw(9.0, 0.51), PowerLaw(9.0, 1.0), PowerLaw(0.5, 2.0),
]  # fmt: skip
EVERY = [Constant(), *ARRIVING, *SCALING]

progress = st.floats(0.0, 1.0)
every_shape = st.sampled_from(EVERY)


def quadrature(function, start, end):
    """Gauss-Legendre on 2^14 panels that crowd at both edges, where roots are steep."""
    nodes, weights = np.polynomial.legendre.leggauss(6)
    edges = np.linspace(0.0, 1.0, 2**14 + 1)
    half = np.diff(edges)[:, None] / 2
    s = edges[:-1, None] + half * (nodes + 1)
    u = s * s * (3 - 2 * s)
    return float(np.sum(function(start + (end - start) * u) * 6 * s * (1 - s) * half * weights)) * (end - start)


@pytest.mark.parametrize(
    ("shape", "at_0", "at_quarter", "at_half", "at_1"),
    [
        (Constant(), 1.0, 1.0, 1.0, 1.0),
        (Linear(), 1.0, 0.75, 0.5, 0.0),
        (Cosine(), 1.0, 0.8535533905932737, 0.5, 0.0),
        (OneMinusSqrt(), 1.0, 0.5, 1.0 - math.sqrt(0.5), 0.0),
        (Square(), 1.0, 0.9375, 0.75, 0.0),
        (Power(2.0), 1.0, 0.5625, 0.25, 0.0),
        (Exponential(1 / 16), 1.0, 0.5, 0.25, 0.0625),
        (Exponential(16.0), 1.0, 2.0, 4.0, 16.0),
        (HalfLife(4.0), 1.0, 0.5, 0.25, 0.0625),
        (InverseSqrt(3.0), 1.0, 1 / math.sqrt(1.75), 1 / math.sqrt(2.5), 0.5),
        (PowerLaw(4.0, 1.0), 1.0, 1 / 2, 1 / 3, 0.2),
        (OneMinusPower(3.0), 1.0, 1 - 1 / 64, 0.875, 0.0),
        (MirrorCosine(), 1.0, 1.5 - 0.8535533905932737, 0.5, 0.0),
        (HalfCosine(), 1.0, 1 - math.sin(math.pi / 8), 1 - math.sin(math.pi / 4), 0.0),
        (MegatronExponential(), 1.0, 2 * 0.5**0.25 - 1, 2 * 0.5**0.5 - 1, 0.0),
    ],
)
def test_exact_values(shape, at_0, at_quarter, at_half, at_1):
    assert [shape.fall(u) for u in (0.0, 0.25, 0.5, 1.0)] == [at_0, at_quarter, at_half, at_1]


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        (Constant(), 1.0),
        (Linear(), 1 / 2),
        (Cosine(), 1 / 2),
        (OneMinusSqrt(), 1 / 3),
        (Square(), 2 / 3),
        (Power(3.0), 1 / 4),
        (Exponential(math.exp(-1.0)), 1.0 - math.exp(-1.0)),
        (Exponential(1.0), 1.0),
        (HalfLife(1.0), 0.5 / math.log(2.0)),
        (InverseSqrt(3.0), 2 / 3),
    ],
)
def test_whole_area(shape, area):
    assert shape.area(0.0) == 0.0
    assert shape.area(1.0) == pytest.approx(area, rel=4e-16)


def test_published_decays_from_1_to_a_tenth():
    """At a quarter, half and 199/200 of the decay: the printed values of the code behind arXiv 2405.18392."""
    printed = {
        Linear(): (0.775, 0.55, 0.1045),
        Exponential(0.1): (0.562341, 0.316228, 0.101158),
        Square(): (0.94375, 0.775, 0.108977),
        OneMinusSqrt(): (0.55, 0.363604, 0.102253),
        MirrorCosine(): (0.681802, 0.55, 0.108944),
    }
    for shape, values in printed.items():
        ours = [shape.value(u, start=1.0, end=0.1) for u in (0.25, 0.5, 0.995)]
        assert ours == pytest.approx(values, abs=5e-7)


@pytest.mark.parametrize("shape", EVERY, ids=lambda shape: type(shape).__name__)
def test_area_is_the_integral_of_fall(shape):
    for u in (1e-3, 0.1, 0.37, 1.0):
        assert shape.area(u) == pytest.approx(quadrature(shape.fall, 0.0, u), rel=1e-9)


@given(every_shape, progress)
def test_rise_is_what_is_done(shape: Shape, u):
    assert shape.rise(u) == pytest.approx(1.0 - shape.fall(u), abs=4e-16)


def test_rise_is_exact_near_the_start():
    assert Linear().rise(1e-18) == 1e-18
    assert Square().rise(1e-9) == 1e-9 * 1e-9
    assert Cosine().rise(1e-9) == pytest.approx((math.pi * 0.5e-9) ** 2, rel=4e-16)


@given(every_shape, progress, progress)
def test_monotone(shape: Shape, u, v):
    u, v = sorted((u, v))
    if isinstance(shape, Exponential) and shape.ratio > 1.0:
        assert shape.fall(u) <= shape.fall(v)
    else:
        last_bits = 3e-16 if isinstance(shape, MirrorCosine) else 0.0
        assert shape.fall(u) >= shape.fall(v) - last_bits


@given(every_shape, st.lists(progress, min_size=1))
def test_array_agrees_with_numbers(shape: Shape, us):
    for function in (shape.fall, shape.rise, shape.area):
        numbers = np.array([function(u) for u in us])
        largest = max(1.0, abs(numbers).max())
        assert abs(function(np.array(us)) - numbers).max() <= np.spacing(largest)


@given(st.sampled_from(ARRIVING), progress, st.floats(0.0, 1e3), st.floats(0.0, 1e3))
def test_a_value_never_leaves_its_edges(shape: Shape, u, start, end):
    assert min(start, end) <= shape.value(u, start=start, end=end) <= max(start, end)


@given(st.sampled_from(ARRIVING), st.floats(1e-9, 1e3), st.floats(1e-9, 1e3))
def test_arriving_shapes_reach_both_edges(shape: Shape, start, end):
    assert shape.value(0.0, start=start, end=end) == pytest.approx(start, rel=4e-16)
    assert shape.value(1.0, start=start, end=end) == pytest.approx(end, rel=4e-16)


@pytest.mark.parametrize(
    ("shape", "level"), [(HalfLife(6.0), 0.1), (InverseSqrt(9.0), 0.5), (PowerLaw(9.0, 0.51), 0.5)]
)
def test_reach_is_where_the_floor_takes_over(shape: Scaling, level):
    assert shape.fall(shape.reach(level)) == pytest.approx(level, rel=1e-15)
    assert shape.reach(0.0) == math.inf


def test_a_scalar_stays_a_python_float():
    for shape in EVERY:
        assert {type(f(0.3)) for f in (shape.fall, shape.rise, shape.area)} == {float}


def test_names():
    assert list(SHAPES) == [
        "constant", "linear", "cosine", "1-sqrt", "square", "power", "exponential", "half_life", "inverse_sqrt",
        "power_law", "1-power", "mirror_cosine", "half_cosine", "megatron_exponential",
    ]  # fmt: skip


def test_members_of_a_family_are_the_shapes_with_a_name():
    for u in (0.0, 0.01, 0.25, 0.7, 1.0):
        assert OneMinusPower(0.5).fall(u) == OneMinusSqrt().fall(u)
        assert OneMinusPower(2.0).fall(u) == Square().fall(u)
        assert Power(1.0).fall(u) == Linear().fall(u)
        assert PowerLaw(9.0, 0.5).fall(u) == pytest.approx(InverseSqrt(9.0).fall(u), rel=3e-16)


def test_half_cosine_is_the_second_half_of_a_cosine():
    for u in (0.0, 0.1, 0.5, 0.9, 1.0):
        assert 0.5 * HalfCosine().fall(u) == pytest.approx(Cosine().fall(0.5 + 0.5 * u), abs=2e-16)


def test_what_is_done_may_come_in_any_unit():
    assert Linear().value(3.0, 4.0, start=1.0, end=0.0) == Linear().value(0.75, start=1.0, end=0.0)
    # Multiplied first, by 3, and divided then: another last bit than 3e-4 x 0.03.
    assert Linear().value(3.0, 100.0, start=0.0, end=3e-4) == 3e-4 * 3.0 / 100.0 != 3e-4 * 0.03
