"""A layer left out: as if it weren't there."""

import numpy as np
import pytest
import torch

from tools.layers.ablate import ablated, ablated_spans, loss_rise, losses, spearman
from tools.layers.findings import Pass
from tools.layers.hf_model import layered
from tools.layers.measure import measure

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def llama():
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=32, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        bos_token_id=None, eos_token_id=None, initializer_range=0.3,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config)


def without_layer(model, layer):
    state = {name: value for name, value in model.state_dict().items() if f"layers.{layer}." not in name}
    moved = {name.replace(f"layers.{n}.", f"layers.{n - (n > layer)}."): v for name, v in state.items()
             for n in [int(name.split("layers.")[1].split(".")[0]) if "layers." in name else -1]}  # fmt: skip
    config = transformers.LlamaConfig(**{**model.config.to_dict(), "num_hidden_layers": 2})
    small = transformers.LlamaForCausalLM(config)
    small.load_state_dict(moved)
    return small


def test_a_skipped_layer_gives_the_loss_of_the_model_without_it(llama, make_probe):
    probe = make_probe()
    found = losses(layered(llama, name="x"), probe, micro_batch=4, skipped=[1])
    expected = losses(layered(without_layer(llama, 1), name="y"), probe, micro_batch=4)
    assert found == pytest.approx(expected, rel=1e-6)
    assert found[:6, 1].tolist() == [8.0] * 6


def test_skipping_attention_and_mlp_is_setting_their_last_matrix_to_zero(llama, make_probe):
    probe = make_probe()
    for part, matrix in (("attention", "self_attn.o_proj"), ("mlp", "mlp.down_proj")):
        found = losses(layered(llama, name="x"), probe, micro_batch=4, skipped=[2], part=part)
        weight = llama.get_parameter(f"model.layers.2.{matrix}.weight")
        kept = weight.clone()
        weight.zero_()
        assert found == pytest.approx(losses(layered(llama, name="x"), probe, micro_batch=4), rel=1e-6)
        weight.copy_(kept)


def test_every_layer_is_left_out_once_and_the_hooks_are_gone(llama, make_probe):
    model, probe = layered(llama, name="x"), make_probe(windows=12)
    before = losses(model, probe, micro_batch=4)
    found = ablated(model, probe, "layer", Pass.of(measure(model, probe), probe.group_sources), micro_batch=4)
    assert found.places == ["0", "1", "2"]
    alone = [losses(model, probe, micro_batch=4, skipped=[layer]) for layer in range(3)]
    assert found.rise.mean == pytest.approx([(x[:, 0] - before[:, 0]).sum() / 96 for x in alone])
    assert (found.rise.low <= found.rise.mean).all()
    assert (found.rise.mean <= found.rise.high).all()
    assert np.array_equal(losses(model, probe, micro_batch=4), before)


def test_a_span_is_left_out_as_its_layers_are(llama, make_probe):
    model, probe = layered(llama, name="x"), make_probe()
    found = ablated_spans(model, probe, [(1, 3)], Pass.of(measure(model, probe), probe.group_sources), micro_batch=4)
    before, after = (losses(model, probe, micro_batch=4, skipped=layers) for layers in ((), (1, 2)))
    assert (found.part, found.places) == ("span", ["1:3"])
    assert found.rise.mean.tolist() == pytest.approx([(after[:, 0] - before[:, 0]).sum() / 48])


def test_megatrons_own_layers_are_left_out_too(alone):
    import importlib.util
    from pathlib import Path

    spec = importlib.util.spec_from_file_location("layouts", Path(__file__).parent / "layouts.py")
    layouts = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(layouts)
    model = layouts.small_model(layouts.recipe())
    for part, matrices in (("attention", ["self_attention.linear_proj"]), ("mlp", ["mlp.linear_fc2"]),
                           ("layer", ["self_attention.linear_proj", "mlp.linear_fc2"])):  # fmt: skip
        found = losses(model, layouts.Rows(), micro_batch=2, skipped=[1], part=part)
        weights = [model.module.get_parameter(f"decoder.layers.1.{name}.weight") for name in matrices]
        kept = [weight.clone() for weight in weights]
        [weight.zero_() for weight in weights]
        assert found == pytest.approx(losses(model, layouts.Rows(), micro_batch=2), rel=1e-6)
        [weight.copy_(old) for weight, old in zip(weights, kept, strict=True)]


def test_what_documents_have_in_common_is_not_part_of_the_interval():
    rng = np.random.default_rng(0)
    tokens, common = np.full(50, 100.0), rng.normal(5, 1, 50)
    with_all, without = (np.stack([tokens * (common + extra), tokens], 1) for extra in (0.0, 0.01))
    from tools.layers.uncertainty import Bootstrap

    rise = loss_rise(Bootstrap.of(tokens, np.zeros(len(tokens), int)), with_all, [without])
    assert [rise.low[0], rise.mean[0], rise.high[0]] == pytest.approx([0.01] * 3)


def test_ties_share_their_rank():
    assert spearman(np.array([1.0, 2, 2, 3]), np.array([4.0, 6, 6, 9])) == 1.0
    assert np.isnan(spearman(np.ones(4), np.arange(4.0)))
    assert np.isnan(spearman(np.arange(2.0), np.arange(2.0)))
