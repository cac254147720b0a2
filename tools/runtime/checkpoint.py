"""Weights and optimizer state on disk: megatron-core's distributed checkpoint, with its traps mended.

What is mended (each has a test in tests/tools/test_checkpoint_traps.py):

- The stock writer forks processes from the trainer and hangs for ever when one of them dies. Here the same buckets are
  written by threads, through the same functions, and an error is an error.
- Before distributed-optimizer state can be loaded in a fresh process, Adam's moments must exist.
- ``fully_reshardable``, the form that can change TP and PP, trips over the ``step`` of torch's AdamW; and after a
  load all parameters share one ``step`` tensor, so Adam counts each step once per parameter, silently.
"""

import queue
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from megatron.core import dist_checkpointing
from megatron.core.dist_checkpointing.mapping import ShardedObject
from megatron.core.dist_checkpointing.strategies import filesystem_async
from megatron.core.dist_checkpointing.strategies.async_utils import AsyncRequest
from megatron.core.dist_checkpointing.strategies.torch import TorchDistSaveShardedStrategy
from megatron.core.dist_checkpointing.utils import add_prefix_for_sharding
from megatron.core.distributed import DistributedDataParallel
from megatron.core.optimizer import MegatronOptimizer
from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer
from torch.distributed.checkpoint.api import CheckpointException

from ..errors import UserError
from .optimizer import links
from .safe_files import check_metadata, refuse_wanted_objects
from .weight_names import WeightNames

_OURS = WeightNames()
_FORMAT = {
    "distrib_optim_sharding_type": "fully_reshardable",
    "distrib_optim_fully_reshardable_mem_efficient": False,
    "chained_optim_avoid_prefix": True,
}


class _ThreadedSave(TorchDistSaveShardedStrategy):  # type: ignore[misc]
    """Megatron's save strategy, whose buckets are written by threads of this process."""

    def __init__(self) -> None:
        super().__init__("torch_dist", 1)

    def async_save(self, sharded_state_dict: Any, checkpoint_dir: Path) -> AsyncRequest:
        """Plan as Megatron does; a queue of this process stands in for the one of a manager process."""
        filesystem_async._results_queue = queue.Queue()
        return super().async_save(sharded_state_dict, checkpoint_dir)

    def _get_save_and_finalize_callbacks(self, writer: Any, save_state_dict_ret: Any) -> AsyncRequest:
        request = super()._get_save_and_finalize_callbacks(writer, save_state_dict_ret)
        if writer.write_buckets:
            request = request._replace(async_fn=_write_with_threads, async_fn_args=(writer,))
        return request._replace(preload_fn=None)


def _write_with_threads(writer: Any) -> None:
    """Write each bucket to its file, synced; results or the first error go where the writer looks for them."""
    buckets = writer.preload_tensors(writer.write_buckets, non_blocking=True)
    with ThreadPoolExecutor(max_workers=len(buckets)) as pool:
        results = list(pool.map(_write_bucket, range(len(buckets)), buckets, [writer] * len(buckets)))
    failed = next((result for result in results if isinstance(result, Exception)), None)
    writer.results_queue.put(failed or dict(enumerate(results)))


def _write_bucket(index: int, bucket: Any, writer: Any) -> Any:
    results: queue.Queue[Any] = queue.Queue()
    running: queue.Queue[int] = queue.Queue()
    running.put(index)
    transforms = [writer.transforms] if hasattr(writer, "transforms") else []
    writer.write_preloaded_data(transforms, index, bucket, results, running, use_fsync=True)
    return results.get()[1]


def save_weights(folder: Path, model: DistributedDataParallel, optimizer: MegatronOptimizer) -> None:
    """Write this rank's part of model and optimizer into ``folder``, which exists; every rank calls it.

    Raises UserError where it can't be written.
    """
    if model.ddp_config.overlap_param_gather:
        model.start_param_sync(force_sync=True)  # the next forward would gather; what is saved must be whole now
    try:
        dist_checkpointing.save(
            _sharded_state(model, optimizer, is_loading=False), str(folder), sharded_strategy=_ThreadedSave()
        )
    except (OSError, CheckpointException) as error:
        raise UserError(str(folder), got=_telling_line(error), expected="room and rights for a checkpoint") from error


