"""What the loader hands over on every layout: the same global batches, on every rank and from every step on."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mixer.batch import GlobalBatch
from mixer.generations import SourceHistory
from mixer.history import History
from mixer.loader import Loader
from mixer.mixture import Mixture
from mixer.ramp import Shape
from mixer.rows import Source
from mixer.spans import DocumentSkip, Ramp, Skip, Span
from mixer.windows import Windows

S = 8
Sizes = Sequence[tuple[int, int]]
FLAT = {"web": 0.7, "code": 0.2, "sft": 0.1}


def history_of(sources: dict[str, Source], spans: Sequence[Span], **skips: Any) -> History:
    known = {name: SourceHistory(source.generations()) for name, source in sources.items()}
    return History(seed=3, sequence_length=S, sources=known, spans=tuple(spans), **skips)


def resumed(recipe: History, at_sample: int) -> Mixture:
    """The run as a program goes on with it that reads its state from JSON and the recipe anew."""
    saved = json.loads(json.dumps(recipe.to_json()))
    return Mixture(History.from_json(saved).continue_with(recipe, at_sample))


def steps_of(batch_sizes: Sequence[int], first: int = 0) -> list[tuple[int, int]]:
    ends = np.cumsum([first, *batch_sizes]).tolist()
    return list(zip(ends, batch_sizes, strict=False))


def loaded(mixture: Mixture, sources: dict[str, Source], sizes: Sizes, *, micro: int, rank: int, ranks: int) -> Loader:
    return Loader(
        mixture, sources, micro_batch_size=micro, data_parallel_rank=rank, data_parallel_size=ranks, batch_sizes=sizes
    )


def global_batches(mixture: Mixture, sources: dict[str, Source], sizes: Sizes, micro: int, ranks: int) -> list[bytes]:
    """Each step's samples in order, every array of them, put together from all ranks."""
    of_ranks = []
    for rank in range(ranks):
        with loaded(mixture, sources, sizes, micro=micro, rank=rank, ranks=ranks) as loader:
            of_ranks.append(list(loader))
    return [in_order(shares) for shares in zip(*of_ranks, strict=True)]


def in_order(shares: Sequence[GlobalBatch]) -> bytes:
    """Micro-batch by micro-batch, in each of them rank by rank; what the ranks say of the whole batch is the same."""
    assert len({(batch.first_sample, batch.size, *batch.bins, *batch.bin_samples) for batch in shares}) == 1
    out = []
    for micros in zip(*(batch.micro_batches for batch in shares), strict=True):
        for micro in micros:
            segments = np.zeros_like(micro.tokens, np.int32) if micro.segments is None else micro.segments
            arrays = (micro.tokens, micro.labels, micro.loss_mask, micro.position_ids, segments)
            told = np.stack([micro.sources, micro.epochs, micro.rows, micro.bins], axis=1)
            out += [row.tobytes() for k in range(len(told)) for row in (*(array[k] for array in arrays), told[k])]
    return b"".join(out)


@given(ranks=st.integers(1, 64), micro=st.integers(1, 5), steps=st.lists(st.integers(1, 3), min_size=1, max_size=3))
@example(ranks=64, micro=2, steps=[1, 2])
@settings(deadline=None, max_examples=15)
def test_every_layout_up_to_64_ranks_reads_the_same_global_batches(
    sources: dict[str, Source], ranks: int, micro: int, steps: list[int]
) -> None:
    """``test_loader`` shows the arithmetic of all 64; here every rank of some of them reads."""
    mixture = Mixture(history_of(sources, [Span(0, 3000, FLAT)]))
    sizes = steps_of([count * micro * ranks for count in steps])
    assert global_batches(mixture, sources, sizes, micro, ranks) == global_batches(mixture, sources, sizes, 1, 1)


