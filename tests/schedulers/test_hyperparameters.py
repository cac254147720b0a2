"""Curves beside the learning rate: written into a real optimizer, in range, through JSON."""

import json

import pytest
import torch

from schedulers.batch_ramps import Coupled, doubling
from schedulers.builders import constant, cosine, wsd
from schedulers.changes import decay_from
from schedulers.errors import ScheduleError
from schedulers.hyperparameters import Hyperparameters, Values, as_schedule, beta2_for_batch_size

RATE = wsd(1.0, warmup_tokens=100, decay_tokens=200, total_tokens=1000)
FALLING = decay_from(constant(0.1), 500, decay_tokens=500, decay="linear")
CURVES = Hyperparameters(
    RATE,
    weight_decay=FALLING,
    beta2=cosine(0.99, warmup_tokens=0, total_tokens=1000, floor=0.9),
    clip_grad=1.0,
    group_multipliers={"embedding": 10.0, "head": constant(0.5, warmup_tokens=100)},
)


def test_everything_reaches_the_optimizer():
    names = ("embedding", "hidden", "head")
    groups = [{"name": name, "params": [torch.nn.Parameter(torch.zeros(1))]} for name in names]
    groups[1]["wd_mult"] = 0.0
    optimizer = torch.optim.AdamW(groups, lr=1.0)
    values = CURVES.write(optimizer.param_groups, 750)
    assert values == Values(1.0, 0.05, CURVES.beta2.value(750), 1.0)
    assert [group["lr"] for group in optimizer.param_groups] == [10.0, 1.0, 0.5]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.05, 0.0, 0.05]
    assert {group["betas"] for group in optimizer.param_groups} == {(0.9, values.beta2)}
    CURVES.write(optimizer.param_groups, 50)
    assert [group["lr"] for group in optimizer.param_groups] == [5.0, 0.5, 0.125]


def test_weight_decay_may_fall():
    assert [CURVES.at(n).weight_decay for n in (0, 500, 750, 1000, 2000)] == [0.1, 0.1, 0.05, 0.0, 0.0]


def test_json_round_trip():
    again = Hyperparameters.from_dict(json.loads(json.dumps(CURVES.to_dict())))
    assert again == CURVES
    assert again.at(777) == CURVES.at(777)


def test_beta2_keeps_its_memory_in_tokens():
    assert beta2_for_batch_size(0.95, batch_size=512, reference_batch_size=512) == 0.95
    halved = beta2_for_batch_size(0.95, batch_size=256, reference_batch_size=512)
    assert halved**2 == pytest.approx(0.95, rel=1e-15)


def test_a_coupled_learning_rate_is_a_curve_like_any_other():
    coupled = Hyperparameters(Coupled(RATE, doubling(4, (500,)), "sqrt", 4))
    assert [coupled.at(tokens).learning_rate for tokens in (499, 500)] == [1.0, 2**0.5]
    assert Hyperparameters.from_dict(json.loads(json.dumps(coupled.to_dict()))) == coupled
    assert [as_schedule(curve).value(500) for curve in (coupled.learning_rate, RATE, 0.5)] == [1.0, 1.0, 0.5]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Hyperparameters(RATE, beta2=1.0), "beta2 runs from 1 to 1; expected at least 0 to below 1"),
        (lambda: Hyperparameters(RATE, beta2=constant(1.5)), "beta2 runs from"),
        (lambda: Hyperparameters(RATE, weight_decay=-0.1), r"weight_decay runs from -0\.1"),
        (lambda: Hyperparameters(RATE, group_multipliers={"a": -1.0}), r"group_multipliers\['a'\] runs from -1"),
        (lambda: CURVES.write([{"name": "embeddings"}], 0), "no group is named 'embedding'; did you mean 'embeddings'"),
        (lambda: Hyperparameters.from_dict({}), r"keys \[\]; expected beta2, clip_grad, group_multipliers"),
        (lambda: beta2_for_batch_size(1.0, batch_size=1, reference_batch_size=1), r"beta2=1\.0, batch_size=1"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(ScheduleError, match=words):
        call()
