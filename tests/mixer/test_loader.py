import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixer.batch import GlobalBatch
from mixer.errors import DataError
from mixer.generations import SourceHistory
from mixer.history import History
from mixer.loader import Loader
from mixer.mixture import Mixture
from mixer.rows import Source
from mixer.source import CountedSource
from mixer.spans import Span
from mixer.steps import rank_samples
from mixer.windows import Windows

Write = Callable[..., Path]

S = 8
LAYOUT: dict[str, Any] = {"micro_batch_size": 2, "data_parallel_rank": 0, "data_parallel_size": 1}
SIZES = [(0, 24), (24, 24), (48, 48), (96, 24), (120, 48)]


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
        assert [contents(batch) for batch in resumed] == [contents(batch) for batch in straight[start:]]


class TwoSteps:
    """Steps as the scheduler gives them."""

    num_steps = 3

    def first_sample(self, step: int) -> int:
        return 24 * step

    def batch_size(self, step: int) -> int:
        return 24


def test_steps_may_come_from_the_schedule(mixture: Mixture, sources: dict[str, Source]) -> None:
    with Loader(mixture, sources, **LAYOUT, batch_sizes=TwoSteps(), start_step=1) as loader:
        found = [(batch.step, batch.first_sample, batch.size) for batch in loader]
    assert found == [(1, 24, 24), (2, 48, 24)]


def test_a_batch_that_does_not_divide_stops_the_consumer(mixture: Mixture, sources: dict[str, Source]) -> None:
    with pytest.raises(DataError, match="global batch of 24 samples: 5 a micro-batch on 2 ranks do not divide it"):
        load(mixture, sources, micro=5, ranks=2)


@pytest.mark.parametrize("size", [0, -24])
def test_a_batch_of_no_samples_stops_the_consumer_after_good_batches(
    mixture: Mixture, sources: dict[str, Source], size: int
) -> None:
    with Loader(mixture, sources, **LAYOUT, batch_sizes=[(0, 24), (24, size)]) as loader:
        assert next(loader).size == 24
        with pytest.raises(DataError, match=f"^step 1: a global batch of {size} samples; expected at least 1$"):
            next(loader)


def test_an_error_in_the_thread_reaches_the_consumer_after_good_batches(
    mixture: Mixture, sources: dict[str, Source]
) -> None:
    readable = {name: source for name, source in sources.items() if name != "sft"}
    with pytest.raises(DataError, match="source sft is drawn but not open"):
        load(mixture, readable)
    with Loader(mixture, sources, **LAYOUT, batch_sizes=[(0, 24), (160, 24)]) as loader:
        assert next(loader).first_sample == 0
        with pytest.raises(DataError, match="outside the run"):
            next(loader)
        with pytest.raises(StopIteration):
            next(loader)


def test_batches_before_an_error_are_delivered_though_steps_are_read_together(
    mixture: Mixture, sources: dict[str, Source]
) -> None:
    for wrong, message in (((168, 24), "outside the run"), ((120, 25), "do not divide it")):
        good = [sizes for sizes in SIZES if sizes[0] < wrong[0]]
        with Loader(mixture, sources, **LAYOUT, batch_sizes=[*good, wrong]) as loader:
            assert [next(loader).first_sample for _ in good] == [first for first, _ in good]
            with pytest.raises(DataError, match=message):
                next(loader)


class Torn:
    """A source with a row that can't be read."""

    def __init__(self, source: Source, row: int) -> None:
        self._source, self._row = source, row

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def fill(self, rows: Any, out: Windows, at: Any, **options: Any) -> None:
        if self._row in rows:
            raise OSError("torn")
        self._source.fill(rows, out, at, **options)


