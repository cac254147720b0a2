from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixer.epochs import epochs_of
from mixer.generations import Generation, Growth, Shuffle, SourceHistory
from mixer.history import History
from mixer.ledger import Entry, Ledger, effective_tokens
from mixer.mixture import Mixture
from mixer.ramp import Shape
from mixer.source import CountedSource
from mixer.spans import DocumentSkip, Ramp, Skip, Span

S = 16
FILLED, SUPERVISED = 6 + np.arange(13) % 10, 1 + np.arange(13) % 5
SOURCES = {
    "web": CountedSource("web", 40 * S + 1, S),
    "sft": CountedSource("sft", 13 * S + 1, S, row_filled=FILLED, row_supervised=SUPERVISED),
}
SPANS = [Span(0, 100, {"web": 3, "sft": 1}), Span(100, 180, {"web": 1, "sft": 2})]


def mixture(shuffle: Shuffle = "each_epoch", skips: tuple[Skip, ...] = ()) -> Mixture:
    sources = {name: SourceHistory(source.generations(), shuffle) for name, source in SOURCES.items()}
    return Mixture(History(seed=1, sequence_length=S, sources=sources, spans=SPANS, skips=skips))


def counted(plan: Mixture, sample: int) -> dict[str, Entry]:
    """The same by brute force."""
    located = plan.locate(np.arange(sample))
    entries = {}
    for k, (name, source) in enumerate(SOURCES.items()):
        rows = located.row[located.source == k]
        filled = rows.size * S if source.row_filled is None else int(source.row_filled[rows].sum())
        supervised = rows.size * S if source.row_supervised is None else int(source.row_supervised[rows].sum())
        worth = effective_tokens(rows.size * S, source.num_rows * S)
        padding = rows.size * S - filled
        epochs = plan.counts(sample)[name] / source.num_rows
        entries[name] = Entry(rows.size, rows.size * S, epochs, worth, supervised, padding)
    return entries


@given(st.integers(0, 180), st.sampled_from(["each_epoch", "once", "off"]), st.booleans())
@settings(deadline=None, max_examples=100)
def test_the_ledger_equals_a_brute_force_count(sample: int, shuffle: Shuffle, skips: bool) -> None:
    plan = mixture(shuffle, (Skip(30, 55), Skip(95, 110)) if skips else ())
    for name, entry in Ledger(plan, SOURCES).at(sample).items():
        expected = counted(plan, sample)[name]
        assert entry.epochs == pytest.approx(expected.epochs, abs=1e-12)
        assert entry == Entry(**{**vars(expected), "epochs": entry.epochs})


def test_a_source_that_is_not_open_has_no_sums() -> None:
    entry = Ledger(mixture(), {}).at(180)["sft"]
    assert (entry.supervised_tokens, entry.padding) == (None, None)
    assert entry.samples == counted(mixture(), 180)["sft"].samples


def test_epochs_add_over_generations() -> None:
    grown = {"web": SourceHistory((Generation(0, 40), Generation(80, 60)))}
    plan = Mixture(History(seed=1, sequence_length=S, sources=grown, spans=[Span(0, 140, {"web": 1})]))
    ledger = Ledger(plan, {})
    assert [ledger.at(sample)["web"].epochs for sample in (0, 40, 80, 110, 140)] == [0, 1, 2, 2.5, 3]


def test_rows_that_join_an_open_epoch_are_read_in_what_is_left_of_it() -> None:
    web = SourceHistory((Generation(0, 40),)).grown(Generation(0, 50), 10, "append")
    plan = Mixture(History(seed=1, sequence_length=S, sources={"web": web}, spans=[Span(0, 100, {"web": 1})]))
    ledger = Ledger(plan, {})
    assert [ledger.at(sample)["web"].epochs for sample in (10, 30, 50, 100)] == [0.25, 0.625, 1, 2]


def test_far_samples_cost_no_more() -> None:
    spans = [Span(0, 2**42, {"web": 1, "sft": 1})]
    sources = {name: SourceHistory(source.generations()) for name, source in SOURCES.items()}
    plan = Mixture(History(seed=1, sequence_length=S, sources=sources, spans=spans))
    entry = Ledger(plan, SOURCES).at(2 * 13 * 2**30)["sft"]
    assert entry.samples == 13 * 2**30
    assert entry.supervised_tokens == 2**30 * int(SUPERVISED.sum())


