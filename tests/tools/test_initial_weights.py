"""Initial weights: a function of the seed and of each parameter's name and layer, with Megatron's deviations.

That no layout changes them is shown by tests/system/test_layouts.py.
"""

import math

import pytest
import torch

from tools.runtime.model import build_model, padded_vocabulary
from tools.runtime.processes import seed_everything

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("alone")]

LAYERS = 2
WIDE = ("model.hidden_size=256", "model.ffn_hidden_size=256", "model.num_query_groups=4")


@pytest.fixture(scope="module")
def weights(alone, tiny_recipe):
    """Name -> weight of a freshly built model; ``state`` is the random state it is built in."""

    def build(*changes, state=0):
        seed_everything(state)
        model = build_model(tiny_recipe(*changes), 96).module
        return {name.removeprefix("module."): weight.detach() for name, weight in model.named_parameters()}

    return build


@pytest.fixture(scope="module")
def wide(weights):
    return weights(*WIDE)


def matrices(weights):
    return {name: weight for name, weight in weights.items() if weight.dim() == 2}


def layer_norms(weights):
    return {name: weight for name, weight in weights.items() if weight.dim() == 1}


def test_the_model_has_the_parameters_that_the_names_say(wide):
    assert len(matrices(wide)) == 2 + 4 * LAYERS
    assert len(layer_norms(wide)) == 1 + 2 * LAYERS


def test_the_same_seed_gives_the_same_weights_whatever_was_drawn_before(weights):
    ours, theirs = weights(), weights(state=99)
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_drawing_leaves_the_random_state_alone(weights):
    weights()
    expected = torch.rand(4)
    weights("seed=8")
    assert torch.equal(torch.rand(4), expected)


def test_another_seed_gives_other_matrices(weights):
    ours, theirs = matrices(weights()), matrices(weights("seed=8"))
    assert [name for name in ours if torch.equal(ours[name], theirs[name])] == []


def test_matrices_of_one_shape_differ_by_name_and_layer(wide):
    square = [weight for weight in matrices(wide).values() if weight.shape == (256, 256)]
    assert len(square) == 2 * LAYERS  # linear_proj and linear_fc2 of each layer
    for index, weight in enumerate(square):
        assert not any(torch.equal(weight, other) for other in square[index + 1 :])


def test_a_layer_does_not_depend_on_how_many_follow(weights):
    """Only the scale of residual outputs does."""
    shallow, deep = weights(), weights("model.num_layers=4")
    name = "decoder.layers.1.mlp.linear_fc1.weight"
    assert torch.equal(shallow[name], deep[name])
    name = "decoder.layers.1.mlp.linear_fc2.weight"
    assert torch.allclose(shallow[name], deep[name] * math.sqrt(2), rtol=1e-6, atol=0)


def test_deviations(wide):
    """0.02; for what writes into the residual stream 0.02 / sqrt(2 x layers). Five standard errors either way."""
    for name, weight in matrices(wide).items():
        scale = math.sqrt(2 * LAYERS) if name.endswith(("linear_proj.weight", "linear_fc2.weight")) else 1.0
        expected = 0.02 / scale
        assert float(weight.std()) == pytest.approx(expected, rel=5 / math.sqrt(2 * weight.numel())), name
        assert abs(float(weight.mean())) < 5 * expected / math.sqrt(weight.numel()), name


def test_deviation_as_asked(weights):
    found = weights(*WIDE, "model.init_method_std=0.1")["decoder.layers.0.mlp.linear_fc1.weight"]
    assert float(found.std()) == pytest.approx(0.1, rel=0.02)


@pytest.mark.parametrize("normalization", ["RMSNorm", "LayerNorm"])
def test_norms_are_ones_and_biases_zeros(weights, normalization):
    vectors = layer_norms(weights(f"model.normalization={normalization}", "model.add_bias_linear=true"))
    for name, weight in vectors.items():
        assert torch.equal(weight, torch.full_like(weight, float(not name.endswith("bias")))), name
    assert any(name.endswith("linear_fc1.bias") for name in vectors)


def test_embeddings_and_output_are_two_draws_or_one(weights):
    untied = weights()
    assert not torch.equal(untied["embedding.word_embeddings.weight"], untied["output_layer.weight"])
    tied = weights("model.share_embeddings_and_output_weights=true")
    assert "output_layer.weight" not in tied
    assert torch.equal(tied["embedding.word_embeddings.weight"], untied["embedding.word_embeddings.weight"])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_lower_precision_is_the_same_draw_rounded(weights, precision):
    rounded = weights(f"precision={precision}")
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    for name, weight in weights().items():
        assert torch.equal(rounded[name], weight.to(dtype)), name


@pytest.mark.parametrize(("asked", "padded"), [(1, 128), (127, 128), (128, 128), (129, 256), (50257, 50304)])
def test_the_vocabulary_is_a_multiple_of_128(asked, padded):
    assert padded_vocabulary(asked) == padded


@pytest.mark.parametrize("tensor_parallel", [1, 2, 4, 8])
def test_padding_does_not_depend_on_tensor_parallelism(weights, tiny_recipe, tensor_parallel):
    """Megatron-LM pads to 128 x TP; here 128 is a multiple of any TP that divides it, and rows are the same ones."""
    rows = weights()["embedding.word_embeddings.weight"].shape[0]
    assert rows == padded_vocabulary(96) == 128
    assert rows % tensor_parallel == 0
