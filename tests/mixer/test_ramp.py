from decimal import Decimal, localcontext
from fractions import Fraction
from typing import get_args

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mixer.apportion import Apportionment, Ints
from mixer.errors import DataError
from mixer.ramp import RampApportionment, Shape

LONGEST = 2**43
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")

shapes = st.sampled_from(get_args(Shape))
lengths = st.one_of(st.integers(1, 400), st.integers(1, LONGEST), st.sampled_from([2**31 - 1, 2**41 + 1, LONGEST]))
weights = st.one_of(st.just(0.0), st.floats(min_value=1e-9, max_value=1e6, allow_subnormal=False))
pairs = st.lists(st.tuples(weights, weights), min_size=2, max_size=24).filter(
    lambda mixes: any(start for start, _ in mixes) and any(end for _, end in mixes)
)


def ramp_of(mixes: list[tuple[float, float]], length: int, shape: Shape) -> RampApportionment:
    return RampApportionment.of([start for start, _ in mixes], [end for _, end in mixes], length=length, shape=shape)


def many(num_sources: int, seed: int) -> tuple[list[float], list[float]]:
    """Uneven random mixtures; about a fifth of the sources enter or leave."""
    rng = np.random.default_rng(seed)
    mixes = rng.dirichlet([0.5] * num_sources, size=2).clip(1e-12) * (rng.random((2, num_sources)) > 0.1)
    mixes[:, 0] = mixes[:, 0].clip(0.01)
    return mixes[0].tolist(), mixes[1].tolist()


def ended(position: int, length: int, shape: Shape) -> Fraction:
    """Integral of the part of the way gone, from 0 to ``position``: exact, or to 40 digits for the cosine."""
    if shape == "linear" or position == length:
        return Fraction(position**2, 2 * length)
    with localcontext(prec=60):
        angle = PI * position / length
        term = sine = angle
        for odd in range(3, 80, 2):
            term *= -angle * angle / (odd * (odd - 1))
            sine += term
        return Fraction((angle - sine) * length / (2 * PI))


def worst_error(ramp: RampApportionment, mixes: list[tuple[float, float]], position: int) -> float:
    totals = [sum(Fraction(mix[side]) for mix in mixes) for side in (0, 1)]
    at_end = ended(position, ramp.length, ramp.shape)
    asked = [
        Fraction(start) / totals[0] * (position - at_end) + Fraction(end) / totals[1] * at_end for start, end in mixes
    ]
    return max(abs(float(n - c)) for n, c in zip(ramp.counts(position).tolist(), asked, strict=True))


