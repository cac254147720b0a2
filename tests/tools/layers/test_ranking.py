"""Ranks that can't be told apart are ties, and with equal layers hardly ever anything else."""

import numpy as np
import pytest

from tools.layers.ranking import chance_in_lowest, rank_ranges
from tools.layers.uncertainty import Bootstrap

TRIALS = 300


def drawn(documents, tokens=None, sources=None, **options):
    """A bootstrap and its means of layers, out of what each document has, (documents, layers)."""
    tokens = np.ones(len(documents)) if tokens is None else tokens
    bootstrap = Bootstrap.of(tokens, np.zeros(len(tokens), int) if sources is None else sources, **options)
    return bootstrap, bootstrap.means(documents * tokens[:, None], tokens[:, None])


def test_layers_that_cannot_be_told_apart_share_their_ranks():
    """Layers 1 and 2 differ by a thousandth of what documents differ by, layer 0 is far above, layer 3 far below."""
    rng = np.random.default_rng(0)
    bootstrap, means = drawn(rng.normal(0, 1, (80, 4)) * 0.01 + [0.5, 0.30001, 0.3, 0.1])
    assert rank_ranges(bootstrap, means) == [(4, 4), (2, 3), (2, 3), (1, 1)]
    chance = chance_in_lowest(means.draws, 2)
    assert chance[[0, 3]].tolist() == [0.0, 1.0]
    assert 0.01 < chance[1] < 0.99
    assert chance.sum() == pytest.approx(2)


def test_paired_differences_tell_layers_apart_where_intervals_overlap():
    shared = np.random.default_rng(0).normal(0, 1, (80, 1))
    assert rank_ranges(*drawn(np.concatenate([shared + 0.001, shared], 1))) == [(2, 2), (1, 1)]


def test_layers_that_are_the_same_tie_and_do_not_hide_others():
    """Of idle layers each document has exactly nothing."""
    documents = np.random.default_rng(0).normal(1, 0.1, (80, 4)) * [0, 1, 0, 2]
    assert rank_ranges(*drawn(documents)) == [(1, 2), (3, 3), (1, 2), (4, 4)]


@pytest.mark.parametrize("unlike", [1, 2, 3])
def test_layers_that_differ_in_few_documents_tie_and_do_not_hide_others(unlike):
    """In many draws none of those documents is, and nothing is left to measure the difference by."""
    rng = np.random.default_rng(0)
    documents = rng.normal([1, 2, 3], 0.01, (60, 3))
    twin = documents[:, :1] + np.where(np.arange(60) < unlike, 1e-3, rng.normal(0, 1e-9, 60))[:, None]
    found = rank_ranges(*drawn(np.concatenate([documents, twin], 1)))
    assert found == [(1, 2), (3, 3), (4, 4), (1, 2)]


def test_a_layer_without_a_direction_does_not_sharpen_the_others():
    documents, counts = np.random.default_rng(0).normal(0, 1, (20, 3)), np.ones((20, 3))
    counts[:, 2] = 0
    bootstrap = Bootstrap.of(np.ones(20), np.zeros(20, int))
    among = bootstrap.joint_interval(bootstrap.means(documents * counts, counts))
    alone = bootstrap.joint_interval(bootstrap.means(documents[:, :2], counts[:, :2]))
    assert np.array_equal(np.array(among)[:, :2], np.array(alone))


@pytest.mark.parametrize(("layers", "documents"), [(8, (10, 30)), (16, (20, 20, 40))])
def test_equal_layers_are_told_apart_in_one_of_twenty_texts_at_most(layers, documents):
    """Sources differ, and so do documents, in what all layers share; 120 pairs of 16 layers are looked at."""
    rng, sources = np.random.default_rng(layers), np.repeat(np.arange(len(documents)), documents)
    claims = 0
    for trial in range(TRIALS):
        tokens = rng.integers(50, 400, len(sources)).astype(float)
        values = sources[:, None] + rng.normal(0, 0.1, (len(sources), 1)) + rng.normal(0, 0.1, (len(sources), layers))
        claims += rank_ranges(*drawn(values, tokens, sources, draws=400, seed=trial)) != [(1, layers)] * layers
    assert claims <= 0.075 * TRIALS  # 0.05 and twice what three hundred leave to chance


def test_with_too_few_documents_nothing_is_told_apart():
    documents = np.random.default_rng(0).normal([1, 2, 3], 0.01, (7, 3))
    assert rank_ranges(*drawn(documents)) == [(1, 3)] * 3
