"""A Megatron-LM command line against Megatron's own scheduler, at every sample."""

from types import SimpleNamespace

import numpy as np
import pytest

from schedulers.errors import ScheduleError
from schedulers.from_megatron import from_megatron, schedule_of
from schedulers.megatron_curve import MegatronCurve

COMMON = "--lr 3e-4 --min-lr 3e-5 --seq-length 8 --global-batch-size 4 --micro-batch-size 2 --weight-decay 0.1"
SAMPLES = f"{COMMON} --train-samples 1000 --lr-warmup-samples 100"
WSD = "--lr-decay-style WSD --lr-wsd-decay-samples 200"


def megatron_values(**arguments):
    from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler

    settings = {
        "init_lr": 0.0, "max_lr": 3e-4, "min_lr": 3e-5, "lr_warmup_steps": 100, "lr_decay_steps": 1000,
        "start_wd": 0.1, "end_wd": 0.1, "wd_incr_steps": 1000, "wd_incr_style": "constant", "wsd_decay_steps": 200,
        **arguments,
    }  # fmt: skip
    optimizer = SimpleNamespace(param_groups=[{}])
    scheduler = OptimizerParamScheduler(optimizer, **settings)
    rates, decays = [], []
    for _ in range(1100):
        rates.append(optimizer.param_groups[0]["lr"])
        decays.append(optimizer.param_groups[0]["weight_decay"])
        scheduler.step(1)
    return rates, decays


def our_values(schedule, tokens=8):
    return [schedule.value(tokens * sample) for sample in range(1100)]


@pytest.mark.parametrize(
    ("flags", "arguments"),
    [
        ("--lr-decay-style constant", {"lr_decay_style": "constant"}),
        ("", {"lr_decay_style": "linear"}),
        ("--lr-decay-style cosine", {"lr_decay_style": "cosine"}),
        ("--lr-decay-style inverse-square-root", {"lr_decay_style": "inverse-square-root"}),
        *((f"{WSD} --lr-wsd-decay-style {style}", {"lr_decay_style": "WSD", "lr_wsd_decay_style": style})
          for style in ("linear", "cosine", "exponential", "minus_sqrt")),
        (WSD, {"lr_decay_style": "WSD", "lr_wsd_decay_style": "exponential"}),
    ],
)  # fmt: skip
def test_every_style_at_every_sample(flags, arguments):
    schedule = from_megatron(f"{SAMPLES} {flags}").learning_rate
    ours, theirs = our_values(schedule), megatron_values(**arguments)[0]
    assert abs(np.array(ours) - theirs).max() <= 2 * np.spacing(3e-4)
    if arguments["lr_decay_style"] in ("constant", "linear", "cosine"):
        assert ours == theirs


def test_iterations_fractions_and_an_equals_sign():
    flags = (
        "--lr=3e-4 --min-lr=3e-5 --seq-length 8 --global-batch-size 4 --train-iters 250 --lr_warmup_fraction 0.1 "
        "--lr-decay-style cosine --weight-decay-incr-style cosine --start-weight-decay 0.0 --end-weight-decay 0.1"
    )
    converted = from_megatron(flags)
    theirs = megatron_values(lr_decay_style="cosine", start_wd=0.0, wd_incr_style="cosine")
    assert our_values(converted.learning_rate) == theirs[0]
    assert our_values(converted.weight_decay) == pytest.approx(theirs[1], rel=1e-13, abs=1e-17)
    assert converted.sequence_length == 8


def test_a_warmup_that_ends_inside_a_token_is_named():
    curve = MegatronCurve(1e-6, 1.0, 0.0, 0.3, 10, "linear")
    schedule, notes = schedule_of(curve, sequence_length=4)
    assert schedule.joints == (0, 1, 40)
    assert notes == ("the warmup of 0.3 samples ends inside a token; here at 1 tokens",)


def test_what_theirs_gets_wrong_is_named():
    notes = from_megatron(f"{SAMPLES} --lr-decay-style inverse-square-root").notes
    assert notes == (
        "inverse-square-root jumps from 9.48683e-05 to min_lr=3e-05 after 1000 samples",
        "the first step has a learning rate of 0 and learns nothing; set --lr-warmup-init above 0",
    )
    ramped = from_megatron(f"{COMMON} --train-iters 10 --lr-warmup-init 1e-6 --step-batch-size-schedule '0:2 64:4'")
    assert ramped.batch_sizes.entries == ((0, 2), (64, 4))
    assert ramped.notes == (
        "--train-iters 10 is taken for 40 samples, but under the ramp the run trains on 32; say --train-samples",
    )


def test_a_decoupled_rate_is_named():
    notes = from_megatron(f"{COMMON} --train-samples 100 --decoupled-lr 3e-3").notes
    assert notes == (
        "--decoupled-lr 0.003 is for embeddings and output alone and not in this curve; "
        "give these groups a multiplier of 10",
    )


def test_steps_of_the_batch_size_need_no_global_batch_size():
    """From 0.18 on Megatron refuses both together."""
    flags = "--lr 3e-4 --seq-length 8 --lr-decay-style cosine --step-batch-size-schedule '0:2 64:4'"
    converted = from_megatron(f"{flags} --train-samples 1000")
    assert converted.learning_rate.joints == (0, 8000)
    assert converted.batch_sizes.entries == ((0, 2), (64, 4))
    with pytest.raises(ScheduleError, match="micro-batch x data-parallel size; say --train-samples"):
        from_megatron(f"{flags} --train-iters 1000")


def test_a_batch_ramp():
    converted = from_megatron(f"{SAMPLES} --rampup-batch-size 1 1 300")
    assert converted.batch_sizes.entries == ((0, 1), (800, 2), (1600, 3), (2400, 4))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--lr 1", "--seq-length is missing; add it"),
        (COMMON, "0 of --train-iters and --train-samples; expected one"),
        (f"{SAMPLES} --train-iters 3", "2 of --train-iters and --train-samples; expected one"),
        (f"{SAMPLES} --lr-warmup-fraction 0.1", "expected one of them, remove the other"),
        (f"{SAMPLES} --lr-decay-style wsd", "lr_decay_style='wsd'"),
        (f"{SAMPLES} --lr-decay-style WSD", "wsd_decay_steps=None"),
        (f"{SAMPLES} --lr-decay-style WSD --lr-wsd-decay-samples 950", "begins inside the warmup.*at most 900"),
        (f"{SAMPLES} --seq-length 0", "--seq-length 0; expected at least 1"),
        (f"{SAMPLES} --lr x", "--lr x; expected a number"),
        (f"{SAMPLES} --lr-decay-iters 5", "--lr-decay-iters beside --train-samples; expected --lr-decay-samples"),
        (f"{SAMPLES} --rampup-batch-size 1 x 300", "--rampup-batch-size x; expected a number"),
        (f"{SAMPLES} --lr '3e-4", "No closing quotation; close the quote"),
    ],
)
def test_refusals(flags, words):
    with pytest.raises(ScheduleError, match=words):
        from_megatron(flags)
