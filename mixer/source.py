"""Sources give rows by number: text cut into windows, documents packed into windows, or counts without data.

    web = open_source("data/web", name="web", sequence_length=4096, holdout_share=0.005)
    batch = Windows.text(2, 4096)
    web.fill(np.array([5, 17]), batch, at=np.array([0, 1]))      # training rows 5 and 17 into rows 0 and 1

A row of text reads S + 1 tokens t: ``tokens`` is t[:-1], ``labels`` is t[1:]. text.py and packed.py describe the rows.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from .apportion import Ints
from .errors import DataError
from .generations import Generation, SourceHistory, Window
from .holdout import Holdout
from .indexed import IndexedTokens
from .manifest import Kind, Manifest
from .packed import PackedSource
from .packing import Overlong
from .rows import Loss, Source, check_rows
from .tables import TableTokens
from .text import Attention, WindowSource
from .token_store import TokenStore, joined
from .windows import Windows

__all__ = [
    "CountedSource",
    "PackedSource",
    "Source",
    "WindowSource",
    "Windows",
    "mean_loss_tokens",
    "open_source",
    "open_tokens",
]

Path = str | os.PathLike[str]

UNSHUFFLED_HOLDOUT_RUNS = 16  # of data in the order of its making, whose end is not like the rest


def mean_loss_tokens(source: Source) -> float:
    """What ``unit: loss_tokens`` divides a source's weight by."""
    return source.mean_loss_tokens


def open_tokens(paths: Path | Sequence[Path], *, column: str = "input_ids", suffix: str = "") -> TokenStore:
    """Tokens of one path or of several end to end, each a prefix of .bin/.idx or a table's file or folder.

    ``column`` holds the token ids of tables; ``suffix`` is added to prefixes (".mask" for the masks of conversations).
    Raises DataError where a file is missing or damaged.
    """
    return joined([_open_one(path, column, suffix) for path in _listed(paths)])


def open_source(
    path: Path | Sequence[Path],
    *,
    name: str,
    sequence_length: int,
    kind: Kind | None = None,
    column: str = "input_ids",
    loss: Loss = "all",
    overlong: Overlong = "split",
    windows: Window | None = None,
    attention: Attention = "window",
    epoch_offset: bool = False,
    pad: int | None = None,
    holdout_share: float = 0.0,
    holdout_runs: int | None = None,
    history: SourceHistory | None = None,
) -> "WindowSource | PackedSource":
    """The source in one or several files: .bin/.idx prefixes (with .mask.bin/.mask.idx for conversations) or tables.

    ``kind`` and ``pad`` come from the manifest where there is one; data without one is text. ``windows`` are
    `concatenated` for text and `packed` for conversations unless told; ``attention`` is that of concatenated ones.

    ``history`` is what a run has read: its holdout stays, rows keep their numbers, and data that is not the same up to
    where it ended is refused. Without one a holdout of ``holdout_share`` is chosen, in ``holdout_runs``: 1 of a file
    that was shuffled when written, 16 of other data. Raises DataError where files, manifest and request disagree.
    """
    manifests = _manifests(path)
    tokens = open_tokens(path, column=column)
    kind, windows = _check_kind(name, manifests, kind, windows)
    _check_options(name, kind, windows, loss, attention, epoch_offset)
    if history:
        holdout = Holdout(history.generations[0].holdout)
    else:
        runs = holdout_runs or _default_runs(path, manifests)
        holdout = Holdout.choose(tokens, share=holdout_share, num_runs=runs, window_tokens=sequence_length)
    source: WindowSource | PackedSource
    if windows == "concatenated":
        source = WindowSource(name, tokens, sequence_length, holdout, attention, epoch_offset)
    else:
        pad = _pad(name, tokens, manifests, pad)
        mask = open_tokens(path, suffix=".mask") if kind == "chat" else None
        extents = _extents(tokens, history)
        source = PackedSource(name, tokens, sequence_length, holdout, mask, pad, loss, overlong, windows, extents)
    if history:
        _check_history(source, history)
    return source


@dataclass(frozen=True, eq=False)
class CountedSource:
    """A source of which only the number of tokens is known, for planning; it can't be read.

    >>> CountedSource("web", num_tokens=10**12, sequence_length=4096).num_rows
    244140624
    """

    name: str
    num_tokens: int
    sequence_length: int

    stated_loss_tokens: float | None = None  # mean per row; None for all of them
    loss: Loss = "all"
    plain: bool = True
    num_validation_rows: int = 0
    row_supervised: Ints | None = None
    row_filled: Ints | None = None

    def __post_init__(self) -> None:
        check_rows(self.name, self.num_rows, self.num_tokens, self.sequence_length)

    @property
    def num_rows(self) -> int:
        """Windows of S + 1 tokens, one label shared with the next."""
        return (self.num_tokens - 1) // self.sequence_length

    @property
    def mean_loss_tokens(self) -> float:
        """As stated."""
        return float(self.sequence_length) if self.stated_loss_tokens is None else self.stated_loss_tokens

    def fill(
        self, rows: Ints, out: Windows, at: Ints, *, offsets: Ints | None = None, validation: bool = False
    ) -> None:
        """Raise DataError: there is nothing to read."""
        raise DataError(f"source {self.name}: states {self.num_tokens:,} tokens but no data; give its path to read it")

    def documents(self, row: int, *, offset: int = 0, validation: bool = False) -> list[int]:
        """No documents are known."""
        return []

    def rows_of_document(self, document: int) -> Ints:
        """No documents are known."""
        return np.arange(0)

    def generations(self) -> tuple[Generation, ...]:
        """States of the data that a source's history goes through, oldest first, the one as it lies on disk last."""
        return (Generation(0, self.num_rows, "counted", num_tokens=self.num_tokens),)


