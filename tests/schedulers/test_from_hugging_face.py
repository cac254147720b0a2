"""Hugging Face's schedulers, value for value at every step, against the installed library."""

import math

import pytest
import torch

from schedulers.errors import ScheduleError
from schedulers.from_hugging_face import from_hugging_face

PEAK, STEPS = 3e-4, 120
CASES = [
    ("constant", {}),
    ("constant_with_warmup", {}),
    ("linear", {}),
    ("cosine", {}),
    ("cosine", {"num_cycles": 2.5}),
    ("cosine", {"num_cycles": 3}),
    ("cosine_with_restarts", {"num_cycles": 4}),
    ("polynomial", {"lr_end": 1e-5, "power": 2.0}),
    ("polynomial", {}),
    ("inverse_sqrt", {}),
    ("inverse_sqrt", {"timescale": 50}),
    ("cosine_with_min_lr", {"min_lr": 3e-5}),
    ("cosine_with_min_lr", {"min_lr_rate": 0.1, "num_cycles": 2}),
    ("cosine_warmup_with_min_lr", {"min_lr": 3e-5}),
    ("cosine_warmup_with_min_lr", {"min_lr_rate": 0.1, "warmup_lr_rate": 0.25}),
    ("warmup_stable_decay", {"num_decay_steps": 30}),
    ("warmup_stable_decay", {"num_decay_steps": 30, "decay_type": "linear", "warmup_type": "cosine"}),
    (
        "warmup_stable_decay",
        {"num_decay_steps": 30, "decay_type": "1-sqrt", "warmup_type": "1-sqrt", "min_lr_ratio": 0.1},
    ),
    ("warmup_stable_decay", {"num_decay_steps": 30, "num_cycles": 1.5, "min_lr_ratio": 0.1}),
    ("warmup_stable_decay", {"num_decay_steps": 0, "num_stable_steps": 80, "decay_type": "linear"}),
]


def theirs(name, arguments, steps=STEPS, warmup=20):
    from transformers import get_scheduler

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    scheduler = get_scheduler(name, optimizer, warmup, steps, scheduler_specific_kwargs=arguments)
    values = []
    for _ in range(steps):
        values.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return values


def ours(name, arguments, steps=STEPS, warmup=20, tokens_per_step=1200):
    return from_hugging_face(
        name,
        learning_rate=PEAK,
        num_warmup_steps=warmup,
        num_training_steps=steps,
        tokens_per_step=tokens_per_step,
        **arguments,
    )


@pytest.mark.filterwarnings("ignore:Both num_training_steps")
@pytest.mark.parametrize(("name", "arguments"), CASES, ids=str)
def test_value_for_value(name, arguments):
    schedule = ours(name, arguments).learning_rate
    values = [schedule.value(1200 * step) for step in range(STEPS)]
    assert values == pytest.approx(theirs(name, arguments), rel=0, abs=2e-15 * PEAK)


@pytest.mark.parametrize("name", ["linear", "cosine", "warmup_stable_decay"])
def test_without_warmup(name):
    arguments = {"num_decay_steps": 30} if name == "warmup_stable_decay" else {}
    schedule = ours(name, arguments, warmup=0).learning_rate
    values = [schedule.value(1200 * step) for step in range(STEPS)]
    assert values == pytest.approx(theirs(name, arguments, warmup=0), rel=0, abs=2e-15 * PEAK)


def test_waves_whose_edges_lie_between_tokens_are_named():
    converted = ours("cosine", {"num_cycles": 1.5}, tokens_per_step=1)
    values = [converted.learning_rate.value(step) for step in range(STEPS)]
    assert values == pytest.approx(theirs("cosine", {"num_cycles": 1.5}), abs=2e-2 * PEAK)
    assert any("nearest token" in note for note in converted.notes)
    part = ours("cosine", {"num_cycles": 0.8}, tokens_per_step=10**6).learning_rate
    values = [part.value(10**6 * step) for step in range(STEPS)]
    assert values == pytest.approx(theirs("cosine", {"num_cycles": 0.8}), abs=1e-6 * PEAK)


def test_what_theirs_gets_wrong_is_named():
    def notes(name, **arguments):
        return " | ".join(ours(name, arguments).notes)

    assert "rises again" in notes("cosine")
    assert "first step has a learning rate of 0" in notes("linear")
    assert "one step early" in notes("cosine_warmup_with_min_lr", min_lr=0.0)
    late = notes("warmup_stable_decay", num_decay_steps=30, num_stable_steps=20)
    assert "num_stable_steps wins over num_training_steps=120: the decay ends at step 70" in late
    assert "never decays" in notes("inverse_sqrt")
    assert ours("constant", {}).notes == ()


def test_past_the_end_ours_holds_where_theirs_rises():
    schedule = ours("cosine", {}).learning_rate
    assert schedule.value(1200 * STEPS) == schedule.value(10**9) == 0.0
    assert theirs("cosine", {}, steps=STEPS)[-1] < 1e-3 * PEAK


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("cosin", {}, "did you mean 'cosine'"),
        ("reduce_lr_on_plateau", {}, "expected one of constant"),
        ("cosine", {"cycles": 2}, "cycles is not one of num_cycles"),
        ("cosine", {"num_cycles": 0}, "num_cycles=0; expected above 0"),
        ("cosine_with_restarts", {"num_cycles": 1.5}, "expected a whole number"),
        ("cosine_with_min_lr", {}, "min_lr=None, min_lr_rate=None; expected one of them"),
        ("cosine", {"num_cycles": math.nan}, "num_cycles=nan; expected above 0"),
        ("cosine", {"num_cycles": "2"}, "num_cycles='2'; expected what transformers takes"),
        ("cosine", {"num_cycles": None}, "num_cycles=None; expected what transformers takes"),
        ("warmup_stable_decay", {}, "num_decay_steps is missing; add it"),
        ("polynomial", {"lr_end": 1.0}, "lr_end=1.0; expected less than"),
        ("warmup_stable_decay", {"num_decay_steps": 3, "decay_type": "x"}, "decay_type='x'"),
    ],
)
def test_refusals(name, arguments, words):
    with pytest.raises(ScheduleError, match=words):
        ours(name, arguments)
