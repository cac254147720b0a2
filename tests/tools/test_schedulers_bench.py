"""The measurement of the schedules runs, and one value alone holds to its target."""

import json

import pytest

from tools.bench import schedulers as bench


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(bench, "NUM_VALUES", 20_000)
    monkeypatch.setattr(bench, "NUM_SCALARS", 1_000)


def test_figures_as_json(capsys):
    bench.show_bench(rounds=3, as_json=True)
    figures = json.loads(capsys.readouterr().out)
    assert bench.TARGETS.keys() <= figures.keys()
    assert all(value > 0 for value in figures.values())
    assert figures["scalar_us"] < bench.TARGETS["scalar_us"] * 4  # a busy machine


def test_a_missed_target_is_called_missed(capsys):
    bench.show_bench(rounds=1, as_json=False)
    assert "12 segments over 15T tokens, 20,000 values" in capsys.readouterr().out
    assert bench._target("scalar_us", 5.1) == "  at most 5: missed"
    assert bench._target("scalar_us", 5.0) == "  at most 5: reached"
    assert bench._target("sorted_s", 1.0) == ""
