"""The bench measures what it says, at a small size."""

import pytest
import torch

from tools.bench.layers import bench_layers, peak_bytes, show_bench


def test_memory_is_the_most_that_is_held_at_once():
    def run():
        first = torch.zeros(1000, dtype=torch.float64)
        del first
        return torch.ones(500, dtype=torch.float64) + 1

    assert 8000 <= peak_bytes(run) < 12000


def test_a_small_model_is_measured():
    pytest.importorskip("transformers")
    result = bench_layers(rounds=1, hidden_size=64, num_layers=3, windows=1)
    state_bytes = 256 * 64 * 4
    assert result.published_extra_bytes >= state_bytes
    assert len(show_bench(result).splitlines()) == 9
