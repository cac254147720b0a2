"""The text that models are asked about: rows spread evenly over token sources, the same ones for every model."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from mixer.manifest import Manifest
from mixer.source import PackedSource, Windows, WindowSource, open_source
from mixer.windows import PADDING

from ..errors import UserError
from ..recipe.from_run import real_prefix
from .document_groups import num_groups, shared_out

Array = npt.NDArray[Any]
RowOptions = Mapping[str, Mapping[str, Any]]  # of each real path: options of open_source; "" stands for other text


@dataclass(frozen=True, eq=False)
class ProbeBatch:
    """A micro-batch, each array (batch, seq).

    ``counts`` is where a token is neither padding nor special; ``groups`` the document group of each token, ``sources``
    the number of its source; ``segments`` says what attends to what, None where a window is one segment.
    """

    tokens: Array
    labels: Array
    position_ids: Array
    segments: Array | None
    counts: Array
    groups: Array
    sources: Array

    def windows(self) -> Iterator["ProbeBatch"]:
        """A micro-batch of each window."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        for row in range(len(self.tokens)):
            one: dict[str, Any] = {name: None if a is None else a[row : row + 1] for name, a in given.items()}
            yield ProbeBatch(**one)


@dataclass(frozen=True, eq=False)
class Probe:
    """Rows of several sources; ``special`` ids are read but never counted.

    ``on_read`` is told of windows, those of all processes, that are done.
    """

    sources: tuple[WindowSource | PackedSource, ...]
    rows: tuple[Array, ...]
    sequence_length: int
    special: frozenset[int] = field(default=frozenset())
    on_read: Callable[[int], None] = field(default=lambda windows: None)

    @property
    def num_windows(self) -> int:
        """Rows of all sources."""
        return sum(map(len, self.rows))

    @property
    def digest(self) -> str:
        """Stands for what is read and counted: data, windows and special ids."""
        sources = [
            (s.name, s.fingerprint(s.tokens.num_tokens), r.tolist())
            for s, r in zip(self.sources, self.rows, strict=True)
        ]
        return sha256(repr((sources, self.sequence_length, sorted(self.special))).encode()).hexdigest()

    @property
    def names(self) -> list[str]:
        """Names of the sources."""
        return [source.name for source in self.sources]

    def num_documents(self, group_tokens: npt.NDArray[np.float64]) -> list[int]:
        """Documents of each source with tokens that count, by how many each group has, (groups,).

        Where a source has more documents than groups, one without is counted if its group has such tokens.
        """
        return [sum(bool(group_tokens[group]) for group in groups.values()) for groups in self._groups]

    @cached_property
    def group_sources(self) -> Array:
        """(groups,): number of the source whose documents a group holds, -1 of an empty one."""
        sources = np.full(num_groups(len(self.sources)), -1)
        for index, groups in enumerate(self._groups):
            sources[list(groups.values())] = index
        return sources

    @cached_property
    def _groups(self) -> list[dict[int, int]]:
        """Of each source: document -> its group, documents of a source dealt out by chance."""
        read = [self._documents_read(index) for index in range(len(self.sources))]
        parts = shared_out([len(documents) for documents in read], num_groups(len(read)))
        chance, starts = np.random.default_rng(0), np.cumsum([0, *parts])
        return [
            dict(zip(documents, (start + chance.permutation(len(documents)) % max(part, 1)).tolist(), strict=True))
            for documents, start, part in zip(read, starts, parts, strict=False)
        ]

    def _documents_read(self, index: int) -> list[int]:
        rows = self.rows[index].tolist()
        return list(dict.fromkeys(document for row in rows for document in self.sources[index].documents(row)))

    def batches(self, micro_batch: int, *, rank: int = 0, size: int = 1) -> Iterator[ProbeBatch]:
        """Micro-batches of one source each; of ``size`` processes, ``rank`` reads every size-th row."""
        for index, rows in enumerate(self.rows):
            mine = rows[rank::size]
            for start in range(0, len(mine), micro_batch):
                together = mine[start : start + micro_batch]
                yield self._batch(index, together)
                self.on_read(len(together) * size)

    def _batch(self, index: int, rows: Array) -> ProbeBatch:
        source = self.sources[index]
        out = Windows.empty(len(rows), self.sequence_length)
        source.fill(rows, out, np.arange(len(rows)))
        documents = self._documents(source, rows, out)
        group_of = self._groups[index]
        groups = np.array([group_of.get(document, 0) for document in documents.ravel().tolist()])
        is_special = np.isin(out.tokens, list(self.special))
        return ProbeBatch(
            out.tokens,
            out.labels,
            out.position_ids,
            out.segments if (out.segments > 0).any() or (out.segments == PADDING).any() else None,
            (out.segments != PADDING) & ~is_special,
            groups.reshape(documents.shape),
            np.full(out.tokens.shape, index),
        )

    def _documents(self, source: WindowSource | PackedSource, rows: Array, out: Windows) -> Array:
        """Number of the document of each token; of padding, that of any."""
        if isinstance(source, WindowSource):
            places = source.starts(rows)[:, None] + np.arange(self.sequence_length)
            return source.tokens.document_of_token(places.ravel()).reshape(places.shape)
        parts = [np.array(source.documents(row)) for row in rows.tolist()]
        return np.stack([part[segments] for part, segments in zip(parts, out.segments, strict=True)])

    def check_vocabulary(self, batch: ProbeBatch, vocab_size: int, model: str) -> None:
        """Raise UserError where a token has no row in the model's embedding."""
        largest = int(max(batch.tokens.max(), batch.labels.max()))
        if largest >= vocab_size:
            name = self.names[int(batch.sources[0, 0])]
            got = f"token id {largest} of source {name}"
            raise UserError(model, got=got, expected=f"ids below {vocab_size}, its vocabulary", fix=_PREPARE)


_PREPARE = "prepare the text with this model's tokenizer"


def open_probe(
    data: Sequence[str],
    *,
    sequence_length: int,
    windows: int,
    special: frozenset[int] = frozenset(),
    rows: RowOptions = MappingProxyType({}),
) -> Probe:
    """Open ``NAME=PATH`` or ``PATH`` each; ``windows`` rows of each source, or all that it has, made as ``rows`` says.

    Raises DataError where data is missing, damaged or shorter than a window.
    """
    named = [text.rpartition("=")[::2] for text in data]
    sources = [_open(name, path, sequence_length, rows) for name, path in named]
    names = [source.name for source in sources]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError("--data", got=f"{twice} twice", expected="NAME=PATH with a name for each")
    taken = [np.arange(min(windows, s.num_rows)) * s.num_rows // min(windows, s.num_rows) for s in sources]
    known = {number for _, path in named for number in _special(path)}
    return Probe(tuple(sources), tuple(taken), sequence_length, special | known)


def _open(name: str, path: str, sequence_length: int, rows: RowOptions) -> WindowSource | PackedSource:
    options = rows.get(real_prefix(path)) or ({} if holds_conversations(path) else rows.get("", {}))
    name = name or path.rstrip("/").rpartition("/")[2]
    return open_source(path, name=name, sequence_length=sequence_length, **options)


def holds_conversations(path: str | Path) -> bool:
    """Whether a manifest says so."""
    manifest = Manifest.read(path)
    return manifest is not None and manifest.kind == "chat"


def _special(path: str) -> set[int]:
    """Ids that end documents or pad, where a manifest says."""
    manifest = Manifest.read(path)
    ids = (manifest.eod, manifest.pad) if manifest else ()
    return {number for number in ids if number is not None}