def _listed(paths: Path | Sequence[Path]) -> list[str]:
    several = [paths] if isinstance(paths, str | os.PathLike) else paths
    if not several:
        raise DataError("no path of data; give one or more")
    return [os.fspath(path) for path in several]


def _open_one(path: str, column: str, suffix: str) -> TokenStore:
    if TableTokens.stands_at(path):
        return TableTokens.open(path, column=column)
    return IndexedTokens.open(f"{path}{suffix}")


def _manifests(paths: Path | Sequence[Path]) -> list[Manifest]:
    """Those that there are, each checked against the number of tokens beside it."""
    manifests = []
    for path in _listed(paths):
        manifest = None if TableTokens.stands_at(path) else Manifest.read(path)
        if manifest:
            found = IndexedTokens.open(path).num_tokens
            if manifest.tokens != found:
                got = f"{manifest.tokens:,} tokens, but the .idx has {found:,}"
                raise DataError(f"{path}.json: {got}; prepare again")
            manifests.append(manifest)
    return manifests


def _check_kind(
    name: str, manifests: Sequence[Manifest], kind: Kind | None, windows: Window | None
) -> tuple[Kind, Window]:
    kinds = {manifest.kind for manifest in manifests} or {kind or "text"}
    if len(kinds) > 1:
        raise DataError(f"source {name}: some files hold text, others conversations; make two sources of them")
    found = kinds.pop()
    if kind and kind != found:
        raise DataError(f"source {name}: its files hold {found}, the recipe says {kind}; change the recipe")
    windows = windows or ("packed" if found == "chat" else "concatenated")
    if windows not in get_args(Window) or (found == "chat" and windows == "concatenated"):
        expected = "packed or document" if found == "chat" else ", ".join(get_args(Window))
        raise DataError(f"source {name}: windows are {windows!r}; expected {expected}")
    return found, windows


def _check_options(
    name: str, kind: Kind, windows: Window, loss: Loss, attention: Attention, epoch_offset: bool
) -> None:
    if kind == "text" and loss != "all":
        raise DataError(f"source {name}: loss is {loss!r}; text has no assistant, so leave it at all")
    if windows != "concatenated" and epoch_offset:
        raise DataError(
            f"source {name}: epoch_offset moves concatenated windows; leave it out where they are {windows}"
        )
    if windows != "concatenated" and attention != "window":
        raise DataError(f"source {name}: {windows} windows keep documents apart as they are; leave attention out")


def _default_runs(path: Path | Sequence[Path], manifests: Sequence[Manifest]) -> int:
    """One of a single file that was shuffled, since its end is like the rest; several one after another are not."""
    alone = len(_listed(path)) == len(manifests) == 1
    return 1 if alone and manifests[0].shuffled else UNSHUFFLED_HOLDOUT_RUNS


def _pad(name: str, tokens: TokenStore, manifests: Sequence[Manifest], stated: int | None) -> int:
    pads = {manifest.pad for manifest in manifests if manifest.pad is not None} if stated is None else {stated}
    if not pads:
        raise DataError(f"source {name}: no pad id in a manifest of {tokens.prefix}; state one")
    if len(pads) > 1:
        raise DataError(f"source {name}: its files pad with ids {sorted(pads)}; state one")
    pad = pads.pop()
    if pad in {manifest.eod for manifest in manifests}:
        raise DataError(f"source {name}: pad id {pad} ends documents too; choose a pad id of its own")
    return pad


def _extents(tokens: TokenStore, history: SourceHistory | None) -> tuple[int, ...]:
    """Numbers of tokens at which the source was packed, the present one last."""
    known = {generation.num_tokens for generation in history.generations} if history else set()
    return tuple(sorted(known | {tokens.num_tokens}))


def _check_history(source: "WindowSource | PackedSource", history: SourceHistory) -> None:
    """Raise DataError unless the data up to the last generation's end is what that generation was."""
    last = history.generations[-1]
    if source.tokens.num_tokens < last.num_tokens:
        got = f"num_tokens is {source.tokens.num_tokens:,}, but the run reads {last.num_tokens:,}"
        raise DataError(f"source {source.name}: {got}; the data has shrunk")
    found = source.generation(last.num_tokens)
    for field, ours, theirs in (
        ("window", last.window, found.window),
        ("num_rows", last.end_row, found.num_rows),  # of a bridge, all rows that there were with it
        ("fingerprint", last.fingerprint, found.fingerprint),
    ):
        if ours != theirs:
            got = f"{field} is {theirs}, but the run reads {ours}"
            raise DataError(f"source {source.name}: {got}; the data or how it is cut has changed")
