"""What lets megatron-core train without CUDA: the few calls it makes of ``torch.cuda``, answered by the CPU.

megatron-core 0.16 asks the current CUDA device for buffers, random states and streams even where every tensor lives on
the CPU. ``install()`` answers those calls and nothing more; it does nothing where CUDA is available. It has to run
before megatron.core is imported, because some modules bind these functions at import.

Each answer has a test in tests/tools/test_cpu_compat.py that fails without it.
"""

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_CPU = torch.device("cpu")


class _Stream:
    """The CPU has one queue: waiting for it is done before it is asked for. A class, as its name stands in types."""

    def __init__(self, *args: object, **options: object) -> None:
        pass

    def wait_stream(self, other: object) -> None:
        """Nothing to wait for."""

    def synchronize(self) -> None:
        """Nothing to wait for."""


class CudaOnCpu(TorchFunctionMode):
    """Turns ``device="cuda"`` into the CPU, and answers ``Tensor.type()`` with the ``torch.cuda.*`` name.

    The name is what megatron-core's gradient clipping asserts before it scales gradients.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run ``func`` with its device mended."""
        if not kwargs:
            if func is torch.Tensor.type and len(args) == 1:
                return func(*args).replace("torch.", "torch.cuda.", 1)
            return func(*args)
        device = kwargs.get("device")
        if device is not None and torch.device(device).type == "cuda":
            kwargs = {**kwargs, "device": _CPU}
        return func(*args, **kwargs)


def _on_cpu(recompute: Callable[..., Any]) -> Callable[..., Any]:
    """Run a recomputation under the mode: torch switches it off for all that happens inside ``backward``."""

    def recompute_on_cpu(*args: Any, **kwargs: Any) -> Any:
        with CudaOnCpu():
            return recompute(*args, **kwargs)

    return recompute_on_cpu


_ANSWERS: dict[str, Callable[..., Any]] = {
    "current_device": lambda: _CPU,
    "set_device": lambda device: None,
    "synchronize": lambda device=None: None,
    "get_rng_state": lambda device="cuda": torch.get_rng_state(),
    "set_rng_state": lambda state, device="cuda": torch.set_rng_state(state),
    "manual_seed": lambda seed: torch.manual_seed(seed),
    "current_stream": lambda device=None: _Stream(),
    "Stream": _Stream,
}


@cache
def install() -> bool:
    """Answer for CUDA where there is none; returns whether anything was installed. A second call does nothing."""
    if torch.cuda.is_available():
        return False
    for name, answer in _ANSWERS.items():
        setattr(torch.cuda, name, answer)
    torch.Tensor.cuda = lambda self, *args, **options: self  # type: ignore[method-assign]
    CudaOnCpu().__enter__()  # type: ignore[no-untyped-call]
    # It warns whenever the CPU's random state moves while the GPU's is forked; here they are one.
    logging.getLogger("megatron.core.tensor_parallel.random").setLevel(logging.ERROR)
    from megatron.core.tensor_parallel import random

    random._get_cuda_rng_state = lambda device="cuda", clone=False, graph_safe=False: torch.get_rng_state()
    random._set_cuda_rng_state = lambda state, device=-1, graph_safe=False: torch.set_rng_state(state)
    random.CheckpointFunction.backward = staticmethod(_on_cpu(random.CheckpointFunction.backward))
    return True
