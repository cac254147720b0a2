"""Reading other people's checkpoints without running what is planted in them.

A distributed checkpoint's ``.metadata`` is a pickle, and torch's reader unpickles it freely. ``check_metadata`` reads
it first with an unpickler that knows only the classes such a file is made of, so the stock reader then meets bytes
already found harmless. Tensor files and ``common.pt`` are read by torch with ``weights_only=True``.

What the metadata calls an object (``BytesStorageMetadata``), and not a tensor, the stock reader unpickles freely from
its shard, even where a tensor was asked for. Our checkpoints hold no objects, so that class is not a known one.
Megatron-LM's hold some (random states); where weights alone are read, objects may lie in a checkpoint if
``refuse_wanted_objects`` finds none under the name of a tensor that is asked for.
"""

import pickle
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.metadata import BytesStorageMetadata, Metadata

from ..errors import UserError

# Everything that torch and megatron-core write into .metadata; a name that is not here is not loaded.
_ALLOWED = {
    ("torch.distributed.checkpoint.metadata", name)
    for name in (
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    )
} | {
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch.distributed._shard.sharded_tensor.metadata", "TensorProperties"),
    ("torch.distributed._shard.sharded_tensor.metadata", "MEM_FORMAT_ENCODING"),
    ("torch.distributed.checkpoint.planner", "SavePlan"),
    ("torch.distributed.checkpoint.planner", "WriteItem"),
    ("torch.distributed.checkpoint.planner", "WriteItemType"),
    ("torch.distributed.checkpoint.planner", "TensorWriteData"),
    ("torch.serialization", "_get_layout"),
    ("torch", "Size"),
    ("torch", "device"),
    ("collections", "OrderedDict"),
    ("pathlib", "PosixPath"),
    ("pathlib", "Path"),
}

# torch.float32, torch.strided, torch.contiguous_format and the like: values, not code.
_CONSTANTS = (torch.dtype, torch.layout, torch.memory_format)


_OBJECT = (BytesStorageMetadata.__module__, BytesStorageMetadata.__name__)


class _MetadataUnpickler(pickle.Unpickler):
    """Unpickles the classes of a checkpoint's metadata, torch's dtypes and layouts, and nothing else."""

    allow_objects = False

    def find_class(self, module: str, name: str) -> Any:
        """The class, or an UnpicklingError that names what was asked for."""
        if self.allow_objects and (module, name) == _OBJECT:
            return BytesStorageMetadata
        if (module, name) == ("builtins", "getattr"):
            return _member
        if (module, name) in _ALLOWED or (module == "torch" and isinstance(getattr(torch, name, None), _CONSTANTS)):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name}")


def _member(known: Any, name: str) -> Any:
    """The member of an Enum, which the first releases of Python 3.11 pickle as a call of ``getattr``; nothing else."""
    if not (isinstance(known, type) and issubclass(known, Enum)):
        raise pickle.UnpicklingError("builtins.getattr")
    return known[name]


def check_metadata(path: Path, *, allow_objects: bool = False) -> Metadata:
    """The metadata of a checkpoint of tensors, which holds only known classes; raise UserError where it doesn't.

    With ``allow_objects`` it may name objects too; see ``refuse_wanted_objects``.
    """
    complaint = ""
    try:
        with path.open("rb") as file:
            unpickler = _MetadataUnpickler(file)
            unpickler.allow_objects = allow_objects
            found = unpickler.load()
        if isinstance(found, Metadata):
            return found
        complaint = f"a pickled {type(found).__name__}"
    except pickle.UnpicklingError as error:
        complaint = f"a pickle that asks for {error}"
    except Exception as error:  # spoiled bytes can raise anything
        complaint = f"{type(error).__name__}: {error}"
    raise UserError(str(path), got=complaint, expected="the metadata of a distributed checkpoint of tensors")


def refuse_wanted_objects(path: Path, found: Metadata, wanted: Iterable[str]) -> None:
    """Raise UserError where an object stands under a name that begins with that of a wanted tensor."""
    objects = [str(key) for key, kind in found.state_dict_metadata.items() if isinstance(kind, BytesStorageMetadata)]
    for name in wanted:
        if planted := next((key for key in objects if key.startswith(name)), None):
            raise UserError(str(path), got=f"an object as {planted}", expected="a tensor")
