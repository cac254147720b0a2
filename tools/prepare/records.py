"""Chunks of neighbouring records, and the reading of each record in them.

A chunk holds either the raw lines of about a megabyte of JSONL, parsed by the worker that gets it, or rows of a table:

    Chunk(where="a.jsonl.zst", first=1, lines=b'{"text": "x"}\\n{"text": "y"}\\n', work=262144)
    Chunk(where="b.parquet", first=0, rows=[{"text": "x"}, {"text": "y"}], work=2)
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ..errors import UserError

Record = Mapping[str, Any]
Read = TypeVar("Read")


class BadRecord(ValueError):  # noqa: N818, a finding about the data that is mostly counted, not an error of the program
    """A record that holds no document: what stands there, and what was expected."""

    def __init__(self, *, got: str, expected: str) -> None:
        super().__init__(got, expected)
        self.got, self.expected = got, expected


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Neighbouring records of one input: raw lines (counted from 1) or rows (counted from 0).

    `work` is the chunk's part of its input's work, in bytes on disk or in rows, for the progress bar.
    """

    where: str
    first: int
    lines: bytes = b""
    rows: Sequence[Record] = ()
    work: int = 0


def read_records(chunk: Chunk, read: Callable[[Record], Read]) -> tuple[list[Read], list[str]]:
    """Apply `read` to each record of a chunk; return what it gave, and one message for each BadRecord. No line is lost.

    >>> read_records(Chunk(where="a.jsonl", first=7, lines=b'{"n": 1}\\n\\n[]'), lambda record: record["n"])[0]
    [1]
    """
    good, bad = [], []
    for where, raw in _located(chunk):
        try:
            good.append(read(_parsed(raw)))
        except BadRecord as error:
            fix = "mend it, or leave such records out with --on-error skip"
            bad.append(str(UserError(where, got=error.got, expected=error.expected, fix=fix)))
    return good, bad


def text_of(value: object, *, name: str) -> str:
    """Return `value` if it is text that can be stored as UTF-8, else raise BadRecord."""
    if not isinstance(value, str):
        raise BadRecord(got=f"{name} of type {type(value).__name__}", expected="text")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise BadRecord(got=f"{name} with half a surrogate pair", expected="valid Unicode") from error
    return value


def _located(chunk: Chunk) -> Iterator[tuple[str, bytes | Record]]:
    for number, row in enumerate(chunk.rows, start=chunk.first):
        yield f"{chunk.where}[{number}]", row
    for number, line in enumerate(chunk.lines.split(b"\n"), start=chunk.first):
        if line.strip():
            yield f"{chunk.where}:{number}", line


def _parsed(raw: bytes | Record) -> Record:
    if isinstance(raw, Mapping):
        return raw
    try:
        record = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadRecord(got=f"no JSON ({error})", expected="one JSON object a line") from error
    if not isinstance(record, dict):
        raise BadRecord(got=f"a JSON {type(record).__name__}", expected="one JSON object a line")
    return record
