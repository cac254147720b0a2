from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mixer.apportion import Apportionment
from mixer.errors import DataError

BOUND = 1.68
LONGEST = 2**43
FIBONACCI = [1, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610]

positive = st.floats(min_value=1e-9, max_value=1e6, allow_subnormal=False)
weight_lists = st.lists(positive, min_size=1, max_size=24)


def shares_of(weights: list[float]) -> list[Fraction]:
    total = sum(map(Fraction, weights))
    return [Fraction(weight) / total for weight in weights]


def worst_error(weights: list[float], apportionment: Apportionment, length: int) -> float:
    counts = apportionment.counts(length).tolist()
    return max(abs(float(n - length * share)) for n, share in zip(counts, shares_of(weights), strict=True))


@given(weight_lists)
@example([float(weight) for weight in FIBONACCI])
@example([2.0**-k for k in range(40)])
@settings(deadline=None, max_examples=100)
def test_every_prefix_is_within_the_bound(weights: list[float]) -> None:
    length = 1500
    sources, _ = Apportionment.of(weights).locate(np.arange(length))
    counts = np.cumsum(sources[:, None] == np.arange(len(weights)), axis=0)
    shares = np.array([float(share) for share in shares_of(weights)])
    assert np.abs(counts - np.arange(1, length + 1)[:, None] * shares).max() < BOUND


@given(weight_lists, st.lists(st.integers(0, LONGEST), min_size=1, max_size=8))
@example([1.0, 2.0], [LONGEST])
@example([0.3, 0.7], [LONGEST])
@settings(deadline=None)
def test_the_bound_holds_up_to_2_to_the_43(weights: list[float], lengths: list[int]) -> None:
    apportionment = Apportionment.of(weights)
    for length in lengths:
        assert int(apportionment.counts(length).sum()) == length
        assert worst_error(weights, apportionment, length) < BOUND


@pytest.mark.parametrize("sources", [2, 300, 5000])
def test_many_uneven_sources_stay_within_the_bound(sources: int) -> None:
    weights = np.random.default_rng(sources).dirichlet([0.5] * sources).clip(1e-12).tolist()
    apportionment = Apportionment.of(weights)
    assert max(worst_error(weights, apportionment, length) for length in (1, 977, 3_662_109_375, LONGEST)) < BOUND


@given(weight_lists, st.lists(st.integers(0, LONGEST - 1), min_size=1, max_size=20))
@example([1.0, 1.0], [2**31 - 1, 2**31, 2**41, 2**41 + 1, LONGEST - 1])
@settings(deadline=None)
def test_locate_counts_and_position_agree(weights: list[float], positions: list[int]) -> None:
    apportionment = Apportionment.of(weights)
    sources, arrivals = apportionment.locate(np.array(positions))
    for position, source, arrival in zip(positions, sources.tolist(), arrivals.tolist(), strict=True):
        before, after = apportionment.counts(position), apportionment.counts(position + 1)
        assert before[source] == arrival
        assert (after - before).tolist() == [int(k == source) for k in range(len(weights))]
        assert apportionment.position(source, arrival) == position


def test_order_of_positions_changes_nothing() -> None:
    apportionment = Apportionment.of([0.5, 0.3, 0.15, 0.05])
    positions = np.random.default_rng(0).permutation(5000)
    straight, shuffled = apportionment.locate(np.arange(5000)), apportionment.locate(positions)
    assert all(np.array_equal(a[positions], b) for a, b in zip(straight, shuffled, strict=True))


def test_a_source_of_weight_zero_is_never_drawn_and_costs_nothing() -> None:
    with_zeros, without = Apportionment.of([0, 3, 0, 1, 0]), Apportionment.of([3, 1])
    sources, arrivals = with_zeros.locate(np.arange(1000))
    assert np.array_equal(sources, without.locate(np.arange(1000))[0] * 2 + 1)
    assert np.array_equal(arrivals, without.locate(np.arange(1000))[1])
    assert with_zeros.counts(1000).tolist() == [0, 750, 0, 250, 0]
    assert len(with_zeros.shares) == len(without.shares)


def test_one_source_takes_everything() -> None:
    apportionment = Apportionment.of([0.25])
    assert apportionment.counts(LONGEST).tolist() == [LONGEST]
    assert apportionment.locate(np.array([0, LONGEST - 1]))[1].tolist() == [0, LONGEST - 1]
    assert apportionment.position(0, 7) == 7


def test_no_positions_are_no_trouble() -> None:
    sources, arrivals = Apportionment.of([1, 2]).locate(np.array([], np.int64))
    assert sources.shape == arrivals.shape == (0,)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, -0.5], "weight of source 1 is -0.5; expected a finite number that is at least 0"),
        ([float("nan")], "weight of source 0 is nan; expected a finite number that is at least 0"),
        ([1, float("inf")], "weight of source 1 is inf; expected a finite number that is at least 0"),
        ([0, 0], "all 2 weights are 0; at least one source must be drawn"),
    ],
)
def test_weights_that_mean_nothing_are_refused(weights: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Apportionment.of(weights)


def test_positions_outside_the_exact_range_are_refused() -> None:
    apportionment = Apportionment.of([1, 2])
    for position in (-1, LONGEST):
        with pytest.raises(DataError, match="expected 0 to 2"):
            apportionment.locate(np.array([position]))
    with pytest.raises(DataError, match="out of range"):
        apportionment.counts(LONGEST + 1)
    with pytest.raises(DataError, match="has weight 0 or is unknown"):
        Apportionment.of([1, 0]).position(1, 0)
