"""Sources give rows by number: text cut into windows, conversations packed into windows, or counts without data.

    web = open_source("data/web", name="web", sequence_length=4096, holdout_share=0.005)
    batch = Windows.empty(2, 4096)
    web.fill(np.array([5, 17]), batch, at=np.array([0, 1]))      # training rows 5 and 17 into rows 0 and 1

A row of text reads S + 1 tokens t: ``tokens`` is t[:-1], ``labels`` is t[1:]. Packed rows are described in packed.py.
"""

import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from .apportion import Ints
from .errors import DataError
from .history import Generation
from .holdout import Holdout, RowIntervals
from .indexed import IndexedTokens
from .manifest import Kind, Manifest
from .packed import PackedSource
from .packing import Overlong
from .rows import Loss, Source, Windows, check_rows

__all__ = ["CountedSource", "PackedSource", "Source", "WindowSource", "Windows", "mean_loss_tokens", "open_source"]


def mean_loss_tokens(source: Source) -> float:
    """What ``unit: loss_tokens`` divides a source's weight by."""
    return source.mean_loss_tokens


def open_source(
    prefix: str | os.PathLike[str],
    *,
    name: str,
    sequence_length: int,
    kind: Kind | None = None,
    loss: Loss = "all",
    overlong: Overlong = "split",
    pad: int | None = None,
    holdout: Holdout | None = None,
    holdout_share: float = 0.0,
    holdout_runs: int = 1,
) -> "WindowSource | PackedSource":
    """The source in ``prefix``.bin/.idx (and ``prefix``.mask.bin/.mask.idx for conversations).

    ``kind`` and ``pad`` come from the manifest where there is one; data without one is text. ``holdout`` is the one
    that the history fixed; without it one is chosen. Raises DataError where files, manifest and request disagree.
    """
    tokens, manifest = IndexedTokens.open(prefix), Manifest.read(prefix)
    _check_manifest(tokens, manifest, kind)
    kind = kind or (manifest.kind if manifest else "text")
    if holdout is None:
        holdout = Holdout.choose(tokens, share=holdout_share, num_runs=holdout_runs, window_tokens=sequence_length)
    if kind == "text":
        if loss != "all":
            raise DataError(f"source {name}: loss is {loss!r}; text has no assistant, so leave it at all")
        return WindowSource(name, tokens, sequence_length, holdout)
    pad = manifest.pad if pad is None and manifest else pad
    if pad is None:
        raise DataError(f"source {name}: no pad id in a manifest of {tokens.prefix}; state one")
    mask = IndexedTokens.open(f"{tokens.prefix}.mask")
    return PackedSource(name, tokens, mask, sequence_length, holdout, pad=pad, loss=loss, overlong=overlong)


@dataclass(frozen=True, eq=False)
class WindowSource:
    """Text: windows of S + 1 tokens cut every S tokens from the concatenated documents."""

    name: str
    tokens: IndexedTokens
    sequence_length: int
    holdout: Holdout

    loss: Loss = "all"
    row_supervised: Ints | None = None
    row_filled: Ints | None = None

    def __post_init__(self) -> None:
        check_rows(self.name, self.num_rows, self.tokens.num_tokens, self.sequence_length)

    @cached_property
    def training(self) -> RowIntervals:
        """Where the training rows begin."""
        return self.holdout.training_rows(num_tokens=self.tokens.num_tokens, window_tokens=self.sequence_length)

    @cached_property
    def validation(self) -> RowIntervals:
        """Where the held-out rows begin."""
        return self.holdout.validation_rows(window_tokens=self.sequence_length)

    @property
    def num_rows(self) -> int:
        """Training rows."""
        return self.training.num_rows

    @property
    def num_validation_rows(self) -> int:
        """Held-out rows."""
        return self.validation.num_rows

    @property
    def mean_loss_tokens(self) -> float:
        """Every position is supervised."""
        return float(self.sequence_length)

    def fill(self, rows: Ints, out: Windows, at: Ints, *, validation: bool = False) -> None:
        """Write ``rows`` into rows ``at`` of ``out``."""
        windows = self._windows[self.starts(rows, validation=validation)]
        out.tokens[at], out.labels[at] = windows[:, :-1], windows[:, 1:]

    def documents(self, row: int, *, validation: bool = False) -> list[int]:
        """Numbers of the documents that a row is made of."""
        start = self.starts(np.array([row]), validation=validation)[0]
        first, last = self.tokens.document_of_token([start, start + self.sequence_length]).tolist()
        return list(range(first, last + 1))

    def starts(self, rows: Ints, *, validation: bool = False) -> Ints:
        """First token of each row."""
        return (self.validation if validation else self.training).starts(rows)

    def generation(self) -> Generation:
        """This state of the data, as a source's history begins with it."""
        return Generation(0, self.num_rows, self._fingerprint, self.holdout.runs, "concatenated")

    @cached_property
    def _fingerprint(self) -> str:
        return self.tokens.fingerprint()

    @cached_property
    def _windows(self) -> npt.NDArray[Any]:
        return np.lib.stride_tricks.sliding_window_view(self.tokens.tokens, self.sequence_length + 1)


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

    def fill(self, rows: Ints, out: Windows, at: Ints, *, validation: bool = False) -> None:
        """Raise DataError: there is nothing to read."""
        raise DataError(f"source {self.name}: states {self.num_tokens:,} tokens but no data; give its path to read it")

    def documents(self, row: int, *, validation: bool = False) -> list[int]:
        """No documents are known."""
        return []

    def generation(self) -> Generation:
        """Rows that stand for data still to come."""
        return Generation(0, self.num_rows, "counted")


def _check_manifest(tokens: IndexedTokens, manifest: Manifest | None, kind: Kind | None) -> None:
    if manifest and manifest.tokens != tokens.num_tokens:
        raise DataError(
            f"{tokens.prefix}.json: {manifest.tokens:,} tokens, but the .idx has {tokens.num_tokens:,}; prepare again"
        )
    if manifest and kind and manifest.kind != kind:
        raise DataError(f"{tokens.prefix}.json: holds {manifest.kind}, the recipe says {kind}; change the recipe")
