"""The bench measures what it says, at a small size."""

import numpy as np
import pytest
import torch

from tools.bench.layers import bench_layers, peak_bytes, show_bench, values_beyond


def test_memory_is_the_most_that_is_held_at_once():
    def run():
        first = torch.zeros(1000, dtype=torch.float64)
        del first
        return torch.ones(500, dtype=torch.float64) + 1

    assert 8000 <= peak_bytes(run) < 12000


def test_a_small_model_is_measured():
    pytest.importorskip("transformers")
    result = bench_layers(rounds=6, hidden_size=64, sequence_length=64, num_layers=3)
    state_bytes = 256 * 64 * 4
    assert result.published_extra_bytes >= state_bytes
    assert [ratio.target for ratio in result.ratios] == [1.05 if torch.cuda.is_available() else 1.10, None, 1.25, 1.0]
    assert all(0 < ratio.low <= ratio.median <= ratio.high for ratio in result.ratios)


def test_the_interval_of_a_median_misses_it_in_2_percent_of_trials_at_each_end():
    """As many of 40 values lie below the median as heads fall of 40 coins; one value more left out is too many."""
    heads, beyond = np.random.default_rng(0).binomial(40, 0.5, 1_000_000), values_beyond(40)
    assert (heads <= beyond).mean() <= 0.025 < (heads <= beyond + 1).mean()


def test_the_command_shows_each_ratio_beside_its_target(capsys):
    pytest.importorskip("transformers")
    show_bench(rounds=1, hidden_size=64, sequence_length=256, as_json=False)
    shown = capsys.readouterr().out
    assert shown.startswith("32 layers of width 64, 1,024 tokens a pass, 1 rounds\n")
    assert [line.split()[-1] for line in shown.splitlines() if "at most" in line] == ["1.10", "1.25", "1.00"]
