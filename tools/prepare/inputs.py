"""Inputs of every kind as one thing: chunks of records, in an order that never changes.

    open_inputs(["corpus/*.jsonl.zst", "saved/train"], fields=("text",))

gives one Input per file, sorted within each pattern, and one per data set. Reading happens in the parent process, which
only finds the ends of lines; parsing is left to the workers.
"""

import glob
import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from ..errors import UserError
from . import tables
from .records import Chunk

PIECE_BYTES = 1 << 20
LINE_SUFFIXES = (".jsonl", ".json", ".ndjson")


@dataclass(frozen=True, kw_only=True)
class Input:
    """One file or data set; `work` is the sum of its chunks' work, in bytes on disk or in rows."""

    where: str
    work: int
    chunks: Callable[[], Iterator[Chunk]]


def open_inputs(patterns: Sequence[str], *, fields: tuple[str, ...]) -> list[Input]:
    """Resolve patterns, in order: files (globs, sorted), a folder saved by `datasets`, or `hub:NAME[:CONFIG]@SPLIT`.

    `fields` are the columns read from tables, those that exist. UserError if a pattern matches nothing, a file matches
    twice, its kind is unknown, or a table has none of the columns.
    """
    if not patterns:
        raise UserError("--input", got="nothing", expected="a glob of files, a folder or hub:NAME@SPLIT")
    found = [item for pattern in patterns for item in _resolve(pattern, fields)]
    names = [item.where for item in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(twice[0], got="the same input twice", expected="each input once")
    return found


def _resolve(pattern: str, fields: tuple[str, ...]) -> Iterator[Input]:
    if pattern.startswith("hub:"):
        yield _dataset_input(pattern, tables.open_hub_dataset(pattern, fields=fields))
    elif Path(pattern).is_dir():
        yield _dataset_input(pattern, tables.open_saved_dataset(pattern, fields=fields))
    else:
        matches = sorted(name for name in glob.glob(pattern, recursive=True) if Path(name).is_file())
        if not matches:
            raise UserError(f"--input {pattern}", got="no such file", expected="files of JSONL or parquet")
        yield from (_file_input(name, fields) for name in matches)


def _file_input(name: str, fields: tuple[str, ...]) -> Input:
    suffixes = Path(name).suffixes
    packing = suffixes.pop() if suffixes and suffixes[-1] in (".gz", ".zst") else ""
    kind = suffixes[-1] if suffixes else ""
    if kind == ".parquet" and not packing:
        rows = tables.count_parquet_rows(name, fields=fields)
        return Input(where=name, work=rows, chunks=partial(tables.parquet_chunks, name, fields=fields))
    if kind in LINE_SUFFIXES:
        return Input(where=name, work=Path(name).stat().st_size, chunks=partial(_line_chunks, name, packing))
    raise UserError(name, got="a file of unknown kind", expected=".jsonl, .jsonl.gz, .jsonl.zst or .parquet")


def _dataset_input(where: str, dataset: tables.Dataset) -> Input:
    return Input(where=where, work=len(dataset), chunks=partial(tables.dataset_chunks, where, dataset))


def _line_chunks(name: str, packing: str) -> Iterator[Chunk]:
    first, done = 1, 0
    with Path(name).open("rb") as raw:
        for lines in _whole_lines(_readable(_pieces(raw, packing), name)):
            position = raw.tell()
            yield Chunk(where=name, first=first, lines=lines, work=position - done)
            first, done = first + lines.count(b"\n"), position


def _whole_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    waiting: list[bytes] = []
    for piece in pieces:
        head, newline, tail = piece.rpartition(b"\n")
        if newline:
            yield b"".join([*waiting, head, newline])
            waiting = []
        waiting.append(tail)
    if rest := b"".join(waiting):
        yield rest


def _readable(pieces: Iterator[bytes], name: str) -> Iterator[bytes]:
    from zstandard import ZstdError

    try:
        yield from pieces
    except (OSError, EOFError, zlib.error, ZstdError) as error:
        raise UserError(name, got=f"unreadable data ({error})", expected="a whole file") from error


def _pieces(raw: IO[bytes], packing: str) -> Iterator[bytes]:
    if packing == ".zst":
        yield from _zstd_pieces(raw)
        return
    source = gzip.GzipFile(fileobj=raw) if packing else raw
    while piece := source.read(PIECE_BYTES):
        yield piece


def _zstd_pieces(raw: IO[bytes]) -> Iterator[bytes]:
    # Frame by frame and not by the library's stream_reader, which takes a truncated file for a complete one.
    import zstandard

    frame = None
    while data := raw.read(PIECE_BYTES // 16):
        while data:
            frame = frame or zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj()
            yield frame.decompress(data)
            data = frame.unused_data
            frame = None if frame.eof else frame
    if frame:
        raise EOFError("the last frame has no end")