@pytest.mark.parametrize("readers", [1, 32])
@pytest.mark.parametrize("bad", [0, 1, 13])
def test_steps_before_one_that_cannot_be_read_are_delivered(
    mixture: Mixture, sources: dict[str, Source], bad: int, readers: int
) -> None:
    """Small steps are read together; training goes on to the very step that fails."""
    located = mixture.locate(np.arange(8 * bad + 1))
    k, row = int(located.source[-1]), int(located.row[-1])
    assert ((located.source == k) & (located.row == row)).sum() == 1
    torn: dict[str, Any] = {**sources, mixture.names[k]: Torn(sources[mixture.names[k]], row)}
    layout: dict[str, Any] = {**LAYOUT, "readers": readers}
    with Loader(mixture, torn, **layout, batch_sizes=[(first, 8) for first in range(0, 168, 8)]) as loader:
        assert [next(loader).step for _ in range(bad)] == [*range(bad)]
        with pytest.raises(OSError, match="torn"):
            next(loader)
        with pytest.raises(StopIteration):
            next(loader)


def test_steps_before_an_error_of_the_schedule_are_delivered(mixture: Mixture, sources: dict[str, Source]) -> None:
    def sizes() -> Iterator[tuple[int, int]]:
        yield from SIZES[:2]
        raise ValueError("no more")

    with Loader(mixture, sources, **LAYOUT, batch_sizes=sizes()) as loader:
        assert [next(loader).step for _ in range(2)] == [0, 1]
        with pytest.raises(ValueError, match="no more"):
            next(loader)


def contents(batch: GlobalBatch) -> list[bytes]:
    """Every array of a batch, byte for byte."""
    arrays = [(micro.tokens, micro.labels, micro.loss_mask, micro.position_ids) for micro in batch.micro_batches]
    rows = [(micro.sources, micro.epochs, micro.rows, micro.bins) for micro in batch.micro_batches]
    segments = [(micro.segments,) for micro in batch.micro_batches if micro.segments is not None]
    return [array.tobytes() for group in (*arrays, *rows, *segments) for array in group]


@pytest.mark.parametrize("ranks", range(1, 65))
def test_ranks_share_out_a_global_batch_at_every_layout(ranks: int) -> None:
    for micro in (1, 2, 3, 5, 8, 60):
        size = 3 * micro * ranks
        shares = [rank_samples(size, micro_batch_size=micro, rank=rank, num_ranks=ranks) for rank in range(ranks)]
        assert {share.shape for share in shares} == {(3, micro)}
        assert np.stack(shares, axis=1).ravel().tolist() == list(range(size))


class LongRun:
    """A million steps and more; notes which are asked for."""

    num_steps = 1_000_010

    def __init__(self) -> None:
        self.asked: list[int] = []

    def first_sample(self, step: int) -> int:
        self.asked.append(step)
        return 8 * step

    def batch_size(self, step: int) -> int:
        return 8


def test_opening_far_into_a_run_looks_at_nothing_before(sources: dict[str, Source]) -> None:
    histories = {name: SourceHistory(source.generations()) for name, source in sources.items()}
    spans = [Span(0, 8 * LongRun.num_steps, {"web": 0.7, "code": 0.2, "sft": 0.1})]
    far = Mixture(History(seed=3, sequence_length=S, sources=histories, spans=spans))
    steps = LongRun()
    with Loader(far, sources, **LAYOUT, batch_sizes=steps, start_step=1_000_000) as loader:
        assert [batch.step for batch in loader] == list(range(1_000_000, 1_000_010))
    assert min(steps.asked) == 1_000_000


def endless() -> Iterator[tuple[int, int]]:
    return ((0, 24) for _ in count())


def test_closing_stops_the_threads(mixture: Mixture, sources: dict[str, Source]) -> None:
    before = threading.active_count()
    loader = Loader(mixture, sources, **LAYOUT, batch_sizes=endless())
    assert next(loader).step == 0
    assert next(loader).step == 1
    loader.close()
    loader.close()
    assert threading.active_count() == before
    assert loader.ready  # with the end, also for a consumer that asked just before
    assert loader._next.get() == [None]
    with pytest.raises(StopIteration):
        next(loader)


