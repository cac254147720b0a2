"""Units: exact, to the nearest token, and one line where a length makes no sense."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulers.batch_size import BatchSizeRamp, Steps
from schedulers.clock import UNITS, Clock
from schedulers.errors import ScheduleError

TABLE = Steps(BatchSizeRamp(((0, 4), (60, 8))), sequence_length=10, total_samples=30)
CLOCK = Clock(300, 10, TABLE)


def test_every_unit():
    lengths = {"tokens": 7, "samples": 7, "steps": 3, "fraction": 0.5}
    assert [CLOCK.convert(lengths[unit], unit) for unit in UNITS] == [7, 70, 160, 150]


def test_steps_follow_the_ramp_to_the_end_of_the_run():
    assert [CLOCK.steps(count) for count in range(5)] == [0, 40, 80, 160, 240]


@given(st.integers(1, 10**15), st.integers(0, 1000))
def test_a_decimal_share_is_meant_as_it_is_written(total, thousandths):
    exact = Fraction(thousandths, 1000) * total
    tokens = Clock(total).fraction(thousandths / 1000)
    assert tokens == Clock(total).fraction(Fraction(thousandths, 1000))
    assert -Fraction(1, 2) < tokens - exact <= Fraction(1, 2)


def test_edges_of_a_fraction():
    assert [Clock(999).fraction(share) for share in (0, 1, 1.0, 0.5, 1e-300)] == [0, 999, 999, 500, 0]


def test_numbers_of_numpy_are_numbers():
    assert Clock(10**15).fraction(np.float64(0.1)) == Clock(10**15).fraction(0.1)
    assert CLOCK.convert(np.int64(7), "samples") == 70


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: CLOCK.fraction(1.01), "fraction=1.01 of a run; expected 0 to 1"),
        (lambda: CLOCK.fraction(math.nan), "fraction=nan of a run; expected 0 to 1"),
        (lambda: CLOCK.convert(math.inf, "tokens"), "inf tokens; expected a whole number"),
        (lambda: CLOCK.convert(math.nan, "samples"), "nan samples; expected a whole number"),
        (lambda: CLOCK.convert(1.5, "tokens"), "1.5 tokens; expected a whole number"),
        (lambda: CLOCK.samples(-1), "-1 samples; expected a whole number"),
        (lambda: CLOCK.convert(1, "epochs"), "unit='epochs'; "),
        (lambda: CLOCK.steps(5), "5 steps; expected at most 4, all of the run; shorten it or train longer"),
        (lambda: Clock(10).steps(1), "1 steps without a step table"),
        (lambda: Clock(0), "total_tokens=0; expected an int of at least 1"),
        (lambda: Clock(300, 20, TABLE), "sequence_length=20; expected the step table's, 10"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(ScheduleError, match=words):
        call()
