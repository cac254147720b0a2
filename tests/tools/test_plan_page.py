"""The page of a plan: one file, every panel, values for the cursor, tables; large recipes too."""

import json
import re
from html.parser import HTMLParser

import pytest

from tools.plan.chart import Line, Stack, chart, ticks
from tools.plan.page import page

RECIPE = (
    "sources={web: {tokens: 160001}, code: {tokens: 16001}}",
    "phases=[{name: warmup, tokens: 1600, learning_rate: {from: 1e-4, to: 1e-2}, mixture: {web: 1}},"
    " {name: turn, tokens: 4800, learning_rate: constant, mixture: {web: 0.75, code: 0.25}, mixture_ramp: linear},"
    " {name: decay, tokens: 3200, learning_rate: {from: 5e-3, to: 1e-3}, weight_decay: {to: 0.02}}]",
    "global_batch_size=[[0, 4], [3200, 8]]",
)


class Elements(HTMLParser):
    """Tags that are open, those seen, and what stands in attributes."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.values = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.values += [value for _, value in attrs if value]
        if tag not in ("meta", "br", "line", "rect", "polyline"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        if tag in ("line", "rect", "polyline"):
            return
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def text(tiny_plan):
    return page(tiny_plan(*RECIPE))


def data_of(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


def test_it_is_one_whole_file_that_asks_for_nothing(text):
    elements = Elements(text)
    assert elements.open == []
    assert not {"link", "img", "iframe", "object"} & set(elements.seen)
    assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttp", text)
    assert "prefers-color-scheme: dark" in text


def test_it_has_a_panel_for_every_curve_and_the_phases(text):
    titles = re.findall(r'<text class="title"[^>]*>([^<]*)<', text)
    assert titles == ["learning rate", "weight decay", "batch size (windows)", "mixture (share)"]
    assert re.findall(r'<text class="phase"[^>]*>([^<]*)<', text) == ["warmup", "turn", "decay"]
    assert text.count("<polygon") == 2


def test_the_script_reads_the_plan_s_own_values(text, tiny_plan):
    plan, data = tiny_plan(*RECIPE), data_of(text)
    names = [name for name, _, _ in data["curves"]]
    assert names == ["learning rate", "weight decay", "batch size"]
    _, tokens, values = data["curves"][0]
    assert dict(zip(tokens, values, strict=True)) == {at: plan.schedule.value(at) for at in tokens}
    assert data["steps"] == [[run.first_sample * 16, run.first_step, run.batch_size * 16] for run in plan.batches.runs]
    assert data["phases"] == [["warmup", 0], ["turn", 1600], ["decay", 6400]]
    assert (data["end"], data["numSteps"]) == (plan.total_tokens, plan.batches.num_steps)


def test_tables_and_warnings_stand_below(text, tiny_plan):
    for warning in tiny_plan(*RECIPE).warnings:
        assert warning in text.replace("&#x27;", "'")
    assert "<summary>At every joint (5)</summary>" in text
    assert "<td>0.01 -&gt; 5e-3</td>" in text


def test_names_can_t_leave_their_place():
    panels = [Stack("a<b", [0, 10], {"</svg><script>": [1.0, 1.0]}), Line("c&d", [0, 10], [0.0, 0.0])]
    svg = chart(panels, [("<x>", 0)], 10)
    assert "<script>" not in svg
    assert [name in svg for name in ("a&lt;b", "c&amp;d", "&lt;x&gt;")] == [True] * 3


def test_many_sources_are_grouped_and_long_tables_folded(tiny_plan):
    sources = ", ".join(f"s{n}: {{tokens: 100K}}" for n in range(300))
    mixture = ", ".join(f"s{n}: {1 + n % 7}" for n in range(300))
    text = page(tiny_plan(f"sources={{{sources}}}", f"phases.0.mixture={{{mixture}}}", "phases.0.tokens=1M"))
    assert text.count("<polygon") == 12
    assert "289 others" in text
    assert "<details><summary>What each phase reads (300)</summary>" in text
    assert len(text) < 200_000


def test_ticks_are_round_and_inside():
    assert ticks(0, 3.2e-4, 4) == [0.0, 1e-4, 2e-4, 3e-4]
    assert ticks(0, 1.0, 5) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(0, 15e12, 8) == [n * 2e12 for n in range(8)]
    assert ticks(0.94, 0.99, 2) == [0.94, 0.96, 0.98]
