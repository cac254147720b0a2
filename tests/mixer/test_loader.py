import threading
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from mixer.cursors import Span
from mixer.errors import DataError
from mixer.history import History, SourceHistory
from mixer.loader import GlobalBatch, Loader, rank_samples, validation_batches
from mixer.mixture import Mixture
from mixer.rows import Source, Windows
from mixer.source import CountedSource, open_source

Write = Callable[..., Path]

S = 8
SIZES = [(0, 24), (24, 24), (48, 48), (96, 24), (120, 48)]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory, write_tokens: Write) -> dict[str, Source]:
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for name, documents in (("web", 40), ("code", 12)):
        write_tokens(folder / name, [rng.integers(0, 60_000, 20).tolist() for _ in range(documents)])
    chats = [rng.integers(0, 60_000, int(size)).tolist() for size in rng.integers(3, 9, 40)]
    write_tokens(folder / "sft", chats)
    write_tokens(folder / "sft.mask", [[k % 2 for k in range(len(chat))] for chat in chats], "u1")
    options = {"sequence_length": S, "holdout_share": 0.1}
    return {
        "web": open_source(folder / "web", name="web", **options),  # type: ignore[arg-type]
        "code": open_source(folder / "code", name="code", **options),  # type: ignore[arg-type]
        "sft": open_source(folder / "sft", name="sft", kind="chat", pad=0, loss="assistant", **options),  # type: ignore[arg-type]
    }


@pytest.fixture(scope="module")
def mixture(sources: dict[str, Source]) -> Mixture:
    spans = [Span(0, 90, {"web": 0.7, "code": 0.3}), Span(90, 168, {"web": 0.4, "code": 0.2, "sft": 0.4})]
    histories = {name: SourceHistory((source.generation(),)) for name, source in sources.items()}
    return Mixture(History(seed=3, sequence_length=S, sources=histories, spans=spans))


def load(
    mixture: Mixture, sources: dict[str, Source], *, rank: int = 0, ranks: int = 1, micro: int = 2, start: int = 0
) -> list[GlobalBatch]:
    with Loader(
        mixture,
        sources,
        micro_batch_size=micro,
        data_parallel_rank=rank,
        data_parallel_size=ranks,
        batch_sizes=SIZES[start:],
        start_step=start,
    ) as loader:
        return list(loader)


def rows_read(batches: list[GlobalBatch]) -> Counter[tuple[object, ...]]:
    return Counter(
        (micro.tokens[k].tobytes(), micro.labels[k].tobytes(), micro.loss_mask[k].tobytes(), micro.rows[k].item())
        for batch in batches
        for micro in batch.micro_batches
        for k in range(len(micro.tokens))
    )


