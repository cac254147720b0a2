"""What the optimizer is told before a step: groups of parameters, curves, the bound of the gradient."""

import pytest
import torch

from tools.runtime.checkpoint import load_weights, save_weights
from tools.runtime.optimizer import group_of

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("alone")]
MULTIPLIED = "optimizer.lr_multipliers={embedding: 10, output: 2, vectors: 0.5}"


def names_by_group(engine):
    found = {}
    for name, parameter in engine.model.named_parameters():
        found.setdefault(group_of(parameter, name), []).append(name.removeprefix("module."))
    return found


def test_every_parameter_is_in_one_group(new_engine, tiny_recipe):
    groups = names_by_group(new_engine(tiny_recipe("model.add_bias_linear=true")))
    assert groups["embedding"] == ["embedding.word_embeddings.weight"]
    assert groups["output"] == ["output_layer.weight"]
    assert all(name.endswith(("layernorm.weight", "layer_norm_weight", ".bias")) for name in groups["vectors"])
    assert {name.rsplit(".", 2)[-2] for name in groups["hidden"]} == {
        "linear_qkv",
        "linear_proj",
        "linear_fc1",
        "linear_fc2",
    }


def test_a_tied_embedding_is_one_on_every_stage():
    """On the last stage of a pipeline its copy is the output layer's weight."""
    copy = torch.nn.Parameter(torch.zeros(4, 2))
    assert group_of(copy, "module.output_layer.weight") == "output"
    copy.shared_embedding = True
    assert group_of(copy, "module.output_layer.weight") == "embedding"


@pytest.mark.parametrize("distributed", ["true", "false"])
def test_a_group_learns_at_its_own_rate(new_engine, tiny_recipe, tiny_batch, tiny_values, tmp_path, distributed):
    recipe = tiny_recipe(MULTIPLIED, f"parallelism.use_distributed_optimizer={distributed}")
    engine = new_engine(recipe)
    engine.step(tiny_batch(), tiny_values(1e-3))
    rates = {
        (group["lr_mult"], group["wd_mult"]): (group["lr"], group["weight_decay"])
        for group in engine.optimizer.param_groups
    }
    assert rates == {
        (1.0, 1.0): (1e-3, 0.1),
        (10.0, 1.0): (1e-2, 0.1),
        (2.0, 1.0): (2e-3, 0.1),
        (0.5, 0.0): (5e-4, 0.0),
    }
    save_weights(tmp_path, engine.model, engine.optimizer)
    fresh = new_engine(tiny_recipe(MULTIPLIED, f"parallelism.use_distributed_optimizer={distributed}", "seed=8"))
    load_weights(tmp_path, fresh.model, fresh.optimizer)
    for step in (1, 2):
        ours, theirs = (each.step(tiny_batch(step), tiny_values(1e-3)) for each in (fresh, engine))
        assert (ours.sums, ours.gradient_norm) == (theirs.sums, theirs.gradient_norm)


def test_the_first_update_of_adam_is_the_rate_of_the_group(new_engine, tiny_recipe, tiny_batch, tiny_values):
    """|update| is lr x sign of the gradient before anything is averaged, but for epsilon."""
    engine = new_engine(tiny_recipe(MULTIPLIED, "optimizer.weight_decay=0"))
    before = {name: parameter.detach().clone() for name, parameter in engine.model.named_parameters()}
    engine.step(tiny_batch(), tiny_values(1e-3, "optimizer.weight_decay=0"))
    for name, parameter in engine.model.named_parameters():
        wanted = {"embedding": 1e-2, "output": 2e-3, "vectors": 5e-4, "hidden": 1e-3}[group_of(parameter, name)]
        assert float((parameter - before[name]).abs().max()) == pytest.approx(wanted, rel=1e-2), name


@pytest.mark.parametrize("distributed", ["true", "false"])
def test_the_values_of_a_step_reach_the_optimizer(new_engine, tiny_recipe, tiny_batch, tiny_values, distributed):
    engine = new_engine(tiny_recipe(f"parallelism.use_distributed_optimizer={distributed}"))
    free = engine.step(tiny_batch(), tiny_values(0.0, "optimizer.clip_grad=0")).gradient_norm
    weights = [parameter for _, parameter in engine.model.named_parameters()]
    for clip in (free / 4, free / 2):
        values = tiny_values(0.0)._replace(clip_grad=clip, beta2=0.9, weight_decay=0.3)
        assert engine.step(tiny_batch(), values).gradient_norm == free  # measured before it is clipped
        norm = torch.stack([weight.main_grad.norm() for weight in weights]).norm()
        assert float(norm) == pytest.approx(clip, rel=1e-4)
    assert {group["betas"] for group in engine.optimizer.param_groups} == {(0.9, 0.9)}
    assert {group["weight_decay"] for group in engine.optimizer.param_groups} == {0.3, 0.0}
