import json
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixer.errors import DataError
from mixer.generations import Generation, SourceHistory
from mixer.history import History
from mixer.mixture import Mixture
from mixer.spans import Skip, Span

STABLE, DECAY, SOFT = {"web": 0.8, "code": 0.2}, {"web": 0.5, "code": 0.2, "sft": 0.3}, {"web": 0.9, "code": 0.1}


def source(rows: int = 50, fingerprint: str = "a") -> SourceHistory:
    return SourceHistory((Generation(0, rows, fingerprint, ((10, 20), (40, 50))),))


def history(*phases: tuple[int, dict[str, float]], skips: tuple[tuple[int, int], ...] = (), **changes: Any) -> History:
    edges = [0, *(end for end, _ in phases)]
    plan = History(
        seed=1,
        sequence_length=8,
        sources={"web": source(), "code": source(30), "sft": source(7)},
        spans=[Span(start, end, mix) for start, (end, mix) in zip(edges, phases, strict=False)],
        skips=[Skip(*skip) for skip in skips],
    )
    return replace(plan, **changes)


def reads(plan: History, first: int, end: int) -> list[tuple[str, int, int, int]]:
    mixture = Mixture(plan)
    located = mixture.locate(np.arange(first, end))
    columns = (located.source.tolist(), located.draw.tolist(), located.epoch.tolist(), located.row.tolist())
    return [(mixture.names[k], draw, epoch, row) for k, draw, epoch, row in zip(*columns, strict=True)]


def edges(plan: History) -> list[tuple[int, int]]:
    return [(span.start_sample, span.end_sample) for span in plan.spans]


def test_json_gives_back_an_equal_history() -> None:
    plan = history((100, STABLE), (150, DECAY), skips=((20, 30), (90, 110)))
    state = json.loads(json.dumps(plan.to_json()))
    again = History.from_json(state)
    assert again == plan
    assert reads(again, 0, 150) == reads(plan, 0, 150)


@pytest.mark.parametrize("damage", [{"spans": [{"start": 0}]}, {"seed": None}, {"sources": {"web": {}}}])
def test_a_damaged_state_is_one_clear_error(damage: dict[str, object]) -> None:
    state = {**history((10, STABLE)).to_json(), **damage}
    if state["seed"] is None:
        del state["seed"]
    with pytest.raises(DataError, match="history of the run state can't be read"):
        History.from_json(state)


@given(st.integers(0, 150))
@settings(deadline=None, max_examples=30)
def test_a_cut_changes_nothing_that_is_read(at: int) -> None:
    plan = history((100, STABLE), (150, DECAY))
    assert reads(plan.cut(at), 0, 150) == reads(plan, 0, 150)


def test_going_on_with_the_same_recipe_is_no_cut() -> None:
    plan = history((100, STABLE), (150, DECAY), skips=((20, 30),))
    for at in (0, 1, 25, 99, 100, 101, 149, 150):
        assert plan.continue_with(plan, at) == plan


def test_the_running_phase_is_cut_where_the_weights_change() -> None:
    saved = history((100, STABLE), (150, DECAY))
    edited = history((100, SOFT), (150, DECAY))
    joined = saved.continue_with(edited, 60)
    assert edges(joined) == [(0, 60), (60, 100), (100, 150)]
    assert [span.continues for span in joined.spans] == [False, True, False]
    assert reads(joined, 0, 60) == reads(saved, 0, 60)
    assert edges(joined.continue_with(edited, 80)) == edges(joined)
    assert edges(joined.continue_with(edited, 120)) == edges(joined), "the recipe as it stands goes on working"


def test_an_edit_may_be_taken_back_and_made_again() -> None:
    recipe, edited = history((100, STABLE), (150, DECAY)), history((100, SOFT), (150, DECAY))
    run = recipe.continue_with(edited, 20).continue_with(recipe, 40).continue_with(edited, 60)
    assert edges(run) == [(0, 20), (20, 40), (40, 60), (60, 100), (100, 150)]
    assert [len(phase.weights) for phase in run.phases] == [2, 3]