@torch.no_grad()
def load_weights(folder: Path, model: DistributedDataParallel, optimizer: MegatronOptimizer | None) -> None:
    """Read model and, if given, optimizer from ``folder``, whatever the layout it was saved in.

    Raises UserError where a file of it can't be read, or asks for more than tensors and plain values.
    """
    if optimizer is None:
        load_module(folder, model.module)
        return
    check_metadata(folder / ".metadata")
    for link in _distributed(optimizer):
        link._init_optimizer_states_with_dummy_values()
    with _own_step_tensors():
        state = _read(folder, _sharded_state(model, optimizer, is_loading=True))
        model.module.load_state_dict(state["model"], strict=False)
        optimizer.load_state_dict(state["optimizer"])


def save_module(folder: Path, module: torch.nn.Module) -> None:
    """Write the weights of a model that stands for itself into ``folder``, which exists; every rank calls it."""
    try:
        dist_checkpointing.save({"model": _module_state(module)}, str(folder), sharded_strategy=_ThreadedSave())
    except (OSError, CheckpointException) as error:
        raise UserError(str(folder), got=_telling_line(error), expected="room and rights for a checkpoint") from error


@torch.no_grad()
def load_module(folder: Path, module: torch.nn.Module) -> dict[str, Any]:
    """Read the weights of a model that stands for itself, as ``load_weights`` does, whoever wrote them.

    Returns what ``common.pt`` holds. Objects in the checkpoint (random states) are not read.
    """
    found = check_metadata(folder / ".metadata", allow_objects=True)
    names = WeightNames.of(map(str, found.state_dict_metadata))
    wanted = _module_state(module, names)
    refuse_wanted_objects(folder / ".metadata", found, [value.key for value in wanted.values()])
    state = _read(folder, {"model": wanted})
    module.load_state_dict(state.pop("model"), strict=False)
    return state


def _read(folder: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """Fill in what is wanted; torch's CheckpointException, which all ranks get, is no Exception."""
    try:
        state: dict[str, Any] = dist_checkpointing.load(wanted, str(folder))
    except (Exception, CheckpointException) as error:
        raise UserError(
            str(folder),
            got=_telling_line(error),
            expected="a checkpoint of this model, in files that hold tensors and plain values",
        ) from error
    return state


def _telling_line(error: BaseException) -> str:
    """The line that says what happened, out of a message to which torch adds advice and tracebacks."""
    lines = str(error).splitlines() or [""]
    telling = [line for line in lines if "rror: " in line] or lines
    return f"{type(error).__name__}: {telling[-1].strip()[:200]}"


def _sharded_state(model: DistributedDataParallel, optimizer: MegatronOptimizer, *, is_loading: bool) -> dict[str, Any]:
    state = {"model": _model_state(model)}
    state["optimizer"] = optimizer.sharded_state_dict(state["model"], is_loading=is_loading, metadata=_FORMAT)
    return state


def _model_state(model: DistributedDataParallel) -> Any:
    return _module_state(model.module)


def _module_state(module: torch.nn.Module, names: WeightNames = _OURS) -> Any:
    """The model's tensors; objects (Transformer Engine's ``_extra_state``) are pickles and left out."""
    state = module.sharded_state_dict(metadata={**_FORMAT, **names.metadata})  # type: ignore[operator]
    state = {name: value for name, value in state.items() if not isinstance(value, ShardedObject)}
    add_prefix_for_sharding(state, names.prefix)
    return state


def _distributed(optimizer: MegatronOptimizer) -> Iterator[DistributedOptimizer]:
    return (link for link in links(optimizer) if isinstance(link, DistributedOptimizer))


@contextmanager
def _own_step_tensors() -> Iterator[None]:
    """While loading, give each parameter's Adam its own ``step``, kept as the loaded groups say."""
    stock = DistributedOptimizer._set_main_param_and_optimizer_states

    def with_own_step(self: DistributedOptimizer, model_param: Any, tensors: dict[str, Any]) -> None:
        group, order = self.model_param_group_index_map[model_param]
        state = self.optimizer.state[self.optimizer.param_groups[group]["params"][order]]
        if isinstance(state.get("step"), torch.Tensor):
            state["step"] = state["step"].clone()
            tensors = {**tensors, "step": state["step"].clone()}
        stock(self, model_param, tensors)

    DistributedOptimizer._set_main_param_and_optimizer_states = with_own_step
    try:
        yield
    finally:
        DistributedOptimizer._set_main_param_and_optimizer_states = stock
