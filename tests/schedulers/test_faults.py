"""The faults that were found in other schedulers, one test each: theirs where it is installed, and ours right.

The numbers are those of the list of faults that this package was written against.
"""

import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from schedulers.batch_ramps import linear_steps, rampup_batch_size, step_batch_size_schedule
from schedulers.batch_size import BatchSizeRamp, Steps
from schedulers.builders import cosine, linear_to_zero, multi_cosine, wsd
from schedulers.clock import Clock
from schedulers.errors import ScheduleError
from schedulers.from_megatron import from_megatron
from schedulers.lint import lint
from schedulers.param_scheduler import ParamScheduler
from schedulers.segment import Segment
from schedulers.torch_scheduler import TokenLR

SETTINGS = {
    "init_lr": 0.0, "max_lr": 3e-4, "min_lr": 3e-5, "lr_warmup_steps": 100, "lr_decay_steps": 1000,
    "lr_decay_style": "cosine", "start_wd": 0.0, "end_wd": 0.1, "wd_incr_steps": 1000, "wd_incr_style": "linear",
}  # fmt: skip


@pytest.fixture(scope="module")
def megatron():
    from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler

    return OptimizerParamScheduler


def build(kind, groups=({"max_lr": 3e-4, "min_lr": 3e-5},), **changes):
    return kind(SimpleNamespace(param_groups=[dict(group) for group in groups]), **{**SETTINGS, **changes})


def optimizer_of(rate):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)


def stepped(scheduler, steps):
    for _ in range(steps):
        scheduler.optimizer.step()
        scheduler.step()
    return scheduler


def resumed(kind, saved, groups, **changes):
    """As a checkpoint is loaded: the optimizer's groups first, then the scheduler."""
    scheduler = build(kind, groups, **changes)
    scheduler.optimizer.param_groups[:] = [dict(group) for group in saved.optimizer.param_groups]
    scheduler.load_state_dict(saved.state_dict())
    return scheduler


MEGATRON_RUN = "--lr 3e-4 --seq-length 10 --train-samples 1000"
OVERRIDE = {"use_checkpoint_opt_param_scheduler": False, "override_opt_param_scheduler": True}


def test_1_an_override_changes_the_rate_that_is_used(megatron):
    rates = []
    for kind in (megatron, ParamScheduler):
        saved = build(kind)
        saved.step(500)
        lower = {"max_lr": 3e-5, "min_lr": 3e-6}
        rates.append(resumed(kind, saved, [lower], **lower, **OVERRIDE).optimizer.param_groups[0]["lr"])
    assert rates[0] == 1.884425039850356e-4  # asked for at most 3e-5
    assert rates[1] == pytest.approx(1.884425039850356e-5)


def test_2_an_override_leaves_groups_their_own_bounds():
    """Megatron-LM of August 2026 writes the command line's bounds into every group; it is in no release to run here."""
    groups = [{"max_lr": 3e-4, "min_lr": 3e-5}, {"max_lr": 3e-3, "min_lr": 3e-4}]
    saved = build(ParamScheduler, groups)
    saved.step(500)
    lower = [{name: bound / 2 for name, bound in group.items()} for group in groups]
    again = resumed(ParamScheduler, saved, lower, max_lr=1.5e-4, min_lr=1.5e-5, **OVERRIDE)
    assert [group["max_lr"] for group in again.optimizer.param_groups] == [1.5e-4, 1.5e-3]
    rates = [group["lr"] for group in again.optimizer.param_groups]
    assert rates[1] == pytest.approx(10 * rates[0])


def test_3_length_and_shape_of_the_decay_are_in_the_state(megatron):
    rates = []
    for kind in (megatron, ParamScheduler):
        saved = build(kind, lr_decay_style="WSD", wsd_decay_steps=200, lr_wsd_decay_style="minus_sqrt")
        saved.step(900)
        other = build(kind, lr_decay_style="WSD", wsd_decay_steps=100, lr_wsd_decay_style="exponential")
        other.load_state_dict(saved.state_dict())
        rates.append(other.optimizer.param_groups[0]["lr"])
    assert rates == [3e-4, 1.0908116907963214e-4]


