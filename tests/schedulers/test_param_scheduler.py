"""The drop-in beside Megatron's own scheduler, bit for bit, and where it is better: loading, ownership, state."""

import json
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from schedulers.builders import wsd
from schedulers.errors import ScheduleError
from schedulers.param_scheduler import OWN_KEY, ParamScheduler

TEN_KEYS = {
    "max_lr", "min_lr", "lr_warmup_steps", "lr_decay_steps", "lr_decay_style", "num_steps",
    "start_wd", "end_wd", "wd_incr_style", "wd_incr_steps",
}  # fmt: skip
STYLES = ["constant", "linear", "cosine", "inverse-square-root"]
WSD_STYLES = ["linear", "cosine", "exponential", "minus_sqrt"]
EIGHT = [(style, None) for style in STYLES] + [("WSD", style) for style in WSD_STYLES]


@pytest.fixture(scope="module")
def megatron():
    from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler

    return OptimizerParamScheduler


def settings_of(style="WSD", wsd_style="minus_sqrt", **changes):
    return {
        "init_lr": 0.0, "max_lr": 3e-4, "min_lr": 3e-5, "lr_warmup_steps": 100, "lr_decay_steps": 1000,
        "lr_decay_style": style, "start_wd": 0.0, "end_wd": 0.1, "wd_incr_steps": 1000, "wd_incr_style": "cosine",
        "wsd_decay_steps": 200, "lr_wsd_decay_style": wsd_style, **changes,
    }  # fmt: skip


def optimizer_of(*groups):
    return SimpleNamespace(param_groups=[dict(group) for group in groups or ({},)])


def build(scheduler=ParamScheduler, groups=(), **changes):
    return scheduler(optimizer_of(*groups), **settings_of(**changes))


@st.composite
def megatron_settings(draw):
    """Any arguments that Megatron takes, warmups of a fraction among them."""
    style, wsd_style = draw(st.sampled_from(EIGHT))
    decay_steps = draw(st.integers(2, 10**6))
    peak = draw(st.floats(1e-8, 1.0))
    warmup = draw(st.integers(0, decay_steps - 1) | st.floats(0.0, 0.99).map(lambda share: share * decay_steps))
    start_wd = draw(st.floats(0.0, 0.1))
    wd_style = draw(st.sampled_from(["constant", "linear", "cosine"]))
    return settings_of(
        style, wsd_style, max_lr=peak, min_lr=peak * draw(st.floats(0.0, 1.0)), init_lr=peak * draw(st.floats(0, 1)),
        lr_warmup_steps=warmup, lr_decay_steps=decay_steps, wsd_decay_steps=draw(st.integers(1, decay_steps)),
        start_wd=start_wd, end_wd=start_wd if wd_style == "constant" else start_wd + draw(st.floats(0.0, 0.1)),
        wd_incr_style=wd_style, wd_incr_steps=draw(st.integers(1, decay_steps)),
    )  # fmt: skip


GROUPS = ({}, {"max_lr": 7e-4, "min_lr": 1e-5, "wd_mult": 0.0}, {"max_lr": 0.5, "min_lr": 0.0, "wd_mult": 0.3})


@settings(max_examples=300)
@given(megatron_settings(), st.data())
def test_every_style_is_megatrons_to_the_last_bit(megatron, arguments, data):
    ours, theirs = (kind(optimizer_of(*GROUPS), **arguments) for kind in (ParamScheduler, megatron))
    assert ours.optimizer.param_groups == theirs.optimizer.param_groups
    end = arguments["lr_decay_steps"]
    near = [0, 1, int(arguments["lr_warmup_steps"]), end - arguments["wsd_decay_steps"], end - 1, end, end + 1]
    for position in [*near, *(data.draw(st.integers(0, 2 * end)) for _ in range(8))]:
        for scheduler in (ours, theirs):
            scheduler.step(position - scheduler.num_steps)
        assert ours.optimizer.param_groups == theirs.optimizer.param_groups


@pytest.mark.parametrize("wsd_style", WSD_STYLES)
def test_a_wsd_decay_is_megatrons_at_each_of_its_samples(megatron, wsd_style):
    """A power by numpy instead of `math` has another last bit at one sample of twenty."""
    ours, theirs = (build(kind, GROUPS, wsd_style=wsd_style) for kind in (ParamScheduler, megatron))
    for scheduler in (ours, theirs):
        scheduler.step(799)
    for _ in range(203):
        for scheduler in (ours, theirs):
            scheduler.step(1)
        assert ours.optimizer.param_groups == theirs.optimizer.param_groups


@pytest.mark.parametrize(("style", "wsd_style"), EIGHT)
def test_megatrons_state_goes_on_in_ours_and_back(megatron, style, wsd_style):
    theirs = build(megatron, GROUPS, style=style, wsd_style=wsd_style)
    theirs.step(873)
    state = theirs.state_dict()
    assert set(state) == TEN_KEYS
    ours = build(groups=GROUPS, style=style, wsd_style=wsd_style)
    ours.load_state_dict(state)
    assert ours.optimizer.param_groups == theirs.optimizer.param_groups
    back = build(megatron, GROUPS, style=style, wsd_style=wsd_style)
    back.load_state_dict(ours.state_dict())
    for scheduler in (theirs, ours, back):
        scheduler.step(50)
    assert ours.optimizer.param_groups == theirs.optimizer.param_groups == back.optimizer.param_groups


