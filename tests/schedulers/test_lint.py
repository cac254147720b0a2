"""Every finding: once, in one line, with its fix; none for a schedule that is right."""

import pytest

from schedulers.batch_size import BatchSizeRamp, Steps
from schedulers.builders import cosine, multi_step, wsd
from schedulers.lint import Finding, lint, lint_beside
from schedulers.row import Row
from schedulers.waves import warm_waves_stable_decay

STEPS = Steps(BatchSizeRamp(((0, 10),)), sequence_length=10, total_samples=1000)


def good(**changes):
    """The decay ends where the last step begins, at 9900 of 10,000 tokens."""
    arguments = {"warmup_tokens": 1000, "decay_tokens": 2000, "total_tokens": 9900, "initial": 1e-3, **changes}
    return wsd(1.0, **arguments)


def row():
    return Row(0, 1e-3).to(1.0, 1000)


def test_nothing_to_say_about_a_good_one():
    assert lint(good(), STEPS) == []
    waves = warm_waves_stable_decay(
        1.0, stable=0.5, trough=0.1, warmup_tokens=900, wave_tokens=[2000, 4000], stable_tokens=2000, decay_tokens=1000,
        initial=1e-3,
    )  # fmt: skip
    assert lint(waves, STEPS) == []
    assert lint(Row(0, 1e-3).to(1.0, 9900).hold(100).schedule(), STEPS) == []
    two_warmups = Row(0, 1e-3).to(0.5, 500).to(1.0, 500).hold(8000).schedule()
    assert lint(two_warmups, STEPS) == []
    assert lint(row().hold(5000).to(0.1, 1000).to(0.9, 1000).hold(2900).schedule(), STEPS) == []


def test_a_decay_that_ends_with_a_run_of_many_steps_is_right():
    """Its last step is off the floor by one step's part of it, as in every frame of training there is."""
    fine = Steps(BatchSizeRamp(((0, 1),)), sequence_length=10, total_samples=1000)
    assert lint(good(total_tokens=10_000, decay="linear", floor=1e-6), fine) == []
    coarse = Steps(BatchSizeRamp(((0, 3),)), sequence_length=10, total_samples=1000)
    assert [finding.text for finding in lint(good(total_tokens=10_000, decay="linear"), coarse)] == [
        "the last step begins at 9.96K tokens and runs at 0.02, not at 0; end the decay 40 tokens earlier"
    ]


@pytest.mark.parametrize(
    ("schedule", "segment", "finding"),
    [
        (good(initial=0.0), 0, "the first step runs at 0 and learns nothing; warm up from a value above 0"),
        (
            Row(0, 1e-3).to(1.0, 20_000).schedule(),
            0,
            "the warmup ends at 20K tokens, the run at 10K; shorten it",
        ),
        (
            Row(0, 1e-3).to(1.0, 9901).hold(99).schedule(),  # after the last step began
            0,
            "the warmup ends at 9.9K tokens, the run at 10K; shorten it",
        ),
        (
            multi_step(1.0, warmup_tokens=1000, total_tokens=9900, drops=[(8000, 0.5)], initial=1e-3),
            2,
            "at 8K tokens from 1 to 0.5: a jump; begin with 1, or leave it if it is meant",
        ),
        (
            row().to(0.2, 2000, "cosine").to(0.7, 2000, "cosine").to(0.5, 0).hold(5000).schedule(),
            3,
            "at 5K tokens from 0.7 to 0.5: a wave ends off the level after it; end it at 0.5",
        ),
        (
            good(total_tokens=12_000, decay="linear"),
            2,
            "the decay ends at 12K tokens, after the run's 10K, which stops at 1; end it with the run",
        ),
        (
            good(total_tokens=11_000, decay="linear"),
            2,
            "the decay ends at 11K tokens, after the run's 10K, which stops at 0.5; end it with the run",
        ),
        (
            good(decay="half_life", half_life_tokens=1000),
            2,
            "the half_life decay stops at 0.25 and never reaches 0; give it more tokens, or a shape that arrives",
        ),
        (
            row().hold(5000).to(2.0, 1000).schedule(),
            2,
            "the last change goes up to 2: a floor above the peak, 1; lower it",
        ),
        (
            Row(0, 1.0).hold(5000).to(2.0, 1000).schedule(),
            1,
            "the last change goes up to 2: a floor above the peak, 1; lower it",
        ),
        (
            good(total_tokens=10_000, decay="linear"),
            2,
            "the last step begins at 9.9K tokens and runs at 0.05, not at 0; end the decay 100 tokens earlier",
        ),
    ],
)
def test_one_line_each(schedule, segment, finding):
    assert lint(schedule, STEPS) == [Finding("learning_rate", segment, finding, "a jump" in finding)]


def test_a_ramp_shifts_the_end_of_what_was_counted_in_steps():
    ramped = Steps(BatchSizeRamp(((0, 5), (5000, 10))), sequence_length=10, total_samples=1000)
    counted = cosine(1.0, warmup_tokens=1000, total_tokens=ramped.num_steps * 100, initial=1e-3)
    assert [finding.text for finding in lint(counted, ramped)] == [
        "the decay ends at 15K tokens, after the run's 10K, which stops at 0.283; end it with the run",
        "the schedule ends at 15K tokens, as if all 150 steps had the final batch size; "
        "under the ramp the run ends at 10K: give its lengths in tokens",
    ]


def test_windows_that_fill_no_batch_and_whether_the_ramp_is_why():
    ramped = Steps(BatchSizeRamp(((0, 4), (30, 10))), sequence_length=10, total_samples=1000)
    assert lint(good(total_tokens=9800), ramped) == [
        Finding(
            "batch_size",
            None,
            "the ramp shifts the end: the last 6 windows (60 tokens) fill no batch; "
            "train so much less, or 40 tokens more",
        )
    ]
    odd = Steps(BatchSizeRamp(((0, 40),)), sequence_length=10, total_samples=998)
    (finding,) = lint(good(total_tokens=9200), odd)
    assert finding.text == "the last 38 windows (380 tokens) fill no batch; train so much less, or 20 tokens more"
    assert lint(good(), Steps(BatchSizeRamp(((0, 10),)), sequence_length=10, total_samples=1009)) == []


def test_a_run_without_steps():
    assert lint(good(), Steps(BatchSizeRamp(((0, 10),)), sequence_length=10, total_samples=9)) == [
        Finding("batch_size", None, "the run has no whole global batch; train longer or on smaller batches")
    ]


def test_a_curve_beside_the_learning_rate_is_to_join_and_to_end():
    beside = Row(0, 0.1).hold(5000).to(0.2, 0).hold(2000).to(0.1, 0).to(0.0, 4000).schedule()
    assert lint_beside(beside, STEPS) == [
        Finding("beside", 2, "at 7K tokens from 0.2 to 0.1: a jump; begin with 0.2, or leave it if it is meant", True),
        Finding(
            "beside", 2, "the decay ends at 11K tokens, after the run's 10K, which stops at 0.025; end it with the run"
        ),
    ]  # and not the step from 0.1 to 0.2, two numbers
    off_its_end_in_the_last_step = Row(0, 0.0).to(0.5, 1000).to(0.1, 9000).schedule()
    assert lint_beside(off_its_end_in_the_last_step, Steps(STEPS.ramp, sequence_length=10, total_samples=1009)) == []
