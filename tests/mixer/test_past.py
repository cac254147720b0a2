"""What an edit may change of ramps and of skipped documents, and what is locked."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mixer.errors import DataError
from mixer.generations import Generation, SourceHistory
from mixer.history import History
from mixer.mixture import Mixture
from mixer.spans import Cap, DocumentSkip, Ramp, Span

SOURCES = {"web": SourceHistory((Generation(0, 50),)), "code": SourceHistory((Generation(0, 30),))}
WEB, EVEN = {"web": 1.0}, {"web": 0.5, "code": 0.5}


def run(*spans: Span, documents: dict[str, list[int]] | None = None, **changes: Any) -> History:
    barred = [DocumentSkip(name, tuple(found), tuple(found)) for name, found in (documents or {}).items()]
    plan = History(seed=1, sequence_length=8, sources=SOURCES, spans=spans, document_skips=barred)
    return replace(plan, **changes)


def ramped(end: int = 200, to: dict[str, float] = EVEN, shape: str = "linear", after: int = 60) -> History:
    """100 samples of web, a ramp to another mixture, and that mixture for a while."""
    ramp = Ramp(100, end, WEB, shape)  # type: ignore[arg-type]
    return run(Span(0, 100, WEB), Span(100, end, to, ramp=ramp), Span(end, end + after, to))


def reads(plan: History, end: int) -> list[list[int]]:
    located = Mixture(plan).locate(np.arange(end))
    return [located.source.tolist(), located.draw.tolist(), located.row.tolist()]


def test_a_ramp_asked_for_again_is_not_cut() -> None:
    saved = ramped()
    for at in (0, 50, 100, 101, 150, 199, 200, 230, 260):
        assert saved.continue_with(saved, at) == saved
        assert saved.continue_with(ramped(after=90), at).spans[:2] == saved.spans[:2]


def test_a_part_of_a_ramp_reads_as_the_whole_does() -> None:
    for at in (101, 150, 199):
        assert reads(ramped().cut(at), 260) == reads(ramped(), 260)
    assert len(ramped().cut(150).cursors().stretches) == 3


@pytest.mark.parametrize("edited", [ramped(end=300), ramped(to={"code": 1.0}), ramped(shape="cosine")])
def test_a_ramp_that_changed_begins_anew_from_the_shares_in_force(edited: History) -> None:
    saved = ramped()
    joined = saved.continue_with(edited, 150)
    assert reads(joined, 150) == reads(saved, 150)
    past, ahead = joined.spans[1:3]
    assert (past.ramp, past.end_sample) == (saved.spans[1].ramp, 150)
    assert ahead.ramp == Ramp(150, edited.spans[1].end_sample, {"web": 0.75, "code": 0.25}, edited.spans[1].ramp.shape)  # type: ignore[union-attr]
    assert ahead.asked == edited.spans[1].ramp
    shares = joined.cursors().stretches[2].shares_at(150).tolist()
    assert shares == saved.cursors().shares_before(150).tolist() == [0.75, 0.25]
    again = History.from_json(json.loads(json.dumps(joined.to_json())))
    assert again.continue_with(edited, 150) == joined
    assert again.continue_with(edited, 180) == joined
    assert again.continue_with(edited, edited.num_samples) == joined


def test_an_edit_of_the_edit_begins_from_where_it_had_come() -> None:
    once = ramped().continue_with(ramped(to={"code": 1.0}), 150)
    back = once.continue_with(ramped(), 175)
    assert back.spans[3].ramp == Ramp(175, 200, {"web": 0.375, "code": 0.625})
    assert back.spans[3].asked == ramped().spans[1].ramp
    assert [phase.start_sample for phase in back.phases] == [0, 100, 200]


def test_a_ramp_turned_off_and_a_constant_turned_into_a_ramp() -> None:
    constant = run(Span(0, 100, WEB), Span(100, 200, EVEN), Span(200, 260, EVEN))
    off = ramped().continue_with(constant, 150)
    assert [span.ramp is None for span in off.spans] == [True, False, True, True]
    assert off.continue_with(constant, 170) == off
    on = constant.continue_with(ramped(), 150)
    assert on.spans[2].ramp == Ramp(150, 200, EVEN)
    assert on.continue_with(ramped(), 170) == on


def test_caps_ahead_change_and_caps_behind_stay() -> None:
    caps = {"code": Cap(30, ("web",))}
    saved, capped = ramped(), replace(ramped(), spans=[replace(span, caps=caps) for span in ramped().spans])
    joined = saved.continue_with(capped, 150)
    assert [bool(span.caps) for span in joined.spans] == [False, False, True, True]
    assert joined.spans[2].ramp == saved.spans[1].ramp, "the ramp itself was not edited"
    assert reads(joined, 150) == reads(saved, 150)
    assert Mixture(joined).counts(260)["code"] == 30
    assert joined.continue_with(saved, 240).spans[:3] == joined.spans[:3]


@pytest.mark.parametrize(
    ("edited", "message"),
    [
        (ramped(shape="cosine"), r"phases\[1\].ramp.shape: cosine, but up to sample 230 the run has read with linear"),
        (ramped(to={"code": 1.0}), r"phases\[1\].weights.code: 1.0, but up to sample 230 the run has read with 0.5"),
        (ramped(end=210), r"phases\[1\].end_sample: 210, but up to sample 230 the run has read with 200"),
        (
            replace(ramped(), spans=[Span(0, 100, WEB), Span(100, 200, EVEN), Span(200, 260, EVEN)]),
            r"phases\[1\].ramp: None, but up to sample 230",
        ),
        (
            replace(
                ramped(),
                spans=[Span(0, 100, WEB), Span(100, 200, EVEN, ramp=Ramp(100, 200, EVEN)), Span(200, 260, EVEN)],
            ),
            r"phases\[1\].ramp.from_weights.web: 0.5, but up to sample 230 the run has read with 1.0",
        ),
    ],
)
def test_a_ramp_of_the_past_is_locked(edited: History, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ramped().continue_with(edited, 230)


@pytest.mark.parametrize(
    ("ramp", "message"),
    [
        (Ramp(10, 100, WEB), r"spans\[0\].ramp: samples 10 to 100; expected to hold the span, 0 to 100"),
        (Ramp(0, 90, WEB), r"spans\[0\].ramp: samples 0 to 90; expected to hold the span, 0 to 100"),
        (Ramp(0, 100, {"wbe": 1}), r"spans\[0\].ramp.from_weights: source 'wbe' is unknown"),
        (Ramp(0, 100, {"web": 0}), "all 1 weights are 0"),
        (Ramp(0, 100, WEB, "sine"), r"spans\[0\].ramp.shape: 'sine'; expected one of linear, cosine"),  # type: ignore[arg-type]
    ],
)
def test_a_ramp_that_makes_no_sense_is_refused(ramp: Ramp, message: str) -> None:
    with pytest.raises(DataError, match=message):
        run(Span(0, 100, EVEN, ramp=ramp))


def test_skipped_documents_are_never_read_and_all_else_is_read_in_order() -> None:
    spans = Span(0, 300, EVEN)
    free, barred = run(spans), run(spans, documents={"web": [3, 4, 49]})
    rows = Mixture(free).rows(np.zeros(200, np.int64), np.arange(200)).row
    expected = [draw for draw in range(200) if rows[draw] not in (3, 4, 49)][:150]
    located = Mixture(barred).locate(np.arange(300))
    assert located.draw[located.source == 0].tolist() == expected
    assert Mixture(barred).samples_of("web", np.array([3, 49]))[0].size == 0


def test_documents_are_skipped_from_the_edit_on() -> None:
    spans = Span(0, 300, EVEN)
    saved, recipe = run(spans), run(spans, documents={"web": [3, 4]})
    joined = saved.continue_with(recipe, 120)
    assert reads(joined, 120) == reads(saved, 120)
    assert [skip.start for skip in joined.document_skips] == [120]
    assert not set(Mixture(joined).samples_of("web", np.array([3, 4]))[0].tolist()) - set(range(120))
    assert joined.continue_with(recipe, 120) == joined.continue_with(recipe, 200) == joined
    more = joined.continue_with(run(spans, documents={"web": [3, 4, 9], "code": [1]}), 200)
    assert [(skip.source, skip.documents, skip.start) for skip in more.document_skips] == [
        ("web", (3, 4), 120),
        ("web", (9,), 200),
        ("code", (1,), 200),
    ]
    assert reads(more, 200) == reads(joined, 200)


def test_a_skip_of_documents_that_has_begun_can_not_be_taken_back() -> None:
    spans = Span(0, 300, EVEN)
    joined = run(spans).continue_with(run(spans, documents={"web": [3, 4]}), 120)
    for fewer in ({}, {"web": [4]}):
        with pytest.raises(DataError, match=r"document_skips.web.*up to sample 121 the run has read with.*put it back"):
            joined.continue_with(run(spans, documents=fewer), 121)  # type: ignore[arg-type]
    assert joined.continue_with(run(spans), 120).document_skips == ()


def test_skips_of_documents_that_mean_nothing_are_refused() -> None:
    with pytest.raises(DataError, match="document_skips: all 30 rows of source code are skipped; leave it out"):
        run(Span(0, 9, EVEN), documents={"code": list(range(30))})
    with pytest.raises(DataError, match=r"document_skips\[0\]: source 'wbe' is unknown; sources are web, code"):
        run(Span(0, 9, EVEN), documents={"wbe": [1]})


@pytest.mark.parametrize("far", [2**31, 2**41])
def test_far_samples_of_ramps_and_constants_invert(far: int) -> None:
    ramp = Ramp(10, 2**42, WEB, "cosine")
    sources = {"web": SourceHistory((Generation(0, 10**12),)), "code": SourceHistory((Generation(0, 10**12),))}
    plan = run(Span(0, 10, WEB), Span(10, 2**42, EVEN, ramp=ramp), Span(2**42, 2**43, EVEN), sources=sources)
    mixture = Mixture(plan)
    for start in (far - 3, 2**42 + far):
        samples = np.arange(start, start + 6)
        located = mixture.locate(samples)
        for sample, k, draw in zip(samples.tolist(), located.source.tolist(), located.draw.tolist(), strict=True):
            assert mixture.cursors.counts(sample)[k] == draw
            assert mixture.cursors.sample_at(k, draw) == sample
        for k, name in enumerate(mixture.names):
            chosen = located.source == k
            found = mixture.samples_of(name, located.row[chosen])[0] if chosen.any() else samples[:0]
            assert set(samples[chosen].tolist()) <= set(found.tolist())


def test_a_skip_follows_rows_that_get_other_numbers_before_they_are_read() -> None:
    """Packed data that grows again is packed anew from where reading is: its row 55 now holds other documents."""
    waiting = (Generation(0, 50, num_tokens=401), Generation(50, 60, num_tokens=481))
    saved = run(Span(0, 200, WEB)).continue_with(run(Span(0, 200, WEB), documents={"web": [3, 55]}), 10)
    saved = replace(saved, sources={**SOURCES, "web": SourceHistory(waiting)})
    anew = SourceHistory((waiting[0], Generation(50, 70, num_tokens=561)))
    skip = DocumentSkip("web", (3, 55), (3, 58))
    asked = run(Span(0, 200, WEB), sources={**SOURCES, "web": anew}, document_skips=[skip])
    joined = saved.continue_with(asked, 20)
    assert [(skip.rows, skip.start) for skip in joined.document_skips] == [((3,), 10), ((58,), 20)]
    assert joined.continue_with(asked, 20) == joined
    assert reads(joined, 20) == reads(saved, 20)
    assert {55} == {55, 58} & set(reads(joined, 200)[2])