def test_a_loader_that_is_dropped_ends_its_threads(mixture: Mixture, sources: dict[str, Source]) -> None:
    loader = Loader(mixture, sources, **LAYOUT, batch_sizes=endless())
    kept, threads = next(loader).micro_batches[0], loader._threads
    read = kept.tokens.copy()
    del loader
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    assert np.array_equal(kept.tokens, read)


def test_closing_ends_the_wait_of_a_consumer_in_another_thread(mixture: Mixture, sources: dict[str, Source]) -> None:
    gate, taken = threading.Event(), list[GlobalBatch]()

    def sizes() -> Iterator[tuple[int, int]]:
        gate.wait()
        yield 0, 24

    loader = Loader(
        mixture, sources, micro_batch_size=2, data_parallel_rank=0, data_parallel_size=1, batch_sizes=sizes()
    )
    consumer = threading.Thread(target=lambda: taken.extend(loader), daemon=True)
    closer = threading.Thread(target=loader.close, daemon=True)
    consumer.start()
    closer.start()
    while not loader._closed.is_set():
        closer.join(0.001)
    gate.set()
    consumer.join(5)
    assert (consumer.is_alive(), taken) == (False, [])


def test_a_loader_says_whether_the_next_batch_is_there(mixture: Mixture, sources: dict[str, Source]) -> None:
    gate = threading.Event()

    def sizes() -> Iterator[tuple[int, int]]:
        gate.wait()
        yield 0, 24

    with Loader(mixture, sources, **LAYOUT, batch_sizes=sizes()) as loader:
        before = loader.ready
        gate.set()
        while not loader.ready:
            time.sleep(0.001)
        assert next(loader).first_sample == 0
    assert not before


def test_another_source_than_the_history_knows_is_refused(mixture: Mixture, sources: dict[str, Source]) -> None:
    changed = {**sources, "web": CountedSource("web", 801, S)}
    with pytest.raises(DataError, match=r"source web: fingerprint is counted, but the run reads .*; the data"):
        load(mixture, changed)
    with pytest.raises(DataError, match="source wbe is not in the history; sources are web, code, sft"):
        load(mixture, {"wbe": sources["web"]})


def test_a_step_holds_no_more_than_its_own_reads(
    mixture: Mixture, sources: dict[str, Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches grow under way; four rows are read at once."""
    monkeypatch.setattr("mixer.reading._BYTES_AT_ONCE", 4 * 8 * (S + 1))
    sizes = [(0, 2), (2, 2), (4, 2), (6, 14), (20, 6), (26, 2)]
    with Loader(mixture, sources, **LAYOUT, batch_sizes=sizes, readers=1) as loader:
        batches = list(loader)
    assert [sum(len(read.located) for read in batch.reads) for batch in batches] == [4, 4, 2, 14, 6, 2]
    located = mixture.locate(np.arange(28))
    rows = [micro.rows for batch in batches for micro in batch.micro_batches]
    assert np.concatenate(rows).tolist() == located.row.tolist()


def test_an_error_is_not_kept_from_the_loop_by_another_read(mixture: Mixture, sources: dict[str, Source]) -> None:
    """The first step can't be read, and the second is never done while the test lasts."""
    gate = threading.Event()

    class Stuck:
        def __getattr__(self, name: str) -> Any:
            return getattr(sources["web"], name)

        def fill(self, rows: Any, out: Windows, at: Any, **options: Any) -> None:
            gate.wait(30)

    stuck: dict[str, Any] = {**sources, "web": Stuck()}
    loader = Loader(mixture, stuck, **LAYOUT, batch_sizes=[(0, 3), (0, 24), (24, 24)], readers=1)
    with pytest.raises(DataError, match="do not divide"):
        next(loader)
    with pytest.raises(StopIteration):
        next(loader)
    gate.set()
    loader.close()


def test_a_schedule_that_fails_at_once_says_so(mixture: Mixture, sources: dict[str, Source]) -> None:
    def sizes() -> Iterator[tuple[int, int]]:
        raise DataError("no such schedule")
        yield 0, 24

    with Loader(mixture, sources, **LAYOUT, batch_sizes=sizes()) as loader, pytest.raises(DataError, match="no such"):
        next(loader)
