"""What ``annealmix depth`` leaves on the disk: whole or nothing, with all that a model needs, ready to train."""

import json
import resource
import shutil
from pathlib import Path

import pytest
import torch

from tools.errors import UserError
from tools.layers import hf_model
from tools.layers.depth import Change, run
from tools.layers.opening import Options
from tools.layers.own_model import checkpoints_in, open_own
from tools.recipe.yaml_file import read_yaml

transformers = pytest.importorskip("transformers")

TWICE = Change(drop=None, repeat="1:2", force=True)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "llama"
    config = transformers.LlamaConfig(
        vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4,
        max_position_embeddings=32, bos_token_id=None, eos_token_id=[1, 2, 3, 4],
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    for name in ("chat_template.jinja", "merges.txt", "LICENSE", "mergekit.yaml", "depth.json", "README.md"):
        (folder / name).write_text("of the old model")
    return folder


def test_a_model_brings_what_belongs_to_it_and_is_held_once(world, llama, tmp_path, monkeypatch):
    """Layers are moved, not read again; they are let go before what is written is looked at."""
    opened, load = [], hf_model.load_module

    def watched(path):
        assert all(weight.device.type == "meta" for module in opened for weight in module.parameters())
        opened.append(load(path))
        return opened[-1]

    monkeypatch.setattr(hf_model, "load_module", watched)
    out = tmp_path / "new"
    effect = run(llama, TWICE, Options([str(world / "web")], out, windows=2))
    assert len(opened) == 2
    assert opened[-1].config.eos_token_id == [1, 2, 3, 4]
    slices = read_yaml(out / "mergekit.yaml")["slices"]
    assert [number for part in slices for number in range(*part["sources"][0]["layer_range"])] == effect.order
    assert json.loads((out / "depth.json").read_text())["order"] == effect.order
    kept = {path.name for path in out.iterdir() if path.read_bytes() == b"of the old model"}
    assert kept == {"chat_template.jinja", "merges.txt", "LICENSE"}


@pytest.fixture
def small_disk():
    """Files end at 20,000 bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("kind", ["llama", "ours"])
def test_a_full_disk_is_one_line_and_nothing_is_left(straight, alone, llama, tmp_path, small_disk, kind):
    model = llama if kind == "llama" else straight.folder / "run"
    with pytest.raises(UserError, match="expected room and rights") as error:
        run(model, TWICE, Options([str(straight.data / "web")], tmp_path / "new", windows=1))
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_training_goes_on_from_a_model_of_ours(straight, alone, tmp_path):
    """At a learning rate of zero the weights stay what they were made; they outlive the checkpoints after them."""
    out = tmp_path / "deeper"
    run(straight.folder / "run", TWICE, Options([str(straight.data / "web")], out, windows=1))
    kept = ("checkpoints.keep_last=1", "phases.0.learning_rate=0", "phases.2.learning_rate=constant")
    words = ["pretrain", out / "recipe.yaml", *(word for setting in kept for word in ("--set", setting))]
    finished = straight.annealmix(*words, "--resume")
    assert finished.status == 0, finished.errors[-2000:]
    checkpoints = checkpoints_in(out)
    assert [path.name for path in checkpoints] == ["step_00000000", "step_00000016"]
    begun, trained = (dict(open_own(path).module.named_parameters()) for path in checkpoints)
    assert len(begun) > 20
    assert [name for name in begun if not torch.equal(begun[name], trained[name])] == []


@pytest.mark.parametrize(
    ("change", "out", "message"),
    [
        (Change("", None), "new", "--drop: got nothing; expected A:B"),
        (Change("1:2", None), "llama", "got the model itself"),
        (Change("1:2", None), "llama/new", "got inside"),
    ],
)
def test_what_is_asked_is_looked_at_before_the_model_is_opened(llama, tmp_path, monkeypatch, change, out, message):
    monkeypatch.setattr(hf_model, "load_module", lambda path: pytest.fail("it was opened"))
    shutil.copytree(llama, tmp_path / "llama")
    with pytest.raises(UserError, match=message):
        run(tmp_path / "llama", change, Options(["nowhere"], tmp_path / out))
    assert [path.name for path in Path(tmp_path).iterdir()] == ["llama"]
