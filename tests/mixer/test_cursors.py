from collections import Counter
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixer.cursors import Cursors
from mixer.cursors import resolve as resolved
from mixer.errors import DataError
from mixer.spans import Skip, Span, join

NAMES = ["web", "code", "sft"]

weights = st.dictionaries(st.sampled_from(NAMES), st.floats(0.01, 10), min_size=1)
phases = st.lists(st.tuples(st.integers(1, 120), weights), min_size=1, max_size=5)


def spans_of(phases: list[tuple[int, dict[str, float]]]) -> list[Span]:
    edges = np.cumsum([0, *(length for length, _ in phases)]).tolist()
    return [Span(a, b, mix) for a, b, (_, mix) in zip(edges, edges[1:], phases, strict=False)]


def resolve(names: list[str], spans: list[Span], skips: list[Skip]) -> list[Skip]:
    """Skips in order, each worked out with those before it."""
    done: list[Skip] = []
    for skip in skips:
        done.append(resolved(skip, names, partial(Cursors.of, names, spans, done)))
    return done


def draws_read(cursors: Cursors, first: int, end: int) -> list[tuple[int, int]]:
    sources, draws = cursors.locate(np.arange(first, end))
    return list(zip(sources.tolist(), draws.tolist(), strict=True))


@given(phases)
@settings(deadline=None)
def test_sources_go_on_from_their_cursors_across_spans(phases: list[tuple[int, dict[str, float]]]) -> None:
    cursors = Cursors.of(NAMES, spans_of(phases))
    seen = [0, 0, 0]
    for sample, (source, draw) in enumerate(draws_read(cursors, 0, cursors.num_samples)):
        assert cursors.counts(sample).tolist() == seen
        assert draw == seen[source]
        seen[source] += 1
    assert cursors.counts(cursors.num_samples).tolist() == seen


@given(phases, st.lists(st.tuples(st.integers(0, 600), st.integers(1, 60)), max_size=4))
@settings(deadline=None)
def test_skips_pass_over_exactly_their_draws(
    phases: list[tuple[int, dict[str, float]]], asked: list[tuple[int, int]]
) -> None:
    spans = spans_of(phases)
    skips: list[Skip] = []
    total = spans[-1].end_sample
    for start, length in sorted((start % total, length) for start, length in asked):
        before = Cursors.of(NAMES, spans, skips)
        skips = [*resolve(NAMES, spans, [*skips, Skip(start, min(total, start + length))])]
        after = Cursors.of(NAMES, spans, skips)
        barred = Counter(draws_read(before, start, skips[-1].end))
        assert not barred & Counter(draws_read(after, 0, total))
        assert draws_read(after, 0, start) == draws_read(before, 0, start)
        assert np.array_equal(after.locate(np.arange(total))[0], before.locate(np.arange(total))[0])
    passed = sum((Counter(skip.draws) for skip in skips), Counter())
    read = Counter(source for source, _ in draws_read(Cursors.of(NAMES, spans, skips), 0, total))
    ends = Cursors.of(NAMES, spans, skips).counts(total).tolist()
    assert ends == [read[k] + passed[name] for k, name in enumerate(NAMES)]


def test_a_skip_over_a_phase_edge_bars_both_sides() -> None:
    spans = [Span(0, 10, {"web": 1}), Span(10, 20, {"code": 1})]
    (skip,) = resolve(NAMES, spans, [Skip(7, 12)])
    assert skip.draws == {"web": 3, "code": 2}
    cursors = Cursors.of(NAMES, spans, [skip])
    assert draws_read(cursors, 6, 12) == [(0, 6), (0, 10), (0, 11), (0, 12), (1, 2), (1, 3)]


def test_a_resolved_skip_keeps_its_draws_when_the_future_changes() -> None:
    (skip,) = resolve(NAMES, [Span(0, 10, {"web": 1}), Span(10, 20, {"code": 1})], [Skip(7, 12)])
    (kept,) = resolve(NAMES, [Span(0, 10, {"web": 1}), Span(10, 20, {"sft": 1})], [skip])
    assert kept.draws == {"web": 3, "code": 2}


def test_equal_neighbours_are_one_span_without_a_restart() -> None:
    mix = {"web": 0.7, "code": 0.3, "sft": 0.0}
    cut = [Span(0, 5, mix), Span(5, 9, {"code": 0.3, "web": 0.7}), Span(9, 40, mix)]
    assert [(span.start_sample, span.end_sample) for span in join(cut)] == [(0, 40)]
    whole = Cursors.of(NAMES, [Span(0, 40, mix)])
    assert draws_read(Cursors.of(NAMES, cut), 0, 40) == draws_read(whole, 0, 40)


def test_the_order_of_names_changes_no_draw() -> None:
    spans = [Span(0, 100, {"web": 1, "code": 1, "sft": 1})]
    there = Cursors.of(NAMES, spans)
    back = Cursors.of(NAMES[::-1], [Span(0, 100, {"sft": 1, "code": 1, "web": 1})])
    assert [NAMES[k] for k, _ in draws_read(there, 0, 100)] == [NAMES[::-1][k] for k, _ in draws_read(back, 0, 100)]


@pytest.mark.parametrize("far", [2**31, 2**41, 2**42 + 1])
def test_far_positions_are_exact(far: int) -> None:
    spans = [Span(0, far, {"web": 3, "code": 1}), Span(far, far + 2**40, {"web": 1, "sft": 1})]
    cursors = Cursors.of(NAMES, spans)
    web = cursors.counts(far).tolist()[0]
    assert web - far * 3 // 4 in (-1, 0, 1)
    sources, draws = cursors.locate(np.arange(far - 2, far + 3))
    counts = [cursors.counts(sample).tolist() for sample in range(far - 2, far + 3)]
    assert [before[k] for before, k in zip(counts, sources.tolist(), strict=True)] == draws.tolist()


def test_ranges_leave_out_what_a_skip_passed_over() -> None:
    spans = [Span(0, 20, {"web": 1})]
    cursors = Cursors.of(NAMES, spans, resolve(NAMES, spans, [Skip(5, 8)]))
    ranges = [(int(first[0]), int(end[0])) for first, end in cursors.ranges(20)]
    assert ranges == [(0, 5), (8, 23)]
    assert list(cursors.ranges(0)) == []


def test_samples_outside_the_run_are_refused() -> None:
    cursors = Cursors.of(NAMES, [Span(0, 20, {"web": 1})])
    assert cursors.locate(np.array([], np.int64))[0].size == 0
    for sample in (-1, 20):
        with pytest.raises(DataError, match="outside the run, which has 20"):
            cursors.locate(np.array([sample]))
    with pytest.raises(DataError, match="outside the run"):
        cursors.counts(21)
