"""Distributed checkpoints as Megatron-LM writes them: all forms of names, with optimizer, arguments, random states."""

import io
import os
import pickle
from argparse import Namespace
from dataclasses import replace

import pytest
import torch

from tools.cli import main
from tools.errors import UserError
from tools.layers.own_model import checkpoints_in, open_own
from tools.recipe.yaml_file import write_yaml

pytestmark = pytest.mark.filterwarnings("ignore")

FORMS = {
    "stacked": ("", {}),
    "numbered": ("", {"non_homogeneous_layers": True}),
    "halved": ("", {"non_homogeneous_layers": True, "singleton_local_shards": True}),
    "prefixed": ("module.", {"non_homogeneous_layers": True}),
}
ARGS = Namespace(num_layers=2, seq_length=32, consumed_train_samples=640, tokenizer_type="NullTokenizer")


def write(folder, module, prefix, metadata, *, dtype=torch.float32):
    """The whole state of a training program, through megatron-core's own writer."""
    from megatron.core import dist_checkpointing
    from megatron.core.dist_checkpointing.mapping import ShardedObject, ShardedTensor
    from megatron.core.dist_checkpointing.utils import add_prefix_for_sharding

    model = module.to(dtype).sharded_state_dict(metadata=metadata)
    moments = ShardedTensor.from_rank_offsets("optimizer.state.exp_avg.decoder.final_layernorm.weight", torch.zeros(32))
    add_prefix_for_sharding(model, prefix)
    random = ShardedObject("rng_state", [{"torch_rng_state": torch.get_rng_state()}], (1, 1), (0, 0))
    extra = ShardedObject(f"{prefix}decoder.final_layernorm._extra_state", io.BytesIO(b"fp8"), (1,), (0,))
    state = {"args": ARGS, "checkpoint_version": 3.0, "iteration": 20, "model": {**model, "extra": extra}}
    folder.mkdir(parents=True)
    dist_checkpointing.save(
        {**state, "optimizer": {"exp_avg": moments, "param_groups": [{"lr": 0.1}]}, "rng_state": random},
        str(folder),
        content_metadata=metadata,
    )


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, tiny_recipe):
    path = tmp_path_factory.mktemp("recipe") / "model.yaml"
    values = tiny_recipe().model_dump(mode="json", by_alias=True, exclude_none=True)
    path.write_text(write_yaml(values))
    return path


@pytest.fixture
def theirs(alone, tiny_recipe):
    """A model of weights that no seed of ours draws."""
    from tools.runtime.model import model_for_reading

    module = model_for_reading(tiny_recipe(), 96)
    for weight in module.parameters():
        torch.nn.init.normal_(weight, generator=torch.Generator().manual_seed(weight.numel()))
    return module


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_names_gives_the_weights(theirs, recipe, tmp_path, form):
    folder = tmp_path / "run" / "iter_0000020"
    write(folder, theirs, *FORMS[form])
    opened = open_own(folder, recipe)
    assert (opened.name, opened.position) == ("run/iter_0000020", 640 * 32)
    found, expected = (dict(module.named_parameters()) for module in (opened.module, theirs))
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


def test_weights_in_bf16_are_read_in_the_precision_of_the_recipe(theirs, recipe, tmp_path):
    write(tmp_path / "iter_0000020", theirs, "", {}, dtype=torch.bfloat16)
    opened = open_own(tmp_path / "iter_0000020", recipe)
    found, expected = (dict(module.named_parameters()) for module in (opened.module, theirs))
    assert all(torch.equal(found[name], expected[name].float()) for name in expected)
    assert opened.dtype == torch.float32


def test_a_folder_of_iterations_is_a_run(theirs, recipe, tmp_path, world, monkeypatch, capsys):
    for iteration in (10, 20):
        write(tmp_path / "run" / f"iter_{iteration:07d}", theirs, "", {})
    (tmp_path / "run" / "iter_0000030").mkdir()  # unfinished
    assert [path.name for path in checkpoints_in(tmp_path / "run")] == ["iter_0000010", "iter_0000020"]
    words = ["layers", tmp_path / "run", "--recipe", recipe, "--data", world / "web", "--out", tmp_path / "out"]
    monkeypatch.setattr("sys.argv", ["annealmix", *map(str, words), "--windows", "2"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code in (0, None), capsys.readouterr().err
    assert (tmp_path / "out" / "report.html").is_file()


class Payload:
    """Unpickling it makes a folder."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


@pytest.mark.parametrize("key", ["rng_state/shard_0.0_1.1", "decoder.final_layernorm.weight"])
def test_an_object_is_never_unpickled(theirs, recipe, tmp_path, key):
    """Where nothing asks for it, it lies unread; where a weight is asked for under its name, it is refused."""
    from torch.distributed.checkpoint.metadata import BytesStorageMetadata, MetadataIndex

    folder, marker, stream = tmp_path / "iter_0000020", tmp_path / "the payload ran", io.BytesIO()
    write(folder, theirs, "", {})
    torch.save(Payload(marker), stream)
    (folder / "planted.distcp").write_bytes(stream.getvalue())
    metadata = pickle.loads((folder / ".metadata").read_bytes())
    place = next(place for place in metadata.storage_data if place.fqn == key)
    info = replace(metadata.storage_data[place], relative_path="planted.distcp", offset=0, length=stream.tell())
    metadata.storage_data[MetadataIndex(key)] = info
    metadata.state_dict_metadata[key] = BytesStorageMetadata()
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))
    if key.startswith("rng"):
        open_own(folder, recipe)
    else:
        with pytest.raises(
            UserError, match=r"\.metadata: got an object as decoder\.final_layernorm\.weight; expected a t"
        ):
            open_own(folder, recipe)
    assert not marker.exists()


def test_another_model_is_refused_in_one_line(theirs, recipe, tmp_path):
    write(tmp_path / "iter_0000020", theirs, "", {})
    with pytest.raises(UserError, match=r"iter_0000020: got .*; expected a checkpoint of this model") as refusal:
        open_own(tmp_path / "iter_0000020", recipe, ["model.num_layers=3"])
    assert "\n" not in str(refusal.value)
