"""``annealmix bench loader``: tokens that reach the training loop, beside what the machine could and others do.

All rates come from the same .bin/.idx files with a warm page cache, and are medians over rounds; a round takes every
measurement in turn, so that a machine that changes its speed changes all of them.

- *floor*: numpy gathers the S + 1 tokens of a global batch into one int64 buffer, over and over;
- *views*: our loader, tokens and labels as views of one array, loss_mask and position_ids made once;
- *own*: our loader, each of the four an array of its own, written for each batch.

Of ours, each of the four arrays of every micro-batch is asked for, as a training step does, and the batch dropped, or
*held* until the next has come. The floor is one thread; of ours two read, and a third asks.
"""

import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from mixer.apportion import Ints
from mixer.batch import GlobalBatch
from mixer.generations import SourceHistory
from mixer.history import History
from mixer.loader import Loader
from mixer.mixture import Mixture
from mixer.rows import Source
from mixer.source import open_source
from mixer.spans import Span
from mixer.windows import Windows

from .loader_peers import missing, peers
from .token_files import VOCAB_SIZE, write_hole, write_random

WINDOW_TOKENS = 4096
MICRO_BATCH, GLOBAL_BATCH = 16, 64
WEIGHTS = {"web": 0.7, "code": 0.3}
FLOOR_TARGETS = {"views": 0.5, "own": 0.25}
MEGATRON_TARGET = 20.0
_BATCHES = 2000  # global batches of the floor and of ours in a round
_PEER_BATCHES = 120  # micro-batches of a peer
_WARM_UP = 10
_COLD_STEPS = 600

READ_S = 0.005  # added to each window read
_SLOW_READ_S = 0.001  # enough to be taken for slow
QUICKSTART = {"window": 256, "batch": 8}
QUICKSTART_STEP_S = 0.348 / 100  # a hundredth of the fastest step of configs/quickstart.yaml in docs/benchmarks.md


@dataclass(frozen=True)
class Figure:
    """One measurement; ``target`` is the least it may be, or the most for what is waited or grows; None for none."""

    what: str
    value: float
    unit: str
    target: float | None = None
    at_most: bool = False


def show_bench(*, rounds: int, gigabytes: float, windows: int, as_json: bool) -> None:
    """Measure, and print a table or JSON."""
    figures = bench_loader(rounds=rounds, gigabytes=gigabytes, windows=windows)
    if as_json:
        print(json.dumps([asdict(figure) for figure in figures]))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("what", "measured", "unit", "target"):
        table.add_column(column, justify="right" if column == "measured" else "left")
    for figure in figures:
        table.add_row(figure.what, f"{figure.value:,.3g}", figure.unit, _target(figure))
    Console(highlight=False, soft_wrap=True).print(table)
    for name in missing():
        print(f"{name} is not installed, and not measured; pip install annealmix[bench]")


def bench_loader(*, rounds: int = 5, gigabytes: float = 0.25, windows: int = 1_000_000) -> list[Figure]:
    """All measurements; about a minute, most of it the peers'.

    >>> [figure.what for figure in bench_loader()][:2]  # doctest: +SKIP
    ['floor', 'views']
    """
    with tempfile.TemporaryDirectory(prefix="annealmix-bench-") as name:
        folder = Path(name)
        rates = _rates(folder, rounds, int(gigabytes * 2**30 / 2))
        waits, late = _waits(folder)
        grown = _grown_bytes(folder, windows)
    return [
        *(Figure(what, rate / 1e6, "M tokens/s") for what, rate in rates.items()),
        *_ratios(rates),
        Figure("cold: first batch after", waits[0], "s"),
        Figure("cold: later steps whose batch was not ready", late, "steps", 0, at_most=True),
        Figure("cold: longest call of next after it", max(waits[1:]) * 1e3, "ms"),
        Figure(f"RssAnon, {windows:,} windows of a sparse 10 GB", grown / 2**20, "MiB", 1, at_most=True),
    ]


def _rates(folder: Path, rounds: int, num_tokens: int) -> dict[str, float]:
    """Tokens per second of each way, medians over rounds."""
    parts = {name: write_random(folder / name, int(num_tokens * share), seed=1) for name, share in WEIGHTS.items()}
    sources = {name: open_source(path, name=name, sequence_length=WINDOW_TOKENS) for name, path in parts.items()}
    weights = {path: WEIGHTS[name] for name, path in parts.items()}
    others = peers(weights, folder, window=WINDOW_TOKENS, batch=MICRO_BATCH, num_batches=_PEER_BATCHES + _WARM_UP)
    ways: dict[str, Callable[[], float]] = {
        "floor": partial(_floor_rate, np.memmap(f"{parts['web']}.bin", np.uint16, mode="r")),
        "views": partial(_our_rate, sources, contiguous=False),
        "own": partial(_our_rate, sources, contiguous=True),
        "views, held": partial(_our_rate, sources, contiguous=False, held=True),
        "own, held": partial(_our_rate, sources, contiguous=True, held=True),
        **{name: partial(_peer_rate, start) for name, start in others.items()},
    }
    found = [{name: measure() for name, measure in ways.items()} for _ in range(rounds)]
    return {name: statistics.median(each[name] for each in found) for name in ways}


