"""The measurement of the mixer runs, and its start-up holds to the targets."""

import json

import pytest

from tools.bench import mixer as bench
from tools.bench.frontier_run import NUM_SAMPLES


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(bench, "_START_UPS", 1)
    monkeypatch.setattr(bench, "_BATCHES", 1)
    monkeypatch.setattr(bench, "_MEGATRON_SAMPLES", 100)


def test_start_up_holds_to_its_targets_and_the_index_is_megatrons(quick, capsys):
    bench.show_bench(rounds=1, as_json=True)
    figures = {figure.pop("what"): figure for figure in json.loads(capsys.readouterr().out)}
    for what in ("start-up to the first 512 samples", "  its peak memory above numpy's"):
        assert 0 < figures[what]["value"] < figures[what]["target"]
    index = figures["  its index for 15T tokens"]
    assert (index["value"], index["unit"], index["target"]) == (NUM_SAMPLES / 1e8, "GB", None)
    assert {what: figure["target"] for what, figure in figures.items() if "apportionment" in what} == {
        "locate, apportionment at 3.6e9": 150.0,
        "locate, apportionment at 2^42": 150.0,
    }


def test_a_missed_target_is_called_missed():
    assert bench._target(bench.Figure("x", 151.0, "ns", 150.0)) == "at most 150: missed"
    assert bench._target(bench.Figure("x", 150.0, "ns", 150.0)) == "at most 150: reached"
    assert bench._target(bench.Figure("x", 1.0, "ns")) == ""