def test_a_longer_run_and_a_later_phase_edge_are_no_cut() -> None:
    saved = history((100, STABLE), (150, DECAY))
    assert edges(saved.continue_with(history((130, STABLE), (400, DECAY)), 60)) == [(0, 130), (130, 400)]
    assert edges(saved.continue_with(history((100, STABLE), (400, DECAY)), 150)) == [(0, 100), (100, 400)]
    assert edges(saved.continue_with(history((60, STABLE), (90, DECAY)), 60)) == [(0, 60), (60, 90)]


def test_a_source_that_leaves_and_returns_goes_on_from_its_cursor() -> None:
    saved = history((100, STABLE))
    gone = replace(
        history((100, {"web": 1.0})),
        sources={"web": source(), "new": source(9)},
        spans=[Span(0, 100, {"web": 1, "new": 1})],
    )
    without = saved.continue_with(gone, 50)
    assert set(without.sources) == {"web", "new", "code"}
    cursor = Mixture(without).counts(50)["code"]
    assert Mixture(without).counts(100)["code"] == cursor
    back = without.continue_with(replace(gone, sources=without.sources, spans=[Span(0, 100, {"code": 1})]), 70)
    assert reads(back, 70, 71)[0][:2] == ("code", cursor)


def test_skips_ahead_join_in_and_those_behind_stay() -> None:
    saved = history((100, STABLE), (150, DECAY), skips=((20, 30),))
    recipe = history((100, STABLE), (150, DECAY), skips=((20, 30), (70, 80)))
    joined = saved.continue_with(recipe, 60)
    assert joined.skips[0] == saved.skips[0]
    assert (joined.skips[1].start, joined.skips[1].end) == (70, 80)
    assert not set(reads(saved, 70, 80)) & set(reads(joined, 0, 150))


def test_a_skip_passes_over_what_the_run_would_have_read_and_not_the_recipe_alone() -> None:
    saved, edited = history((100, STABLE)), history((100, {"sft": 0.5, "web": 0.5}), skips=((70, 71),))
    (alone,), (joined,) = edited.skips, saved.continue_with(edited, 61).skips
    barred = reads(saved.continue_with(history((100, edited.spans[0].weights)), 61), 70, 71)  # type: ignore[arg-type]
    assert alone.draws != joined.draws == {name: 1 for name, _, _, _ in barred}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 2}, "seed: 2, but up to sample 120 the run has read with 1"),
        ({"sequence_length": 16}, "sequence_length: 16, but up to sample 120 the run has read with 8"),
        (
            {"sources": {"web": source(60), "code": source(30), "sft": source(7)}},
            r"sources.web.generations\[0\].num_rows: 60, but up to sample 120 the run has read with 50",
        ),
        (
            {"sources": {"web": source(50, "b"), "code": source(30), "sft": source(7)}},
            r"sources.web.generations\[0\].fingerprint: b, but up to sample 120 the run has read with a",
        ),
        (
            {"sources": {"web": replace(source(), shuffle="once"), "code": source(30), "sft": source(7)}},
            "sources.web.shuffle: once, but up to sample 120 the run has read with each_epoch",
        ),
        (
            {"spans": [Span(0, 100, SOFT), Span(100, 150, DECAY)]},
            r"phases\[0\].weights.code: 0.1, but up to sample 120 the run has read with 0.2",
        ),
        (
            {"spans": [Span(0, 90, STABLE), Span(90, 150, DECAY)]},
            r"phases\[0\].end_sample: 90, but up to sample 120 the run has read with 100",
        ),
        (
            {"spans": [Span(0, 150, STABLE)]},
            r"phases\[0\].end_sample: 120, but up to sample 120 the run has read with 100",
        ),
        (
            {"spans": [Span(0, 100, STABLE), Span(100, 110, DECAY)]},
            r"phases\[1\].end_sample: 110, but up to sample 120 the run has read with 120",
        ),
        ({"skips": ((50, 60),)}, r"skips\[0\]: \(50, 60\), but up to sample 120 the run has read with None"),
    ],
)
def test_a_change_to_the_past_names_field_and_both_values(changed: dict[str, Any], message: str) -> None:
    saved = history((100, STABLE), (150, DECAY))
    with pytest.raises(DataError, match=message + "; put it back, or begin a new run"):
        saved.continue_with(history((100, STABLE), (150, DECAY), **changed), 120)


