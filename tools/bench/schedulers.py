"""``annealmix bench schedulers``: what a value of a 12-segment schedule costs, beside numpy's cosine alone.

The cosine is of as many arguments, prepared beforehand and in the same order: numpy takes twice the time for scattered
ones.
Times are of this process alone, medians over rounds; a round takes every measurement in turn, so that a machine that
changes its speed changes all of them.
"""

import json
import statistics
import time
from collections.abc import Callable, Mapping

import numpy as np

from schedulers.row import Row
from schedulers.schedule import Schedule
from schedulers.waves import lengths, warm_waves_stable_decay

TOTAL_TOKENS = 15 * 10**12
NUM_VALUES = 10_000_000
NUM_SCALARS = 100_000
TARGETS = {"sorted_ratio": 1.5, "unsorted_ratio": 3.0, "scalar_us": 5.0}


def twelve_segments() -> Schedule:
    """Warmup, four cosine waves, stable, decay and a held floor over 15T tokens.

    >>> len(twelve_segments().segments)
    12
    """
    tenth = TOTAL_TOKENS // 10
    waves = warm_waves_stable_decay(
        3e-4,
        stable=1.5e-4,
        trough=5e-5,
        warmup_tokens=tenth // 10,
        wave_tokens=lengths(6 * tenth, 4, growth=1.5),
        stable_tokens=2 * tenth,
        decay_tokens=tenth,
        floor=3e-6,
    )
    return Row.after(waves).hold(TOTAL_TOKENS - waves.joints[-1]).schedule()


def show_bench(*, rounds: int, as_json: bool) -> None:
    """Measure, and print lines or JSON."""
    result = bench_schedulers(rounds=rounds)
    if as_json:
        print(json.dumps(result))
        return
    print(f"12 segments over 15T tokens, {NUM_VALUES:,} values, medians of {rounds} rounds\n")
    for name, value in result.items():
        print(f"{name:<16} {value:>8.3f}{_target(name, value)}")


def bench_schedulers(*, rounds: int = 9) -> dict[str, float]:
    """Seconds for all values by their order, their ratios to numpy's cosine, and microseconds of one value alone.

    >>> bench_schedulers()["scalar_us"] < 5.0  # doctest: +SKIP
    True
    """
    seconds = _medians_s(_timed(), rounds)
    return {
        "sorted_cos_s": seconds["sorted cos"],
        "sorted_s": seconds["sorted"],
        "sorted_ratio": seconds["sorted"] / seconds["sorted cos"],
        "unsorted_cos_s": seconds["unsorted cos"],
        "unsorted_s": seconds["unsorted"],
        "unsorted_ratio": seconds["unsorted"] / seconds["unsorted cos"],
        "scalar_us": 1e6 * seconds["scalar"] / NUM_SCALARS,
    }


def _timed() -> dict[str, Callable[[], object]]:
    schedule, random = twelve_segments(), np.random.default_rng(0)
    tokens = random.integers(0, TOTAL_TOKENS, NUM_VALUES)
    in_order, some = np.sort(tokens), tokens[:NUM_SCALARS].tolist()
    angles = tokens * (np.pi / TOTAL_TOKENS)
    angles_in_order = np.sort(angles)

    def one_by_one() -> None:
        for position in some:
            schedule.value(position)

    return {
        "sorted cos": lambda: np.cos(angles_in_order),
        "sorted": lambda: schedule.value(in_order),
        "unsorted cos": lambda: np.cos(angles),
        "unsorted": lambda: schedule.value(tokens),
        "scalar": one_by_one,
    }


def _medians_s(timed: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds; one round more than asked, for the first warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(rounds + 1):
        for name, work in timed.items():
            began = time.process_time()
            work()
            seconds[name].append(time.process_time() - began)
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


def _target(name: str, value: float) -> str:
    if name not in TARGETS:
        return ""
    return f"  at most {TARGETS[name]:g}: {'reached' if value <= TARGETS[name] else 'missed'}"