def test_4_a_ramp_has_both_of_megatrons_forms():
    ramp = linear_steps(4, 16, increment=4, ramp_tokens=3000)
    assert rampup_batch_size(ramp, sequence_length=10) == (4, 4, 300)
    assert step_batch_size_schedule(ramp, sequence_length=10) == "0:4 1K:8 2K:12 3K:16"
    from_0_16 = from_megatron(f"{MEGATRON_RUN} --global-batch-size 16 --rampup-batch-size 4 4 300").batch_sizes
    from_0_18 = from_megatron(f"{MEGATRON_RUN} --step-batch-size-schedule '0:4 1K:8 2K:12 3K:16'").batch_sizes
    assert from_0_16 == from_0_18 == ramp


def test_5_a_horizon_in_steps_ends_with_the_run_under_a_ramp():
    ramp, length = BatchSizeRamp(((0, 4), (4000, 16))), 10
    table = Steps(ramp, sequence_length=length, total_samples=2000)
    clock = Clock(table.first_sample(table.num_steps) * length, length, table)
    ours = wsd(1.0, warmup_tokens=clock.steps(10), decay_tokens=clock.fraction(0.1), total_tokens=clock.total_tokens)
    assert ours.value(clock.steps(table.num_steps)) == 0.0
    theirs = wsd(1.0, warmup_tokens=1600, decay_tokens=3200, total_tokens=table.num_steps * 16 * length)
    assert theirs.value(clock.total_tokens) > 0.5  # iterations x global batch: the decay is far from its end
    assert any("under the ramp the run ends" in finding.text for finding in lint(theirs, table))


def test_6_past_the_end_the_last_value_holds():
    from transformers import get_cosine_schedule_with_warmup

    for theirs in (
        torch.optim.lr_scheduler.CosineAnnealingLR(optimizer_of(1.0), T_max=10),
        get_cosine_schedule_with_warmup(optimizer_of(1.0), 0, 10),
    ):
        stepped(theirs, 15)
        assert theirs.get_last_lr()[0] > 0.4
    for schedule in (
        cosine(1.0, warmup_tokens=0, total_tokens=10),
        wsd(1.0, warmup_tokens=0, decay_tokens=2, total_tokens=10, decay="linear"),  # theirs goes below 0
    ):
        assert [schedule.value(n) for n in (10, 11, 15, 20, 10**15)] == [0.0] * 5


def test_7_loading_sets_and_never_adds(megatron):
    for kind, wanted in ((megatron, 1000), (ParamScheduler, 500)):
        saved = build(kind)
        saved.step(500)
        state = saved.state_dict()
        again = build(kind)
        again.load_state_dict(state)
        again.load_state_dict(state)
        assert again.num_steps == wanted


def test_8_the_weight_decay_after_loading_is_that_of_the_checkpoint(megatron):
    decays = []
    for kind in (megatron, ParamScheduler):
        saved = build(kind)
        saved.step(500)
        again = build(kind, start_wd=0.1, end_wd=0.2)
        again.load_state_dict(saved.state_dict())
        decays.append(again.optimizer.param_groups[0]["weight_decay"])
    assert decays == [pytest.approx(0.15), 0.05]


def test_9_a_decay_that_begins_in_the_warmup_is_said_before_the_run(megatron):
    theirs = build(megatron, lr_decay_style="WSD", wsd_decay_steps=950, lr_wsd_decay_style="linear")
    theirs.step(101)
    assert theirs.optimizer.param_groups[0]["lr"] < 2.86e-4  # right after a warmup to 3e-4
    flags = "--lr 3e-4 --seq-length 8 --global-batch-size 4 --train-samples 1000 --lr-warmup-samples 100"
    with pytest.raises(ScheduleError, match=r"begins inside the warmup.*expected at most 900"):
        from_megatron(f"{flags} --lr-decay-style WSD --lr-wsd-decay-samples 950")
    with pytest.raises(ScheduleError, match="more than 1000 tokens; shorten one"):
        wsd(1.0, warmup_tokens=100, decay_tokens=950, total_tokens=1000)


