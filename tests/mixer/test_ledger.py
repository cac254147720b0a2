import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixer.cursors import Skip, Span
from mixer.history import Generation, History, Shuffle, SourceHistory
from mixer.ledger import Entry, Ledger
from mixer.mixture import Mixture
from mixer.source import CountedSource

S = 16
FILLED, SUPERVISED = 6 + np.arange(13) % 10, 1 + np.arange(13) % 5
SOURCES = {
    "web": CountedSource("web", 40 * S + 1, S),
    "sft": CountedSource("sft", 13 * S + 1, S, row_filled=FILLED, row_supervised=SUPERVISED),
}
SPANS = [Span(0, 100, {"web": 3, "sft": 1}), Span(100, 180, {"web": 1, "sft": 2})]


def mixture(shuffle: Shuffle = "each_epoch", skips: tuple[Skip, ...] = ()) -> Mixture:
    sources = {name: SourceHistory((source.generation(),), shuffle) for name, source in SOURCES.items()}
    return Mixture(History(seed=1, sequence_length=S, sources=sources, spans=SPANS, skips=skips))


def counted(plan: Mixture, sample: int) -> dict[str, Entry]:
    """The same by brute force."""
    located = plan.locate(np.arange(sample))
    entries = {}
    for k, (name, source) in enumerate(SOURCES.items()):
        rows = located.row[located.source == k]
        filled = rows.size * S if source.row_filled is None else int(source.row_filled[rows].sum())
        supervised = rows.size * S if source.row_supervised is None else int(source.row_supervised[rows].sum())
        entries[name] = Entry(rows.size, rows.size * S, rows.size / source.num_rows, supervised, rows.size * S - filled)
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


def test_far_samples_cost_no_more() -> None:
    spans = [Span(0, 2**42, {"web": 1, "sft": 1})]
    sources = {name: SourceHistory((source.generation(),)) for name, source in SOURCES.items()}
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
