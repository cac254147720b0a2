"""A pass over a probe: what is counted, and what a planted layer looks like."""

import numpy as np
import pytest
import torch

from tools.errors import UserError
from tools.layers.document_groups import GROUPS
from tools.layers.findings import Pass, analyse
from tools.layers.measure import measure, strata_of
from tools.layers.measures import MEASURES, null_distance, resolution
from tools.layers.probe import Probe
from tools.layers.sums import LayerSums

HIDDEN, LAYERS = 32, 6


def adding(vector):
    return lambda x: vector.to(x).expand_as(x)


@pytest.fixture
def orthogonal(make_toy):
    """Every layer adds a direction of its own, as long as the embedding."""
    axes = torch.eye(HIDDEN)
    return make_toy([adding(axes[1 + layer]) for layer in range(LAYERS)], axes[:1].expand(32, HIDDEN).clone())


def distances(sums, part=0):
    counts, sums = sums.parts[:, :, part, 0].sum(0), sums.parts[:, :, part, 1].sum(0)
    return (sums / counts).tolist()


def test_orthogonal_layers_give_the_null_model_in_layers_and_pairs(orthogonal, make_probe):
    sums = measure(orthogonal, make_probe())
    assert distances(sums) == pytest.approx([null_distance(layer) for layer in range(LAYERS)], abs=1e-7)
    pairs = sums.pairs[1] / sums.pairs[0]
    expected = [[1 - ((min(i, j) + 1) / (max(i, j) + 1)) ** 0.5 for j in range(LAYERS + 1)] for i in range(LAYERS + 1)]
    assert pairs.numpy() == pytest.approx(np.array(expected), abs=1e-6)
    assert sums.pairs[0, 0, 0].item() == 6 * 8
    assert sums.histogram.sum(1).tolist() == [48.0] * LAYERS


def test_attention_and_mlp_are_told_apart(make_toy, make_probe):
    axes = torch.eye(HIDDEN)
    model = make_toy(
        [adding(axes[1]), adding(torch.zeros(HIDDEN))],
        axes[:1].expand(32, HIDDEN).clone(),
        attention=[adding(torch.zeros(HIDDEN)), adding(axes[2])],
    )
    sums = measure(model, make_probe())
    assert distances(sums, 1) == pytest.approx([0.0, null_distance(1)], abs=1e-7)
    assert distances(sums, 2) == pytest.approx([null_distance(0), 0.0], abs=1e-7)


def analysed(model, probe, redundant=1):
    strata = strata_of(model, probe)
    found = Pass.of(measure(model, probe), probe.group_sources)
    return analyse(found, strata, name="toy", facts={}, resolution=resolution(model.dtype), redundant=redundant)


def test_a_planted_idle_layer_is_found_and_only_it(make_toy, make_probe):
    weights = torch.randn(LAYERS, HIDDEN, HIDDEN, generator=torch.Generator().manual_seed(3)) / 8
    updates = [lambda x, w=w, n=n: torch.tanh(x @ w) * (0.01 if n == 3 else 1) for n, w in enumerate(weights)]
    embedding = torch.randn(32, HIDDEN, generator=torch.Generator().manual_seed(4))
    table = analysed(make_toy(updates, embedding), make_probe(windows=40)).table
    assert table.ranks[3] == (1, 1)
    assert table.chance_redundant.tolist() == [0, 0, 0, 1, 0, 0]
    assert not any(table.below_resolution)
    others = [low for layer, (low, _) in enumerate(table.ranks) if layer != 3]
    assert min(others) > 1


def test_an_identity_is_below_resolution(make_toy, make_probe):
    idle = adding(torch.zeros(HIDDEN))
    model = make_toy([adding(torch.eye(HIDDEN)[1]), idle], torch.eye(HIDDEN)[:1].expand(32, HIDDEN).clone())
    found = analysed(model, make_probe())
    assert found.table.below_resolution == [False, True]
    assert found.table.measures["layer"]["distance"].mean[1] == 0
    assert found.table.measures["layer"]["output_ratio"].mean[1] == 1


def test_padding_and_micro_batches_change_nothing(make_toy, make_probe, probe_of):
    weights = torch.randn(LAYERS, HIDDEN, HIDDEN, generator=torch.Generator().manual_seed(3)) / 8
    embedding = torch.randn(32, HIDDEN, generator=torch.Generator().manual_seed(4))
    model = make_toy([lambda x, w=w: torch.tanh(x @ w) for w in weights], embedding)
    probe = make_probe()
    whole = measure(model, probe, micro_batch=6)
    for micro_batch in (1, 4):
        same(measure(model, probe, micro_batch=micro_batch), whole)
    padded = np.concatenate([probe.tokens, np.full((6, 8), 31)], 1)
    found = measure(model, probe_of(padded, counts=np.arange(16)[None] < np.full((6, 1), 8)), with_pairs=False)
    assert found.parts.sum(0) == pytest.approx(whole.parts.sum(0), rel=1e-12)
    assert found.histogram.equal(whole.histogram)


