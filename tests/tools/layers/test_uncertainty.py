"""Intervals cover the truth as often as they say, ranks that can't be told apart are ties."""

import math

import numpy as np
import pytest

from tools.layers.document_groups import GROUPS, num_groups, shared_out
from tools.layers.findings import Pass, loss_sums, percentiles
from tools.layers.spans import acting_as_one, null_angle
from tools.layers.strata import Strata, joined_buckets
from tools.layers.student import student_quantile
from tools.layers.sums import HISTOGRAM_BINS
from tools.layers.uncertainty import FEWEST_DOCUMENTS, Bootstrap, ratio

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
    found, source = 0, np.zeros(len(groups), int)
    for start in range(0, TRIALS, 50):
        bootstrap, here = Bootstrap.of(groups, source, seed=start), np.s_[:, start : start + 50]
        low, high = bootstrap.interval(bootstrap.means(sums[here], tokens[here]), tokens[here])
        found += int(((low <= 1) & (high >= 1)).sum())
    return found / TRIALS


DOCUMENTS = np.array([200, 60, 20])
SOURCES = np.repeat([0, 1, 2], DOCUMENTS)
TRUE_MEANS, SPREADS = np.array([0.1, 0.5, 2.0]), np.array([0.03, 0.1, 0.3])


def unlike_sources(rng, trials):
    """Sums and counts (documents, trials) of sources far apart, of documents of unlike length.

    And of a second checkpoint, which has a hundredth more on the same documents.
    """
    tokens = np.round(rng.lognormal(6, 0.6, (len(SOURCES), 1)) * np.array([1, 2, 0.5])[SOURCES, None]) + 20
    own, noise = rng.normal(0, SPREADS[SOURCES, None], (2, len(SOURCES), trials))
    first = TRUE_MEANS[SOURCES, None] + own + noise / np.sqrt(tokens)
    second = 1.01 * first + 0.1 * rng.normal(0, SPREADS[SOURCES, None], own.shape)
    return tokens, tokens * first, tokens * second


