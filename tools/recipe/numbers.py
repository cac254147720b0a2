"""Numbers as people write them in a recipe: ``2e9``, ``1.1T``, ``3e-4``, ``20_000``; exact where they count things.

>>> parse_count("1.1T"), parse_count("2e9"), parse_count(4096)
(1100000000000, 2000000000, 4096)
>>> parse_real("3e-4")
0.0003
"""

from decimal import Decimal, InvalidOperation
from typing import Annotated

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

_SUFFIXES = {"K": 3, "M": 6, "B": 9, "T": 12}
_LARGEST = 2**63 - 1


def _decimal(text: object) -> Decimal:
    if isinstance(text, bool) or not isinstance(text, int | float | str):
        raise InvalidOperation
    digits = str(text).strip().replace("_", "")
    exponent = _SUFFIXES.get(digits[-1:].upper(), 0)
    number = Decimal(digits[:-1] if exponent else digits).scaleb(exponent)
    if not number.is_finite():
        raise InvalidOperation
    return number


def parse_count(value: object) -> int:
    """A whole number of tokens or samples, exact: ``500M``, ``2e9``, ``1.1T``; a fraction of a token is an error."""
    try:
        number = _decimal(value)
    except (ArithmeticError, IndexError):
        number = Decimal("0.5")
    if number != number.to_integral_value() or not 0 <= number <= _LARGEST:
        raise PydanticCustomError("count", "a whole number such as 4096, 500M, 2e9 or 1.1T")
    return int(number)


def parse_real(value: object) -> float:
    """A finite number such as ``0.1``, ``3e-4`` or ``1.5K``."""
    try:
        return float(_decimal(value))
    except (ArithmeticError, IndexError):
        raise PydanticCustomError("real", "a finite number such as 0.1 or 3e-4") from None


def format_tokens(tokens: int) -> str:
    """A token count in the recipe's own spelling, three significant digits.

    >>> format_tokens(1_250_000), format_tokens(512), format_tokens(15 * 10**12), format_tokens(999_997_440)
    ('1.25M', '512', '15T', '1B')
    """
    for suffix, exponent in reversed(_SUFFIXES.items()):
        if tokens >= 0.9995 * 10**exponent:
            return f"{tokens / 10**exponent:.3g}{suffix}" if tokens < 999.5 * 10**exponent else f"{tokens:.3g}"
    return str(tokens)


Count = Annotated[int, BeforeValidator(parse_count)]
Real = Annotated[float, BeforeValidator(parse_real)]
