from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixer.errors import DataError
from mixer.generations import Generation, Shuffle, SourceHistory
from mixer.history import History
from mixer.mixture import Located, Mixture
from mixer.spans import DocumentSkip, Ramp, Skip, Span


def mixture(rows: dict[str, int], spans: list[Span], shuffle: Shuffle = "each_epoch", seed: int = 1) -> Mixture:
    sources = {name: SourceHistory((Generation(0, count),), shuffle) for name, count in rows.items()}
    return Mixture(History(seed=seed, sequence_length=8, sources=sources, spans=spans))


def rows_of(located: Located, source: int, epoch: int) -> list[int]:
    rows: list[int] = located.row[(located.source == source) & (located.epoch == epoch)].tolist()
    return rows


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.1, 0.9))
@settings(deadline=None, max_examples=50)
def test_each_row_comes_once_an_epoch(web: int, code: int, share: float) -> None:
    plan = mixture({"web": web, "code": code}, [Span(0, 400, {"web": share, "code": 1 - share})])
    located = plan.locate(np.arange(400))
    for k, rows in enumerate((web, code)):
        whole = plan.counts(400)[plan.names[k]] // rows
        for epoch in range(whole):
            assert sorted(rows_of(located, k, epoch)) == list(range(rows))
        rest = rows_of(located, k, whole)
        assert len(set(rest)) == len(rest)


@pytest.mark.parametrize("shuffle", ["each_epoch", "once", "off"])
def test_the_shuffle_switch(shuffle: Shuffle) -> None:
    located = mixture({"web": 50}, [Span(0, 150, {"web": 1})], shuffle).locate(np.arange(150))
    first, second, third = (rows_of(located, 0, epoch) for epoch in range(3))
    assert (first == list(range(50))) is (shuffle == "off")
    assert (first == second == third) is (shuffle != "each_epoch")


def test_seed_and_name_decide_the_order() -> None:
    spans = [Span(0, 100, {"web": 1, "code": 1})]
    located = mixture({"web": 50, "code": 50}, spans).locate(np.arange(100))
    assert rows_of(located, 0, 0) != rows_of(located, 1, 0)
    other = mixture({"web": 50, "code": 50}, spans, seed=2).locate(np.arange(100))
    assert rows_of(located, 0, 0) != rows_of(other, 0, 0)


def test_any_samples_in_any_order_and_alone() -> None:
    spans = [Span(0, 500, {"web": 2, "code": 1}), Span(500, 900, {"code": 1, "sft": 3})]
    plan = mixture({"web": 70, "code": 31, "sft": 5}, spans)
    straight = plan.locate(np.arange(900))
    samples = np.random.default_rng(0).permutation(900)
    shuffled = plan.locate(samples)
    assert np.array_equal(shuffled.row, straight.row[samples])
    assert np.array_equal(shuffled.epoch, straight.epoch[samples])
    for sample in (0, 499, 500, 899):
        alone = plan.locate(np.array([sample]))
        assert (alone.row[0], alone.draw[0]) == (straight.row[sample], straight.draw[sample])
    assert len(straight[:10]) == 10


def test_a_source_that_grew_reads_its_new_rows_from_a_new_generation() -> None:
    plan = mixture({"web": 10}, [Span(0, 60, {"web": 1})])
    grown = SourceHistory((Generation(0, 10), Generation(20, 15)))
    located = Mixture(replace(plan.history, sources={"web": grown})).locate(np.arange(60))
    assert np.array_equal(located.row[:20], plan.locate(np.arange(20)).row)
    assert located.generation.tolist() == [0] * 20 + [1] * 40
    assert located.epoch[20:].tolist() == [0] * 15 + [1] * 15 + [2] * 10
    assert sorted(located.row[20:35].tolist()) == list(range(15))


@pytest.mark.parametrize("far", [2**31, 2**41])
def test_far_samples_are_exact(far: int) -> None:
    rows = {"web": 2**40 - 1, "code": 1_000_003}
    plan = mixture(rows, [Span(0, 2**43, {"web": 3, "code": 1})])
    samples = np.arange(far - 50, far + 50)
    located = plan.locate(samples)
    for sample, k, draw, epoch in zip(
        samples.tolist(), located.source.tolist(), located.draw.tolist(), located.epoch.tolist(), strict=True
    ):
        name = plan.names[k]
        assert draw == plan.counts(sample)[name]
        assert epoch == draw // rows[name]
    for k, count in enumerate(rows.values()):
        assert ((located.row >= 0) & (located.row < count))[located.source == k].all()
        assert len(set(rows_of(located, k, int(located.epoch[located.source == k][0])))) > 1


