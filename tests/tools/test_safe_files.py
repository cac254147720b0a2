"""Checkpoints of strangers: a payload planted in any file of one is refused, and never runs.

The payload, when unpickled, makes a folder; a test of its own shows that it would. Files are spoiled in a copy of a
real checkpoint of a tiny model.
"""

import io
import os
import pickle
import shutil
from dataclasses import replace
from enum import Enum

import pytest
import torch
from torch.distributed.checkpoint.metadata import BytesStorageMetadata, MetadataIndex
from torch.distributed.checkpoint.planner import WriteItemType

from tools.errors import UserError
from tools.pretrain.checkpoint_store import CheckpointStore, check
from tools.pretrain.state import RunState
from tools.runtime.checkpoint import load_weights, save_weights
from tools.runtime.safe_files import check_metadata

pytestmark = pytest.mark.filterwarnings("ignore")

STATE = RunState(
    1, consumed_samples=4, consumed_tokens=64, history={}, hyperparameters={}, batch_size=[[0, 4]], model={}, sources={}
)
NORM, EMBEDDING = "decoder.final_layernorm.weight", "embedding.word_embeddings.weight"


class Payload:
    """Unpickling it makes a folder."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


@pytest.fixture(scope="module")
def trained(new_engine, tmp_path_factory, tiny_recipe, tiny_batch, tiny_values):
    """The store of a run of one step, and its engine."""
    engine = new_engine(tiny_recipe())
    engine.step(tiny_batch(), tiny_values(1e-2))
    store = CheckpointStore(tmp_path_factory.mktemp("trained"))
    store.write(
        STATE,
        lambda folder: save_weights(folder, engine.model, engine.optimizer),
        is_first=True,
        barrier=torch.distributed.barrier,
    )
    return store, engine


@pytest.fixture
def store(trained, tmp_path):
    """A copy of that store, to spoil."""
    shutil.copytree(trained[0].folder, tmp_path / "checkpoints")
    return CheckpointStore(tmp_path / "checkpoints")


@pytest.fixture
def folder(store):
    return store.path(1)


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "the payload ran"


@pytest.fixture
def load(new_engine, tiny_recipe):
    """Load a folder into a fresh model and optimizer; with weights alone where asked."""

    def into_fresh(folder, *, weights_only=False):
        engine = new_engine(tiny_recipe("seed=8"))
        load_weights(folder, engine.model, None if weights_only else engine.optimizer)
        return engine

    return into_fresh


def metadata_of(folder):
    return pickle.loads((folder / ".metadata").read_bytes())


def write_metadata(folder, metadata):
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))


def packed(payload):
    """The payload as torch writes an object."""
    stream = io.BytesIO()
    torch.save(payload, stream)
    return stream.getvalue()


def point_at(metadata, key, content, *, index=None):
    """Make the metadata say that the tensor ``key`` is all of ``content``, in planted.distcp."""
    before = next(place for place in metadata.storage_data if place.fqn == key)
    info = replace(metadata.storage_data[before], relative_path="planted.distcp", offset=0, length=len(content))
    metadata.storage_data[index or before] = info


def in_place_of_the_metadata(folder, payload):
    (folder / ".metadata").write_bytes(pickle.dumps(payload))


def inside_the_metadata(folder, payload):
    write_metadata(folder, replace(metadata_of(folder), planner_data=payload))


def in_a_key_of_the_metadata(folder, payload):
    metadata = metadata_of(folder)
    metadata.state_dict_metadata[(payload,)] = None
    write_metadata(folder, metadata)


def as_an_object(key):
    """The metadata calls an object what the model asks for as a tensor; the stock reader then unpickles it."""

    def plant(folder, payload):
        metadata = metadata_of(folder)
        entry = BytesStorageMetadata()
        entry.size = metadata.state_dict_metadata[key].size
        point_at(metadata, key, packed(payload), index=MetadataIndex(key))
        metadata.state_dict_metadata[key] = entry
        (folder / "planted.distcp").write_bytes(packed(payload))
        write_metadata(folder, metadata)

    plant.__name__ = f"as_an_object_{key}"
    return plant


def as_a_tensor_of_a_shard(folder, payload):
    metadata = metadata_of(folder)
    point_at(metadata, NORM, packed(payload))
    (folder / "planted.distcp").write_bytes(packed(payload))
    write_metadata(folder, metadata)


def in_place_of_every_shard(folder, payload):
    for shard in folder.glob("*.distcp"):
        shard.write_bytes(pickle.dumps(payload))


def at_the_start_of_a_shard(folder, payload):
    shard = min(folder.glob("*.distcp"))
    content = packed(payload)
    shard.write_bytes(content + shard.read_bytes()[len(content) :])


def in_place_of_common(folder, payload):
    (folder / "common.pt").write_bytes(pickle.dumps(payload))


def inside_common(folder, payload):
    torch.save({**torch.load(folder / "common.pt"), "optimizer": payload}, folder / "common.pt")


def in_the_old_form_of_common(folder, payload):
    torch.save({"optimizer": payload}, folder / "common.pt", _use_new_zipfile_serialization=False)


def in_the_names_of_backends(folder, payload):
    (folder / "metadata.json").write_bytes(pickle.dumps(payload))


PLANTS = [
    in_place_of_the_metadata,
    inside_the_metadata,
    in_a_key_of_the_metadata,
    as_an_object(NORM),
    as_an_object(EMBEDDING),
    as_an_object(f"optimizer.state.exp_avg.{NORM}"),
    as_a_tensor_of_a_shard,
    in_place_of_every_shard,
    at_the_start_of_a_shard,
    in_place_of_common,
    inside_common,
    in_the_old_form_of_common,
    in_the_names_of_backends,
]


def test_the_payload_would_run(marker):
    pickle.loads(pickle.dumps(Payload(marker)))
    assert marker.is_dir()


def test_the_untouched_checkpoint_passes(trained, store, folder, load):
    check_metadata(folder / ".metadata")
    assert store.newest_valid(print) == (folder, STATE)
    loaded, saved = (dict(engine.model.named_parameters()) for engine in (load(folder), trained[1]))
    assert [name for name in saved if not torch.equal(loaded[name], saved[name])] == []


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_payload_is_refused_and_does_not_run(folder, marker, load, plant):
    plant(folder, Payload(marker))
    with pytest.raises(UserError) as refusal:
        load(folder)
    assert not marker.exists()
    assert str(refusal.value).startswith(str(folder))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("plant", [inside_the_metadata, as_an_object(NORM), as_a_tensor_of_a_shard, inside_common])
def test_weights_alone_are_read_as_carefully(folder, marker, load, plant):
    plant(folder, Payload(marker))
    with pytest.raises(UserError):
        load(folder, weights_only=True)
    assert not marker.exists()


@pytest.mark.parametrize("name", [".metadata", "common.pt", "__0_0.distcp", "files.json", "run_state.json"])
def test_a_payload_in_a_sealed_file_is_noticed_before_it_is_read(store, folder, marker, name):
    (folder / name).write_bytes(pickle.dumps(Payload(marker)))
    complaint, state = check(folder)
    assert complaint
    assert state is None
    assert store.newest_valid(lambda line: None) is None
    assert not marker.exists()


def unlink(path):
    path.unlink()


def empty(path):
    path.write_bytes(b"")


def cut(path):
    path.write_bytes(path.read_bytes()[:700])


def spoil(path):
    path.write_bytes(bytes(reversed(path.read_bytes())))


@pytest.mark.parametrize("damage", [unlink, empty, cut, spoil])
@pytest.mark.parametrize("name", [".metadata", "common.pt", "__0_0.distcp", "metadata.json"])
def test_damage_is_refused_in_one_line(folder, load, name, damage):
    if name == "metadata.json" and damage is cut:
        pytest.skip("it is shorter than the cut")
    damage(folder / name)
    with pytest.raises(UserError) as refusal:
        load(folder)
    assert str(refusal.value).startswith(str(folder))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("value", [3, {}, [], "text"])
def test_harmless_pickles_are_no_metadata(tmp_path, value):
    path = tmp_path / ".metadata"
    path.write_bytes(pickle.dumps(value))
    with pytest.raises(UserError, match=f"got a pickled {type(value).__name__}; expected the metadata"):
        check_metadata(path)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("torch", "load"),
        ("torch", "ops"),
        ("torch.serialization", "load"),
        ("builtins", "eval"),
        ("pathlib", "Path.unlink"),
        ("torch.distributed.checkpoint.metadata", "os.system"),
    ],
)
def test_names_outside_the_list_are_not_even_looked_up(tmp_path, module, name):
    path = tmp_path / ".metadata"
    path.write_bytes(
        b"\x80\x04\x8c"
        + bytes([len(module)])
        + module.encode()
        + b"\x8c"
        + bytes([len(name)])
        + name.encode()
        + b"\x93."
    )
    with pytest.raises(UserError, match=f"asks for {module}.{name}"):
        check_metadata(path)


class EarlyPickler(pickle.Pickler):
    """Writes members of an Enum as the first releases of Python 3.11 do."""

    def reducer_override(self, value):
        return (getattr, (type(value), value.name)) if isinstance(value, Enum) else NotImplemented


def test_members_of_an_enum_are_read_as_early_python_writes_them(folder):
    path = folder / ".metadata"
    found, buffer = check_metadata(path), io.BytesIO()
    EarlyPickler(buffer).dump(found)
    assert b"getattr" in buffer.getvalue()
    path.write_bytes(buffer.getvalue())
    assert check_metadata(path) == found


class Attribute:
    """Unpickling it asks for an attribute."""

    def __init__(self, *of):
        self.of = of

    def __reduce__(self):
        return getattr, self.of


@pytest.mark.parametrize("of", [(MetadataIndex, "__init__"), (MetadataIndex("a"), "fqn"), (WriteItemType, "__class__")])
def test_no_other_attribute_is_read(folder, of):
    (folder / ".metadata").write_bytes(pickle.dumps(Attribute(*of)))
    with pytest.raises(UserError, match=r"got (a pickle that asks for builtins\.getattr|KeyError: '__class__')"):
        check_metadata(folder / ".metadata")
