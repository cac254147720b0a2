"""Every byte of a token store read once, for `annealmix check`: what opening it takes on trust.

    scan(open_tokens("data/web"), vocab_size=50_304).problems     # [] where all is well

Memory does not grow with the data: index and tokens are read a few megabytes at a time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .apportion import Ints
from .indexed import IndexedTokens
from .token_store import TokenFiles, TokenStore

Progress = Callable[[int], None]  # is told of so many more tokens read

_ENTRIES = 2**20  # of an index, at a time
_TOKENS = 2**22


@dataclass
class Scan:
    """What was found: ``problems`` as one line each, empty where there are none; ids are None where there are none."""

    problems: list[str] = field(default_factory=list)
    dtypes: set[str] = field(default_factory=set)
    num_documents: int = 0
    num_tokens: int = 0
    empty_documents: int = 0
    shortest_tokens: int = 0  # of the documents that are not empty; 0 without any
    longest_tokens: int = 0
    smallest_id: int | None = None
    largest_id: int | None = None


def scan(
    store: TokenStore, *, vocab_size: int | None = None, is_mask: bool = False, progress: Progress | None = None
) -> Scan:
    """Check every entry of the index, every document's bounds, and every token against ``vocab_size``.

    ``is_mask`` says that the tokens are a mask's: 0 or 1. Of each kind of problem the first place is told, and how many
    there are. Raises nothing for what it finds.

    >>> tokens = np.array([5, 7, 99], np.uint16)
    >>> index = np.array([2, 1], np.int32), np.array([0, 4]), np.array([0, 1, 2])
    >>> scan(IndexedTokens("web", tokens, *index), vocab_size=50).problems
    ['web: token id outside 0 to 49: 1, the first 99 at token 2']
    """
    found = Scan()
    for part in _parts(store):
        if isinstance(part, IndexedTokens):
            _scan_index(part, found)
        _scan_documents(part, found)
        _scan_tokens(part, found, 2 if is_mask else vocab_size, progress)
    return found


def _parts(store: TokenStore) -> Iterator[TokenStore]:
    if isinstance(store, TokenFiles):
        for part in store.stores:
            yield from _parts(part)
    else:
        yield store


def _scan_index(tokens: IndexedTokens, found: Scan) -> None:
    """Offsets are lengths added up, so all of them lie inside .bin; documents begin at sequences, in order."""
    faults = _Faults(f"{tokens.prefix}.idx", found)
    end_tokens = 0
    for first in range(0, len(tokens.lengths), _ENTRIES):
        lengths = tokens.lengths[first : first + _ENTRIES].astype(np.int64)
        ends = end_tokens + np.cumsum(lengths)
        offsets = tokens.offsets[first : first + _ENTRIES]
        faults.add("sequence of negative length", lengths < 0, lengths, "sequence {:,}", first)
        wrong = offsets != (ends - lengths) * tokens.tokens.itemsize
        faults.add("offset that is not the lengths before it", wrong, offsets, "sequence {:,}", first)
        outside = (offsets < 0) | (offsets + lengths * tokens.tokens.itemsize > tokens.tokens.nbytes)
        faults.add("offset outside .bin", outside, offsets, "sequence {:,}", first)
        end_tokens = int(ends[-1])
    for first in range(0, tokens.num_documents, _ENTRIES):
        sequences = tokens.document_indices[first : first + _ENTRIES + 1]
        faults.add("document that ends before it begins", np.diff(sequences) < 0, sequences, "document {:,}", first)
        outside = ((sequences < 0) | (sequences > len(tokens.lengths)))[:-1]  # opening has checked the last of all
        faults.add("document outside the sequences", outside, sequences, "document {:,}", first)
    faults.tell()


def _scan_documents(store: TokenStore, found: Scan) -> None:
    shortest = [found.shortest_tokens] if found.shortest_tokens else []
    for first in range(0, store.num_documents, _ENTRIES):
        numbers = np.arange(first, min(first + _ENTRIES, store.num_documents) + 1)
        sizes = np.diff(store.document_starts(_inside(store, numbers)))
        filled = sizes[sizes > 0]
        found.empty_documents += int((sizes == 0).sum())
        found.longest_tokens = max(found.longest_tokens, int(sizes.max(initial=0)))
        shortest += [int(filled.min())] if filled.size else []
    found.shortest_tokens = min(shortest, default=0)
    found.num_documents += store.num_documents


def _inside(store: TokenStore, numbers: Ints) -> Ints:
    """The documents of which the index can be asked: one that points outside was told of, and is not followed."""
    if not isinstance(store, IndexedTokens):
        return numbers
    sequences = store.document_indices[numbers]
    return numbers[(sequences >= 0) & (sequences <= len(store.lengths))]


def _scan_tokens(store: TokenStore, found: Scan, limit: int | None, progress: Progress | None) -> None:
    faults, place = _Faults(store.prefix, found), 0
    for array in store.flat.arrays:
        found.dtypes.add(str(array.dtype))
        for first in range(0, len(array), _TOKENS):
            ids = array[first : first + _TOKENS]
            smallest, largest = int(ids.min()), int(ids.max())
            if smallest < 0 or (limit is not None and largest >= limit):
                upper = "" if limit is None else f" to {limit - 1:,}"
                bad = (ids < 0) if limit is None else (ids < 0) | (ids >= limit)
                faults.add(f"token id outside 0{upper}", bad, ids, "token {:,}", place + first)
            found.smallest_id = smallest if found.smallest_id is None else min(found.smallest_id, smallest)
            found.largest_id = largest if found.largest_id is None else max(found.largest_id, largest)
            found.num_tokens += len(ids)
            if progress:
                progress(len(ids))
        place += len(array)
    faults.tell()


class _Faults:
    """Faults of one file by kind: how many, and the first."""

    def __init__(self, path: str, found: Scan) -> None:
        self._path, self._found = path, found
        self._count: dict[str, int] = {}
        self._first: dict[str, str] = {}

    def add(
        self, kind: str, bad: npt.NDArray[np.bool_], values: npt.NDArray[np.generic], place: str, shift: int
    ) -> None:
        """Count those entries that are ``bad``; ``values`` are told, and where they are."""
        if bad.any():
            at = int(bad.argmax())
            self._count[kind] = self._count.get(kind, 0) + int(bad.sum())
            self._first.setdefault(kind, f"{values[at]} at {place.format(shift + at)}")

    def tell(self) -> None:
        """Add a line for each kind to the problems."""
        for kind, count in self._count.items():
            self._found.problems.append(f"{self._path}: {kind}: {count:,}, the first {self._first[kind]}")