def test_three_hundred_sources_need_no_table_of_the_run() -> None:
    names = {f"s{k}": 1000 + k for k in range(300)}
    plan = mixture(names, [Span(0, 3_662_109_375, dict.fromkeys(names, 1.0))])
    located = plan.locate(np.arange(3_600_000_000, 3_600_004_096))
    assert np.bincount(located.source, minlength=300).min() >= 4096 // 300 - 1


def test_outside_the_run() -> None:
    plan = mixture({"web": 10}, [Span(0, 60, {"web": 1})])
    assert plan.num_samples == 60
    assert len(plan.locate(np.array([], np.int64))) == 0
    with pytest.raises(DataError, match="outside the run, which has 60"):
        plan.locate(np.array([60]))


def test_the_planned_bound_adds_over_what_begins() -> None:
    half, ramp = {"web": 1, "code": 1}, Ramp(40, 80, {"web": 1, "code": 1})
    spans = [Span(0, 40, half), Span(40, 80, {"web": 1}, ramp=ramp), Span(80, 90, half)]
    plan = mixture({"web": 10, "code": 10}, spans)
    assert plan.bounds(0) == {"web": 0, "code": 0}
    assert [plan.bounds(sample)["web"] for sample in (1, 40, 41, 80, 81, 90)] == pytest.approx(
        [0.5, 0.5, 1.25, 1.25, 1.75, 1.75], abs=1e-5
    )
    changed = mixture({"web": 10, "code": 10}, [spans[0], replace(spans[1], end_sample=60), Span(60, 90, half)])
    assert changed.bounds()["web"] == pytest.approx(1.75, abs=1e-5)
    cut = plan.history.cut(60)
    assert Mixture(cut).bounds() == plan.bounds()
    skipped = Mixture(replace(plan.history, skips=[Skip(5, 9), Skip(50, 55)]))
    assert skipped.bounds() == plan.bounds(), "a skip is no restart"


@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(0.01, 9), min_size=2), st.booleans(), st.data())
@settings(deadline=None, max_examples=40)
def test_any_window_is_within_the_bounds_of_both_its_ends(
    weights: dict[str, float], ramp: bool, data: st.DataObject
) -> None:
    first = dict.fromkeys("abc", 1.0)
    spans = [Span(0, 90, first), Span(90, 200, weights, ramp=Ramp(90, 200, first) if ramp else None)]
    plan = mixture(dict.fromkeys("abcdef", 9), spans)
    begin, end = sorted(data.draw(st.tuples(st.integers(0, 200), st.integers(0, 200))))
    for name in plan.names:
        start, late = first.get(name, 0) / 3, weights.get(name, 0) / sum(weights.values())
        upto = [
            start * min(n, 90)
            + (n > 90) * ((n - 90) * (start if ramp else late) + ramp * (late - start) * (n - 90) ** 2 / 220)
            for n in (begin, end)
        ]
        error = plan.counts(end)[name] - plan.counts(begin)[name] - (upto[1] - upto[0])
        assert abs(error) <= plan.bounds(begin)[name] + plan.bounds(end)[name] + 1e-6


def test_reads_are_the_samples_located_and_leave_out_what_skips_pass_over() -> None:
    sources = {name: SourceHistory((Generation(0, rows),)) for name, rows in (("web", 40), ("code", 13))}
    spans = [Span(0, 100, {"web": 3, "code": 1}), Span(100, 180, {"web": 1, "code": 2})]
    skips, documents = [Skip(30, 55), Skip(95, 110)], [DocumentSkip("code", (0,), (2, 5), start=20)]
    plan = Mixture(History(1, 8, sources, spans, skips, documents))
    located = plan.locate(np.arange(180)).source
    for sample in (0, 1, 30, 31, 95, 96, 100, 179, 180):
        web, code = np.bincount(located[:sample], minlength=2).tolist()
        assert plan.reads(sample) == {"web": web, "code": code}
