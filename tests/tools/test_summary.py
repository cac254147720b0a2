"""Curves read back from a journal, and the slopes around the decay."""

import pytest

from tools.pretrain.summary import DecaySlopes, curves, decay_slopes, describe_slopes

CURVE = ([0.0, 1e6, 2e6, 3e6], [6.0, 5.0, 4.5, 3.5])


def test_slopes_of_equal_stretches():
    slopes = decay_slopes(CURVE, 2_000_000, 3_000_000)
    assert slopes == DecaySlopes(1_000_000, 2_000_000, 3_000_000, 5.0, 4.5, 3.5)
    assert (slopes.stable_slope, slopes.decay_slope) == (-0.5, -1.0)


def test_between_two_validations_the_loss_is_interpolated():
    slopes = decay_slopes(CURVE, 1_500_000, 2_500_000)
    assert (slopes.loss_before, slopes.loss_at_decay, slopes.loss_at_end) == (5.5, 4.75, 4.0)
    assert (slopes.stable_slope, slopes.decay_slope) == (-0.75, -0.75)


@pytest.mark.parametrize(
    ("curve", "decay", "end"),
    [
        (([], []), 10, 20),
        (([0.0], [5.0]), 0, 0),
        (([0.0, 30.0], [5.0, 4.0]), 10, 21),
        (([1.0, 20.0], [5.0, 4.0]), 10, 20),
        (([0.0, 19.0], [5.0, 4.0]), 10, 20),
    ],
)
def test_none_where_validation_does_not_cover_both_stretches(curve, decay, end):
    assert decay_slopes(curve, decay, end) is None


def test_both_edges_may_be_the_ends_of_the_curve():
    assert decay_slopes(([0.0, 20.0], [5.0, 4.0]), 10, 20) == DecaySlopes(0, 10, 20, 5.0, 4.5, 4.0)


@pytest.mark.parametrize("data_changed", [False, True])
def test_the_slopes_and_the_caveat_where_data_changed_too(data_changed):
    line, *caveat = describe_slopes(decay_slopes(CURVE, 2_000_000, 3_000_000), data_changed=data_changed).splitlines()
    slopes = "last 1M of stable -0.500   decay -1.000   (2.0 times as fast)"
    assert line == f"validation loss, change per million tokens:  {slopes}"
    assert (
        caveat
        == ["the data changed in the decay too: this is the effect of both it and the learning rate"] * data_changed
    )


@pytest.mark.parametrize("losses", [(4.0, 4.0, 3.0), (4.0, 3.0, 3.5)])
def test_there_is_no_ratio_where_one_of_the_two_does_not_fall(losses):
    slopes = DecaySlopes(0, 1_000_000, 2_000_000, *losses)
    assert "times as fast" not in describe_slopes(slopes, data_changed=False)


def test_curves_are_sorted_and_a_step_taken_twice_counts_once():
    records = [
        {"tokens": 20, "values": {"loss": 2.0, "validation": 2.5}},
        {"tokens": 10, "values": {"loss": 3.0}},
        {"tokens": 20, "values": {"loss": 1.5}},
        {"tokens": 30, "values": {"loss": 1.0}},
    ]
    assert curves(records) == {"loss": ([10.0, 20.0, 30.0], [3.0, 1.5, 1.0]), "validation": ([20.0], [2.5])}


@pytest.mark.parametrize("record", [{}, {"values": {"loss": 1.0}}, {"tokens": 3}, {"tokens": "3", "values": {"a": 1}}])
def test_records_without_a_place_are_left_out(record):
    assert curves([record]) == {}
