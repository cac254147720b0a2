"""``annealmix bench layers``: what the analyzer costs beside a plain forward pass, and beside the published way.

Two measurements on random Llama models, in one process, two sides in turns, so that a machine that changes its speed
changes both:

- *time*: a plain forward pass, with the measures of whole layers, with those of their parts, and with all
  (parts, pairs, strata), which is set beside a pass that computes logits and loss as it does;
- *published way*, at 32 layers: ``output_hidden_states`` and a cosine of each neighbouring pair, without logits. The
  memory is the most that a pass holds at once, less that of a plain one.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from ..layers.hf_model import layered, random_llama
from ..layers.layered import LayeredModel
from ..layers.measure import measure
from ..layers.probe import Probe, ProbeBatch

_VOCABULARY = 4096

Side = Callable[[], object]


class _RandomProbe(Probe):
    """One micro-batch of random tokens, read again each time."""

    def __init__(self, windows: int, length: int) -> None:
        super().__init__((), (), length)
        tokens = np.random.default_rng(0).integers(0, _VOCABULARY, (windows, length))
        places = np.broadcast_to(np.arange(length), tokens.shape)
        rows = np.broadcast_to(np.arange(windows)[:, None], tokens.shape)
        everywhere = np.ones(tokens.shape, bool)
        object.__setattr__(
            self,
            "batch",
            ProbeBatch(tokens, np.roll(tokens, -1, 1), places, None, everywhere, rows, np.zeros_like(tokens)),
        )

    @property
    def names(self) -> list[str]:
        """One source."""
        return ["random"]

    def batches(self, micro_batch: int, *, rank: int = 0, size: int = 1) -> Any:
        """The one."""
        return iter([self.batch])  # type: ignore[attr-defined]


@dataclass(frozen=True)
class LayersBench:
    """Seconds a pass (medians), ratios (medians of the rounds' own), and memory beyond that of a plain pass."""

    hidden_size: int
    plain_s: float
    layers_ratio: float
    parts_ratio: float
    plain_with_loss_s: float
    everything_ratio: float
    published_ratio: float
    published_extra_bytes: int
    ours_extra_bytes: int


def bench_layers(*, rounds: int = 15, hidden_size: int = 256, num_layers: int = 32, windows: int = 4) -> LayersBench:
    """Measure at one width; ``published_ratio`` is our time over that of the published way."""
    model = layered(random_llama(hidden_size, num_layers, _VOCABULARY), name="random")
    probe = _RandomProbe(windows, 256)
    plain, with_loss, published = (partial(side, model, probe) for side in (_plain, _plain_with_loss, _published))
    layers = partial(measure, model, probe, with_parts=False, with_strata=False, with_pairs=False)
    parts = partial(measure, model, probe, with_strata=False, with_pairs=False)
    everything = partial(measure, model, probe)
    beside_plain = _in_turns(layers, plain, rounds)
    beside_published = _in_turns(layers, published, rounds)  # before logits are made anywhere
    parts_beside_plain = _in_turns(parts, plain, rounds)
    beside_loss = _in_turns(everything, with_loss, rounds)
    plain_bytes = peak_bytes(plain)
    return LayersBench(
        hidden_size,
        float(np.median(beside_plain[:, 1])),
        _ratio(beside_plain),
        _ratio(parts_beside_plain),
        float(np.median(beside_loss[:, 1])),
        _ratio(beside_loss),
        _ratio(beside_published),
        peak_bytes(published) - plain_bytes,
        peak_bytes(layers) - plain_bytes,
    )


def _in_turns(ours: Side, other: Side, rounds: int) -> npt.NDArray[np.float64]:
    """(rounds, 2) Seconds of both, one right after the other, each as often first as second; one round warms up."""
    seconds = np.zeros((rounds + 1, 2))
    for number in range(rounds + 1):
        for side in (0, 1) if number % 2 else (1, 0):
            seconds[number, side] = _seconds((ours, other)[side])
    return seconds[1:]


def _seconds(side: Side) -> float:
    began = time.perf_counter()
    side()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _ratio(seconds: npt.NDArray[np.float64]) -> float:
    return float(np.median(seconds[:, 0] / seconds[:, 1]))


def _tokens(model: LayeredModel, probe: _RandomProbe) -> torch.Tensor:
    return torch.from_numpy(next(probe.batches(1)).tokens).to(model.device)


@torch.no_grad()
def _plain(model: LayeredModel, probe: _RandomProbe) -> None:
    model.module.base_model(input_ids=_tokens(model, probe), use_cache=False)


@torch.no_grad()
def _plain_with_loss(model: LayeredModel, probe: _RandomProbe) -> None:
    tokens = _tokens(model, probe)
    logits = model.module(input_ids=tokens, use_cache=False).logits
    F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), tokens[:, 1:].flatten())


@torch.no_grad()
def _published(model: LayeredModel, probe: _RandomProbe) -> list[float]:
    """Every hidden state kept, then cosines of neighbours (the last of them after the final norm)."""
    output = model.module.base_model(input_ids=_tokens(model, probe), use_cache=False, output_hidden_states=True)
    states = output.hidden_states
    return [1 - F.cosine_similarity(x.float(), y.float(), dim=-1).mean().item() for x, y in pairwise(states)]


def peak_bytes(run: Callable[[], object]) -> int:
    """Most bytes that tensors made by ``run`` hold at once."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    held, most = 0, 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


def show_bench(result: LayersBench) -> str:
    """The result as lines of name and value."""
    lines = []
    for name, value in asdict(result).items():
        if name.endswith("_bytes"):
            name, value = name.replace("_bytes", "_mib"), value / 2**20
        lines.append(f"{name:<22} {value:,.3f}" if isinstance(value, float) else f"{name:<22} {value:,}")
    return "\n".join(lines)
