"""From inputs to a published source: read, encode, drop duplicates, shuffle, write, rename.

prepare_source(["corpus/*.jsonl"], encoder=TextEncoder(...), out=Path("data/mine/web"), options=Options())
"""

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .inputs import Input, open_inputs
from .records import Chunk
from .spool import Packed, Spool
from .vocabulary import Vocabulary
from .workers import available_cores, ordered_map
from .writer import (
    Manifest,
    check_name,
    copy_tokenizer,
    describe_tokenizer,
    partial_folder,
    publish,
    save_manifest,
    write_documents,
)

if TYPE_CHECKING:
    from rich.progress import Progress


class Encoder(Protocol):
    """Turns a chunk of records into packed documents, in any process: it is sent there."""

    @property
    def kind(self) -> str:
        """`text`, or `chat` where documents carry a loss mask."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Columns to read from tables."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokenizer."""

    @property
    def special_tokens(self) -> dict[str, int | None]:
        """Ids of the end and the padding token, as the manifest names them."""

    def __call__(self, chunk: Chunk) -> Packed:
        """Encode one chunk."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a source is prepared, whatever it holds; `workers=0` means one for each core."""

    workers: int = 0
    on_error: str = "stop"
    seed: int = 1234
    shuffle: bool = True
    dedup: bool = True

    def __post_init__(self) -> None:
        if self.on_error not in ("stop", "skip"):
            raise UserError("--on-error", got=self.on_error, expected="stop or skip")
        if self.seed < 0:
            raise UserError("--seed", got=str(self.seed), expected="0 or more")


@dataclass
class Tally:
    """What was left out of a source so far."""

    duplicates: int = 0
    bad_records: int = 0
    seen: set[bytes] = field(default_factory=set, repr=False)


def prepare_source(
    patterns: Sequence[str], *, encoder: Encoder, out: Path, options: Options, provenance: str
) -> Manifest:
    """Prepare one source at the prefix `out`, print one line about it, return its manifest.

    On any error nothing new stands at the destination and what stood there before is untouched.
    """
    check_name(out)
    with partial_folder(out) as folder:
        copy_tokenizer(encoder.vocabulary, folder, destination=out.parent)
        manifest = build_source(
            patterns, encoder=encoder, out=folder / out.name, options=options, provenance=provenance
        )
        publish(folder, out.parent, last=[f"{out.name}.json"])
    print(summary(manifest))
    return manifest


def build_source(
    patterns: Sequence[str], *, encoder: Encoder, out: Path, options: Options, provenance: str
) -> Manifest:
    """Write the files of one source and its manifest at the prefix `out`, with no care for what happens on an error."""
    inputs = open_inputs(patterns, fields=encoder.fields)
    tally = Tally()
    with Spool(out.with_name("spool"), dtype=encoder.vocabulary.dtype, masked=encoder.kind == "chat") as spool:
        _encode(inputs, encoder, spool, tally, options)
    lengths = spool.lengths
    if not len(lengths):
        raise UserError(" ".join(patterns), got="no documents", expected="at least one")
    files = write_documents(out.parent, out.name, spool, order=_order(len(lengths), options))
    shutil.rmtree(out.with_name("spool"))
    manifest = Manifest(
        name=out.name,
        kind=encoder.kind,
        documents=len(lengths),
        tokens=int(lengths.sum()),
        supervised_tokens=spool.supervised_tokens,
        dtype=encoder.vocabulary.dtype,
        files=files,
        tokenizer=describe_tokenizer(encoder.vocabulary),
        special_tokens=encoder.special_tokens,
        duplicates_removed=tally.duplicates,
        bad_records=tally.bad_records,
        shuffle_seed=options.seed if options.shuffle else None,
        provenance=provenance,
    )
    save_manifest(out.parent, manifest)
    return manifest


def summary(manifest: Manifest) -> str:
    """Return one line: what a source holds and what was left out of it."""
    supervised = f" ({manifest.supervised_tokens:,} supervised)" if manifest.kind == "chat" else ""
    return (
        f"{manifest.name}: {manifest.documents:,} documents, {manifest.tokens:,} tokens{supervised}; left out: "
        f"{manifest.duplicates_removed:,} duplicates, {manifest.bad_records:,} bad records"
    )


def _encode(inputs: list[Input], encoder: Encoder, spool: Spool, tally: Tally, options: Options) -> None:
    workers = options.workers or available_cores()
    with _progress() as bar, closing(ordered_map(encoder, _chunks(inputs, bar), workers=workers)) as results:
        for packed in results:
            if packed.bad and options.on_error == "stop":
                raise UserError(packed.bad[0])
            tally.bad_records += len(packed.bad)
            spool.append(_without_duplicates(packed, tally) if options.dedup else packed)


def _without_duplicates(packed: Packed, tally: Tally) -> Packed:
    keep = np.ones(len(packed.digests), dtype=np.bool_)
    for index, digest in enumerate(packed.digests):
        keep[index] = digest not in tally.seen
        tally.seen.add(digest)
    tally.duplicates += int((~keep).sum())
    return packed if keep.all() else packed.where(keep)


def _order(documents: int, options: Options) -> NDArray[np.int64]:
    if options.shuffle:
        return np.random.default_rng(options.seed).permutation(documents)
    return np.arange(documents)


def _chunks(inputs: list[Input], bar: "Progress") -> Iterator[Chunk]:
    task = bar.add_task("encoding", total=sum(item.work for item in inputs))
    for item in inputs:
        for chunk in item.chunks():
            yield chunk
            bar.advance(task, chunk.work)


@contextmanager
def _progress() -> Iterator["Progress"]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        yield bar