def _floor_rate(tokens: np.ndarray[Any, Any]) -> float:
    windows = np.lib.stride_tricks.sliding_window_view(tokens, WINDOW_TOKENS + 1)
    buffer = np.empty((GLOBAL_BATCH, WINDOW_TOKENS + 1), np.int64)
    rng = np.random.default_rng(1)
    starts = rng.integers(0, len(windows) // WINDOW_TOKENS, (_BATCHES + _WARM_UP, GLOBAL_BATCH)) * WINDOW_TOKENS

    def gather() -> Iterator[None]:
        for rows in starts:
            buffer[:] = windows[rows]
            yield

    return _rate(gather(), _BATCHES, GLOBAL_BATCH)


def _our_rate(sources: Mapping[str, Source], *, contiguous: bool, held: bool = False) -> float:
    with _loader(sources, GLOBAL_BATCH, MICRO_BATCH, _BATCHES + _WARM_UP, contiguous=contiguous) as batches:
        looked_at = (_looked_at(batch) for batch in batches) if held else map(_looked_at, batches)
        return _rate(looked_at, _BATCHES, GLOBAL_BATCH)


def _looked_at(batch: GlobalBatch) -> int:
    """Bytes of what a training step asks of its batch."""
    arrays = ((micro.tokens, micro.labels, micro.loss_mask, micro.position_ids) for micro in batch.micro_batches)
    return sum(array.nbytes for of_micro in arrays for array in of_micro)


def _peer_rate(start: Callable[[int], Iterator[Any]]) -> float:
    return _rate(start(_PEER_BATCHES + _WARM_UP), _PEER_BATCHES, MICRO_BATCH)


def _rate(batches: Iterator[Any], num_batches: int, batch: int) -> float:
    """Tokens per second after a few batches."""
    for _ in range(_WARM_UP):
        next(batches)
    began = time.perf_counter()
    for _ in range(num_batches):
        next(batches)
    return num_batches * batch * WINDOW_TOKENS / (time.perf_counter() - began)


def _loader(
    sources: Mapping[str, Source], global_batch: int, micro_batch: int, num_batches: int, *, contiguous: bool = False
) -> Loader:
    """Ours over a run of these sources, in the shares of WEIGHTS where there are several."""
    histories = {name: SourceHistory(source.generations()) for name, source in sources.items()}
    num_samples = num_batches * global_batch
    span = Span(0, num_samples, {name: WEIGHTS.get(name, 1.0) for name in sources})
    window = next(iter(sources.values())).sequence_length
    return Loader(
        Mixture(History(seed=1, sequence_length=window, sources=histories, spans=[span])),
        sources,
        micro_batch_size=micro_batch,
        data_parallel_rank=0,
        data_parallel_size=1,
        batch_sizes=[(first, global_batch) for first in range(0, num_samples, global_batch)],
        vocab_size=VOCAB_SIZE,
        contiguous=contiguous,
    )


class SlowSource:
    """A source whose storage takes ``read_s`` longer for each window, of the first ``num_windows`` or of all."""

    def __init__(self, source: Source, read_s: float, num_windows: float = math.inf) -> None:
        self._source, self._read_s, self._slow_windows = source, read_s, num_windows

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def fill(
        self, rows: Ints, out: Windows, at: Ints, *, offsets: Ints | None = None, validation: bool = False
    ) -> None:
        """Wait, and read."""
        if self._slow_windows > 0:
            time.sleep(self._read_s * len(rows))
            self._slow_windows -= len(rows)
        self._source.fill(rows, out, at, offsets=offsets, validation=validation)


def _waits(folder: Path) -> tuple[list[float], int]:
    """Seconds in ``next`` of each step at 100 times the quickstart's speed, and how many but the first had to wait.

    Only the count says that the loader was late: a batch that is ready takes as long as the system leaves the thread
    without a core.
    """
    window, batch = QUICKSTART["window"], QUICKSTART["batch"]
    path = write_random(folder / "cold", 2_000_000, seed=2)
    slow: Any = SlowSource(open_source(path, name="cold", sequence_length=window), READ_S)
    waits, late = [], 0
    with _loader({"cold": slow}, batch, batch, _COLD_STEPS) as batches:
        for step in range(_COLD_STEPS):
            late += step > 0 and not batches.ready
            began = time.perf_counter()
            next(batches)
            waits.append(time.perf_counter() - began)
            time.sleep(QUICKSTART_STEP_S)
    return waits, late


def _grown_bytes(folder: Path, num_windows: int) -> int:
    """Anonymous resident memory that reading so many windows adds after the first fifth.

    In half of that storage is slow, so that every thread that may ever read has read and has its own memory, some
    15 MiB; in the rest the blocks are made that fast storage is read into.
    """
    path = write_hole(folder / "large", 5_000_000_000)
    source = open_source(path, name="large", sequence_length=WINDOW_TOKENS)
    slow: Any = SlowSource(source, _SLOW_READ_S, num_windows // 10)
    num_batches = num_windows // GLOBAL_BATCH
    with _loader({"large": slow}, GLOBAL_BATCH, MICRO_BATCH, num_batches) as batches:
        before = 0
        for batch in batches:
            if batch.step == num_batches // 5:
                before = _anonymous_bytes()
        return _anonymous_bytes() - before


def _anonymous_bytes() -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def _ratios(rates: Mapping[str, float]) -> list[Figure]:
    views = rates["views"]
    floor = [Figure(f"{way} / floor", rates[way] / rates["floor"], "x", least) for way, least in FLOOR_TARGETS.items()]
    best = {"megatron-core": MEGATRON_TARGET, "mosaicml-streaming": 1.0, "grain": 1.0}
    others = {name: [rate for what, rate in rates.items() if what.startswith(name)] for name in best}
    beside = [
        Figure(f"views / {name} at its best", views / max(found), "x", best[name])
        for name, found in others.items()
        if found
    ]
    return [*floor, *beside]


def _target(figure: Figure) -> str:
    if figure.target is None:
        return ""
    return f"{'at most' if figure.at_most else 'at least'} {figure.target:g}"