def test_peers_of_one_data_parallel_rank_read_the_same(sources: dict[str, Source]) -> None:
    """Tensor, pipeline and context ranks each have a loader of their own, and none waits for another."""
    mixture = Mixture(history_of(sources, [Span(0, 960, FLAT)]))
    sizes = steps_of([24] * 40)
    with (
        loaded(mixture, sources, sizes, micro=2, rank=1, ranks=4) as ahead,
        loaded(mixture, sources, sizes, micro=2, rank=1, ranks=4) as behind,
    ):
        first = [in_order([batch]) for batch in ahead]
        assert [in_order([batch]) for batch in behind] == first


LAYOUTS = st.sampled_from([(1, 1), (1, 12), (2, 3), (3, 2), (4, 3), (6, 1), (12, 1)])
WEIGHTS = st.fixed_dictionaries({}, optional=dict.fromkeys(FLAT, st.floats(0.05, 9))).filter(bool)
PHASES = st.lists(
    st.tuples(st.integers(1, 90), WEIGHTS, st.sampled_from([None, "linear", "cosine"])), min_size=1, max_size=4
)


def spans_of(phases: Sequence[tuple[int, dict[str, float], Shape | None]]) -> list[Span]:
    spans: list[Span] = []
    for length, weights, shape in phases:
        start = spans[-1].end_sample if spans else 0
        ramp = Ramp(start, start + length, spans[-1].weights, shape) if shape and spans else None
        spans.append(Span(start, start + length, weights, ramp=ramp))
    return spans


@given(
    phases=PHASES,
    batches=st.lists(st.sampled_from([12, 24, 36]), min_size=1, max_size=5),
    skip=st.tuples(st.integers(0, 9), st.integers(1, 4)),
    document=st.tuples(st.integers(0, 60), st.sampled_from(list(FLAT)), st.integers(0, 9)),
    before=LAYOUTS,
    after=LAYOUTS,
)
@settings(deadline=None, max_examples=15)
def test_a_resume_at_every_step_and_on_any_layout_equals_the_straight_run(
    sources: dict[str, Source],
    phases: list[tuple[int, dict[str, float], Shape | None]],
    batches: list[int],
    skip: tuple[int, int],
    document: tuple[int, str, int],
    before: tuple[int, int],
    after: tuple[int, int],
) -> None:
    at, name, number = document
    rows = tuple(sources[name].rows_of_document(number).tolist())
    recipe = history_of(
        sources,
        spans_of([*phases, (sum(batches), FLAT, None)]),
        skips=(Skip(skip[0], sum(skip)),),
        document_skips=(DocumentSkip(name, (number,), rows, at),) if rows else (),
    )
    sizes = steps_of(batches)
    straight = global_batches(Mixture(recipe), sources, sizes, *before)
    for step, (first, _) in enumerate(sizes):
        mixture = resumed(recipe, first)
        assert global_batches(mixture, sources, sizes[step:], *after) == straight[step:]


@pytest.mark.parametrize("first", [0, 2**31 - 2400, 2**41 - 2400, 2**42 - 4800])
def test_batches_beyond_32_and_41_bits_hold_the_rows_that_the_mixture_names(
    sources: dict[str, Source], first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step by step over 4,800 samples, which is more than are located at once."""
    monkeypatch.setattr("mixer.reading._BYTES_AT_ONCE", 1)
    mixture = Mixture(history_of(sources, [Span(0, 2**40, FLAT), Span(2**40, 2**42, {"web": 0.4, "code": 0.6})]))
    with loaded(mixture, sources, steps_of([300] * 16, first), micro=300, rank=0, ranks=1) as loader:
        micros = [batch.micro_batches[0] for batch in loader]
    located = mixture.locate(np.arange(first, first + 4800))
    for field, found in (("sources", located.source), ("epochs", located.epoch), ("rows", located.row)):
        assert np.array_equal(np.concatenate([getattr(micro, field) for micro in micros]), found)
    for k in range(0, 4800, 97):
        expected = Windows.empty(1, S)
        sources[mixture.names[located.source[k]]].fill(located.row[k : k + 1], expected, np.array([0]))
        assert micros[k // 300].tokens[k % 300].tolist() == expected.tokens[0].tolist()
