"""Intervals cover the truth as often as they say, ranks that can't be told apart are ties."""

import math

import numpy as np
import pytest

from tools.layers.findings import Pass, loss_sums, percentiles
from tools.layers.spans import acting_as_one, null_angle
from tools.layers.strata import Strata, joined_buckets
from tools.layers.sums import GROUPS, HISTOGRAM_BINS
from tools.layers.uncertainty import (
    FEWEST_GROUPS,
    Bootstrap,
    chance_in_lowest,
    rank_ranges,
    ratio,
    student_quantile,
)

TRIALS = 3000  # a thousand leave 0.7 % to chance


@pytest.mark.parametrize(("documents", "skewed"), [(60, False), (60, True), (15, False)])
def test_intervals_cover_the_truth_in_93_to_97_percent_of_trials(documents, skewed):
    """Documents of unequal length whose tokens share a mean of their own; the truth is the mean over all tokens."""
    rng = np.random.default_rng(documents + skewed)
    tokens = rng.integers(50, 400, (documents, TRIALS)).astype(float)
    own = rng.gamma(4, 0.25, tokens.shape) if skewed else rng.normal(1, 0.3, tokens.shape)
    sums = tokens * own + rng.normal(0, 0.5, tokens.shape) * np.sqrt(tokens)
    assert 0.93 <= covered(np.full(documents, 400.0), sums, tokens) <= 0.97


def covered(groups, sums, tokens):
    """Share of the trials whose interval holds 1; fifty have the same draws."""
    found = 0
    for start in range(0, TRIALS, 50):
        bootstrap, here = Bootstrap.of(groups, seed=start), np.s_[:, start : start + 50]
        low, high = bootstrap.interval(bootstrap.means(sums[here], tokens[here]), tokens[here])
        found += int(((low <= 1) & (high >= 1)).sum())
    return found / TRIALS


def test_means_of_a_draw_are_those_of_the_documents_drawn():
    counts, sums = np.array([[2.0], [0.0], [4.0]]), np.array([[2.0], [0.0], [12.0]])
    bootstrap = Bootstrap.of(counts[:, 0], draws=50)
    assert bootstrap.groups == 2
    assert bootstrap.weights[:, 1].max() == 0
    expected = (bootstrap.weights @ sums) / (bootstrap.weights @ counts)
    assert bootstrap.means(sums, counts) == pytest.approx(expected)
    assert set(np.unique(bootstrap.means(sums, counts)).round(6)) == {1.0, 2.333333, 3.0}


def test_tokens_of_few_documents_have_no_interval_and_no_token_no_mean():
    """Each column is told by the documents that have such tokens, however many the probe has."""
    counts = np.ones((100, 3))
    counts[FEWEST_GROUPS - 1 :, 1] = counts[FEWEST_GROUPS:, 2] = 0
    bootstrap = Bootstrap.of(np.ones(100))
    values = counts * np.random.default_rng(0).normal(size=counts.shape)
    low, high = bootstrap.interval(bootstrap.means(values, counts), counts)
    assert np.isnan(low).tolist() == np.isnan(high).tolist() == [False, True, False]
    assert high[2] - low[2] > high[0] - low[0]
    assert np.isnan(ratio(np.zeros(1), np.zeros(1))).all()


def test_a_stratum_of_few_of_many_documents_covers_its_truth():
    rng = np.random.default_rng(0)
    tokens = np.where(np.arange(100)[:, None] < 10, rng.integers(50, 400, (100, TRIALS)), 0.0)
    assert 0.93 <= covered(np.full(100, 400.0), tokens * rng.normal(1, 0.3, tokens.shape), tokens) <= 0.97


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 9, 254])
def test_students_quantile_is_that_of_the_density(degrees):
    """The density integrated from 0 to it is what it stands for."""
    quantile = student_quantile(0.975, degrees)
    t = np.linspace(0, quantile, 200_001)
    scale = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)
    density = math.exp(scale) / math.sqrt(degrees * math.pi) * (1 + t**2 / degrees) ** (-(degrees + 1) / 2)
    assert np.trapezoid(density, t) == pytest.approx(0.475, abs=1e-8)


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


@pytest.mark.parametrize(("layers", "first", "after"), [(10, 3, 6), (6, 2, 5), (6, 3, 6), (20, 10, 13)])
def test_a_planted_span_of_three_layers_is_found_and_only_it(layers, first, after):
    """Its layers together take nine tenths of a step in one direction; all others a step of their own."""
    axes = np.eye(layers + 2)
    updates = [axes[1 + layer] for layer in range(layers)]
    for layer in range(first, after):
        updates[layer] = 0.3 * axes[1 + first]
    states = np.cumsum([axes[0], *updates], 0)
    (span,) = acting_as_one(angles_of(states))
    assert (span.first, span.end) == (first, after)
    assert 0.85 < span.steps <= 1


def test_layers_that_undo_each_other_act_as_one():
    axes = np.eye(8)
    states = np.cumsum([axes[0], axes[1], axes[2], -0.9 * axes[2], axes[3], axes[4]], 0)
    (span,) = acting_as_one(angles_of(states))
    assert (span.first, span.end) == (1, 3)


def test_busy_layers_at_the_start_are_no_span():
    """Independent updates with the distances published for Llama-2-7B (relative, the least 0.04)."""
    relative = [11.41, 7.11, 4.45, 4.32, 4.8, 4.3, 4.1, 3.9, 3.7, 3.5, 3.25, 3.1, 3, 2.95, 2.9, 2.9, 2.98, 2.3, 2.08,
                1.73, 1.87, 1.3, 1.29, 1.065, 1.015, 1, 1.017, 1.001, 1.04, 1.052, 1.78, 7.95]  # fmt: skip
    axes, states = np.eye(33), [np.eye(33)[0]]
    for layer, value in enumerate(relative):
        cosine = 1 - 0.04 * value
        states.append(states[-1] + np.linalg.norm(states[-1]) * np.sqrt(1 / cosine**2 - 1) * axes[layer + 1])
    assert all(span.first > 3 for span in acting_as_one(angles_of(np.array(states))))


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