def covered_of_unlike_sources(drawn_from):
    """Of all text, of one source and of the difference: share of intervals that hold the truth, and their width.

    Widths are in those of the interval that the mean's own deviation from the truth gives.
    """
    blocks = [block_of_trials(np.random.default_rng(block), drawn_from) for block in range(TRIALS // 50)]
    low, high, truth, value = (np.concatenate(part, 1) for part in zip(*blocks, strict=True))
    ideal = 2 * 1.96 * (value - truth).std(1)
    return ((low <= truth) & (truth <= high)).mean(1), (high - low).mean(1) / ideal


def block_of_trials(rng, drawn_from, trials=50):
    """(3, trials) each: low, high, truth and mean, on documents of the same lengths."""
    tokens, first, second = unlike_sources(rng, trials)
    bootstrap, one = Bootstrap.of(tokens[:, 0], drawn_from), (SOURCES == 1)[:, None]
    asked = ((first, tokens), (first * one, tokens * one), (second - first, tokens))
    means = [bootstrap.means(*sums) for sums in asked]
    ends = [bootstrap.interval(m, counts) for m, (_, counts) in zip(means, asked, strict=True)]
    total = np.bincount(SOURCES, tokens[:, 0]) / tokens.sum() @ TRUE_MEANS
    truth = np.repeat([[total], [TRUE_MEANS[1]], [0.01 * total]], trials, 1)
    return *np.stack(ends, 1), truth, np.stack([m.value for m in means])


def test_intervals_over_unlike_sources_cover_the_truth_and_are_no_wider_than_that_takes():
    held, width = covered_of_unlike_sources(SOURCES)
    assert held.min() >= 0.93, held
    assert held.max() <= 0.97, held
    assert width == pytest.approx(1, abs=0.1)


def test_draws_over_all_documents_would_take_what_lies_between_sources_for_uncertainty():
    held, width = covered_of_unlike_sources(np.zeros(len(SOURCES), int))
    assert held[0] == 1
    assert width[0] > 3


def test_means_of_a_draw_are_those_of_the_documents_drawn_and_hold_each_sources_tokens():
    counts, sources = np.array([2.0, 0, 4, 5, 1, 3]), np.array([0, 0, 0, 1, 1, 1])
    sums = np.array([2.0, 0, 12, 5, 2, 9])
    bootstrap = Bootstrap.of(counts, sources, draws=200)
    assert bootstrap.weights[:, 1].max() == 0
    for source in (0, 1):
        here = sources == source
        assert bootstrap.weights[:, here] @ counts[here] == pytest.approx(counts[here].sum())
    of_first, of_second = {1.0, 3.0}, {1.0, 2, 3, 7 / 6, 14 / 8, 11 / 4}  # one of two is drawn, two of three
    expected = {round((6 * a + 9 * b) / 15, 9) for a in of_first for b in of_second}
    assert set(bootstrap.means(sums, counts).draws.round(9).tolist()) == expected
    assert bootstrap.means(sums, counts).value == 2


def test_a_document_shifts_the_mean_by_what_more_of_it_would_do():
    """To first order: against the weight of one document, each source's tokens kept."""
    rng = np.random.default_rng(0)
    tokens, sources = rng.integers(50, 400, 30).astype(float), np.arange(30) % 3
    counts = np.stack([tokens, rng.integers(0, 2, 30) * np.round(tokens / 3)], 1)
    sums = counts * rng.normal(1, 1, counts.shape)
    shifts, step = Bootstrap.of(tokens, sources, draws=2).means(sums, counts).shifts, 1e-6
    for document in range(30):
        weights = 1 + step * (np.arange(30) == document)
        for source in range(3):
            here = sources == source
            weights[here] *= tokens[here].sum() / (weights[here] @ tokens[here])
        moved = (weights @ sums) / (weights @ counts) - sums.sum(0) / counts.sum(0)
        assert moved / step == pytest.approx(shifts[document], rel=1e-4, abs=1e-8)


def test_the_deviation_of_a_mean_is_unbiased_whatever_the_lengths_of_its_documents():
    """Of ten documents each with a mean of its own, twenty thousand times; the longest has two fifths of the tokens."""
    tokens = np.array([100.0] * 9 + [600])
    bootstrap = Bootstrap.of(tokens, np.zeros(10, int), draws=2)
    own = np.random.default_rng(0).normal(size=(10, 20_000))
    spread = bootstrap.spread(bootstrap.means(tokens[:, None] * own, tokens[:, None]))
    assert (spread.deviation**2).mean() == pytest.approx((tokens**2).sum() / tokens.sum() ** 2, rel=0.02)
    alike = Bootstrap.of(np.ones(10), np.zeros(10, int), draws=2)
    spread = alike.spread(alike.means(own, np.ones((10, 1))))
    assert spread.deviation == pytest.approx(own.std(0, ddof=1) / np.sqrt(10))
    assert (spread.degrees == 9).all()


def test_degrees_of_freedom_are_those_of_the_sources_that_give_the_spread():
    rng = np.random.default_rng(0)
    ten, sources = rng.normal(size=10), np.repeat([0, 1], [10, 40])
    bootstrap = Bootstrap.of(np.ones(50), sources, draws=2)
    for of_forty in (np.zeros(40), np.tile(ten * 1e6, 4), np.tile(ten, 4) / 2 + 5):
        own = np.concatenate([ten, of_forty])
        first, second = ten.var(ddof=1) * 10, of_forty.var(ddof=1) * 40
        expected = math.floor((first + second) ** 2 / (first**2 / 9 + second**2 / 39) + 1e-6)
        assert bootstrap.spread(bootstrap.means(own, np.ones(50))).degrees == expected
    assert bootstrap.spread(bootstrap.means(sources * 1.0, np.ones(50))).degrees == 48  # nothing differs


@pytest.mark.parametrize(("few", "known"), [(0, True), (1, False), (FEWEST_DOCUMENTS - 1, False), (8, True)])
def test_a_source_of_few_documents_leaves_what_it_is_part_of_without_interval(few, known):
    sources = np.repeat([0, 1], [100, few])
    bootstrap = Bootstrap.of(np.ones(len(sources)), sources)
    counts = np.stack([np.ones(len(sources)), sources == 0], 1)
    means = bootstrap.means(counts * np.random.default_rng(0).normal(size=counts.shape), counts)
    assert np.isfinite(bootstrap.interval(means, counts)).tolist() == [[known, True]] * 2
    assert np.isfinite(bootstrap.joint_interval(means)).all() == known


def test_tokens_of_few_documents_have_no_interval_and_no_token_no_mean():
    """Each column is told by the documents that have such tokens, however many the probe has."""
    counts = np.ones((100, 3))
    counts[FEWEST_DOCUMENTS - 1 :, 1] = counts[FEWEST_DOCUMENTS:, 2] = 0
    bootstrap = Bootstrap.of(np.ones(100), np.zeros(100, int))
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


@pytest.mark.parametrize("sources", [1, 3, 40, 300])
def test_every_source_has_groups_of_its_own(sources):
    documents = np.random.default_rng(sources).integers(1, 2000, sources).tolist()
    parts = shared_out(documents, num_groups(sources))
    assert sum(parts) <= num_groups(sources)
    assert all(min(n, 16) <= part <= n for n, part in zip(documents, parts, strict=True))


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
    found = Pass(*[np.zeros(0)] * 2, losses, *[np.zeros(0)] * 3)
    sums, counts = loss_sums(found, Strata(("web", "code"), 8, frozenset()))
    assert (sums[:2].tolist(), counts[:2].tolist()) == ([6.0, 6.0], [4.0, 4.0])
