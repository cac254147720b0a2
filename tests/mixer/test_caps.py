from dataclasses import replace

import numpy as np
import pytest

from mixer.caps import redistributed
from mixer.cursors import Cursors
from mixer.errors import DataError
from mixer.generations import Generation, SourceHistory
from mixer.history import History
from mixer.mixture import Mixture
from mixer.omitted import Omitted
from mixer.spans import Cap, DocumentSkip, Ramp, Skip, Span

NAMES = ["code", "math", "web"]
TO_WEB = {"math": Cap(10, ("web",))}


def cursors(*spans: Span, skips: tuple[Skip, ...] = (), omitted: Omitted | None = None) -> Cursors:
    return Cursors.of(NAMES, spans, skips, [(0, omitted)] if omitted else [])


def test_a_share_goes_by_weight_and_in_equal_parts_where_all_are_0() -> None:
    caps = {"math": Cap(1, ("code", "web"))}
    assert redistributed({"math": 3, "code": 1, "web": 2}, caps, ["math"]) == {"math": 0, "code": 2, "web": 4}
    assert redistributed({"math": 3, "code": 0}, caps, ["math"]) == {"math": 0, "code": 1.5, "web": 1.5}
    assert redistributed({"math": 3, "code": 1}, caps, []) == {"math": 3, "code": 1}


def test_a_target_that_is_exhausted_too_hands_on_to_its_own() -> None:
    caps = {"math": Cap(1, ("code",)), "code": Cap(2, ("web",))}
    assert redistributed({"math": 3, "code": 1, "web": 2}, caps, ["math", "code"]) == {"math": 0, "code": 0, "web": 6}
    two = {"math": Cap(1, ("code", "web")), "code": Cap(2, ("math",))}
    assert redistributed({"math": 3, "code": 0, "web": 2}, two, ["math", "code"])["web"] == 5


def test_shares_that_nobody_can_take_are_refused_when_planning() -> None:
    caps = {"math": Cap(10, ("code",)), "code": Cap(12, ("math",))}
    message = (
        "at sample 22, source code reaches its cap of 12 draws, and all that its share goes to reach theirs: math; "
    )
    with pytest.raises(DataError, match=message + "raise a cap, or name another source"):
        cursors(Span(0, 60, {"math": 1, "code": 1}, caps=caps))
    assert cursors(Span(0, 22, {"math": 1, "code": 1}, caps=caps)).counts(22).tolist() == [12, 10, 0]
    unasked = {"math": Cap(0, ("code",)), "code": Cap(0, ("math",))}
    assert cursors(Span(0, 9, {"web": 1}, caps=unasked)).counts(9).tolist() == [0, 0, 9]


def test_a_capped_source_has_exactly_its_draws() -> None:
    capped = cursors(Span(0, 100, {"math": 1, "web": 1}, caps=TO_WEB))
    assert capped.counts(100).tolist() == [0, 10, 90]
    assert [stretch.start_sample for stretch in capped.stretches] == [0, capped.stretches[1].start_sample]
    last = capped.sample_at(1, 9)
    assert last is not None
    assert last + 1 == capped.stretches[1].start_sample
    assert capped.sample_at(1, 10) is None
    later = cursors(Span(0, 100, {"math": 1, "web": 1}, caps=TO_WEB), Span(100, 120, {"math": 1, "web": 3}))
    assert later.counts(120).tolist() == [0, 15, 105], "the next span has no cap"


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_a_cap_inside_a_ramp_moves_both_ends_and_keeps_the_clock(shape: str) -> None:
    ramp = Ramp(0, 1000, {"code": 1, "web": 1}, shape)  # type: ignore[arg-type]
    caps = {"math": Cap(30, ("code", "web"))}
    capped = cursors(Span(0, 1000, {"math": 2, "code": 1, "web": 1}, ramp=ramp, caps=caps))
    free = cursors(Span(0, 1000, {"math": 2, "code": 1, "web": 1}, ramp=ramp))
    cut = capped.stretches[1].start_sample
    assert capped.counts(cut).tolist() == free.counts(cut).tolist()
    assert capped.counts(1000)[1] == 30
    assert capped.shares_before(1000).tolist() == pytest.approx([0.5, 0, 0.5])
    assert capped.counts(1000)[0] == pytest.approx(485, abs=3)
    leaving = replace(ramp, from_weights={"math": 2, "code": 1, "web": 1})
    gone = cursors(Span(0, 1000, {"code": 1, "web": 1}, ramp=leaving, caps=caps))
    assert gone.counts(1000).tolist() == pytest.approx([485, 30, 485], abs=3)
    assert gone.counts(1000)[1] == 30


def test_skipped_samples_count_towards_a_cap() -> None:
    span = Span(0, 40, {"math": 1, "web": 1}, caps=TO_WEB)
    skipped = cursors(span, skips=(Skip(4, 14, {"math": 9, "web": 1}),))
    assert skipped.stretches[1].start_sample == 4
    assert skipped.counts(4).tolist() == [0, 11, 3]
    assert skipped.counts(40).tolist() == [0, 11, 39]


