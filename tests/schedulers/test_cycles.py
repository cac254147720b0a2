"""Cycles at the end of any row: crests, restarts, and what is refused."""

import pytest

from schedulers.cycles import append_cycles
from schedulers.errors import ScheduleError
from schedulers.row import Row


def test_cycles_go_on_where_the_row_stands_or_jump_there():
    row = append_cycles(Row(100, 1.0), peak=1.0, floor=0.25, cycle_tokens=[40, 80], crest_factor=0.5)
    schedule = row.schedule()
    assert [schedule.value(tokens) for tokens in (100, 140, 220)] == [1.0, 0.5, 0.25]
    assert [(jump.tokens, jump.right) for jump in schedule.jumps()] == [(140, 0.5)]
    higher = append_cycles(Row(0, 0.5).hold(10), peak=1.0, floor=0.0, cycle_tokens=[10]).schedule()
    assert higher.jumps() == ((10, 0.5, 1.0),)


def test_crests_do_not_sink_below_the_floor_and_a_warm_restart_is_continuous():
    row = append_cycles(
        Row(0, 1.0), peak=1.0, floor=0.4, cycle_tokens=[10, 10, 10], crest_factor=0.5, rewarmup_tokens=4, shape="linear"
    )
    schedule = row.schedule()
    assert (schedule.value(14), schedule.value(24), schedule.value(30)) == (0.5, 0.4, 0.4)
    assert schedule.jumps() == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"floor": 2.0}, "expected a floor from 0 to the peak"),
        ({"cycle_tokens": []}, "none; expected the length of one"),
        ({"cycle_tokens": [9, 5], "rewarmup_tokens": 5}, "cycle 1 has 5 tokens; expected more than its rewarmup"),
        ({"cycle_tokens": [0]}, "cycle 0 has 0 tokens"),
        ({"crest_factor": -1.0}, "expected at least 0"),
    ],
)
def test_refusals(changes, words):
    arguments = {"peak": 1.0, "floor": 0.0, "cycle_tokens": [10], **changes}
    with pytest.raises(ScheduleError, match=words):
        append_cycles(Row(0, 1.0), **arguments)
