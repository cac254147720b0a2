"""Intervals cover the truth as often as they say, ranks that can't be told apart are ties."""

import numpy as np
import pytest

from tools.layers.findings import Pass, loss_sums, percentiles
from tools.layers.spans import acting_as_one, null_angle
from tools.layers.strata import Strata, joined_buckets
from tools.layers.sums import GROUPS, HISTOGRAM_BINS
from tools.layers.uncertainty import Bootstrap, chance_in_lowest, rank_ranges, ratio


@pytest.mark.parametrize(("documents", "skewed"), [(60, False), (60, True), (15, False)])
def test_intervals_cover_the_truth_in_93_to_97_percent_of_trials(documents, skewed):
    """Documents of unequal length whose tokens share a mean of their own; the truth is the mean over all tokens."""
    rng = np.random.default_rng(documents + skewed)
    covered = 0
    for trial in range(1000):
        tokens = rng.integers(50, 400, documents)
        own = rng.gamma(4, 0.25, documents) if skewed else rng.normal(1, 0.3, documents)
        sums = tokens * own + rng.normal(0, 0.5, documents) * np.sqrt(tokens)
        bootstrap = Bootstrap.of(tokens.astype(float), draws=400, seed=trial)
        low, high = bootstrap.interval(bootstrap.means(sums, tokens.astype(float)))
        covered += low <= 1 <= high
    assert 930 <= covered <= 970


def test_means_of_a_draw_are_those_of_the_documents_drawn():
    counts, sums = np.array([[2.0], [0.0], [4.0]]), np.array([[2.0], [0.0], [12.0]])
    bootstrap = Bootstrap.of(counts[:, 0], draws=50)
    assert bootstrap.groups == 2
    assert bootstrap.weights[:, 1].max() == 0
    expected = (bootstrap.weights @ sums) / (bootstrap.weights @ counts)
    assert bootstrap.means(sums, counts) == pytest.approx(expected)
    assert set(np.unique(bootstrap.means(sums, counts)).round(6)) == {1.0, 2.333333, 3.0}


def test_one_document_gives_no_interval_and_no_token_no_mean():
    bootstrap = Bootstrap.of(np.array([3.0, 0.0]), draws=10)
    low, high = bootstrap.interval(bootstrap.means(np.array([3.0, 0]), np.array([3.0, 0])))
    assert np.isnan([low, high]).all()
    assert np.isnan(ratio(np.zeros(1), np.zeros(1))).all()


def test_layers_that_cannot_be_told_apart_share_their_ranks():
    """Layers 1 and 2 differ by a thousandth of what documents differ by, layer 0 is far above, layer 3 far below."""
    rng = np.random.default_rng(0)
    documents = rng.normal(0, 1, (80, 4)) * 0.01
    documents += [0.5, 0.30001, 0.3, 0.1]
    bootstrap = Bootstrap.of(np.full(80, 1.0))
    means = bootstrap.means(documents, np.ones((80, 4)))
    assert rank_ranges(bootstrap, means) == [(4, 4), (2, 3), (2, 3), (1, 1)]
    chance = chance_in_lowest(means, 2)
    assert chance[[0, 3]].tolist() == [0.0, 1.0]
    assert 0.01 < chance[1] < 0.99
    assert chance.sum() == pytest.approx(2)


def test_paired_differences_tell_layers_apart_where_intervals_overlap():
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 1, (80, 1))
    documents = np.concatenate([shared + 0.001, shared], 1)
    bootstrap = Bootstrap.of(np.full(80, 1.0))
    means = bootstrap.means(documents, np.ones((80, 2)))
    assert rank_ranges(bootstrap, means) == [(2, 2), (1, 1)]


def test_percentiles_come_from_the_bins():
    bins = np.zeros((1, HISTOGRAM_BINS))
    bins[0, [32, 64, 96]] = [6, 88, 6]
    assert np.log10(percentiles(bins)[0]) == pytest.approx([-8 + 1 / 64, -7 + 1 / 64, -6 + 1 / 64])


def angles_of(states):
    """Of points in order, all pairs."""
    unit = states / np.linalg.norm(states, axis=1, keepdims=True)
    return np.arccos(np.clip(unit @ unit.T, -1, 1)) / np.pi


def test_a_planted_span_of_three_layers_is_found_and_only_it():
    """Layers 3, 4 and 5 together take nine tenths of a step in one direction; all others a step of their own."""
    axes = np.eye(12)
    updates = [axes[1 + layer] for layer in range(10)]
    for layer in (3, 4, 5):
        updates[layer] = 0.3 * axes[4]
    states = np.cumsum([axes[0], *updates], 0)
    (span,) = acting_as_one(angles_of(states))
    assert (span.first, span.end) == (3, 6)
    assert span.steps == pytest.approx(0.9, abs=0.03)


def test_layers_that_undo_each_other_act_as_one():
    axes = np.eye(8)
    states = np.cumsum([axes[0], axes[1], axes[2], -0.9 * axes[2], axes[3], axes[4]], 0)
    (span,) = acting_as_one(angles_of(states))
    assert (span.first, span.end) == (0, 3)  # what layers 1 and 2 do is undone, so the three turn as far as layer 0


def test_the_null_model_has_no_span():
    angles = np.array([[null_angle(min(i, j), max(i, j)) for j in range(33)] for i in range(33)])
    assert acting_as_one(angles) == []


def test_buckets_hold_every_fine_stratum_once_and_are_of_about_equal_size():
    counts = np.random.default_rng(0).integers(0, 100, 23).astype(float)
    buckets = joined_buckets(counts)
    assert [n for part in buckets for n in range(part.start, part.stop)] == list(range(23))
    assert all(counts[part].sum() > counts.sum() / 10 for part in buckets)
    assert joined_buckets(np.zeros(4)) == [slice(0, 4)]


def test_losses_are_counted_once_over_families():
    losses = np.zeros((GROUPS, 5, 3))
    losses[:2, [0, 1, 3]] = [[1, 2, 0], [3, 4, 0], [4, 6, 0]]
    found = Pass(*[np.zeros(0)] * 2, losses, *[np.zeros(0)] * 2)
    sums, counts = loss_sums(found, Strata(("web", "code"), 8, frozenset()))
    assert (sums[:2].tolist(), counts[:2].tolist()) == ([6.0, 6.0], [4.0, 4.0])