def test_the_state_is_megatrons_keys_and_one_more_and_plain_json():
    scheduler = build(groups=GROUPS)
    state = scheduler.state_dict()
    assert set(state) == TEN_KEYS | {OWN_KEY}
    assert json.loads(json.dumps(state)) == state


def test_keys_of_older_checkpoints():
    old = {
        "start_lr": 1e-3, "min_lr": 1e-4, "warmup_iter": 10, "end_iter": 100, "decay_style": "linear", "num_iters": 55,
    }  # fmt: skip
    ours = build()
    ours.load_state_dict(old)
    assert ours.optimizer.param_groups[0]["lr"] == 1e-4 + 0.5 * 9e-4
    with pytest.raises(ScheduleError, match="min_lr is missing"):
        ours.load_state_dict({"max_lr": 1.0, "num_steps": 1})


@pytest.mark.parametrize("step", [0, 1, 99, 100, 500, 801, 999, 1000, 1500])
def test_resumed_anywhere_is_the_straight_run(step):
    straight, first = build(groups=GROUPS), build(groups=GROUPS)
    straight.step(step + 7)
    first.step(step)
    resumed = build(groups=GROUPS, wsd_style="linear", wsd_decay_steps=50)  # the checkpoint knows better
    resumed.load_state_dict(json.loads(json.dumps(first.state_dict())))
    resumed.step(7)
    assert resumed.optimizer.param_groups == straight.optimizer.param_groups


def test_neither_flag_wants_equal_settings():
    changes = {"use_checkpoint_opt_param_scheduler": False}
    saved = build(max_lr=1e-3).state_dict()
    ours = build(**changes)
    before = [dict(group) for group in ours.optimizer.param_groups]
    with pytest.raises(ScheduleError, match=r"max_lr is 0\.001 in the checkpoint and 0\.0003 here") as caught:
        ours.load_state_dict(saved)
    assert "\n" not in str(caught.value)
    assert ours.optimizer.param_groups == before
    with pytest.raises(ScheduleError, match="wsd_decay_steps is 300 in the checkpoint and 200 here"):
        ours.load_state_dict(build(wsd_decay_steps=300).state_dict())
    ours.load_state_dict(build().state_dict())
    with pytest.raises(ScheduleError, match="both override and use-checkpoint"):
        build(override_opt_param_scheduler=True)


def test_any_schedule_drives_it_and_travels_in_its_state():
    curve = wsd(3e-4, warmup_tokens=1000, decay_tokens=2000, total_tokens=10_000, decay="square")
    ours = build(groups=({}, {"max_lr": 6e-4}), schedule=curve, sequence_length=10)
    ours.step(900)
    assert [group["lr"] for group in ours.optimizer.param_groups] == [curve.value(9000), 2 * curve.value(9000)]
    resumed = build(groups=({}, {"max_lr": 6e-4}))
    resumed.load_state_dict(ours.state_dict())
    assert resumed.schedule == curve
    assert resumed.optimizer.param_groups == ours.optimizer.param_groups
    with pytest.raises(ScheduleError, match=r"max_lr=0\.0003; expected 0\.1, the schedule's largest value"):
        build(schedule=wsd(0.1, warmup_tokens=1, decay_tokens=1, total_tokens=9))


def test_it_steps_a_real_optimizer_with_tensor_rates_in_place():
    parameter = torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.AdamW([parameter], lr=torch.tensor(1.0, dtype=torch.float64))
    held = optimizer.param_groups[0]["lr"]
    ours = ParamScheduler(optimizer, **settings_of())
    ours.step(50)
    assert optimizer.param_groups[0]["lr"] is held
    assert held.item() == 0.00015


def test_a_group_that_is_added_brings_its_own_bounds():
    ours = build()
    ours.optimizer.param_groups.append({"max_lr": 1e-3, "min_lr": 0.0})
    ours.step(500)
    assert [group["lr"] for group in ours.optimizer.param_groups] == [3e-4, 1e-3]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"style": "cosin"}, "did you mean 'cosine'"),
        ({"wsd_style": "exp"}, "lr_wsd_decay_style='exp'; expected one of cosine, exponential"),
        ({"wsd_decay_steps": None}, "wsd_decay_steps=None; expected above 0"),
        ({"min_lr": 1.0}, "min_lr=1.0; expected 0 to max_lr"),
        ({"init_lr": 1.0}, "init_lr=1.0; expected 0 to max_lr"),
        ({"lr_warmup_steps": 1000}, "lr_warmup_steps=1000; expected less than lr_decay_steps=1000"),
        ({"wd_incr_style": "square"}, "wd_incr_style='square'"),
        ({"wd_incr_style": "constant"}, r"constant weight decay from 0\.0 to 0\.1"),
    ],
)
def test_refused_when_built_and_not_at_a_later_step(changes, words):
    with pytest.raises(ScheduleError, match=words):
        build(**changes)
