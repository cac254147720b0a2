"""The torch adapter under torch's rules, beside torch's own schedulers where they agree."""

import io

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import ChainedScheduler, ConstantLR, LambdaLR, MultiplicativeLR, SequentialLR

from schedulers.batch_size import BatchSizeRamp, Steps
from schedulers.builders import cosine, linear_to_zero, multi_step, wsd
from schedulers.errors import ScheduleError
from schedulers.torch_scheduler import TokenLR

CURVE = wsd(0.5, warmup_tokens=100, decay_tokens=200, total_tokens=1000, floor=0.1)


def optimizer_of(lr=1.0, groups=1):
    return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in range(groups)], lr=lr)


def rates(optimizer):
    return [float(group["lr"]) for group in optimizer.param_groups]


def run(scheduler, steps):
    """The first group's rate at each of so many steps."""
    seen = []
    for _ in range(steps):
        seen.append(rates(scheduler.optimizer)[0])
        scheduler.optimizer.step()
        scheduler.step()
    return seen


def test_every_step_has_the_value_of_the_tokens_before_it():
    scheduler = TokenLR(optimizer_of(), CURVE, 10)
    assert run(scheduler, 120) == [CURVE.value(10 * step) for step in range(120)]


def test_a_ramp_counts_its_own_tokens_and_holds_its_end():
    table = Steps(BatchSizeRamp(((0, 2), (60, 8))), sequence_length=10, total_samples=100)
    seen = run(TokenLR(optimizer_of(), CURVE, table), table.num_steps + 3)
    wanted = [CURVE.value(10 * table.first_sample(step)) for step in range(table.num_steps + 1)]
    assert seen == wanted + wanted[-1:] * 2


def test_it_is_lambda_lr_with_the_same_function():
    ours, theirs = optimizer_of(0.5), optimizer_of(0.5)
    line = linear_to_zero(0.5, warmup_tokens=0, total_tokens=64)
    other = LambdaLR(theirs, lambda step: 1 - step / 64)
    assert run(TokenLR(ours, line, 1), 64) == run(other, 64)


@pytest.mark.parametrize("step", [0, 1, 9, 10, 79, 80, 81, 99, 100, 130])
def test_resumed_anywhere_is_the_straight_run(step):
    straight = run(TokenLR(optimizer_of(), CURVE, 10), step + 20)
    first = TokenLR(optimizer_of(), CURVE, 10)
    run(first, step)
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    state = torch.load(buffer, weights_only=True)
    resumed = TokenLR(optimizer_of(), CURVE, 10)
    resumed.load_state_dict(state)
    resumed.load_state_dict(state)  # sets, never adds
    assert resumed.get_last_lr() == first.get_last_lr()
    assert run(resumed, 20) == straight[step:]


def test_the_optimizer_may_be_loaded_before_or_after():
    first = TokenLR(optimizer_of(), CURVE, 10)
    run(first, 5)
    saved = first.optimizer.state_dict()
    after = TokenLR(optimizer_of(), CURVE, 10)
    after.optimizer.load_state_dict(saved)
    after.load_state_dict(first.state_dict())
    optimizer = optimizer_of()
    optimizer.load_state_dict(saved)
    before = TokenLR(optimizer, CURVE, 10)
    before.load_state_dict(first.state_dict())
    assert run(after, 9) == run(before, 9) == run(first, 9)


def test_groups_added_later_and_their_multipliers():
    scheduler = TokenLR(optimizer_of(), CURVE, 10)
    run(scheduler, 3)
    group = {"params": [torch.nn.Parameter(torch.zeros(1))], "lr_mult": 0.25}
    scheduler.optimizer.add_param_group(group)
    run(scheduler, 2)
    assert rates(scheduler.optimizer) == [CURVE.value(50), 0.25 * CURVE.value(50)]
    assert scheduler.get_last_lr() == rates(scheduler.optimizer)


def test_a_tensor_is_filled_in_place():
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=torch.tensor(0.0, dtype=torch.float64))
    held = optimizer.param_groups[0]["lr"]
    scheduler = TokenLR(optimizer, CURVE, 10)
    assert run(scheduler, 5) == [CURVE.value(10 * step) for step in range(5)]
    assert optimizer.param_groups[0]["lr"] is held
    assert scheduler.state_dict()["_last_lr"] == [CURVE.value(50)]


