"""Each answer of cpu_compat, alone: with it a use of torch works, with the stock one in its place it doesn't.

Answers are for a whole process and can't be taken back, so one process of its own asks all questions: it keeps the
stock functions, installs, and for each answer tries the use twice, the second time with the stock function put back.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="nothing is installed where CUDA is available")

REPOSITORY = Path(__file__).parents[2]
PROBES = """
import inspect, json, sys, warnings
from contextlib import contextmanager
import torch
from torch.overrides import _pop_mode_temporarily
from tools.runtime import cpu_compat

warnings.simplefilter("ignore")
SEED = torch.Generator().manual_seed(5).get_state()


def draws_like_seed_5():
    return torch.equal(torch.rand(4), torch.rand(4, generator=torch.Generator().manual_seed(5)))


def current_device():
    assert torch.empty(2, device=torch.cuda.current_device()).device.type == "cpu"


def set_device():
    torch.cuda.set_device(0)


def synchronize():
    torch.cuda.synchronize()
    torch.cuda.synchronize(device="cuda")


def get_rng_state():
    assert torch.equal(torch.cuda.get_rng_state(), torch.get_rng_state())


def set_rng_state():
    torch.manual_seed(1)
    torch.cuda.set_rng_state(SEED)
    assert draws_like_seed_5()


def manual_seed():
    torch.manual_seed(1)
    torch.cuda.manual_seed(5)
    assert draws_like_seed_5()


def current_stream():
    torch.cuda.current_stream().wait_stream(torch.cuda.current_stream(None))
    torch.cuda.current_stream().synchronize()


def Stream():
    torch.cuda.Stream(priority=-1).wait_stream(torch.cuda.Stream())


def stream():
    with torch.cuda.stream(torch.cuda.Stream()):
        assert torch.ones(2).sum() == 2


def tensor_cuda():
    tensor = torch.ones(2)
    assert tensor.cuda() is tensor
    assert tensor.cuda(torch.cuda.current_device(), non_blocking=True) is tensor


def _get_cuda_rng_state():
    from megatron.core.tensor_parallel import random
    for state in (random._get_cuda_rng_state(), random._get_cuda_rng_state(clone=True, graph_safe=True)):
        assert torch.equal(state, torch.get_rng_state())


def _set_cuda_rng_state():
    from megatron.core.tensor_parallel import random
    torch.manual_seed(1)
    random._set_cuda_rng_state(SEED, device=-1, graph_safe=False)
    assert draws_like_seed_5()


def on_cuda(x):
    return x * torch.ones(2, device="cuda")


def backward():
    from megatron.core.tensor_parallel import checkpoint
    x = torch.ones(2, requires_grad=True)
    checkpoint(on_cuda, False, x).sum().backward()
    assert x.grad.tolist() == [1, 1]


def cuda_device():
    for device in ("cuda", "cuda:0", torch.device("cuda", 0)):
        assert torch.zeros(2, device=device).device.type == "cpu"
        assert torch.ones(2).to(device=device).device.type == "cpu"
    assert torch.zeros(2, device="cpu").device.type == "cpu"
    assert torch.zeros(2, device="meta").device.type == "meta"


def type_name():
    assert torch.zeros(2).type() == "torch.cuda.FloatTensor"
    assert torch.zeros(2, dtype=torch.bfloat16).type() == "torch.cuda.BFloat16Tensor"
    assert torch.zeros(2).type(torch.int64).dtype == torch.int64


def works(probe):
    try:
        probe()
    except Exception:
        return False
    return True


@contextmanager
def stock_again(holder, name, stock):
    ours = inspect.getattr_static(holder, name)
    setattr(holder, name, stock)
    try:
        yield
    finally:
        setattr(holder, name, ours)


def with_and_without():
    from megatron.core.tensor_parallel import random
    held = [(torch.cuda, name) for name in cpu_compat._ANSWERS] + [(torch.Tensor, "cuda")]
    held += [(random, "_get_cuda_rng_state"), (random, "_set_cuda_rng_state")]
    held += [(random.CheckpointFunction, "backward")]
    stock = [(holder, name, inspect.getattr_static(holder, name)) for holder, name in held]
    assert cpu_compat.install()
    for holder, name, function in stock:
        probe = globals()["tensor_cuda" if holder is torch.Tensor else name]
        found = works(probe)
        with stock_again(holder, name, function):
            yield probe.__name__, [found, works(probe)]
    for probe in (cuda_device, type_name):
        found = works(probe)
        with _pop_mode_temporarily():
            yield probe.__name__, [found, works(probe)]


print(json.dumps(dict(with_and_without())))
"""
ANSWERS = [
    *("current_device", "set_device", "synchronize", "get_rng_state", "set_rng_state", "manual_seed"),
    *("current_stream", "Stream", "tensor_cuda", "_get_cuda_rng_state", "_set_cuda_rng_state"),
    *("cuda_device", "type_name", "backward"),
]


@pytest.fixture(scope="module")
def tried():
    """Answer -> whether its use works with it, and with the stock function in its place."""
    finished = subprocess.run(
        [sys.executable, "-c", PROBES], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    return json.loads(finished.stdout.splitlines()[-1])


def test_no_answer_is_without_a_test(tried):
    """``stream`` may be answered or not: the stock one does nothing where there is no CUDA."""
    assert sorted(tried.keys() - {"stream"}) == sorted(ANSWERS)


@pytest.mark.parametrize("answer", ANSWERS)
def test_each_answer_is_needed_and_works(tried, answer):
    assert tried[answer] == [True, False]


TWICE = """
import torch
from torch.overrides import _get_current_function_mode_stack
from tools.runtime import cpu_compat

assert cpu_compat.install() and cpu_compat.install()
assert len(_get_current_function_mode_stack()) == 1
with torch.cuda.stream(torch.cuda.Stream()):
    torch.ones(2).sum()
torch.cuda.is_available = lambda: True
cpu_compat.install.cache_clear()
assert not cpu_compat.install()
assert len(_get_current_function_mode_stack()) == 1
"""


def test_a_second_call_does_nothing_and_so_does_one_where_cuda_is():
    finished = subprocess.run(
        [sys.executable, "-c", TWICE], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
