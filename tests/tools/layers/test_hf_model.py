"""Hugging Face families: hooks meet what the layers' own formulas say, the last layer before the final norm."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from tools.errors import UserError
from tools.layers.hf_model import layered, open_hf
from tools.layers.layered import memory_end_told
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
SMALL_HEADS = {**HEADS, "head_dim": 8}
NEAR = {"sliding_window": 3}  # shorter than the windows read
KINDS = {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"], **NEAR}
EXPERTS = {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 24, "mlp_only_layers": [1]}
FAMILIES = {
    "llama": ("Llama", HEADS),
    "qwen2": ("Qwen2", {**HEADS, **KINDS, "use_sliding_window": True}),
    "qwen2_moe": ("Qwen2Moe", {**HEADS, **EXPERTS, "shared_expert_intermediate_size": 24}),
    "qwen3": ("Qwen3", SMALL_HEADS),
    "qwen3_moe": ("Qwen3Moe", {**SMALL_HEADS, **EXPERTS}),
    "mistral": ("Mistral", {**HEADS, **NEAR}),
    "gemma": ("Gemma", SMALL_HEADS),
    "gemma2": ("Gemma2", {**SMALL_HEADS, **NEAR}),
    "gemma3": ("Gemma3", {**SMALL_HEADS, **KINDS}),
    "olmo": ("Olmo", HEADS),
    "olmo2": ("Olmo2", HEADS),
    "olmo3": ("Olmo3", {**HEADS, **KINDS}),
    "gpt_neox": ("GPTNeoX", {"use_parallel_residual": True}),
    "gpt_neox_sequential": ("GPTNeoX", {"use_parallel_residual": False}),
    "mixtral": ("Mixtral", {**HEADS, **NEAR, "num_local_experts": 2}),
}
CONFIGS = {"gemma3": "Gemma3Text"}


def tiny(name, **changes):
    family, extra = FAMILIES[name]
    config = getattr(transformers, f"{CONFIGS.get(name, family)}Config")(**{**SIZES, **extra, **changes})
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


@pytest.mark.parametrize("name", FAMILIES)
def test_packed_windows_keep_their_segments_apart(name, probe_of):
    """A window of two documents gives what the documents give alone, each layer looking as far as it does."""
    tokens = np.random.default_rng(0).integers(0, 64, (4, 8))
    model = layered(tiny(name), name=name)
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


@pytest.mark.parametrize("name", FAMILIES)
def test_a_window_of_one_segment_is_read_alike_whether_that_is_told_or_not(name, make_probe):
    """Each layer looks as far as it did in training: three tokens in some layers of those that slide."""
    opened, met = layered(tiny(name), name=name), []
    (batch,) = make_probe().batches(6)
    told = replace(batch, segments=np.zeros(batch.tokens.shape, int))
    with torch.no_grad():
        opened.forward([batch, told], lambda number, logits: met.append(logits))
    assert torch.equal(*met)


def test_layers_of_a_sliding_window_see_no_further(make_probe):
    """The token at the start of a window of segments is out of reach of three layers of three tokens at its end."""
    model = layered(tiny("mistral"), name="mistral")
    (batch,) = make_probe().batches(6)
    batch = replace(batch, segments=np.zeros(batch.tokens.shape, int))
    other, met = replace(batch, tokens=batch.tokens.copy()), []
    other.tokens[:, 0] += 1
    other.tokens[:, 0] %= 32
    with torch.no_grad():
        model.forward([batch, other], lambda number, logits: met.append(logits[:, -1]))
    assert torch.equal(*met)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "mamba"}, r"config.json: model_type: got mamba; expected one of gemma, .*llama"),
        ({"model_type": "mine", "auto_map": {"AutoConfig": "conf.C"}}, r"model_type: got mine; expected one of gemma"),
        ({"model_type": ["llama"]}, r"model_type: got \['llama'\]; expected one of gemma"),
        ({}, r"got OSError: .*no file.*; expected its weights in whole .safetensors files"),
        (
            {"hidden_size": "wide"},
            r"got .*hidden_size.*; expected the configuration of a model that transformers takes",
        ),
        (
            {"quantization_config": {"quant_method": "gptq", "bits": 4}},
            r"config.json: got weights quantized by gptq; expected plain weights; dequantize first",
        ),
    ],
)
def test_what_cannot_be_opened_is_one_clear_line(tmp_path, change, message):
    config = tiny("llama").config.to_dict()
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(UserError, match=message) as error:
        open_hf(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda weights: weights.pop("model.layers.2.mlp.up_proj.weight"), "no model.layers.2.mlp.up_proj.weight"),
        (lambda weights: weights.pop("lm_head.weight"), "no lm_head.weight"),
        (
            lambda weights: weights.update({"model.layers.3.mlp.up_proj.weight": torch.ones(2)}),
            "also model.layers.3.mlp",
        ),
        (
            lambda weights: weights.update({"model.layers.1.self_attn.q_proj.bias": torch.ones(32)}),
            "also model.layers.1.self_attn.q_proj.bias",
        ),
        (lambda weights: weights.update({"model.norm.weight": torch.ones(5)}), "model.norm.weight of [5], not [32];"),
    ],
)
def test_files_of_other_weights_are_not_filled_up_with_random_ones(tmp_path, spoil, message):
    from safetensors.torch import load_file, save_file

    tiny("llama").save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    spoil(weights)
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError) as error:
        open_hf(tmp_path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_weights_that_no_layer_has_a_use_for_may_stand_beside(tmp_path):
    from safetensors.torch import load_file, save_file

    tiny("llama").save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    others = {"vision.layers.0.bias": torch.ones(2), "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    save_file({**weights, **others}, tmp_path / "model.safetensors", {"format": "pt"})
    read = open_hf(tmp_path).module.state_dict()
    assert {name for name in weights if not torch.equal(read[name], weights[name])} == set()
    assert not set(others) & set(read)


@pytest.mark.parametrize("content", ["{bad", "[1]"])
def test_a_configuration_that_is_none_is_one_clear_line(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"config\.json: got .*; expected the configuration of a model$"):
        open_hf(tmp_path)


def test_a_device_without_room_is_one_clear_line():
    told = pytest.raises(UserError, match=r"^memory: got CUDA out of memory\.; expected room for the model")
    with told, memory_end_told():
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")


def test_cut_files_and_tokenizers_that_are_none_are_one_clear_line(tmp_path):
    tiny("llama").save_pretrained(tmp_path)
    for content in ("{}", "no json"):
        (tmp_path / "tokenizer.json").write_text(content)
        with pytest.raises(UserError, match=r"tokenizer\.json: got .*; expected a tokenizer\.json with a vocabulary"):
            open_hf(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"got SafetensorError.*; expected its weights in whole .safetensors files"):
        open_hf(tmp_path)


def test_logits_that_overflow_are_told(make_probe):
    model = tiny("llama")
    with torch.no_grad():
        model.lm_head.weight.fill_(3e38)
    with pytest.raises(UserError, match="llama: got NaN or infinity in the logits; expected finite ones"):
        measure(layered(model, name="llama"), make_probe())


def test_weights_that_are_not_finite_are_named_and_one_layer_is_refused():
    model = tiny("llama")
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] = float("nan")
    with pytest.raises(UserError, match=r"tiny: got NaN or infinity in model.layers.1.mlp.up_proj.weight; "):
        layered(model, name="tiny")
    with pytest.raises(UserError, match="tiny: got a model of one layer"):
        layered(tiny("llama", num_hidden_layers=1), name="tiny")
