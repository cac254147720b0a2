"""Several files as one, and fingerprints of what a source was before it grew."""

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixer.apportion import Ints
from mixer.errors import DataError
from mixer.indexed import IndexedTokens
from mixer.source import open_tokens
from mixer.token_store import TokenFiles, documents_between, search_documents, store_fingerprint

Write = Callable[..., Path]
Memory = Callable[..., IndexedTokens]

file_lengths = st.lists(
    st.lists(st.integers(0, 6), min_size=1, max_size=6).filter(lambda sizes: sum(sizes) > 0), min_size=1, max_size=4
)


def in_files(memory: Memory, files: list[list[int]]) -> TokenFiles:
    firsts = np.cumsum([0, *(sum(sizes) for sizes in files)]).tolist()
    dtypes = ("<u2", "<i4")
    return TokenFiles(
        tuple(memory(sizes, dtypes[k % 2], first) for k, (sizes, first) in enumerate(zip(files, firsts, strict=False)))
    )


@given(file_lengths)
@settings(deadline=None)
def test_files_count_documents_and_tokens_through(memory_tokens: Memory, files: list[list[int]]) -> None:
    several, one = in_files(memory_tokens, files), memory_tokens([size for sizes in files for size in sizes])
    assert (several.num_tokens, several.num_documents) == (one.num_tokens, one.num_documents)
    documents, positions = np.arange(one.num_documents + 1), np.arange(one.num_tokens)
    assert several.document_starts(documents).tolist() == one.document_starts(documents).tolist()
    assert several.document_of_token(positions).tolist() == one.document_of_token(positions).tolist()
    assert several.flat.windows(np.array([0]), one.num_tokens)[0].tolist() == one.tokens.tolist()
    filled = [document for document in documents[:-1].tolist() if np.diff(one.document_starts(documents))[document]]
    assert documents_between(several, 0, one.num_tokens) == filled


def test_a_token_outside_the_files_is_refused(memory_tokens: Memory) -> None:
    files = in_files(memory_tokens, [[2], [3]])
    for position in (-1, 5):
        with pytest.raises(DataError, match="memory and 1 more: token positions outside 0 to 4"):
            files.document_of_token(np.array([position]))


@given(file_lengths, st.lists(st.integers(0, 6), min_size=1, max_size=6), st.lists(st.integers(1, 6), max_size=6))
@settings(deadline=None)
def test_the_fingerprint_of_a_prefix_is_that_before_it_grew(
    memory_tokens: Memory, files: list[list[int]], more: list[int], added: list[int]
) -> None:
    before = in_files(memory_tokens, files)
    longer = [*files[:-1], [*files[-1], *more], *([added] if added else [])]
    after = in_files(memory_tokens, longer)
    assert after.fingerprint(before.num_tokens) == before.fingerprint()
    grew = sum(more) + sum(added) > 0
    assert (after.fingerprint() != before.fingerprint()) == grew


def test_the_fingerprint_of_one_file_is_that_of_a_list_that_begins_with_it(memory_tokens: Memory) -> None:
    files = in_files(memory_tokens, [[3, 4], [2]])
    assert files.fingerprint(7) == files.stores[0].fingerprint()
    assert files.fingerprint(6) != files.fingerprint(7)


def test_a_change_before_the_end_is_noticed(memory_tokens: Memory) -> None:
    base = in_files(memory_tokens, [[3, 4], [5, 2]])
    other_bounds = in_files(memory_tokens, [[4, 3], [5, 2]])
    other_tokens = TokenFiles((memory_tokens([3, 4], "<u2", 1), base.stores[1]))
    assert other_bounds.fingerprint(12) != base.fingerprint(12)
    assert other_tokens.fingerprint(12) != base.fingerprint(12)
    with pytest.raises(DataError, match="memory: 7 tokens, expected 8; the data has changed"):
        base.stores[0].fingerprint(8)


class Endless:
    """Documents of 100 tokens, any number of them, one of which may be longer; counts those that are looked at."""

    prefix = "endless"
    flat = SimpleNamespace(ranges=lambda firsts, lengths: np.zeros(0, np.uint8))

    def __init__(self, documents: int, longer: int | None = None) -> None:
        self.num_documents, self.longer, self.looked_at = documents, longer, 0
        self.num_tokens = 100 * documents + (longer is not None)

    def document_starts(self, documents: Ints) -> Ints:
        self.looked_at += documents.size
        return 100 * documents + (0 if self.longer is None else documents > self.longer)

    def document_of_token(self, positions: Ints) -> Ints:
        return search_documents(self, positions)  # type: ignore[arg-type]


def test_a_fingerprint_costs_no_more_for_billions_of_documents() -> None:
    many, more, changed = Endless(10**9), Endless(10**9 + 7), Endless(10**9, longer=345_678_901)
    before = store_fingerprint(many, 10**11)  # type: ignore[arg-type]
    assert many.looked_at < 66_000
    assert store_fingerprint(more, 10**11) == before  # type: ignore[arg-type]
    assert store_fingerprint(changed, 10**11) != before  # type: ignore[arg-type]


def test_thousands_of_small_files_open_at_once(tmp_path: Path, write_tokens: Write) -> None:
    prefix = write_tokens(tmp_path / "web", [[1, 2, 3], [4, 5]])
    start = time.perf_counter()
    files = open_tokens([prefix] * 2_000)
    assert files.num_tokens == 10_000
    files.fingerprint()
    assert time.perf_counter() - start < 5  # 0.5 s on a quiet machine
