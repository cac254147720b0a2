"""Models on megatron-core: the numbers of every layout, of recomputation, and of the same weights in transformers."""

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tools.layers.measure import measure

HERE = Path(__file__).parent
SPEC = importlib.util.spec_from_file_location("layouts", HERE / "layouts.py")
layouts = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(layouts)


@pytest.fixture(scope="module")
def in_two_processes(tmp_path_factory):
    """One launch goes through all layouts of two processes."""
    folder = tmp_path_factory.mktemp("layouts")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[2])}
    done = subprocess.run(
        [*launch, str(HERE / "layouts.py"), str(folder)], env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return {name: list(np.load(folder / f"{name}.npz").values()) for name in layouts.LAYOUTS}


@pytest.fixture(scope="module")
def of_one_process(alone):
    return layouts.sums_of(layouts.recipe(), layouts.Rows())


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_every_layout_gives_the_same_sums(in_two_processes, of_one_process, layout):
    parts, _, _, histogram, pairs, ablated = of_one_process
    assert parts[:, 1:, 0, 1].sum() > 1  # there is something to compare
    found = in_two_processes[layout]
    for mine, expected in zip(found[:3], of_one_process[:3], strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(found[5], ablated, rtol=1e-6)
    assert np.abs(found[3] - histogram).sum() <= 2  # a token at the edge of a bin
    assert found[4] / found[4][0] == pytest.approx(pairs / pairs[0], abs=1e-6)


def test_means_agree_to_a_millionth(in_two_processes, of_one_process):
    expected = of_one_process[0][..., 1:].sum(0) / of_one_process[0][..., :1].sum(0)
    for found in in_two_processes.values():
        assert found[0][..., 1:].sum(0) / found[0][..., :1].sum(0) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("recompute", ["full", "selective"])
def test_recomputation_changes_nothing(of_one_process, recompute):
    whole = {"recompute_method": "uniform", "recompute_num_layers": 1} if recompute == "full" else {}
    found = layouts.sums_of(layouts.recipe(model={"recompute_granularity": recompute, **whole}), layouts.Rows())
    np.testing.assert_allclose(found[0], of_one_process[0], rtol=1e-9)


def test_biases_and_layer_norms_leave_the_middle_where_it_is(alone):
    """With biases megatron-core adds out of place, without them into attention's output: the middle is the sum."""
    for changes in ({"add_bias_linear": True, "normalization": "LayerNorm"}, {}):
        model = layouts.small_model(layouts.recipe(model=changes))
        kept = watched(model.anatomies[1])
        sums = measure(model, _one_row(), with_strata=False, with_pairs=False)
        added = sum(kept["add"])
        expected = 1 - torch.nn.functional.cosine_similarity(kept["x"], kept["x"] + added, dim=-1).double().mean()
        found = sums.parts[:, 1, 1, 1].sum() / sums.parts[:, 1, 1, 0].sum()
        assert found.item() == pytest.approx(expected.item(), rel=1e-4)


def watched(anatomy):
    """What a layer takes and its attention adds, when it has run."""
    kept = {}

    def before(module, args, kwargs):
        kept["x"] = kwargs["hidden_states"].clone()

    def after(module, args, output):
        kept["add"] = [part.clone() for part in output if part is not None]

    anatomy.layer.register_forward_pre_hook(before, with_kwargs=True)
    anatomy.attention.register_forward_hook(after)
    return kept


def _one_row():
    rows = layouts.Rows()
    first = next(rows.batches(1))
    first.counts[:] = True
    rows.batches = lambda micro_batch, rank=0, size=1: iter([first])
    return rows


def as_llama(model):
    """The same weights in transformers: fused matrices taken apart, the query groups' rows in their order."""
    transformers = pytest.importorskip("transformers")
    config = model.module.config
    hidden, heads, groups = config.hidden_size, config.num_attention_heads, config.num_query_groups
    size, inner = hidden // heads, config.ffn_hidden_size
    llama = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=128, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=config.num_layers,
            num_attention_heads=heads, num_key_value_heads=groups, max_position_embeddings=16,
            rms_norm_eps=config.layernorm_epsilon, bos_token_id=None, eos_token_id=None, rope_theta=10000.0,
        )
    )  # fmt: skip
    state = dict(model.module.named_parameters())
    named = {"model.embed_tokens": "embedding.word_embeddings", "model.norm": "decoder.final_layernorm",
             "lm_head": "output_layer"}  # fmt: skip
    found = {f"{theirs}.weight": state[f"{ours}.weight"] for theirs, ours in named.items()}
    for layer in range(config.num_layers):
        ours, theirs = f"decoder.layers.{layer}.", f"model.layers.{layer}."
        qkv = state[ours + "self_attention.linear_qkv.weight"].view(groups, heads // groups + 2, size, hidden)
        gate, up = state[ours + "mlp.linear_fc1.weight"].chunk(2)
        parts = {
            "self_attn.q_proj": qkv[:, :-2].reshape(-1, hidden),
            "self_attn.k_proj": qkv[:, -2].reshape(-1, hidden),
            "self_attn.v_proj": qkv[:, -1].reshape(-1, hidden),
            "self_attn.o_proj": state[ours + "self_attention.linear_proj.weight"],
            "mlp.gate_proj": gate,
            "mlp.up_proj": up,
            "mlp.down_proj": state[ours + "mlp.linear_fc2.weight"],
            "input_layernorm": state[ours + "input_layernorm.weight"],
            "post_attention_layernorm": state[ours + "pre_mlp_layernorm.weight"],
        }
        found |= {f"{theirs}{name}.weight": value for name, value in parts.items()}
    llama.load_state_dict(found)
    return llama


def test_the_same_weights_in_transformers_give_the_same_numbers(of_one_process, alone):
    from tools.layers.hf_model import layered

    ours = layouts.small_model(layouts.recipe())
    llama = layered(as_llama(ours), name="llama")
    found = [tensor.numpy() for tensor in measure(llama, layouts.Rows(), micro_batch=2).tensors()]
    for mine, expected in ((found[0], of_one_process[0]), (found[2], of_one_process[2])):
        groups = expected.sum(0)
        assert mine.sum(0) / 96 == pytest.approx(groups / 96, abs=1e-5)
    assert found[4] / found[4][0] == pytest.approx(of_one_process[4] / of_one_process[4][0], abs=1e-5)


def test_under_transformer_engine_segments_are_packed_sequences_of_single_windows(monkeypatch, make_toy, probe_of):
    """Its attention ignores a mask, so windows of several segments go one at a time, with their boundaries."""
    from tools.layers.measure import in_turns
    from tools.runtime import evaluation

    monkeypatch.setattr(evaluation, "has_transformer_engine", lambda: True)
    met = []

    def module(tokens, position_ids, **attention):
        met.append((tokens.shape, attention))

    segments = np.array([[0, 0, 0, 1, 1, 1, 1, 1]]).repeat(3, 0)
    probe = probe_of(np.arange(24).reshape(3, 8))
    made = probe._batch
    probe._batch = lambda rows: replace(made(rows), segments=segments[rows])
    model = replace(make_toy([torch.zeros_like] * 2, torch.ones(32, 8)), one_by_one=True)
    for (batch,) in in_turns(model, probe, micro_batch=2):
        window = evaluation.Window(batch.tokens, batch.position_ids, batch.segments)
        evaluation._forward_step(None, iter([(0, window)]), module)
    assert [tuple(shape) for shape, _ in met] == [(1, 8)] * 3
    assert all(attention["attention_mask"] is None for _, attention in met)
    assert met[0][1]["packed_seq_params"].cu_seqlens_q.tolist() == [0, 3, 8]
