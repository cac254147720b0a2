"""Numbers as people write them in a recipe: ``2e9``, ``1.1T``, ``3e-4``, ``20_000``; exact where they count things.

>>> parse_count("1.1T"), parse_count("2e9"), parse_count(4096)
(1100000000000, 2000000000, 4096)
>>> parse_real("3e-4")
0.0003
"""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, PlainValidator
from pydantic_core import PydanticCustomError

from schedulers.clock import Clock

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


@dataclass(frozen=True)
class Length:
    """A stretch of the clock as it was written; ``unit`` is one of `schedulers.clock.UNITS`.

    >>> str(parse_length("12.5%")), str(parse_length("5K samples")), str(parse_length("2B"))
    ('12.5%', '5000 samples', '2000000000')
    """

    amount: int | Fraction
    unit: str = "tokens"

    def tokens(self, clock: Clock) -> int:
        """The length in tokens; ScheduleError for steps that are more than the run's.

        >>> parse_length("10%").tokens(Clock(1000)), parse_length("20").tokens(Clock(1000))
        (100, 20)
        """
        return clock.convert(self.amount, self.unit)

    def __str__(self) -> str:
        if self.unit == "fraction":
            percent = 100 * Fraction(self.amount)
            return f"{(Decimal(percent.numerator) / percent.denominator).normalize():f}%"
        return str(self.amount) if self.unit == "tokens" else f"{self.amount} {self.unit}"


def nearest_window(tokens: int, sequence_length: int) -> int:
    """Tokens as whole windows, the nearest number of them; half a window rounds up.

    >>> nearest_window(24, 16), nearest_window(23, 16)
    (2, 1)
    """
    return (2 * tokens + sequence_length) // (2 * sequence_length)


def parse_length(value: object) -> Length:
    """A count of tokens, or one with its unit: ``2B``, ``5000 samples``, ``2000 steps``, ``10%`` of the run."""
    if isinstance(value, Length):
        return value
    number, _, unit = str(value).strip().partition(" ")
    try:
        share = Fraction(_decimal(number[:-1])) / 100 if number.endswith("%") and not unit else None
        if share is not None and 0 <= share <= 1:
            return Length(share, "fraction")
        if unit in ("", "tokens", "samples", "steps"):
            return Length(parse_count(value if not unit else number), unit or "tokens")
    except (ArithmeticError, IndexError, PydanticCustomError):
        pass
    raise PydanticCustomError("length", "a length such as 2B, 5000 samples, 2000 steps or 10% (of the run)")


Count = Annotated[int, BeforeValidator(parse_count)]
Real = Annotated[float, BeforeValidator(parse_real)]
Tokens = Annotated[Length, PlainValidator(parse_length), PlainSerializer(str)]