def same(found, expected):
    for mine, theirs in zip(found.tensors(), expected.tensors(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-9)  # pytest.approx takes seconds on large arrays


def test_sums_of_parts_of_a_probe_add_up(orthogonal, make_probe, probe_of):
    probe = make_probe()
    groups = np.arange(6)
    total = LayerSums.zeros(LAYERS, strata_of(orthogonal, probe).num_strata)
    for rows in (groups[:2], groups[2:]):
        total += measure(orthogonal, probe_of(probe.tokens[rows], groups=rows))
    same(total, measure(orthogonal, probe))


def test_strata_hold_every_token_once_in_each_family(orthogonal, make_probe, probe_of):
    probe = probe_of(make_probe().tokens, names=["web", "code"], sources=np.array([0, 0, 1, 1, 1, 1]))
    sums, strata = measure(orthogonal, probe), strata_of(orthogonal, probe)
    counts = sums.losses[:, :, 0].sum(0)
    for family in strata.sizes:
        assert counts[strata.span(family)].sum().item() == 48
    assert counts[strata.span("source")].tolist() == [16, 32]
    assert counts[strata.span("position")].tolist() == [6, 6, 12, 24]
    assert dict(zip(strata.names("class"), counts[strata.span("class")].tolist(), strict=True))["massive"] == 48
    assert torch.equal(sums.strata[:, :, 0, 0], sums.losses[:, :, 0])


def test_a_massive_token_is_one_whose_norm_lies_in_one_dimension(make_toy, make_probe):
    embedding = torch.ones(32, HIDDEN)
    embedding[5, 0] = 1e4
    probe = make_probe()
    probe.tokens[0, 3], probe.tokens[1:] = 5, 1
    probe.tokens[0, [0, 1, 2, 4, 5, 6, 7]] = 1
    model = make_toy([adding(torch.arange(HIDDEN) / HIDDEN)] * 2, embedding)
    sums, strata = measure(model, probe), strata_of(model, probe)
    classes = sums.losses[:, strata.span("class"), 0].sum(0)
    assert dict(zip(strata.names("class"), classes.tolist(), strict=True)) == {
        "massive": 1.0, "first": 6.0, "delimiter": 0.0, "rest": 41.0
    }  # fmt: skip


def test_what_is_not_finite_is_named(make_toy, make_probe):
    axes = torch.eye(HIDDEN)
    broken = adding(torch.full((HIDDEN,), float("nan")))
    model = make_toy([adding(axes[1]), broken, adding(axes[2])], axes[:1].expand(32, HIDDEN).clone())
    with pytest.raises(UserError, match="NaN or infinity in or out of layer 1;"):
        measure(model, make_probe())


def test_windows_that_cannot_be_cut_over_ranks_are_one_clear_line(orthogonal, make_probe):
    orthogonal.place.window_part = (0, 3)
    with pytest.raises(UserError, match="--sequence-length: got 8; expected a multiple of 3, over which"):
        measure(orthogonal, make_probe())


def test_without_strata_the_layers_are_the_same(orthogonal, make_probe):
    sums, whole = (measure(orthogonal, make_probe(), with_strata=some, with_pairs=some) for some in (False, True))
    assert torch.equal(sums.parts, whole.parts)
    assert sums.losses.count_nonzero() == sums.pairs.count_nonzero() == 0
    assert sums.parts.shape == (GROUPS, LAYERS, 3, 1 + len(MEASURES))


def test_a_probe_of_sources_keeps_documents_and_specials_apart(world):
    from tools.layers.probe import open_probe

    probe = open_probe([str(world / "web"), f"chat={world / 'sft'}"], sequence_length=32, windows=5)
    assert isinstance(probe, Probe)
    assert (probe.names, probe.num_windows) == (["web", "chat"], 10)
    text, chat = (next(b for b in probe.batches(5) if b.sources[0, 0] == index) for index in (0, 1))
    assert text.segments is None
    assert text.counts.tolist() == (~np.isin(text.tokens, [0, 1])).tolist()  # the chat's manifest names eod 0 and pad 1
    source = probe.sources[0]
    places = source.starts(probe.rows[0])[:, None] + np.arange(32)
    documents = source.tokens.document_of_token(places.ravel()).reshape(5, 32)
    first, numbers = np.unique(documents, return_inverse=True)
    assert len(np.unique(text.groups)) == len(first) > 5
    tokens = np.bincount(text.groups.ravel(), minlength=len(probe.group_sources)).astype(float)
    assert probe.num_documents(tokens) == [len(first), 0]
    tokens[text.groups[0, 0]] = 0  # as if all of its first document were special
    assert probe.num_documents(tokens) == [len(first) - 1, 0]
    for batch in (text, chat):
        assert (probe.group_sources[batch.groups[batch.counts]] == batch.sources[batch.counts]).all()
    assert (np.diff(numbers.reshape(5, 32)) != 0).tolist() == (np.diff(text.groups) != 0).tolist()
    assert not chat.counts[np.isin(chat.tokens, [0, 1])].any()
    assert chat.counts[~np.isin(chat.tokens, [0, 1])].all()
    halves = [batch.tokens for rank in (0, 1) for batch in probe.batches(5, rank=rank, size=2)]
    assert sorted(map(tuple, np.concatenate(halves).tolist())) == sorted(
        map(tuple, np.concatenate([b.tokens for b in probe.batches(3)]).tolist())
    )


def test_a_token_outside_the_vocabulary_is_one_clear_line(world, make_toy):
    from tools.layers.probe import open_probe

    probe = open_probe([str(world / "web")], sequence_length=32, windows=5)
    model = make_toy([adding(torch.ones(8))] * 2, torch.eye(8))
    with pytest.raises(UserError, match=r"toy: got token id 9\d of source web; expected ids below 8, its vocabulary"):
        measure(model, probe)
