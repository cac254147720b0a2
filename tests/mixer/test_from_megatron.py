"""Our replay beside megatron-core's own datasets, on files that our tests write and both read."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixer.errors import DataError
from mixer.from_megatron import MegatronRun, blended_counts, cached_counts, parse_blend
from mixer.generations import SourceHistory
from mixer.history import History
from mixer.indexed import IndexedTokens
from mixer.loader import Loader
from mixer.mixture import Mixture
from mixer.rows import Source
from mixer.spans import Span
from mixer.unread import Reads, UnreadSource
from mixer.windows import Windows

S = 16
SEED = 11


class _Tokenizer:
    """What GPTDatasetConfig asks of one: ids that no token has."""

    eod, pad, vocab_size, unique_identifiers = 60_000, 60_001, 60_002, {"name": "none"}


@pytest.fixture(scope="module")
def prefixes(tmp_path_factory: pytest.TempPathFactory, write_tokens: Callable[..., Path]) -> list[str]:
    """Three sources in which no token occurs twice, so that a token's id tells its place; some documents are empty."""
    folder, rng = tmp_path_factory.mktemp("megatron"), np.random.default_rng(0)
    made = []
    for name, count, longest in (("web", 160, 60), ("code", 40, 30), ("books", 8, 300)):
        lengths = rng.integers(0, longest, count)
        ids = iter(range(int(lengths.sum())))
        made.append(str(write_tokens(folder / name, [[next(ids) for _ in range(n)] for n in lengths])))
    return made


def megatron(blend: str, samples: int, *, split: str | None, cache: str | None = None) -> Any:
    """The training set as Megatron-LM builds it."""
    from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
    from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
    from megatron.core.datasets.utils import get_blend_from_list

    words = get_blend_from_list(blend.split())
    source = {"blend": words, "split": split} if split else {"blend_per_split": [words, None, None]}
    config = GPTDatasetConfig(
        random_seed=SEED,
        sequence_length=S,
        **source,
        tokenizer=_Tokenizer(),
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
        create_attention_mask=False,
        path_to_cache=cache,
    )
    return BlendedMegatronDatasetBuilder(GPTDataset, [samples, 0, 0], lambda: True, config).build()[0]


def times_read(dataset: Any, consumed: int, source: int, num_tokens: int) -> list[int]:
    """How often each token of a source was an input, by asking Megatron for every sample."""
    times = np.zeros(num_tokens, np.int64)
    for sample in range(consumed):
        item = dataset[sample]
        if item.get("dataset_id", 0) == source:
            np.add.at(times, item["tokens"].numpy(), 1)
    return times.tolist()


def spread(reads: Reads) -> list[int]:
    return np.repeat(reads.times, np.diff(reads.edges)).tolist()


BLENDS = {
    "part of an epoch": ("0.7 {0} 0.2 {1} 0.1 {2}", 200, "75, 25"),
    "several epochs": ("0.2 {0} 0.5 {1} 0.3 {2}", 700, "80,20"),
    "train-data-path": ("30 {0} 70 {1}", 300, None),
    "one source of a blend": ("1.0 {0}", 300, "100,0,0"),
    "one path": ("{0}", 900, "90,5,5"),
    "one path to train on": ("1 {1}", 100, None),
}


@pytest.mark.parametrize(("blend", "samples", "split"), BLENDS.values(), ids=BLENDS)
def test_each_token_was_read_as_often_as_megatron_reads_it(
    prefixes: list[str], blend: str, samples: int, split: str | None
) -> None:
    blend = blend.format(*prefixes)
    dataset = megatron(blend, samples, split=split)
    run = MegatronRun(blend.split(), samples, S, seed=SEED, split=split)
    for consumed in (0, 1, samples // 3, samples):
        counts = run.counts(consumed)
        for k, prefix in enumerate(run.prefixes):
            tokens = IndexedTokens.open(prefix)
            reads = run.reads(k, tokens, samples=int(counts[k]))
            assert spread(reads) == times_read(dataset, consumed, k, tokens.num_tokens), (consumed, prefix)


@pytest.mark.parametrize("share", [0, 0.05, 0.5, 0.75, 0.78, 0.82, 1])
@pytest.mark.parametrize("whole", [0, 1, 3])
def test_the_last_epoch_is_joined_or_parted_as_megatron_does(prefixes: list[str], whole: int, share: float) -> None:
    tokens = IndexedTokens.open(prefixes[1])
    samples = max(1, int((whole + share) * (tokens.num_tokens - 1) / S))
    run = MegatronRun([prefixes[1]], samples, S, seed=SEED, split=None)
    dataset = megatron(prefixes[1], samples, split=None)
    assert run.num_samples(0, tokens) == len(dataset)
    for consumed in (samples // 2, samples):
        assert spread(run.reads(0, tokens, samples=consumed)) == times_read(dataset, consumed, 0, tokens.num_tokens)


def test_a_blend_without_weights_is_counted_from_lengths(prefixes: list[str]) -> None:
    dataset = megatron(" ".join(prefixes), 200, split="100,0,0")
    run = MegatronRun(prefixes, 200, S, seed=SEED, split="100,0,0")
    opened = [IndexedTokens.open(prefix) for prefix in prefixes]
    counts = blended_counts([run.num_samples(k, tokens) for k, tokens in enumerate(opened)], 120)
    assert counts.tolist() == np.bincount(dataset.dataset_index[:120], minlength=3).tolist()
    assert spread(run.reads(2, opened[2], samples=int(counts[2]))) == times_read(dataset, 120, 2, opened[2].num_tokens)
    with pytest.raises(DataError, match=r"blend without weights: .* count the run's cache"):
        run.counts(120)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.01, 100), min_size=2, max_size=12), st.integers(0, 400))
