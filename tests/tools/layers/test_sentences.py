"""What the page and the terminal say: every model, no nan, and where buckets tell nothing."""

from types import SimpleNamespace

import numpy as np
import pytest

from tools.layers.ablate import Ablation
from tools.layers.document_groups import GROUPS
from tools.layers.figures import draw_figures
from tools.layers.findings import Analysis, Estimate, Pass, Stratum, analyse
from tools.layers.measure import measure, strata_of
from tools.layers.page import page
from tools.layers.report import Report
from tools.layers.sentences import bucket_lines, correlation_line, length_lines, span_line, summary_lines
from tools.layers.spans import Span
from tools.layers.strata import EDGES_NATS, Strata
from tools.layers.trajectory import trajectory

FACTS = {"num_layers": 3, "hidden_size": 8, "context_length": None, "norm": "pre", "consumed_tokens": None}


@pytest.fixture
def analysed(make_toy, make_probe):
    """An analysis of a toy whose layers turn by so much, under a name."""
    import torch

    def of(name, windows=12, tokens=None):
        torch.manual_seed(0)
        model = make_toy([lambda x: x.flip(-1) * 0.3] * 3, torch.randn(32, 32))
        probe = make_probe(windows=windows)
        strata = strata_of(model, probe)
        found = Pass.of(measure(model, probe), probe.group_sources)
        facts = FACTS | {"consumed_tokens": tokens}
        return analyse(found, strata, name=name, facts=facts, resolution=1e-7, redundant=1), strata

    return of


PROBE = {"tokens": 96, "documents": 12, "sources": ["web"], "sequence_length": 8, "documents_of_sources": [12]}


def ablation(places, correlation):
    ends = np.full(len(places), 0.5)
    return Ablation("span", places, Estimate(ends, ends - 0.1, ends + 0.1), correlation)


def test_every_model_has_its_table_its_spans_and_its_ablations(analysed, tmp_path):
    analyses = [analysed(name)[0] for name in ("one", "two", "three")]
    ablations = {analysis.name: [ablation([f"{n}:{n + 1}"], np.nan)] for n, analysis in enumerate(analyses)}
    report = Report(analyses, PROBE, ablations, None)
    text, html = "\n".join(summary_lines(report)), page(report, [], tmp_path)
    for number, analysis in enumerate(analyses):
        assert f"{analysis.name}: Loss" in text
        assert f"<summary>{analysis.name}</summary>" in html
        assert f" {number}:{number + 1}     +0.5000  +0.4000 to +0.6000" in text
        assert f"<td>{number}:{number + 1}</td><td>+0.5000</td>" in html
    assert text.count("in lowest k") == html.count("<th>in lowest k</th>") == 3
    assert text.count("A:B is layers") == html.count("A:B is layers") == 1
    assert html.count("<td>not known</td>") == 3  # tokens trained
    assert "nan" not in text


def test_of_checkpoints_of_one_run_the_most_trained_is_shown_and_named(analysed, tmp_path):
    (late, strata), (early, _) = analysed("late", tokens=2000), analysed("early", tokens=1000)
    found = trajectory([early, late], [1000, 2000], strata)
    report = Report([late, early], PROBE, {}, found)
    text, html = "\n".join(summary_lines(report)), page(report, [], tmp_path)
    for told in (text, html):
        assert "Layers are those of the last checkpoint, late; report.json holds those of all." in told
        assert told.count("in lowest k") == 1
        assert "nan" not in told.replace("redundant", "")
    assert "early: Loss" not in text
    assert "<th>slope per 1B tokens</th><th>95 % interval</th><th>1K</th><th>2K</th>" in html
    assert "<tr><td>last layer&#x27;s share</td><td>-</td><td>-</td>" in html
    assert html.count("none needed") + html.count("<td>not known</td>") >= 2


@pytest.mark.parametrize(
    ("places", "correlation", "end"),
    [
        (["1:2", "2:3"], np.nan, ": needs three or more, got 2."),
        (["0:1", "1:2", "2:3"], np.nan, ": none, as one of them is constant."),
        (["0:1", "1:2", "2:3"], 0.5, ": 0.50."),
    ],
)
def test_a_correlation_that_is_not_there_is_told_without_nan(places, correlation, end):
    line = correlation_line(ablation(places, correlation))
    assert line == f"Rank correlation of the distance with the rise of the loss{end}"


def test_spans_are_half_open():
    found = SimpleNamespace(spans=[Span(2, 4, 0.5), Span(7, 9, 0.6)])
    assert span_line(found).endswith(": 2:4, 7:9.")


def crowded(name, tokens):
    empty = np.zeros(0)
    rows = [
        Stratum(family, bucket, count, 1.0, Estimate(empty, empty, empty))
        for family, counts in tokens.items()
        for bucket, count in counts.items()
    ]
    return Analysis(name, {}, None, None, rows, empty, empty, [], [], None)


def test_a_later_model_with_more_than_nine_tenths_of_its_tokens_in_one_bucket_is_named():
    even = {"0-2": 50, "2-": 50}
    models = [
        crowded("first", {"loss": {"0-2": 1, "2-": 99}, "entropy": even}),
        crowded("at the edge", {"loss": {"0-2": 90, "2-": 10}, "entropy": even}),
        crowded("beyond", {"loss": {"0-2": 91, "2-": 9}, "entropy": {"0-2": 1, "2-": 99}}),
    ]
    loss, entropy = bucket_lines(Report(models, PROBE, {}, None))
    assert loss.startswith("Buckets of loss are those of the first model, first, and hardly tell")
    assert "apart: beyond (91 % in 0 to 2 nats). Begin with a later checkpoint" in loss
    assert "apart: beyond (99 % in 2 nats or more)." in entropy


def test_models_made_for_shorter_windows_are_named():
    models = [crowded(name, {}) for name in ("just long enough", "one short", "not known")]
    for model, length in zip(models, (8, 7, None), strict=True):
        model.facts["context_length"] = length
    (line,) = length_lines(Report(models, PROBE, {}, None))
    assert line == "Windows of 8 tokens are longer than those that these were made for: one short (7)."


def test_fine_buckets_are_a_quarter_of_a_nat_wide_and_their_sums_stay_small():
    edges = np.array(EDGES_NATS)
    between = (edges >= 0.5) & (edges <= 12)
    assert np.diff(edges[between]).tolist() == [0.25] * 46
    strata = Strata(("a", "b"), 4096, frozenset())
    assert strata.names("loss")[:2] + strata.names("loss")[-3:] == ["0-0.01", "0.01-0.03", "11.75-12", "12-16", "16-"]
    layers, values, bytes_each = 32, 3, 8
    assert GROUPS * strata.num_strata * layers * values * bytes_each < 25e6


def test_a_figure_of_ablations_is_drawn_for_spans_alone_too(analysed, tmp_path):
    found, _ = analysed("one")
    figures = dict(draw_figures(Report([found], PROBE, {"one": [ablation(["1:2"], np.nan)]}, None), tmp_path))
    assert (tmp_path / "ablation.png").is_file()
    assert "first of a segment" in figures["class.png"]
    assert "ablation.png" in figures
