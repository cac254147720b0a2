"""Models made of another's layers: the loss of what is written is the loss that was told."""

import json

import pytest
import torch

from tools.layers.ablate import losses
from tools.layers.hf_model import load_module
from tools.layers.opening import Options, open_model, probe_for
from tools.layers.order import mergekit
from tools.recipe.yaml_file import read_yaml

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def gemma(tmp_path_factory):
    """Layers of two kinds, so that their list has to be reordered."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "gemma"
    config = transformers.Gemma2Config(
        vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=5, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=32, sliding_window=4, initializer_range=0.3,
        bos_token_id=None, eos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    transformers.Gemma2ForCausalLM(config).save_pretrained(folder)
    return folder


def loss_of(model, data):
    """Opened anew, on the same text."""
    options = Options(data=[str(data)], out=model, windows=8)
    opened = open_model(model, options)
    sums = losses(opened, probe_for(opened, options), micro_batch=4).sum(0)
    return sums[0] / sums[1]


@pytest.mark.parametrize(
    ("change", "order"), [(("--drop", "2:4"), [0, 1, 4]), (("--repeat", "1:3"), [0, 1, 2, 1, 2, 3, 4])]
)
def test_a_hugging_face_model_is_written_as_it_was_measured(world, annealmix, gemma, tmp_path, change, order):
    out = tmp_path / "new"
    status, output, errors = annealmix(
        "depth", gemma, *change, "--data", world / "web", "--out", out, "--windows", 8, "--json"
    )
    assert (status, errors) == (0, "")
    effect = json.loads(output)
    assert effect["order"] == order == [layer["source"] for layer in effect["layers"]]
    assert effect["loss_before"] == pytest.approx(loss_of(gemma, world / "web"), abs=1e-6)
    assert effect["loss_after"] == pytest.approx(loss_of(out, world / "web"), abs=1e-6)
    assert effect["loss_rise"]["mean"] == pytest.approx(effect["loss_after"] - effect["loss_before"], abs=1e-9)
    kinds = transformers.AutoConfig.from_pretrained(gemma).layer_types
    new = load_module(out)
    assert new.config.layer_types == [kinds[layer] for layer in order]
    assert [layer.self_attn.layer_idx for layer in new.model.layers] == list(range(len(order)))
    old = load_module(gemma).state_dict()
    for number, source in enumerate(order):
        name = "model.layers.{}.mlp.up_proj.weight"
        assert torch.equal(new.state_dict()[name.format(number)], old[name.format(source)])
    assert not (out / "mergekit.yaml").exists()  # mergekit would leave the list of kinds as it was


def test_a_checkpoint_of_ours_is_written_as_it_was_measured(straight, alone, annealmix, tmp_path):
    """Two layers made three, the middle ones forced: the recipe and the checkpoint open as any of a run."""
    out = tmp_path / "deeper"
    words = ("depth", straight.folder / "run", "--repeat", "1:2", "--force", "--data", straight.data / "web")
    status, output, errors = annealmix(*words, "--out", out, "--windows", 8, "--json")
    assert (status, errors) == (0, "")
    effect = json.loads(output)
    assert effect["order"] == [0, 1, 1]
    recipe = read_yaml(out / "recipe.yaml")
    assert (recipe["model"]["num_layers"], recipe["name"], recipe["run_dir"]) == (3, "deeper", str(out))
    assert not (out / "mergekit.yaml").exists()
    written = loss_of(out / "checkpoints" / "step_00000000", straight.data / "web")
    assert effect["loss_after"] == pytest.approx(written, abs=1e-6)
    assert effect["layers"][1]["predicted_distance"] == effect["layers"][2]["predicted_distance"]
    assert effect["layers"][0]["measured_distance"] == pytest.approx(effect["layers"][0]["predicted_distance"])


def test_layers_without_experts_stay_so_at_their_new_places(world, annealmix, tmp_path):
    """Which layers they are is said by number; every file but the weights comes along."""
    torch.manual_seed(0)
    config = transformers.Qwen3MoeConfig(
        vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=5, num_attention_heads=4, head_dim=8,
        num_key_value_heads=2, max_position_embeddings=32, num_experts=2, num_experts_per_tok=1,
        moe_intermediate_size=24, mlp_only_layers=[3], decoder_sparse_step=2, eos_token_id=[1, 2, 3, 4, 5],
    )  # fmt: skip
    transformers.Qwen3MoeForCausalLM(config).save_pretrained(tmp_path / "old")
    (tmp_path / "old" / "chat_template.jinja").write_text("hello")
    out = tmp_path / "new"
    words = ("depth", tmp_path / "old", "--repeat", "1:3", "--data", world / "web", "--out", out, "--windows", 2)
    status, _, errors = annealmix(*words, "--json")
    assert (status, errors) == (0, "")
    new = load_module(out)
    kinds = ["experts" if hasattr(layer.mlp, "experts") else "dense" for layer in new.model.layers]
    assert kinds == ["dense", "experts", "dense", "experts", "dense", "dense", "dense"]
    assert new.config.eos_token_id == [1, 2, 3, 4, 5]
    assert (out / "chat_template.jinja").read_text() == "hello"


@pytest.mark.parametrize("order", [[0, 1, 4], [0, 1, 2, 1, 2, 3, 4]])
def test_mergekit_is_told_the_same_order(order):
    recipe = mergekit(order, "models/llama", "bfloat16")
    assert [number for part in recipe["slices"] for number in range(*part["sources"][0]["layer_range"])] == order


def test_the_quietest_run_is_dropped_when_only_a_number_is_given(world, annealmix, gemma, tmp_path):
    status, output, _ = annealmix(
        "depth", gemma, "--drop", "2", "--data", world / "web", "--out", tmp_path / "new", "--windows", 2, "--json"
    )
    assert status == 0
    order = json.loads(output)["order"]
    assert (order[0], order[-1], len(order)) == (0, 4, 3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--drop", "0:2"], "--drop: got 0:2; expected layers between the first and the last, which do"),
        (["--repeat", "3:5"], "--repeat: got 3:5; expected layers between the first and the last, which do"),
        (["--drop", "3:3"], "--drop: got 3:3; expected A:B with 0 <= A < B <= 5"),
        (["--drop", "4"], "--drop: got 4; expected 1 to 3 layers: first and last stay"),
        (["--drop", "0:4", "--force"], "--drop: got 0:4; expected two layers at least that stay"),
        ([], "depth: got neither of --drop and --repeat; expected one of them"),
        (["--drop", "2:4", "--out", "{gemma}"], "got the model itself; expected a folder apart from the model"),
    ],
)
def test_what_cannot_be_made_is_one_line_and_nothing_is_written(world, annealmix, gemma, tmp_path, words, message):
    words = ["--out", tmp_path / "new", *[word.format(gemma=gemma) for word in words]]
    status, _, errors = annealmix("depth", gemma, "--data", world / "web", "--windows", 1, *words)
    assert (status, errors.count("\n")) == (2, 1)
    assert message in errors
    assert list(tmp_path.iterdir()) == []