def test_the_greedy_is_megatrons(weights: list[float], samples: int) -> None:
    from megatron.core.datasets import helpers
    from megatron.core.datasets.utils import normalize

    index, number = np.zeros(samples, np.int16), np.zeros(samples, np.int64)
    helpers.build_blending_indices(index, number, normalize(weights), len(weights), samples, False)
    assert blended_counts(weights, samples).tolist() == np.bincount(index, minlength=len(weights)).tolist()


@pytest.fixture
def alone_in_a_group() -> Iterator[None]:
    """torch.distributed of one process, which Megatron asks for its rank when it writes a blend's cache."""
    import torch.distributed as dist

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("alone_in_a_group")
def test_the_cache_of_a_run_is_counted(prefixes: list[str], tmp_path: Path) -> None:
    blend = f"0.7 {prefixes[0]} 0.3 {prefixes[1]}"
    megatron(blend, 300, split=None, cache=str(tmp_path))
    (cache,) = tmp_path.glob("*-BlendedDataset-train-dataset_index.npy")
    run = MegatronRun(blend.split(), 300, S, seed=SEED, split=None)
    for consumed in (0, 1, 150, 300):
        assert cached_counts(cache, consumed, num_sources=2).tolist() == run.counts(consumed).tolist()
    with pytest.raises(DataError, match=r"int16 of shape .* expected int16, one entry for each of 999 samples"):
        cached_counts(cache, 999, num_sources=2)
    with pytest.raises(DataError, match="sources 0 to 1, but the blend has 1"):
        cached_counts(cache, 300, num_sources=1)


def test_a_cache_that_runs_code_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "planted.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(DataError, match=r"planted.npy: .* expected Megatron's dataset_index.npy"):
        cached_counts(tmp_path / "planted.npy", 1, num_sources=1)
    with pytest.raises(DataError, match="No such file"):
        cached_counts(tmp_path / "absent.npy", 1, num_sources=1)


def half_read(prefixes: list[str], k: int = 0) -> tuple[IndexedTokens, Reads]:
    run = MegatronRun([prefixes[k]], 120, S, seed=SEED, split="90,10")
    tokens = IndexedTokens.open(prefixes[k])
    return tokens, run.reads(0, tokens, samples=120)


def test_windows_are_untouched_partly_and_fully_read(prefixes: list[str]) -> None:
    tokens, reads = half_read(prefixes)
    starts = np.arange(0, tokens.num_tokens - S, S)
    times = np.array(spread(reads))
    expected = [(times[start : start + S] > 0).sum() for start in starts]
    found = reads.tokens_read(starts, window_tokens=S).tolist()
    assert found == expected
    assert {0, S} < set(found)


def test_the_decay_reads_each_unread_token_and_no_other(prefixes: list[str]) -> None:
    tokens, reads = half_read(prefixes)
    source = UnreadSource("web", tokens, S, reads)
    rows = np.arange(source.num_unread_rows)
    out = Windows.empty(len(rows), S)
    source.fill(rows, out, rows)
    times = np.array(spread(reads))
    unread = np.flatnonzero(times[: reads.train[1]] == 0)
    assert out.tokens.ravel().tolist() == unread[: len(rows) * S].tolist()
    assert len(unread) - len(rows) * S <= S
    assert out.labels.ravel().tolist() == unread[1 : len(rows) * S + 1].tolist()
    held = Windows.empty(source.num_validation_rows, S)
    source.fill(np.arange(len(held.tokens)), held, np.arange(len(held.tokens)), validation=True)
    assert held.tokens.min() >= reads.train[1]
    documents = tokens.document_of_token(np.append(out.tokens[3], out.labels[3, -1]))
    assert set(documents.tolist()) <= set(source.documents(3))


