"""Memory that batches share and use again, threads that read for them, and ids that no vocabulary has."""

import threading
import time
from collections.abc import Callable
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
from mixer.source import open_source
from mixer.spans import Span
from mixer.windows import Windows

Write = Callable[..., Path]

S = 8
LAYOUT: dict[str, Any] = {"micro_batch_size": 2, "data_parallel_rank": 0, "data_parallel_size": 1}


def contents(batch: GlobalBatch) -> list[bytes]:
    """Every array of a batch, byte for byte."""
    arrays = [(micro.tokens, micro.labels, micro.loss_mask, micro.position_ids) for micro in batch.micro_batches]
    rows = [(micro.sources, micro.epochs, micro.rows, micro.bins) for micro in batch.micro_batches]
    segments = [(micro.segments,) for micro in batch.micro_batches if micro.segments is not None]
    return [array.tobytes() for group in (*arrays, *rows, *segments) for array in group]


@pytest.mark.parametrize("contiguous", [False, True])
def test_what_is_held_is_not_overwritten(mixture: Mixture, sources: dict[str, Source], contiguous: bool) -> None:
    """Batches, or single arrays of batches that are gone, through many more steps than there are buffers."""
    steps = [(first, 12) for _ in range(6) for first in range(0, 168, 12)]
    layout = {**LAYOUT, "micro_batch_size": 3, "data_parallel_size": 2, "contiguous": contiguous}
    whole, single = [], []
    with Loader(mixture, sources, **layout, batch_sizes=one_at_a_time(steps)) as loader:
        for batch in loader:
            if batch.step % 5 == 0:
                whole.append((batch, contents(batch)))
            if batch.step % 7 == 3:
                labels = batch.micro_batches[1].labels[0]
                single.append((labels, labels.tobytes()))
        del batch
    assert [contents(batch) for batch, _ in whole] == [before for _, before in whole]
    assert [labels.tobytes() for labels, _ in single] == [before for _, before in single]