def test_draws_of_skipped_documents_count_towards_a_cap() -> None:
    omitted = Omitted({1: np.array([2, 3, 9, 10])})
    capped = cursors(Span(0, 40, {"math": 1, "web": 1}, caps=TO_WEB), omitted=omitted)
    draws = capped.locate(np.arange(40))[1][capped.locate(np.arange(40))[0] == 1]
    assert draws.tolist() == [0, 1, 4, 5, 6, 7, 8]


def test_exhausted_at_is_the_sample_of_the_next_draw() -> None:
    sources = {name: SourceHistory((Generation(0, 10),)) for name in NAMES}
    spans = [Span(0, 40, {"math": 1, "web": 3}), Span(40, 60, {"web": 1})]
    mixture = Mixture(History(seed=1, sequence_length=8, sources=sources, spans=spans))
    located = mixture.locate(np.arange(60))
    for draws in range(10):
        first = np.flatnonzero((located.source == 1) & (located.draw >= draws))[0]
        assert mixture.exhausted_at("math", draws) == first
    assert mixture.exhausted_at("math", 10) is None
    assert mixture.exhausted_at("code", 0) is None
    rows = tuple(located.row[(located.source == 1) & (located.draw == 3)].tolist())
    barred = History(1, 8, sources, spans, document_skips=[DocumentSkip("math", (0,), rows)])
    assert Mixture(barred).exhausted_at("math", 3) == Mixture(barred).exhausted_at("math", 4)


def test_sources_that_change_places_under_equal_weights_begin_a_mixture() -> None:
    ramp = Ramp(0, 100, {"math": 3, "web": 1})
    capped = cursors(Span(0, 100, {"math": 1, "web": 3}, ramp=ramp, caps={"math": Cap(30, ("code",))}))
    assert capped.counts(100)[0] > 0
    assert capped.bounds(100)[0] >= 0.5


def test_what_is_skipped_or_grows_later_moves_no_cap_of_the_past() -> None:
    sources = {name: SourceHistory((Generation(0, 40, num_tokens=40),)) for name in NAMES}
    spans = [Span(0, 90, {"math": 1, "web": 3}, caps={"math": Cap(10, ("code",))})]
    run = History(1, 8, sources, spans)
    tenth = Mixture(run).cursors.sample_at(1, 9)
    assert tenth is not None
    row = int(Mixture(run).locate(np.array([tenth])).row[0])
    skipped = run.continue_with(replace(run, document_skips=[DocumentSkip("math", (row,), (row,))]), tenth - 1)
    assert reads(skipped, tenth - 1) == reads(run, tenth - 1)
    assert skipped.cursors().counts(90).tolist()[1] == 9
    grown = skipped.grown("math", Generation(0, 50, num_tokens=50), 80, "append")
    longer = skipped.continue_with(replace(skipped, sources={**sources, "math": grown}), 80)
    assert len(grown.generations) == 3
    assert reads(longer, 80) == reads(skipped, 80)


def reads(run: History, before: int) -> list[list[int]]:
    located = Mixture(run).locate(np.arange(before))
    return [located.source.tolist(), located.draw.tolist(), located.row.tolist()]


@pytest.mark.parametrize(
    ("caps", "message"),
    [
        ({"math": Cap(3, ("wbe",))}, r"spans\[0\].caps.math.to: source 'wbe' is unknown"),
        ({"wbe": Cap(3, ("web",))}, r"spans\[0\].caps: source 'wbe' is unknown"),
        ({"math": Cap(-1, ("web",))}, r"spans\[0\].caps.math.draws: -1; expected 0 or more"),
        ({"math": Cap(3, ("math", "web"))}, r"spans\[0\].caps.math.to: math, web; expected other sources"),
        ({"math": Cap(3, ())}, r"spans\[0\].caps.math.to: nothing; expected other sources"),
    ],
)
def test_caps_that_mean_nothing_are_refused(caps: dict[str, Cap], message: str) -> None:
    sources = {name: SourceHistory((Generation(0, 10),)) for name in NAMES}
    with pytest.raises(DataError, match=message):
        History(1, 8, sources, [Span(0, 10, {"web": 1}, caps=caps)])


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_many_caps_in_a_ramp_act_one_after_the_other_each_at_its_last_draw(shape: str) -> None:
    names = [f"s{k}" for k in range(40)]
    caps = {name: Cap(20 + 7 * k % 31, ("rest",)) for k, name in enumerate(names)}
    weights = {name: 1 + k % 5 for k, name in enumerate(names)}
    ramp = Ramp(0, 4000, {"rest": 1, **dict.fromkeys(names, 1.0)}, shape)  # type: ignore[arg-type]
    capped = Cursors.of([*names, "rest"], [Span(0, 4000, {"rest": 9, **weights}, ramp=ramp, caps=caps)])
    last = [capped.sample_at(k, caps[name].draws - 1) for k, name in enumerate(names)]
    ends = [sample + 1 for sample in last if sample is not None]
    assert len(ends) == len(names)
    assert [stretch.start_sample for stretch in capped.stretches] == [0, *sorted(ends)]
    assert [capped.read_by(k) for k in range(len(names))] == ends
    assert capped.counts(4000)[:-1].tolist() == [cap.draws for cap in caps.values()]
