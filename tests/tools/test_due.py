"""When things are due, at exact boundaries of the token clock: steps of 64 tokens, joints on and off them."""

import pytest

from tools.pretrain.due import Due
from tools.pretrain.state import RunState

# 64 tokens a step. The second joint (416) lies in the middle of a step; the decay starts there.
PHASES = (
    "phases=[{name: warmup, tokens: 128, learning_rate: {from: 1e-4, to: 1e-2}, mixture: {web: 1}},"
    " {name: stable, tokens: 288, learning_rate: constant},"
    " {name: decay, tokens: 224, learning_rate: {to: 1e-4}}]"
)


def steps_where(plan, question):
    """Steps done when the answer is yes, over the whole run."""
    due, length = Due(plan), plan.recipe.sequence_length
    asked = []
    for step in range(1, plan.batches.num_steps + 1):
        samples = plan.batches.first_sample(step - 1) + plan.batches.batch_size(step - 1)
        nothing = {"history": {}, "hyperparameters": {}, "batch_size": [], "model": {}, "sources": {}}
        if question(due, RunState(step, samples, samples * length, **nothing)):
            asked.append(step)
    return asked


@pytest.mark.parametrize(
    ("every", "steps"),
    [
        (0, [2, 6, 10]),  # the joints at 128 (after step 2) and 416 (inside step 7), and the end
        (64, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (128, [2, 4, 6, 8, 10]),
        (192, [2, 3, 6, 9, 10]),
        (100, [1, 2, 3, 4, 6, 7, 9, 10]),
        (10**15, [2, 6, 10]),
    ],
)
def test_validation(tiny_plan, every, steps):
    plan = tiny_plan(PHASES, f"validation.every={every}")
    assert plan.batches.num_steps == 10
    assert steps_where(plan, Due.validation) == steps


@pytest.mark.parametrize(("every", "steps"), [(0, [6, 10]), (256, [4, 6, 8, 10]), (320, [5, 6, 10])])
def test_checkpoints(tiny_plan, every, steps):
    assert steps_where(tiny_plan(PHASES, f"checkpoints.every={every}"), Due.checkpoint) == steps


def test_before_a_decay_inside_a_step_no_token_of_it_is_consumed(tiny_plan):
    plan = tiny_plan(PHASES)
    assert plan.decay_starts == (416,)
    assert steps_where(plan, Due.is_before_decay) == [6]


def test_before_a_decay_that_starts_with_a_step(tiny_plan):
    plan = tiny_plan(PHASES, "phases.1.tokens=256")
    assert plan.decay_starts == (384,)
    assert steps_where(plan, Due.is_before_decay) == [6]


def test_each_decay_has_its_own(tiny_plan):
    again = "phases=[{name: a, tokens: 128, learning_rate: 1e-2, mixture: {web: 1}},"
    again += " {name: b, tokens: 128, learning_rate: {to: 1e-3}},"
    again += " {name: c, tokens: 128, learning_rate: {from: 1e-2, to: 1e-3}}]"
    assert steps_where(tiny_plan(again), Due.is_before_decay) == [2, 4]


def test_a_wave_is_no_decay(tiny_plan):
    waves = "{waves: 3, trough: 1e-3, to: 5e-3}"
    plan = tiny_plan(PHASES, f"phases.1.learning_rate={waves}")
    assert len(plan.schedule.decay_starts()) == 4
    assert plan.decay_starts == (416,)


def test_a_decay_from_the_start_has_nothing_before_it(tiny_plan):
    plan = tiny_plan("phases.0.learning_rate={from: 1e-2, to: 1e-3}")
    assert plan.decay_starts == (0,)
    assert steps_where(plan, Due.is_before_decay) == []


def test_growing_batches_move_the_steps_and_not_the_clock(tiny_plan):
    """Steps of 64 tokens to 128, then of 128: after them 64, 128, 256, 384, 512 and 640 tokens are consumed."""
    plan = tiny_plan(PHASES, "global_batch_size=[[0, 4], [128, 8]]", "validation.every=256")
    assert plan.batches.num_steps == 6
    assert steps_where(plan, Due.validation) == [2, 3, 4, 5, 6]
    assert steps_where(plan, Due.is_before_decay) == [4]


def test_the_update_is_measured_every_tenth_step(tiny_plan):
    due = Due(tiny_plan())
    assert [step for step in range(35) if due.update_ratio(step)] == [0, 10, 20, 30]
