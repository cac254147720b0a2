"""The measurement of the loader runs, and reports what it says it reports."""

from collections.abc import Iterator
from itertools import repeat
from typing import Any

import pytest

from tools.bench import loader as bench
from tools.bench.loader_peers import missing, peers
from tools.bench.token_files import write_random


def test_bench_reports_rates_ratios_waits_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def stand_in(num_batches: int) -> Iterator[Any]:
        return repeat({}, num_batches)

    for name, few in (("_BATCHES", 5), ("_PEER_BATCHES", 5), ("_WARM_UP", 1), ("_COLD_STEPS", 5)):
        monkeypatch.setattr(bench, name, few)
    monkeypatch.setattr(bench, "peers", lambda *_, **__: {"megatron-core, 0 workers": stand_in, "grain": stand_in})
    figures = {figure.what: figure.value for figure in bench.bench_loader(rounds=2, gigabytes=0.01, windows=640)}
    rates = ["floor", "views", "own", "views, held", "own, held", "megatron-core, 0 workers", "grain"]
    assert [*figures][:7] == rates
    assert all(figures[name] > 0 for name in rates)
    assert figures["views / floor"] == pytest.approx(figures["views"] / figures["floor"])
    assert figures["own / floor"] == pytest.approx(figures["own"] / figures["floor"])
    beside = figures["views"] / figures["megatron-core, 0 workers"]
    assert figures["views / megatron-core at its best"] == pytest.approx(beside)
    assert not any(what.startswith("views / mosaicml") for what in figures)
    assert figures["cold: first batch after"] > bench.READ_S
    assert figures["cold: later steps whose batch was not ready"] == 0
    assert figures["cold: longest call of next after it"] > 0
    assert any(what.startswith("RssAnon") for what in figures)


def test_megatron_reads_the_same_files(tmp_path: Any) -> None:
    weights = {write_random(tmp_path / name, 5_000, seed=1): 1.0 for name in ("a", "b")}
    found = peers(weights, tmp_path, window=16, batch=4, num_batches=3)
    batches = list(found["megatron-core, 0 workers"](3))
    assert [tuple(batch["tokens"].shape) for batch in batches] == [(4, 16)] * 3
    assert {name.split(",")[0] for name in found} == {"megatron-core", "mosaicml-streaming", "grain"} - {*missing()}