def test_in_a_chain_it_sets_and_the_next_scales():
    def chain():
        optimizer = optimizer_of()
        return ChainedScheduler([TokenLR(optimizer, CURVE, 10), MultiplicativeLR(optimizer, lambda step: 0.5)])

    chained = chain()
    seen = []
    for _ in range(30):
        chained.optimizer.step()
        chained.step()
        seen.append(rates(chained.optimizer)[0])
    assert seen == [0.5 * CURVE.value(10 * step) for step in range(1, 31)]
    resumed = chain()
    resumed.load_state_dict(chained.state_dict())
    resumed.optimizer.step()
    resumed.step()
    assert rates(resumed.optimizer) == [0.5 * CURVE.value(310)]


def test_in_a_sequence_it_begins_at_its_milestone():
    def sequence():
        optimizer = optimizer_of(0.125)
        parts = [
            ConstantLR(optimizer, factor=1.0),
            TokenLR(optimizer, cosine(0.5, warmup_tokens=0, total_tokens=100), 10),
        ]
        return SequentialLR(optimizer, parts, milestones=[5])

    straight = run(sequence(), 12)
    curve = cosine(0.5, warmup_tokens=0, total_tokens=100)
    assert straight == [0.125] * 5 + [curve.value(10 * step) for step in range(7)]
    for steps in (3, 5, 8):
        first, resumed = sequence(), sequence()
        run(first, steps)
        resumed.optimizer.load_state_dict(first.optimizer.state_dict())
        resumed.load_state_dict(first.state_dict())
        assert run(resumed, 12 - steps) == straight[steps:]


def test_what_others_write_into_lr_does_not_stay():
    scheduler = TokenLR(optimizer_of(), CURVE, 10)
    scheduler.optimizer.param_groups[0]["lr"] = 77.0
    scheduler.optimizer.step()
    scheduler.step()
    assert rates(scheduler.optimizer) == [CURVE.value(10)]


def test_the_past_is_locked_and_the_future_is_free():
    first = TokenLR(optimizer_of(), CURVE, 10)
    run(first, 40)
    longer = wsd(0.5, warmup_tokens=100, decay_tokens=500, total_tokens=3000)
    resumed = TokenLR(optimizer_of(), longer, 10)
    resumed.load_state_dict(first.state_dict())
    assert run(resumed, 3) == [longer.value(400 + 10 * step) for step in range(3)]
    other = TokenLR(optimizer_of(), wsd(0.5, warmup_tokens=200, decay_tokens=10, total_tokens=1000), 10)
    with pytest.raises(ScheduleError, match=r"segments\[0\]\.end_tokens is 100 in the state and 200 here"):
        other.load_state_dict(first.state_dict())
    with pytest.raises(ScheduleError, match="expected one that TokenLR wrote"):
        other.load_state_dict({"last_epoch": 3})


@pytest.mark.parametrize("tokens", [0, -1, 10.0, "10", None, True])
def test_tokens_of_a_step_are_a_whole_number_or_a_table(tokens):
    with pytest.raises(ScheduleError, match="expected an int of at least 1, or a step table"):
        TokenLR(optimizer_of(), CURVE, tokens)


def test_another_batch_size_goes_on_from_the_same_token():
    first = TokenLR(optimizer_of(), CURVE, 10)
    run(first, 40)
    resumed = TokenLR(optimizer_of(), CURVE, 25)
    resumed.load_state_dict(first.state_dict())
    resumed.load_state_dict(first.state_dict())
    assert run(resumed, 20) == [CURVE.value(400 + 25 * step) for step in range(20)]
    again = TokenLR(optimizer_of(), CURVE, 10)
    again.load_state_dict(resumed.state_dict())
    assert run(again, 3) == [CURVE.value(900 + 10 * step) for step in range(3)]
    table = Steps(BatchSizeRamp(((0, 2), (60, 8))), sequence_length=10, total_samples=100)
    with pytest.raises(ScheduleError, match=r"40 steps were 400 tokens in the state and are .* by the step table here"):
        TokenLR(optimizer_of(), CURVE, table).load_state_dict(first.state_dict())


def test_a_drop_just_ahead_holds_at_once_though_the_optimizer_was_loaded_first():
    first = TokenLR(optimizer_of(), CURVE, 10)
    run(first, 40)
    optimizer = optimizer_of()
    resumed = TokenLR(optimizer, multi_step(0.5, warmup_tokens=100, total_tokens=1000, drops=[(400, 0.5)]), 10)
    optimizer.load_state_dict(first.optimizer.state_dict())
    resumed.load_state_dict(first.state_dict())
    assert run(resumed, 2) == [0.25, 0.25]


def test_no_drift_after_many_steps():
    """torch's own recursive cosine is 1e-13 off by then."""
    curve = cosine(1.0, warmup_tokens=0, total_tokens=20_000)
    seen = np.array(run(TokenLR(optimizer_of(), curve, 1), 20_000))
    assert (seen == [curve.value(step) for step in range(20_000)]).all()