def one_at_a_time(steps: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Every other step goes back to the start, so that no two are read together."""
    return [sizes for first, size in steps for sizes in ((first, size), (0, size))]


def test_memory_is_used_again_when_batches_are_dropped(mixture: Mixture, sources: dict[str, Source]) -> None:
    made: list[int] = []

    def allocate(num_bytes: int) -> np.ndarray[Any, Any]:
        made.append(num_bytes)
        return np.empty(num_bytes, np.uint8)

    layout = {**LAYOUT, "allocate": allocate}
    with Loader(mixture, sources, **layout, batch_sizes=((0, 24) for _ in range(200))) as loader:
        for _ in loader:
            pass
    assert 1 <= len(made) <= 2 + 4


@pytest.mark.parametrize("contiguous", [False, True])
def test_text_is_shared_views_unless_asked_otherwise(
    mixture: Mixture, sources: dict[str, Source], contiguous: bool
) -> None:
    layout = {**LAYOUT, "contiguous": contiguous}
    with Loader(mixture, sources, **layout, batch_sizes=[(0, 24)]) as loader:
        (micro, *_) = next(loader).micro_batches
    assert np.shares_memory(micro.tokens, micro.labels) is not contiguous
    for array in (micro.tokens, micro.labels, micro.loss_mask, micro.position_ids):
        assert array.flags.c_contiguous or not contiguous
    assert micro.loss_mask.flags.writeable is micro.position_ids.flags.writeable is contiguous
    assert (micro.joined is None) is contiguous


class Watched:
    """A source that counts how often it is read, and by how many threads at once; reading takes a moment."""

    def __init__(self, source: Source, delay_s: float = 0.0) -> None:
        self._source, self._delay_s = source, delay_s
        self._lock, self._inside = threading.Lock(), 0
        self.calls = self.most_at_once = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def fill(self, rows: Any, out: Windows, at: Any, **options: Any) -> None:
        with self._lock:
            self.calls += 1
            self._inside += 1
            self.most_at_once = max(self.most_at_once, self._inside)
        time.sleep(self._delay_s * len(rows))
        self._source.fill(rows, out, at, **options)
        with self._lock:
            self._inside -= 1


def watched(sources: dict[str, Source], delay_s: float = 0.0) -> dict[str, Any]:
    return {name: Watched(source, delay_s) for name, source in sources.items()}


def test_small_steps_are_read_together(mixture: Mixture, sources: dict[str, Source]) -> None:
    counted = watched(sources)
    layout = {**LAYOUT, "micro_batch_size": 1, "readers": 1}
    with Loader(mixture, counted, **layout, batch_sizes=((first, 1) for first in range(168))) as loader:
        steps = list(loader)
    with Loader(mixture, sources, **LAYOUT, batch_sizes=[(0, 168)]) as loader:
        together = next(loader).digest()
    assert [batch.step for batch in steps] == list(range(168))
    assert sum(batch.digest() for batch in steps) == together
    assert sum(source.calls for source in counted.values()) <= 4


class Held:
    """A source whose every other read, from the first on, takes longer than all that may overtake it."""

    def __init__(self, source: Source) -> None:
        self._source, self._calls = source, count()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def fill(self, rows: Any, out: Windows, at: Any, **options: Any) -> None:
        time.sleep(0 if next(self._calls) % 2 else 0.01)
        self._source.fill(rows, out, at, **options)


@pytest.mark.parametrize("prefetch", [1, 2, 3, 5])
def test_steps_come_in_order_whichever_is_read_first(
    mixture: Mixture, sources: dict[str, Source], prefetch: int
) -> None:
    steps = one_at_a_time([(first, 6) for first in range(0, 168, 12)])
    held = {name: Held(source) for name, source in sources.items()}
    layout = {**LAYOUT, "batch_sizes": steps, "readers": 1}
    with (
        Loader(mixture, sources, **layout, prefetch=1) as straight,
        Loader(mixture, held, **layout, prefetch=prefetch) as beside,
    ):
        assert [contents(batch) for batch in straight] == [contents(batch) for batch in beside]


def test_slow_storage_is_read_by_many_threads_and_gives_the_same(mixture: Mixture, sources: dict[str, Source]) -> None:
    slow, steps = watched(sources, 0.003), one_at_a_time([(0, 12), (90, 12)])
    with (
        Loader(mixture, sources, **LAYOUT, batch_sizes=steps) as straight,
        Loader(mixture, slow, **LAYOUT, batch_sizes=steps) as beside,
    ):
        assert [contents(batch) for batch in straight] == [contents(batch) for batch in beside]
    assert max(source.most_at_once for source in slow.values()) > 4
    assert sum(source.calls for source in slow.values()) == 4 * 12  # each window by itself, from first to last


def test_one_slow_source_among_fast_ones_is_read_by_many_threads(mixture: Mixture, sources: dict[str, Source]) -> None:
    """Most sources, and most rows, are fast; but the slow rows take nearly all the time."""
    slow, steps = Watched(sources["web"], 0.003), [(90, 24)] * 4
    beside: dict[str, Any] = {**sources, "web": slow}
    with Loader(mixture, beside, **LAYOUT, batch_sizes=steps) as loader:
        rows = [(micro.sources == 0).sum() for batch in loader for micro in batch.micro_batches]
    assert 0 < sum(rows) < 4 * 24 / 2
    assert slow.calls == sum(rows)  # each window by itself, from first to last


def test_closing_waits_for_no_more_than_the_read_at_hand(mixture: Mixture, sources: dict[str, Source]) -> None:
    slow = watched(sources, 0.02)
    before = threading.active_count()
    layout = {**LAYOUT, "readers": 4}
    loader = Loader(mixture, slow, **layout, batch_sizes=((0, 24) for _ in count()))
    time.sleep(0.02)
    began = time.perf_counter()
    loader.close()
    assert time.perf_counter() - began < 5
    assert threading.active_count() == before


@pytest.mark.parametrize(("token", "dtype"), [(95, "u2"), (96, "u2"), (96, "i4"), (-1, "i4")])
def test_an_id_outside_the_vocabulary_is_named(tmp_path: Path, write_tokens: Write, token: int, dtype: str) -> None:
    document = [5] * 8 * S + [token] + [5] * S
    source = open_source(write_tokens(tmp_path / "odd", [document], dtype), name="odd", sequence_length=S)
    span = Span(0, source.num_rows, {"odd": 1})
    history = History(seed=3, sequence_length=S, sources={"odd": SourceHistory(source.generations())}, spans=[span])
    layout = {**LAYOUT, "micro_batch_size": 1, "vocab_size": 96}
    with Loader(Mixture(history), {"odd": source}, **layout, batch_sizes=[(0, source.num_rows)]) as loader:
        if token == 95:
            assert next(loader).size == source.num_rows
            return
        with pytest.raises(DataError, match=f"source odd: token id {token}, but the model's vocabulary ends at 95;"):
            next(loader)
