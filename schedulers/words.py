"""Numbers as a person writes them: token counts with a suffix, values with a short exponent."""

_SUFFIXES = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K"))


def format_tokens(tokens: int) -> str:
    """A token count with a suffix, three significant digits.

    >>> format_tokens(42_000_000_000), format_tokens(512), format_tokens(1_234_567), format_tokens(999_997_440)
    ('42B', '512', '1.23M', '1B')
    """
    for size, suffix in _SUFFIXES:
        if tokens >= 0.9995 * size:
            return f"{float(f'{tokens / size:.3g}'):g}{suffix}"
    return str(tokens)


def format_value(value: float, digits: int = 6) -> str:
    """A value as recipes write it, below 0.01 with an exponent.

    >>> format_value(3e-05), format_value(0.1), format_value(0.0003), format_value(0.0)
    ('3e-5', '0.1', '3e-4', '0')
    """
    if value >= 0.01 or value <= 0:
        return f"{value:.{digits}g}"
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    return f"{float(mantissa):.{digits}g}e{int(exponent)}"
