"""Hugging Face families: hooks meet what the layers' own formulas say, the last layer before the final norm."""

import json

import numpy as np
import pytest
import torch

from tools.errors import UserError
from tools.layers.hf_model import layered, open_hf
from tools.layers.measure import measure
from tools.layers.measures import dots, measures

transformers = pytest.importorskip("transformers")

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
HEADS = {"num_key_value_heads": 2}
FAMILIES = {
    "llama": ("Llama", HEADS),
    "qwen3": ("Qwen3", {**HEADS, "head_dim": 8}),
    "mistral": ("Mistral", HEADS),
    "gemma2": ("Gemma2", {**HEADS, "head_dim": 8}),
    "olmo2": ("Olmo2", HEADS),
    "gpt_neox": ("GPTNeoX", {"use_parallel_residual": True}),
    "gpt_neox_sequential": ("GPTNeoX", {"use_parallel_residual": False}),
    "mixtral": ("Mixtral", {**HEADS, "num_local_experts": 2}),
}


def tiny(name, **changes):
    family, extra = FAMILIES[name]
    config = getattr(transformers, f"{family}Config")(**{**SIZES, **extra, **changes})
    torch.manual_seed(0)
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    for parameter in model.parameters():  # norms with gains that are not 1, matrices that move the residual
        torch.nn.init.normal_(parameter, 1.0 if parameter.ndim == 1 else 0.0, 0.2)
    return model


def states(model, probe):
    """Inputs, middles and outputs of each layer by the layer's own arithmetic, from transformers' own states."""
    tokens = torch.from_numpy(probe.tokens)
    seen = {}
    base = model.base_model
    for index, layer in enumerate(base.layers):
        layer.register_forward_hook(lambda m, a, k, out, i=index: seen.update({i: (a[0], out)}), with_kwargs=True)
    with torch.no_grad():
        whole = model(tokens, output_hidden_states=True)
    return [seen[index] for index in range(len(base.layers))], whole


def means(sums, part):
    return (sums.parts[:, :, part, 1].sum(0) / sums.parts[:, :, part, 0].sum(0)).numpy()


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_met_where_its_layers_begin_and_end(name, make_probe):
    model, probe = tiny(name), make_probe()
    sums = measure(layered(model, name=name), probe)
    layers, whole = states(model, probe)
    expected = [measures(dots(x, y - x))[0][..., 0].mean().item() for x, y in layers]
    assert means(sums, 0) == pytest.approx(expected, rel=1e-5)
    assert layers[0][0].equal(whole.hidden_states[0])
    assert not layers[-1][1].equal(whole.hidden_states[-1]), "transformers' last state has gone through the final norm"


@pytest.mark.parametrize("name", FAMILIES)
def test_the_parts_of_a_layer_add_up_to_it(name, make_probe):
    """The middle is where attention's part is in and the MLP's is not: outputs of the parts are the differences."""
    model, probe = tiny(name), make_probe(windows=2)
    opened = layered(model, name=name)
    added = {}
    handles = []
    for index, anatomy in enumerate(opened.anatomies):
        for part, module in ((1, anatomy.attention), (2, anatomy.mlp)):
            keep = lambda m, a, out, key=(index, part): added.update(  # noqa: E731
                {key: (out[0] if isinstance(out, tuple) else out).clone()}
            )
            handles.append(module.register_forward_hook(keep))
    sums = measure(opened, probe)
    layers, _ = states(model, probe)
    for index, (x, y) in enumerate(layers):
        attention, mlp = added[index, 1], added[index, 2]
        assert y.numpy() == pytest.approx((x + attention + mlp).numpy(), abs=1e-4, rel=1e-4)
        start = x if opened.norm == "parallel" else x + attention
        for part, (begin, update) in {1: (x, attention), 2: (start, mlp)}.items():
            expected = measures(dots(begin, update))[0][..., 0].mean().item()
            assert means(sums, part)[index] == pytest.approx(expected, rel=1e-3)


def test_loss_and_entropy_are_those_of_the_models_own_logits(make_probe):
    model, probe = tiny("llama"), make_probe()
    sums = measure(layered(model, name="llama"), probe)
    with torch.no_grad():
        log_p = model(torch.from_numpy(probe.tokens)).logits.log_softmax(-1)
    labels = torch.from_numpy(np.roll(probe.tokens, -1, 1))
    source = sums.losses[:, 0].sum(0)
    assert source[1].item() / 48 == pytest.approx(-log_p.gather(-1, labels[..., None]).mean().item(), rel=1e-5)
    assert source[2].item() / 48 == pytest.approx(-(log_p.exp() * log_p).sum(-1).mean().item(), rel=1e-5)


def test_a_folder_is_opened_from_safetensors(tmp_path, make_probe):
    model = tiny("llama")
    model.save_pretrained(tmp_path / "tiny")
    opened = open_hf(tmp_path / "tiny")
    assert (opened.name, opened.num_layers, opened.norm, opened.vocab_size) == ("tiny", 3, "pre", 64)
    same = measure(opened, make_probe()).parts.sum(0)
    assert same.numpy() == pytest.approx(measure(layered(model, name="x"), make_probe()).parts.sum(0).numpy())


def test_packed_windows_keep_their_segments_apart(probe_of):
    """A window of two documents gives what the documents give alone."""
    tokens = np.random.default_rng(0).integers(0, 64, (4, 8))
    model = layered(tiny("llama"), name="llama")
    alone = measure(model, probe_of(tokens), with_pairs=False, with_strata=False)

    class Packed(probe_of):
        def _batch(self, rows):
            batch = super()._batch(rows)
            segments = np.repeat([[0, 1]], 8, 1).repeat(len(rows), 0)
            positions = np.tile(np.arange(8), (len(rows), 2))
            groups = np.stack([np.repeat([2 * row, 2 * row + 1], 8) for row in rows])
            return type(batch)(batch.tokens, batch.labels, positions, segments, batch.counts, groups, batch.sources)

    together = measure(model, Packed(tokens.reshape(2, 16)), with_pairs=False, with_strata=False)
    assert together.parts.numpy() == pytest.approx(alone.parts.numpy(), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "mamba"}, r"config.json: model_type: got mamba; expected one of gemma, .*llama"),
        ({}, r"got .*; expected a model's config.json and .safetensors"),
    ],
)
def test_what_cannot_be_opened_is_one_clear_line(tmp_path, change, message):
    config = tiny("llama").config.to_dict()
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(UserError, match=message) as error:
        open_hf(tmp_path)
    assert "\n" not in str(error.value)


def test_weights_that_are_not_finite_are_named_and_one_layer_is_refused():
    model = tiny("llama")
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] = float("nan")
    with pytest.raises(UserError, match=r"tiny: got NaN or infinity in model.layers.1.mlp.up_proj.weight; "):
        layered(model, name="tiny")
    with pytest.raises(UserError, match="tiny: got a model of one layer"):
        layered(tiny("llama", num_hidden_layers=1), name="tiny")
