"""The processes of a run: torch.distributed, megatron-core's parallel state, this rank's place in the layout."""

import hashlib
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import torch
import torch.distributed as dist

from mixer.rows import Source

from ..errors import UserError
from ..recipe.schema import Parallelism, Recipe
from . import cpu_compat


@dataclass(frozen=True)
class Layout:
    """Where this process stands: sizes and ranks, tensor x pipeline x data parallel."""

    tensor: int
    pipeline: int
    context: int
    data: int
    data_rank: int
    rank: int

    @property
    def world(self) -> int:
        """Number of processes."""
        return self.tensor * self.pipeline * self.context * self.data

    @property
    def is_first(self) -> bool:
        """Whether this process speaks for all."""
        return self.rank == 0


def device() -> torch.device:
    """The device that this process computes on."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


@cache
def has_transformer_engine() -> bool:
    """Whether Transformer Engine can be used here."""
    if not torch.cuda.is_available():
        return False
    try:
        import transformer_engine.pytorch  # noqa: F401
    except ImportError:
        return False
    return True


def refuse_impossible(parallelism: Parallelism, world_size: int) -> None:
    """Say at the start what this layout can't do with the parts installed here; UserError with the reason."""
    model_parallel = (
        parallelism.tensor_model_parallel_size
        * parallelism.pipeline_model_parallel_size
        * parallelism.context_parallel_size
    )
    if world_size % model_parallel:
        raise UserError(
            "parallelism",
            got=f"{world_size} processes for tensor x pipeline x context = {model_parallel}",
            expected="a number of processes that this product divides",
            fix=f"start with torchrun --nproc-per-node {model_parallel} or a multiple of it",
        )
    missing = "Transformer Engine, which is not installed here (megatron-core's local layers have no such form)"
    if parallelism.sequence_parallel and not has_transformer_engine():
        raise UserError("parallelism.sequence_parallel", got="true", expected=missing, fix="set it to false")
    if parallelism.context_parallel_size > 1:
        reason = "1: windows of several conversations are not cut over context-parallel ranks yet"
        expected = reason if has_transformer_engine() else missing
        size = str(parallelism.context_parallel_size)
        raise UserError("parallelism.context_parallel_size", got=size, expected=expected, fix="set it to 1")


def refuse_packed_pipeline(recipe: Recipe, sources: Mapping[str, Source]) -> None:
    """Refuse windows of several documents in a pipeline of Transformer Engine layers, unless micro-batches are single.

    Transformer Engine takes such windows laid end to end, (batch x seq, 1, hidden), while pipeline stages exchange
    (seq, batch, hidden): with more than one window the numbers would arrive in another order, silently.
    """
    stages = recipe.parallelism.pipeline_model_parallel_size
    apart = [name for name, source in sources.items() if not source.plain]
    if apart and stages > 1 and recipe.micro_batch_size > 1 and has_transformer_engine():
        got = f"{recipe.micro_batch_size} with {stages} pipeline stages, and documents kept apart in source {apart[0]}"
        expected = "1 where Transformer Engine and pipeline stages meet windows of several documents"
        raise UserError("micro_batch_size", got=got, expected=expected)


def start(parallelism: Parallelism) -> Layout:
    """Join the other processes of a torchrun launch, or stand alone; sets up megatron-core's groups."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS", "1")
    if "WORLD_SIZE" not in os.environ and tasks != "1":
        got = f"{tasks} tasks that don't know of each other"
        raise UserError("srun", got=got, expected="one torchrun a node (docs/parallel.md)")
    refuse_impossible(parallelism, world_size)
    prepare()
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if not dist.is_initialized():
        _join("nccl" if torch.cuda.is_available() else "gloo", world_size)
    return _initialize_groups(parallelism)


def is_first() -> bool:
    """Whether this process speaks for all, started or not."""
    return not dist.is_initialized() or dist.get_rank() == 0


def start_once(parallelism: Parallelism) -> None:
    """Start, unless this process has been started in the same layout; another one is refused."""
    if not dist.is_initialized():
        start(parallelism)
        return
    from megatron.core import parallel_state

    sizes = (
        parallel_state.get_tensor_model_parallel_world_size(),
        parallel_state.get_pipeline_model_parallel_world_size(),
    )
    asked = (parallelism.tensor_model_parallel_size, parallelism.pipeline_model_parallel_size)
    if sizes != asked:
        raise UserError("parallelism", got=f"tensor x pipeline {asked}", expected=f"{sizes}, as it was started")


def prepare() -> None:
    """Make this process ready to import megatron-core; call it first.

    Answers for CUDA where there is none, and leaves out what megatron-core and torch say about parts that are not
    installed. On the CPU no kernel is compiled, and loading the compiler would take two seconds of every start.
    """
    if not torch.cuda.is_available():
        os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    warnings.filterwarnings("ignore", module=r"megatron\.|torch\.")
    warnings.filterwarnings("ignore", message="Please use DTensor")
    warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf Tensor")
    cpu_compat.install()


def _join(backend: str, world_size: int) -> None:
    """Meet the other processes; a lone one keeps its store in memory, which needs no port and no environment."""
    if world_size > 1:
        dist.init_process_group(backend)
    else:
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]


def _initialize_groups(parallelism: Parallelism) -> Layout:
    from megatron.core import parallel_state

    parallel_state.initialize_model_parallel(
        tensor_model_parallel_size=parallelism.tensor_model_parallel_size,
        pipeline_model_parallel_size=parallelism.pipeline_model_parallel_size,
        context_parallel_size=parallelism.context_parallel_size,
    )
    return Layout(
        tensor=parallelism.tensor_model_parallel_size,
        pipeline=parallelism.pipeline_model_parallel_size,
        context=parallelism.context_parallel_size,
        data=parallel_state.get_data_parallel_world_size(),
        data_rank=parallel_state.get_data_parallel_rank(),
        rank=dist.get_rank(),
    )


def seed_everything(seed: int, *, step: int = 0) -> None:
    """Set every random state of this process from the run's seed and the step, so that no state needs saving.

    Pipeline stages draw differently, data-parallel ranks alike, and tensor-parallel ranks as megatron-core has it; the
    hash keeps one step's seeds from being another's, shifted by a rank.
    """
    from megatron.core import parallel_state, tensor_parallel

    place = f"{seed}/{step}/{parallel_state.get_pipeline_model_parallel_rank()}"
    mixed = int.from_bytes(hashlib.blake2b(place.encode(), digest_size=8).digest(), "little") >> 33
    torch.manual_seed(mixed)
    tensor_parallel.model_parallel_cuda_manual_seed(mixed, force_reset_rng=True)


def stop() -> None:
    """Leave the process groups."""
    from megatron.core import parallel_state

    parallel_state.destroy_model_parallel()
    if dist.is_initialized():
        dist.destroy_process_group()