def test_documents_and_joints_are_kept_apart_where_asked(prefixes: list[str]) -> None:
    """Tokens are their own places in the file, so a step of more than 1 is a joint."""
    tokens, reads = half_read(prefixes)
    source = UnreadSource("web", tokens, S, reads, attention="document")
    rows = np.random.default_rng(0).permutation(source.num_rows)
    out = Windows.empty(source.num_rows, S)
    source.fill(rows, out, np.arange(len(rows)))
    document = tokens.document_of_token(out.tokens)
    begins = (np.diff(document, axis=1) != 0) | (np.diff(out.tokens, axis=1) != 1)
    assert np.array_equal(np.diff(out.segments, axis=1) == 1, begins)
    assert np.array_equal(np.diff(out.position_ids, axis=1) != 1, begins)
    assert (out.position_ids[:, 1:][begins] == 0).all()
    assert not source.plain
    assert ((np.diff(document, axis=1) == 0) & begins).any(), "a joint inside a document"


def test_a_run_goes_on_with_our_loader(prefixes: list[str]) -> None:
    tokens, reads = half_read(prefixes)
    source: Source = UnreadSource("web", tokens, S, reads)
    unread, rest = source.generations()
    assert rest.first_draw == rest.first_row == unread.num_rows == source.num_rows - rest.num_rows
    spans = [Span(0, source.num_rows, {"web": 1})]
    history = History(seed=1, sequence_length=S, sources={"web": SourceHistory(source.generations())}, spans=spans)
    layout = {"micro_batch_size": 1, "data_parallel_rank": 0, "data_parallel_size": 1}
    with Loader(Mixture(history), {"web": source}, **layout, batch_sizes=[(0, source.num_rows)]) as loader:
        rows = np.concatenate([micro.tokens for micro in next(loader).micro_batches])
    once, again = rows[: unread.num_rows].ravel(), rows[unread.num_rows :].ravel()
    assert len(set(once.tolist())) == len(once) == unread.num_rows * S
    assert not np.array(spread(reads))[once].any()
    assert sorted(again.tolist()) == list(range(rest.num_rows * S))


def test_where_nothing_is_left_the_whole_source_is_read_again(prefixes: list[str]) -> None:
    tokens = IndexedTokens.open(prefixes[1])
    run = MegatronRun([prefixes[1]], 500, S, seed=SEED, split=None)
    source = UnreadSource("code", tokens, S, run.reads(0, tokens, samples=500))
    (whole,) = source.generations()
    assert (source.num_unread_rows, whole.first_row, whole.num_rows) == (0, 0, (tokens.num_tokens - 1) // S)


def test_documents_and_rows_of_a_half_read_source_are_inverse(prefixes: list[str]) -> None:
    tokens, reads = half_read(prefixes)
    source = UnreadSource("web", tokens, S, reads)
    found = [(document, row) for row in range(source.num_rows) for document in source.documents(row)]
    asked = [(d, row) for d in range(source.tokens.num_documents) for row in source.rows_of_document(d).tolist()]
    assert sorted(found) == asked


def test_what_was_read_differs_and_so_does_the_fingerprint(prefixes: list[str]) -> None:
    tokens, reads = half_read(prefixes)
    run = MegatronRun([prefixes[0]], 120, S, seed=SEED, split="90,10")
    less = UnreadSource("web", tokens, S, run.reads(0, tokens, samples=60))
    assert less.generations()[0].fingerprint != UnreadSource("web", tokens, S, reads).generations()[0].fingerprint


def test_a_mistyped_weight_is_an_error_and_not_a_path() -> None:
    for blend in ("0.3 a 0.7x b", "0.3 a -1 b", "0.3 a nan b", "0 a 1 b"):
        with pytest.raises(DataError, match="expected a positive number before each path"):
            parse_blend(blend.split())
    assert parse_blend(["a", "b", "c"]) == (["a", "b", "c"], None)


def test_bad_numbers_are_named(prefixes: list[str]) -> None:
    tokens = IndexedTokens.open(prefixes[0])
    run = MegatronRun([prefixes[0]], 100, S)
    with pytest.raises(DataError, match="consumed_samples is 101; expected 0 to 100"):
        run.counts(101)
    with pytest.raises(DataError, match=r"9,999 samples were consumed of \d+ that Megatron built"):
        run.reads(0, tokens, samples=9_999)
    with pytest.raises(DataError, match="split is 'x,1'"):
        MegatronRun([prefixes[0]], 100, S, split="x,1").reads(0, tokens, samples=1)
    with pytest.raises(DataError, match="make no sample of 99,999"):
        MegatronRun([prefixes[0]], 100, 99_999).reads(0, tokens, samples=1)