def test_10_an_inverse_square_root_does_not_jump_at_its_end(megatron):
    theirs = build(megatron, lr_decay_style="inverse-square-root")
    theirs.step(1000)
    before = theirs.optimizer.param_groups[0]["lr"]
    theirs.step(1)
    assert before / theirs.optimizer.param_groups[0]["lr"] > 3
    ours = Segment(100, 1000, 3e-4, 3e-5, "inverse_sqrt")
    assert ours.value(999) > ours.value(1000) == ours.value(1001) == ours.last_value


def test_11_what_is_written_into_lr_by_hand_does_not_stay():
    rates = []
    for build_scheduler in (
        lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=100),
        lambda optimizer: TokenLR(optimizer, cosine(1.0, warmup_tokens=0, total_tokens=100), 1),
    ):
        optimizer = optimizer_of(1.0)
        scheduler = build_scheduler(optimizer)
        optimizer.param_groups[0]["lr"] = 1e-3
        stepped(scheduler, 50)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates[0] < 1e-3
    assert rates[1] == pytest.approx(0.5)


def test_12_a_restart_comes_at_its_token_however_many_cycles_there_were():
    """Cycles three times as long each; a logarithm in floats misses the 121st and the 29524th step."""
    theirs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer_of(1.0), T_0=1, T_mult=3)
    theirs.step(121)
    assert theirs.get_last_lr() == [0.0]  # the end of a cycle, where the next begins at 1
    cycles = [3**k for k in range(12)]
    schedule = multi_cosine(1.0, warmup_tokens=0, cycle_tokens=cycles)
    edges = np.cumsum(cycles)
    assert {121, 29524} <= set(edges.tolist())
    assert schedule.value(edges[:-1]).tolist() == [1.0] * 11
    assert all(schedule.value(int(edge) - 1) < 0.8 for edge in edges[1:])


def test_13_tokens_are_counted_exactly_at_any_length():
    """32-bit floats stand still above 2^24 and 32-bit integers end at 2^31; here neighbours differ at 10^15."""
    assert np.float32(2**24) + np.float32(1) == np.float32(2**24)
    schedule = wsd(1.0, warmup_tokens=0, decay_tokens=2 * 10**14, total_tokens=10**15, decay="linear")
    values = schedule.value(np.arange(10**15 - 5, 10**15 + 1))
    assert all(left > right for left, right in pairwise(values.tolist()))
    assert values[-1] == 0.0
    assert math.isclose(values[-2], 1 / (2 * 10**14), rel_tol=1e-2)


def test_14_a_saved_length_does_not_replace_the_one_asked_for():
    """torch takes the saved length over without a word; ours keeps the one asked for and refuses another past."""
    theirs = stepped(torch.optim.lr_scheduler.CosineAnnealingLR(optimizer_of(1.0), T_max=10), 4)
    longer = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer_of(1.0), T_max=20)
    longer.load_state_dict(theirs.state_dict())
    assert longer.T_max == 10
    saved = stepped(TokenLR(optimizer_of(1.0), cosine(1.0, warmup_tokens=0, total_tokens=10), 1), 4).state_dict()
    with pytest.raises(ScheduleError, match=r"segments\[0\]\.end_tokens is 10 in the state and 20 here"):
        TokenLR(optimizer_of(1.0), cosine(1.0, warmup_tokens=0, total_tokens=20), 1).load_state_dict(saved)


def test_15_a_shape_that_does_not_exist_is_refused_before_the_run(megatron):
    theirs = build(megatron, lr_decay_style="cosin")
    theirs.step(100)
    with pytest.raises(Exception, match="not supported"):
        theirs.step(1)  # right after the warmup
    with pytest.raises(ScheduleError, match="lr_decay_style='cosin'; did you mean 'cosine'"):
        build(ParamScheduler, lr_decay_style="cosin")


def test_16_a_group_may_be_added_while_it_runs():
    group = {"params": [torch.nn.Parameter(torch.zeros(1))]}
    theirs = torch.optim.lr_scheduler.LambdaLR(optimizer_of(1.0), lambda step: 1 - step / 10)
    ours = TokenLR(optimizer_of(1.0), linear_to_zero(1.0, warmup_tokens=0, total_tokens=10), 1)
    for scheduler in (theirs, ours):
        scheduler.optimizer.add_param_group(dict(group))
    with pytest.raises(ValueError, match="zip"):
        stepped(theirs, 1)
    assert stepped(ours, 5).get_last_lr() == [0.5, 0.5]