def test_exposure_weighs_tokens_by_the_learning_rate() -> None:
    def integral(start_tokens: int, end_tokens: int) -> float:
        return 0.5 * (end_tokens - start_tokens)

    exposure = Ledger(mixture(), SOURCES).exposure(130, integral)
    assert exposure == pytest.approx({"web": 0.5 * S * (75 + 10), "sft": 0.5 * S * (25 + 20)})
    assert Ledger(mixture(), SOURCES).exposure(0, integral) == {"web": 0, "sft": 0}


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_exposure_along_a_ramp_is_the_integral_of_share_times_learning_rate(shape: Shape) -> None:
    spans = [Span(0, 40, {"web": 1}), Span(40, 140, {"web": 1, "sft": 3}, ramp=Ramp(40, 140, {"web": 1}, shape))]
    sources = {name: SourceHistory(source.generations()) for name, source in SOURCES.items()}
    ledger = Ledger(Mixture(History(1, S, sources, spans)), SOURCES)

    def integral(start_tokens: float, end_tokens: float) -> float:
        return ((end_tokens / S) ** 3 - (start_tokens / S) ** 3) / 3 * S  # of the square of the sample

    def expected(end: float) -> float:
        """Of 0.75 s(t) t^2 S over the ramp, by a million midpoints."""
        at = 40 + (np.arange(10**6) + 0.5) / 10**6 * (end - 40)
        part = (at - 40) / 100 if shape == "linear" else (1 - np.cos(np.pi * (at - 40) / 100)) / 2
        return float((0.75 * part * at**2).mean() * (end - 40) * S)

    for sample in (41, 90, 140):
        exposure = ledger.exposure(sample, integral)
        assert exposure["sft"] == pytest.approx(expected(sample), rel=1e-9)
        assert sum(exposure.values()) == pytest.approx(integral(0, sample * S), rel=1e-12)


def test_exposure_of_a_cut_ramp_adds_up() -> None:
    def integral(start_tokens: float, end_tokens: float) -> float:
        return 1e-3 * (np.exp(-start_tokens / 900) - np.exp(-end_tokens / 900)) * 900

    ramp = Ramp(0, 180, {"web": 1}, "cosine")
    sources = {name: SourceHistory(source.generations()) for name, source in SOURCES.items()}
    whole = History(1, S, sources, [Span(0, 180, {"sft": 1}, ramp=ramp)])
    skipped = replace(whole, skips=[Skip(31, 40), Skip(77, 90)])
    for sample in (20, 77, 180):
        one, other = (Ledger(Mixture(plan), {}).exposure(sample, integral) for plan in (whole, skipped))
        assert one == pytest.approx(other, rel=1e-9)


@given(st.integers(0, 180), st.integers(1, 170), st.sampled_from(["next_epoch", "append"]), st.booleans())
@settings(deadline=None, max_examples=60)
def test_the_ledger_of_a_source_that_grew_equals_a_brute_force_count(
    sample: int, at: int, how: Growth, barred: bool
) -> None:
    before = mixture().history
    grown = before.grown("sft", Generation(0, 17, num_tokens=17 * S + 1), at, how)
    documents = [DocumentSkip("sft", (0,), (2, 5), start=at // 2)] if barred else []
    plan = Mixture(replace(before, sources={**before.sources, "sft": grown}, document_skips=documents))
    values = np.arange(17) ** 2
    source = CountedSource("sft", 17 * S + 1, S, row_supervised=values)
    entry = Ledger(plan, {"sft": source}).at(sample)["sft"]
    located = plan.locate(np.arange(sample))
    rows = located.row[located.source == 1]
    assert (entry.samples, entry.supervised_tokens) == (rows.size, int(values[rows].sum()))
    assert entry.epochs == epochs_of(grown, plan.counts(sample)["sft"])


def test_repetition_loses_nothing_up_to_an_epoch_and_much_later() -> None:
    assert effective_tokens(70, 100) == 70
    assert effective_tokens(100, 100) == 100
    worth = [effective_tokens(epochs * 100, 100) / 100 for epochs in (2, 3, 4, 5, 1000)]
    assert worth == pytest.approx([1.968, 2.875, 3.726, 4.522, 16.388], abs=1e-3)
    assert effective_tokens(0, 0) == 0
