"""Numbers as people write them."""

from hypothesis import given
from hypothesis import strategies as st

from schedulers.words import format_tokens, format_value


def test_tokens():
    counts = (0, 512, 999, 1000, 65_536, 1_234_567, 999_997_440, 15 * 10**12, 12_345 * 10**12)
    written = ["0", "512", "999", "1K", "65.5K", "1.23M", "1B", "15T", "12300T"]
    assert [format_tokens(count) for count in counts] == written


@given(st.integers(0, 10**17))
def test_tokens_are_within_half_a_percent(count):
    written = format_tokens(count)
    size = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}.get(written[-1])
    assert abs((float(written[:-1]) * size if size else int(written)) - count) <= 0.005 * count


def test_values():
    values = (0.0, 1.0, 0.95, 0.01, 0.0099999999, 3e-4, 2.85e-5, 1e-10, 123456789.0)
    assert [format_value(value) for value in values] == [
        "0", "1", "0.95", "0.01", "1e-2", "3e-4", "2.85e-5", "1e-10", "1.23457e+08",
    ]  # fmt: skip
    assert format_value(3.0000001e-5, 8) == "3.0000001e-5"
