"""``annealmix bench mixer``: what the mixer costs at the size of a frontier run, beside megatron-core's blend index.

Rates are medians over rounds of one thread's processor time, and a round takes every measurement in turn, so that a
machine that changes its speed changes all of them. Needs Linux, whose /proc says how much memory a process has had.
"""

import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from mixer.apportion import Apportionment
from mixer.ramp import RampApportionment
from mixer.shuffle import key_of, permute

from .frontier_run import (
    FIRST_BATCH_SAMPLES,
    NUM_SAMPLES,
    NUM_SOURCES,
    SOURCE_ROWS,
    WEIGHTS,
    WINDOW_TOKENS,
    frontier_mixture,
)

BATCH_SAMPLES = 4096
LONG_RUN_SAMPLES = 2**42 + 2**20
PLACES = {"3.6e9": 3_600_000_000, "2^42": 2**42}
_BATCHES = 8  # timed at a time
_START_UPS = 5
_MEGATRON_SAMPLES = 100_000
_MEGATRON_INDEX_BYTES = 2 + 8  # a sample: its source as int16, its number there as int64
_START_UP = """
import json, time
import numpy

def peak_bytes():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))

before_bytes, began = peak_bytes(), time.perf_counter()
from {package}.frontier_run import FIRST_BATCH_SAMPLES, frontier_mixture
frontier_mixture().locate(numpy.arange(FIRST_BATCH_SAMPLES))
print(json.dumps([time.perf_counter() - began, peak_bytes() - before_bytes]))
"""


@dataclass(frozen=True)
class Figure:
    """One measurement, its median and least; ``target`` is the most the median may be, None where there is none."""

    what: str
    value: float
    unit: str
    target: float | None = None
    fastest: float | None = None


def show_bench(*, rounds: int, as_json: bool) -> None:
    """Measure, and print a table or JSON."""
    figures = bench_mixer(rounds=rounds)
    if as_json:
        print(json.dumps([asdict(figure) for figure in figures]))
        return
    run = f"{NUM_SOURCES} sources, 15T tokens in windows of {WINDOW_TOKENS:,}"
    print(f"{run}; batches of {BATCH_SAMPLES:,} samples, medians of {rounds} rounds\n")
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("what", "median", "fastest", "unit", "target"):
        table.add_column(column, justify="right" if column in ("median", "fastest") else "left")
    for figure in figures:
        fastest = "" if figure.fastest is None else f"{figure.fastest:,.3g}"
        table.add_row(figure.what, f"{figure.value:,.3g}", fastest, figure.unit, _target(figure))
    Console(highlight=False, soft_wrap=True).print(table)


def bench_mixer(*, rounds: int = 15) -> list[Figure]:
    """All measurements; some ten seconds, most of them megatron-core's imports.

    >>> bench_mixer()[0].value < 1.0  # doctest: +SKIP
    True
    """
    started = [_start_up_in_a_fresh_process() for _ in range(_START_UPS)]
    rates = _rounds_ns(_timed(), rounds)
    megatron_ns = rates.pop("megatron")
    return [*_start_up_figures(started), *_megatron_figures(megatron_ns), *_rate_figures(rates)]


def _start_up_in_a_fresh_process() -> tuple[float, int]:
    """Seconds to the first located batch, imports of the mixer included, and peak bytes above numpy's interpreter."""
    code = f"import sys; sys.path[:0] = {sys.path!r}" + _START_UP.format(package=__package__)
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, peak_bytes = json.loads(finished.stdout)
    return seconds, peak_bytes


def _timed() -> dict[str, tuple[Callable[[], object], int]]:
    """What a round calls by name, and how many samples or rows it then answers for."""
    mixture = frontier_mixture(LONG_RUN_SAMPLES)
    length, turned = LONG_RUN_SAMPLES, WEIGHTS[::-1]
    locators: dict[str, Callable[[np.ndarray[Any, Any]], object]] = {
        "apportionment": Apportionment.of(WEIGHTS).locate,
        "linear ramp": RampApportionment.of(WEIGHTS, turned, length=length, shape="linear").locate,
        "cosine ramp": RampApportionment.of(WEIGHTS, turned, length=length, shape="cosine").locate,
        "mixture with rows": mixture.locate,
    }
    works = {
        f"locate, {name} at {place}": (partial(_batches, locate, first), _BATCHES * BATCH_SAMPLES)
        for name, locate in locators.items()
        for place, first in PLACES.items()
    }
    return {**works, "permute": (_permute, _BATCHES * BATCH_SAMPLES), "megatron": (_blend(), _MEGATRON_SAMPLES)}


def _batches(locate: Callable[[np.ndarray[Any, Any]], object], first: int) -> None:
    for start in range(first, first + _BATCHES * BATCH_SAMPLES, BATCH_SAMPLES):
        locate(np.arange(start, start + BATCH_SAMPLES))


def _permute() -> None:
    key = key_of(1, "source-0", generation=0, epoch=0)
    _batches(lambda index: permute(index, SOURCE_ROWS, key), 0)


def _blend() -> Callable[[], None]:
    """megatron-core's own loop over samples, on the same weights; its time per sample is the same at any length."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from megatron.core.datasets.helpers import build_blending_indices
    source, place = np.zeros(_MEGATRON_SAMPLES, np.int16), np.zeros(_MEGATRON_SAMPLES, np.int64)
    shares = np.array(WEIGHTS) / sum(WEIGHTS)
    return partial(build_blending_indices, source, place, shares, NUM_SOURCES, _MEGATRON_SAMPLES, False)


def _rounds_ns(timed: Mapping[str, tuple[Callable[[], object], int]], rounds: int) -> dict[str, list[float]]:
    """Nanoseconds a sample, round by round; one round more is run, for the first warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(rounds + 1):
        for name, (work, samples) in timed.items():
            began = time.thread_time()
            work()
            seconds[name].append((time.thread_time() - began) / samples)
    return {name: [1e9 * value for value in values[1:]] for name, values in seconds.items()}


def _start_up_figures(started: Sequence[tuple[float, int]]) -> list[Figure]:
    seconds, peaks = zip(*started, strict=True)
    what = f"start-up to the first {FIRST_BATCH_SAMPLES} samples"
    return [
        Figure(what, statistics.median(seconds), "s", 1.0, min(seconds)),
        Figure("  its peak memory above numpy's", max(peaks) / 2**20, "MiB", 100.0),
    ]


def _megatron_figures(ns_per_sample: Sequence[float]) -> list[Figure]:
    median, fastest = statistics.median(ns_per_sample), min(ns_per_sample)
    before = "  at that rate, before 15T tokens"
    return [
        Figure("megatron-core: build_blending_indices", median, "ns a sample", None, fastest),
        Figure(before, median * NUM_SAMPLES / 1e9, "s", None, fastest * NUM_SAMPLES / 1e9),
        Figure("  its index for 15T tokens", _MEGATRON_INDEX_BYTES * NUM_SAMPLES / 1e9, "GB"),
    ]


def _rate_figures(rates: Mapping[str, Sequence[float]]) -> list[Figure]:
    def figure(name: str, ns: Sequence[float]) -> Figure:
        unit = "ns a row" if name == "permute" else "ns a sample"
        target = 150.0 if name.startswith("locate, apportionment") else None
        return Figure(name, statistics.median(ns), unit, target, min(ns))

    return [figure(name, ns) for name, ns in rates.items()]


def _target(figure: Figure) -> str:
    if figure.target is None:
        return ""
    reached = "reached" if figure.value <= figure.target else "missed"
    return f"at most {figure.target:g}: {reached}"
