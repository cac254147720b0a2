import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from tools.recipe.numbers import parse_count, parse_real


@pytest.mark.parametrize(
    ("written", "count"),
    [
        ("0", 0),
        ("4096", 4096),
        (4096, 4096),
        ("2e9", 2 * 10**9),
        (2e9, 2 * 10**9),
        ("1.1T", 1_100_000_000_000),
        ("500M", 500_000_000),
        ("0.5k", 500),
        ("20_000", 20_000),
        ("14.999999999999T", 14_999_999_999_999),
        (2**63 - 1, 2**63 - 1),
    ],
)
def test_counts_are_exact(written, count):
    assert parse_count(written) == count


@pytest.mark.parametrize("written", ["", "K", "1.5", "0.0001K", "-1", "two", True, None, [1], "nan", "inf", 2**63])
def test_what_is_no_count_is_refused(written):
    with pytest.raises(PydanticCustomError, match="a whole number such as"):
        parse_count(written)


@pytest.mark.parametrize(("written", "value"), [("3e-4", 3e-4), (0.1, 0.1), (1, 1.0), ("1.5K", 1500.0), ("-2", -2.0)])
def test_reals(written, value):
    assert parse_real(written) == value


@pytest.mark.parametrize("written", ["", "x", "nan", float("inf"), True, None])
def test_what_is_no_real_is_refused(written):
    with pytest.raises(PydanticCustomError, match="a finite number"):
        parse_real(written)


@given(st.integers(0, 2**63 - 1))
def test_a_count_comes_back_from_its_digits(count):
    assert parse_count(str(count)) == count