@pytest.mark.parametrize(("ranks", "micro"), [(1, 1), (1, 24), (2, 3), (3, 4), (4, 2), (6, 4), (8, 3), (8, 1)])
def test_every_layout_reads_the_same_global_batches(
    mixture: Mixture, sources: dict[str, Source], ranks: int, micro: int
) -> None:
    alone = load(mixture, sources)
    loads = [load(mixture, sources, rank=rank, ranks=ranks, micro=micro) for rank in range(ranks)]
    for step, straight in enumerate(alone):
        shares = [batches[step] for batches in loads]
        assert sum((rows_read([share]) for share in shares), Counter()) == rows_read([straight])
        assert sum(share.digest() for share in shares) == straight.digest()
        assert all(share.bins == straight.bins for share in shares)
        assert {len(share.micro_batches) for share in shares} == {straight.size // ranks // micro}


def test_samples_stand_where_megatron_puts_them(mixture: Mixture, sources: dict[str, Source]) -> None:
    samples = rank_samples(24, micro_batch_size=3, rank=2, num_ranks=4)
    assert samples.tolist() == [[6, 7, 8], [18, 19, 20]]
    batch = load(mixture, sources, rank=2, ranks=4, micro=3)[1]
    located = mixture.locate(24 + samples.ravel())
    assert np.concatenate([micro.rows for micro in batch.micro_batches]).tolist() == located.row.tolist()
    assert np.concatenate([micro.sources for micro in batch.micro_batches]).tolist() == located.source.tolist()


def test_a_micro_batch_holds_what_its_sources_give(mixture: Mixture, sources: dict[str, Source]) -> None:
    for micro in load(mixture, sources)[-1].micro_batches:
        for k, (source, row) in enumerate(zip(micro.sources.tolist(), micro.rows.tolist(), strict=True)):
            expected = Windows.empty(1, S)
            sources[mixture.names[source]].fill(np.array([row]), expected, np.array([0]))
            assert micro.tokens[k].tolist() == expected.tokens[0].tolist()
            assert micro.labels[k].tolist() == expected.labels[0].tolist()
            assert micro.loss_mask[k].tolist() == expected.loss_mask[0].tolist()
            assert micro.position_ids[k].tolist() == expected.position_ids[0].tolist()
            segments = expected.segments[0].tolist()
            assert (micro.segments[k].tolist() if micro.segments is not None else [0] * S) == segments
        assert {array.dtype for array in (micro.tokens, micro.labels, micro.position_ids)} == {np.dtype(np.int64)}
        assert micro.loss_mask.dtype == np.float32
        assert all(array.flags.c_contiguous and array.flags.writeable for array in (micro.tokens, micro.labels))


def test_segments_come_only_where_rows_have_several(mixture: Mixture, sources: dict[str, Source]) -> None:
    batches = load(mixture, sources)
    assert all(micro.segments is None for micro in batches[0].micro_batches)
    assert any(micro.segments is not None for micro in batches[-1].micro_batches)


def test_bins_name_sources_and_epochs_of_the_whole_batch(mixture: Mixture, sources: dict[str, Source]) -> None:
    for batch in load(mixture, sources, rank=1, ranks=4):
        located = mixture.locate(np.arange(batch.first_sample, batch.first_sample + batch.size))
        assert batch.bins == sorted({*zip(located.source.tolist(), located.epoch.tolist(), strict=True)})
        for micro in batch.micro_batches:
            pairs = list(zip(micro.sources.tolist(), micro.epochs.tolist(), strict=True))
            assert [batch.bins[k] for k in micro.bins] == pairs


def test_resuming_at_any_step_equals_the_straight_run(mixture: Mixture, sources: dict[str, Source]) -> None:
    straight = load(mixture, sources, rank=1, ranks=2)
    for start in range(len(SIZES) + 1):
        resumed = load(mixture, sources, rank=1, ranks=2, start=start)
        assert [batch.step for batch in resumed] == list(range(start, len(SIZES)))
        assert [rows_read([batch]) for batch in resumed] == [rows_read([batch]) for batch in straight[start:]]


class TwoSteps:
    """Steps as the scheduler gives them."""

    num_steps = 3

    def first_sample(self, step: int) -> int:
        return 24 * step

    def batch_size(self, step: int) -> int:
        return 24


def test_steps_may_come_from_the_schedule(mixture: Mixture, sources: dict[str, Source]) -> None:
    layout = {"micro_batch_size": 2, "data_parallel_rank": 0, "data_parallel_size": 1}
    with Loader(mixture, sources, **layout, batch_sizes=TwoSteps(), start_step=1) as loader:
        found = [(batch.step, batch.first_sample, batch.size) for batch in loader]
    assert found == [(1, 24, 24), (2, 48, 24)]


def test_a_batch_that_does_not_divide_stops_the_consumer(mixture: Mixture, sources: dict[str, Source]) -> None:
    with pytest.raises(DataError, match="global batch of 24 samples: 5 a micro-batch on 2 ranks do not divide it"):
        load(mixture, sources, micro=5, ranks=2)


def test_an_error_in_the_thread_reaches_the_consumer_after_good_batches(
    mixture: Mixture, sources: dict[str, Source]
) -> None:
    readable = {name: source for name, source in sources.items() if name != "sft"}
    with pytest.raises(DataError, match="source sft is drawn but not open"):
        load(mixture, readable)
    layout = {"micro_batch_size": 2, "data_parallel_rank": 0, "data_parallel_size": 1}
    with Loader(mixture, sources, **layout, batch_sizes=[(0, 24), (160, 24)]) as loader:
        assert next(loader).first_sample == 0
        with pytest.raises(DataError, match="outside the run"):
            next(loader)
        with pytest.raises(StopIteration):
            next(loader)


def endless() -> Iterator[tuple[int, int]]:
    return ((0, 24) for _ in count())


def test_closing_stops_the_thread(mixture: Mixture, sources: dict[str, Source]) -> None:
    before = threading.active_count()
    layout = {"micro_batch_size": 2, "data_parallel_rank": 0, "data_parallel_size": 1}
    loader = Loader(mixture, sources, **layout, batch_sizes=endless())
    assert next(loader).step == 0
    assert next(loader).step == 1
    loader.close()
    loader.close()
    assert threading.active_count() == before
    with pytest.raises(StopIteration):
        next(loader)


def test_another_source_than_the_history_knows_is_refused(mixture: Mixture, sources: dict[str, Source]) -> None:
    changed = {**sources, "web": CountedSource("web", 801, S)}
    with pytest.raises(DataError, match=r"source web: fingerprint is counted, but the run reads .*; the data"):
        load(mixture, changed)
    with pytest.raises(DataError, match="source wbe is not in the history; sources are web, code, sft"):
        load(mixture, {"wbe": sources["web"]})


@pytest.mark.parametrize(
    ("name", "ranks", "micro", "most"), [("web", 1, 4, None), ("sft", 2, 1, None), ("web", 2, 2, 3)]
)
def test_validation_reads_each_held_out_row_once(
    sources: dict[str, Source], name: str, ranks: int, micro: int, most: int | None
) -> None:
    source = sources[name]
    layout = {"micro_batch_size": micro, "data_parallel_size": ranks, "max_rows": most}
    shares = [list(validation_batches(source, data_parallel_rank=rank, **layout)) for rank in range(ranks)]  # type: ignore[arg-type]
    assert len({len(share) for share in shares}) == 1
    counted = [
        int(batch.rows[k]) for share in shares for batch in share for k in range(micro) if batch.loss_mask[k].any()
    ]
    assert sorted(counted) == list(range(min(source.num_validation_rows, most or 10**9)))


def test_a_source_without_held_out_rows_has_no_validation() -> None:
    layout = {"micro_batch_size": 2, "data_parallel_rank": 0, "data_parallel_size": 1}
    assert list(validation_batches(CountedSource("web", 801, S), **layout)) == []