def prefixes(length: int) -> list[int]:
    """Both ends, the middle, and places in between, each with its neighbours."""
    marks = [0, 1, round(length ** (2 / 3)), length // 3, length // 2, length - length // 7, length - 1, length]
    return sorted({n for mark in marks for n in (mark - 1, mark, mark + 1) if 0 <= n <= length})


@given(pairs, st.integers(1, 1200), shapes)
@settings(deadline=None, max_examples=60)
def test_every_prefix_is_within_the_bound(mixes: list[tuple[float, float]], length: int, shape: Shape) -> None:
    ramp = ramp_of(mixes, length, shape)
    sources, _ = ramp.locate(np.arange(length))
    counts = np.cumsum(sources[:, None] == np.arange(len(mixes)), axis=0)
    start, end = (np.array(side) / sum(side) for side in zip(*mixes, strict=True))
    at_end = np.array([float(ended(n, length, shape)) for n in range(1, length + 1)])[:, None]
    asked = start * (np.arange(1, length + 1)[:, None] - at_end) + end * at_end
    assert np.abs(counts - asked).max() <= ramp.bound + 1e-9
    assert ramp.bound < 3.87


@given(pairs, lengths, shapes)
@example([(0.0, 1.0), (1.0, 0.0)], LONGEST, "linear")
@example([(0.0, 1.0), (1.0, 0.0)], LONGEST, "cosine")
@settings(deadline=None, max_examples=60)
def test_the_bound_holds_up_to_2_to_the_43(mixes: list[tuple[float, float]], length: int, shape: Shape) -> None:
    ramp = ramp_of(mixes, length, shape)
    for position in prefixes(length):
        assert int(ramp.counts(position).sum()) == position
        assert worst_error(ramp, mixes, position) <= ramp.bound


@pytest.mark.parametrize("shape", get_args(Shape))
@pytest.mark.parametrize("num_sources", [2, 30, 300])
@pytest.mark.parametrize("length", [977, 3_662_109_375, LONGEST - 1, LONGEST])
def test_many_uneven_sources_stay_within_the_bound(num_sources: int, length: int, shape: Shape) -> None:
    start, end = many(num_sources, seed=num_sources)
    ramp = RampApportionment.of(start, end, length=length, shape=shape)
    mixes = list(zip(start, end, strict=True))
    assert max(worst_error(ramp, mixes, position) for position in prefixes(length)) <= ramp.bound < 3.87


@given(pairs, lengths, shapes, st.lists(st.floats(0, 1), min_size=1, max_size=6))
@example([(0.0, 1.0), (1.0, 0.0), (1e-9, 1e-9)], LONGEST, "cosine", [0.0, 0.5, 1.0])
@settings(deadline=None, max_examples=60)
def test_locate_counts_and_position_agree(
    mixes: list[tuple[float, float]], length: int, shape: Shape, parts: list[float]
) -> None:
    ramp = ramp_of(mixes, length, shape)
    positions = [min(int(part * length), length - 1) for part in parts]
    sources, arrivals = ramp.locate(np.array(positions))
    for position, source, arrival in zip(positions, sources.tolist(), arrivals.tolist(), strict=True):
        before, after = ramp.counts(position), ramp.counts(position + 1)
        assert before[source] == arrival
        assert (after - before).tolist() == [int(k == source) for k in range(len(mixes))]
        assert ramp.position(source, arrival) == position


@pytest.mark.parametrize("shape", get_args(Shape))
def test_each_source_has_each_arrival_once_and_in_order(shape: Shape) -> None:
    start, end = many(60, seed=1)
    for length in (1, 2, 3, 1000, 1001):
        ramp = RampApportionment.of(start, end, length=length, shape=shape)
        sources, arrivals = ramp.locate(np.arange(length))
        for source, count in enumerate(ramp.counts(length).tolist()):
            assert arrivals[sources == source].tolist() == list(range(count))


def rounded(lengths: Ints, length: int, shape: Shape) -> Ints:
    """Counts of the end side: of a source that enters while the only other leaves."""
    ramp = RampApportionment.of([1, 0], [0, 1], length=length, shape=shape)
    return np.array([ramp.counts(int(n))[1] for n in lengths])


@pytest.mark.parametrize("shape", get_args(Shape))
def test_a_source_that_replaces_another_has_the_rounded_integral(shape: Shape) -> None:
    for length in (1, 2, 3, 7, 64, 301):
        halves_up = [int(ended(n, length, shape) + Fraction(1, 2)) for n in range(length + 1)]
        assert rounded(np.arange(length + 1), length, shape).tolist() == halves_up


def test_a_linear_integral_is_rounded_exactly_where_its_square_passes_64_bits() -> None:
    rng = np.random.default_rng(3)
    for length in (2**32 + 1, 2**41 - 1, LONGEST - 1, LONGEST):
        positions = [*prefixes(length), *rng.integers(0, length, 200).tolist()]
        assert rounded(np.array(positions), length, "linear").tolist() == [
            (n * n + length) // (2 * length) for n in positions
        ]


@pytest.mark.parametrize("length", [2**31 - 1, 3_662_109_375, LONGEST - 1, LONGEST])
def test_a_cosine_integral_is_rounded_from_a_value_within_2_to_the_minus_8(length: int) -> None:
    positions = [*prefixes(length), *np.random.default_rng(4).integers(0, length, 100).tolist()]
    for position, count in zip(positions, rounded(np.array(positions), length, "cosine").tolist(), strict=True):
        assert abs(float(count - ended(position, length, "cosine"))) <= 0.5 + 2.0**-8


@pytest.mark.parametrize("shape", get_args(Shape))
@pytest.mark.parametrize("length", [10**6, 10**6 + 1, LONGEST - 1, LONGEST])
def test_the_end_side_grows_by_nothing_or_one(length: int, shape: Shape) -> None:
    """Around 13 places, among them the first sample of the end side, no arrival is left out or given twice."""
    ramp = RampApportionment.of([1, 0], [0, 1], length=length, shape=shape)
    first = ramp.position(1, 0)
    centres = [0, first, *(length * k // 10 for k in range(1, 10)), length - first, length]
    for centre in centres:
        low = min(max(centre - 20_000, 0), length - 40_000)
        sources, arrivals = ramp.locate(np.arange(low, low + 40_000))
        before, after = ramp.counts(low), ramp.counts(low + 40_000)
        for source in (0, 1):
            assert np.array_equal(arrivals[sources == source], np.arange(before[source], after[source]))


def test_the_same_positions_on_every_machine() -> None:
    ramp = RampApportionment.of([0.7, 0.3, 0], [0.2, 0.3, 0.5], length=LONGEST, shape="cosine")
    sources, arrivals = ramp.locate(np.array([0, 1, 2**31, 2**41 + 7, 2**42 + 1, LONGEST - 1]))
    assert sources.tolist() == [0, 1, 0, 0, 0, 2]
    assert arrivals.tolist() == [0, 0, 1503238501, 1484514594148, 2679091772187, 2199023255551]


@pytest.mark.parametrize("shape", get_args(Shape))
def test_order_of_positions_changes_nothing(shape: Shape) -> None:
    start, end = many(40, seed=5)
    ramp = RampApportionment.of(start, end, length=5000, shape=shape)
    positions = np.random.default_rng(0).permutation(5000)
    straight, shuffled = ramp.locate(np.arange(5000)), ramp.locate(positions)
    assert all(np.array_equal(a[positions], b) for a, b in zip(straight, shuffled, strict=True))
    grid = ramp.locate(positions.reshape(50, 100))
    assert all(np.array_equal(a.reshape(50, 100), b) for a, b in zip(shuffled, grid, strict=True))


def test_sources_that_enter_begin_late_and_those_that_leave_end_early() -> None:
    ramp = RampApportionment.of([1, 0, 0], [0, 0, 1], length=1200, shape="linear")
    sources, _ = ramp.locate(np.arange(1200))
    assert np.flatnonzero(sources == 2)[0] == 34, "the first n at which (n + 1)^2 / 2400 reaches 1/2"
    assert set(sources[:34].tolist()) == {0}
    assert set(sources[-34:].tolist()) == {2}
    assert ramp.counts(1200).tolist() == [600, 0, 600]


def test_equal_ends_keep_the_shares_and_one_source_takes_everything() -> None:
    level = RampApportionment.of([7, 2, 1], [70, 20, 10], length=1000, shape="cosine")
    assert np.abs(level.counts(500) - [350, 100, 50]).max() <= level.bound
    alone = RampApportionment.of([3, 0], [0.1, 0], length=LONGEST, shape="linear")
    assert alone.bound == 0
    assert alone.counts(LONGEST).tolist() == [LONGEST, 0]
    assert alone.locate(np.array([0, LONGEST - 1]))[1].tolist() == [0, LONGEST - 1]


@pytest.mark.parametrize("shape", get_args(Shape))
def test_shares_run_from_the_start_weights_to_the_end_weights(shape: Shape) -> None:
    ramp = RampApportionment.of([3, 1, 0], [0, 2, 2], length=100, shape=shape)
    assert ramp.shares_at(0).tolist() == [0.75, 0.25, 0]
    assert ramp.shares_at(100).tolist() == [0, 0.5, 0.5]
    assert ramp.shares_at(50) == pytest.approx([0.375, 0.375, 0.25])
    curve = ramp.shares_at(np.arange(101.0))
    assert curve.shape == (101, 3)
    assert curve[25, 2] == pytest.approx(0.125 if shape == "linear" else 0.25 * (1 - 0.5**0.5))
    assert curve.sum(axis=1) == pytest.approx(np.ones(101))


def test_the_bound_is_that_of_both_mixtures_and_of_their_border() -> None:
    assert RampApportionment.of([1, 1], [1, 1], length=9, shape="linear").bound == pytest.approx(1, abs=1e-6)
    assert RampApportionment.of([1, 0], [0, 1], length=9, shape="cosine").bound == 0.5 + 2.0**-8
    tree = RampApportionment.of([2, 1, 1], [2, 1, 1], length=9, shape="linear")
    assert tree.bound == pytest.approx(2 * (0.5 + 0.5 * 0.5), abs=1e-6)


def test_no_positions_are_no_trouble() -> None:
    sources, arrivals = RampApportionment.of([1, 2], [2, 1], length=5, shape="linear").locate(np.array([], np.int64))
    assert sources.shape == arrivals.shape == (0,)


@pytest.mark.parametrize(
    ("start", "end", "length", "shape", "message"),
    [
        ([1], [1, 2], 9, "linear", "ramp: 1 start and 2 end weights; expected one of each for every source"),
        ([1, -1], [1, 2], 9, "linear", "weight of source 1 is -1; expected a finite number"),
        ([1, 1], [0, 0], 9, "linear", "all 2 weights are 0; at least one source must be drawn"),
        ([1], [1], 9, "sine", "ramp: shape 'sine'; expected one of linear, cosine"),
        ([1], [1], 0, "linear", "ramp: length 0 is out of range; expected 1 to 2"),
        ([1], [1], LONGEST + 1, "linear", "ramp: length 8,796,093,022,209 is out of range"),
    ],
)
def test_ramps_that_mean_nothing_are_refused(
    start: list[float], end: list[float], length: int, shape: Shape, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        RampApportionment.of(start, end, length=length, shape=shape)


def test_positions_outside_the_ramp_are_refused() -> None:
    ramp = RampApportionment.of([1, 0, 0], [1, 1, 0], length=10, shape="linear")
    for position in (-1, 10):
        with pytest.raises(DataError, match="lie outside the ramp, which has 10"):
            ramp.locate(np.array([position]))
    for length in (-1, 11):
        with pytest.raises(DataError, match="lie outside the ramp"):
            ramp.counts(length)
    for source, arrival in ((1, 3), (0, -1), (2, 0), (3, 0), (-1, 0)):
        with pytest.raises(DataError, match=f"arrival {arrival} is not in it"):
            ramp.position(source, arrival)


def test_each_side_alone_is_the_constant_apportionment() -> None:
    """A long ramp begins as its start mixture does: the first sample of the end side comes after sqrt(L) positions."""
    ramp = RampApportionment.of([5, 3, 1], [1, 1, 7], length=10**12, shape="linear")
    constant = Apportionment.of([5, 3, 1]).locate(np.arange(900_000))
    assert all(np.array_equal(a, b) for a, b in zip(ramp.locate(np.arange(900_000)), constant, strict=True))