def test_a_skip_that_was_used_can_not_be_taken_back() -> None:
    saved = history((100, STABLE), skips=((20, 30),))
    with pytest.raises(DataError, match=r"skips\[0\]: None, but up to sample 21 the run has read with \(20, 30\)"):
        saved.continue_with(history((100, STABLE)), 21)
    assert saved.continue_with(history((100, STABLE)), 20).skips == ()


def test_nothing_is_locked_before_the_first_sample() -> None:
    fresh = history((70, SOFT), seed=9)
    assert history((100, STABLE)).continue_with(fresh, 0) == fresh
    assert history((100, STABLE)).first_difference(fresh, 0) is None


edits = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.dictionaries(st.sampled_from(["web", "code", "sft"]), st.floats(0.05, 5), min_size=1),
        st.one_of(st.none(), st.tuples(st.integers(0, 30), st.integers(1, 20))),
    ),
    max_size=6,
)


@given(edits)
@settings(deadline=None, max_examples=100)
def test_edits_neither_repeat_nor_leave_out_anything_else(edits: list[tuple[int, dict[str, float], object]]) -> None:
    """Each edit goes on a little, then changes the weights of the phase and perhaps skips something ahead."""
    run, at = history((400, STABLE)), 0
    asked: list[tuple[int, int]] = []
    past: list[tuple[str, int, int, int]] = []
    for ahead, mix, skip in edits:
        past += reads(run, at, at + ahead)
        at += ahead
        asked = [pair for pair in asked if pair[0] < at]
        asked += [(at + skip[0], at + skip[0] + skip[1])] if isinstance(skip, tuple) else []
        run = run.continue_with(history((400, mix), skips=tuple(asked)), at)
        assert reads(run, 0, at) == past
    read = Counter((name, draw) for name, draw, _, _ in reads(run, 0, 400))
    passed = sum((Counter(skip.draws) for skip in run.skips), Counter())
    assert max(read.values()) == 1
    for name, count in Mixture(run).counts(400).items():
        assert count == sum(source == name for source, _ in read) + passed[name]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spans": []}, "the run has 0 samples"),
        ({"spans": [Span(1, 10, STABLE)]}, r"spans\[0\]: samples 1 to 10; expected to start at 0"),
        (
            {"spans": [Span(0, 10, STABLE), Span(12, 20, STABLE)]},
            r"spans\[1\]: samples 12 to 20; expected to start at 10",
        ),
        ({"spans": [Span(0, 0, STABLE)]}, r"spans\[0\]: samples 0 to 0; expected to start at 0 and end later"),
        ({"spans": [Span(0, 2**43 + 1, STABLE)]}, r"expected 1 to 2\^43"),
        (
            {"spans": [Span(0, 10, {"wbe": 1})]},
            r"spans\[0\].weights: source 'wbe' is unknown; sources are web, code, sft",
        ),
        ({"spans": [Span(0, 10, {"web": -1})]}, "weight of source web is -1"),
        ({"spans": [Span(0, 10, {"web": 0})]}, "all 1 weights are 0"),
        ({"skips": ((5, 5),)}, r"skips\[0\]: samples 5 to 5; expected start before end"),
        ({"skips": ((5, 101),)}, r"skips\[0\]: samples 5 to 101; expected start before end, inside the run's 100"),
        ({"sources": {**history((1, STABLE)).sources, "sft": source(0)}}, "sources.sft: has no rows"),
        ({"sources": {**history((1, STABLE)).sources, "sft": SourceHistory(())}}, "sources.sft: generations begin at"),
        (
            {"sources": {**history((1, STABLE)).sources, "sft": SourceHistory((Generation(0, 7),), "never")}},  # type: ignore[arg-type]
            "sources.sft.shuffle: 'never'; expected one of each_epoch, once, off",
        ),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        history((100, STABLE), **changes)
