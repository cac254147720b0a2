"""``annealmix bench layers``: what the analyzer costs beside a plain forward pass, and beside the published way.

Two measurements on random Llama models, in one process, two sides in turns, so that a machine that changes its speed
changes both:

- *time*: a plain forward pass, with the measures of whole layers, with those of their parts, and with all
  (parts, pairs, strata), which is set beside a pass that computes logits and loss as it does;
- *published way*, at 32 layers: ``output_hidden_states`` and a cosine of each neighbouring pair, without logits. The
  memory is the most that a pass holds at once, less that of a plain one.

All sides have the memory of the pass before at hand, as the command has.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table

from ..layers.hf_model import layered, random_llama
from ..layers.layered import LayeredModel
from ..layers.measure import measure
from ..layers.probe import Probe, ProbeBatch
from ..runtime.allocator import keep_freed_memory

_VOCABULARY = 4096
_WINDOWS = 4  # a pass, as many as the command's own
_MOST = {"layers": 1.05 if torch.cuda.is_available() else 1.10, "everything": 1.25, "published": 1.0}
_LEAST_MEMORY_RATIO = 5.0

Side = Callable[[], object]
Floats = npt.NDArray[np.float64]


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
class Ratio:
    """Time of one side over that of another: median of the rounds' own ratios, and the ends of its 95 % interval.

    Both are None with fewer than six rounds. ``target`` is the most that the median may be, None where there is none.
    """

    what: str
    median: float
    low: float | None
    high: float | None
    target: float | None = None


@dataclass(frozen=True)
class LayersBench:
    """Ratios of time, seconds of the plain sides, and the most memory that a pass holds beyond that of a plain one."""

    hidden_size: int
    num_layers: int
    tokens: int
    rounds: int
    plain_s: float
    plain_with_loss_s: float
    ratios: list[Ratio]
    ours_extra_bytes: int
    published_extra_bytes: int


def bench_layers(
    *, rounds: int = 40, hidden_size: int = 256, sequence_length: int = 256, num_layers: int = 32
) -> LayersBench:
    """Measure at one width, with windows of so many tokens."""
    keep_freed_memory()
    model = layered(random_llama(hidden_size, num_layers, _VOCABULARY), name="random")
    probe = _RandomProbe(_WINDOWS, sequence_length)
    plain, with_loss, published = (partial(side, model, probe) for side in (_plain, _plain_with_loss, _published))
    layers = partial(measure, model, probe, with_parts=False, with_strata=False, with_pairs=False)
    parts = partial(measure, model, probe, with_strata=False, with_pairs=False)
    beside_plain = _in_turns(layers, plain, rounds)
    beside_published = _in_turns(layers, published, rounds)  # before logits are made anywhere
    parts_beside_plain = _in_turns(parts, plain, rounds)
    beside_loss = _in_turns(partial(measure, model, probe), with_loss, rounds)
    plain_bytes = peak_bytes(plain)
    return LayersBench(
        hidden_size,
        num_layers,
        _WINDOWS * sequence_length,
        rounds,
        float(np.median(beside_plain[:, 1])),
        float(np.median(beside_loss[:, 1])),
        [
            _ratio("whole layers, beside a plain pass", beside_plain, _MOST["layers"]),
            _ratio("attention and MLP too, beside a plain pass", parts_beside_plain),
            _ratio("everything, beside a pass with the loss", beside_loss, _MOST["everything"]),
            _ratio("whole layers, beside the published way", beside_published, _MOST["published"]),
        ],
        peak_bytes(layers) - plain_bytes,
        peak_bytes(published) - plain_bytes,
    )


def _in_turns(ours: Side, other: Side, rounds: int) -> Floats:
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


def _ratio(what: str, seconds: Floats, target: float | None = None) -> Ratio:
    ratios = np.sort(seconds[:, 0] / seconds[:, 1])
    median, beyond = float(np.median(ratios)), values_beyond(len(ratios))
    if beyond is None:
        return Ratio(what, median, None, None, target)
    return Ratio(what, median, float(ratios[beyond]), float(ratios[-1 - beyond]), target)


def values_beyond(count: int) -> int | None:
    """How many of ``count`` sorted values lie beyond each end of the median's 95 % interval; None: too few values.

    As many of them lie below the median as heads fall, whatever they are distributed like.

    >>> values_beyond(5), values_beyond(6), values_beyond(15), values_beyond(40)
    (None, 0, 3, 13)
    """
    chances = accumulate(math.comb(count, heads) / 2**count for heads in range(count))
    return sum(chance <= 0.025 for chance in chances) - 1 if count >= 6 else None


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


def show_bench(*, rounds: int, hidden_size: int, sequence_length: int, as_json: bool) -> None:
    """Measure, and print a table or JSON."""
    result = bench_layers(rounds=rounds, hidden_size=hidden_size, sequence_length=sequence_length)
    if as_json:
        print(json.dumps(asdict(result)))
        return
    print(f"{result.num_layers} layers of width {result.hidden_size}, {result.tokens:,} tokens a pass, {rounds} rounds")
    print(f"a plain pass {result.plain_s:.3f} s, with the loss {result.plain_with_loss_s:.3f} s\n")
    Console(highlight=False, soft_wrap=True).print(_table(result.ratios))
    ours, published = result.ours_extra_bytes / 2**20, result.published_extra_bytes / 2**20
    print(f"\nmemory beyond a plain pass: {ours:.1f} MiB, the published way {published:.1f} MiB")
    print(f"that is {published / ours:.1f} times less (target: at least {_LEAST_MEMORY_RATIO:g})")


def _table(ratios: list[Ratio]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("ratio of time", "median", "95 % interval", "target"):
        table.add_column(column, justify="left" if column == "ratio of time" else "right", no_wrap=True)
    for ratio in ratios:
        interval = "" if ratio.low is None else f"{ratio.low:.3f} to {ratio.high:.3f}"
        target = "" if ratio.target is None else f"at most {ratio.target:.2f}"
        table.add_row(ratio.what, f"{ratio.median:.3f}", interval, target)
    return table
