"""One source checked from end to end: its files, its manifest where it has one, its index, its ids, its mask."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mixer.errors import DataError
from mixer.indexed import IndexedTokens
from mixer.manifest import Manifest
from mixer.scan import Progress, Scan, scan
from mixer.source import open_source, open_tokens
from mixer.tables import TableTokens
from mixer.token_store import TokenStore

from ..errors import UserError
from .claims import DOCUMENTS_AT_A_TIME, check_claims, check_files, problem

Summary = dict[str, int | float | str]


@dataclass(frozen=True)
class Asked:
    """How to check: the ``column`` of tables, the ``vocab_size`` that ids must be below (the manifest's unless told).

    ``sequence_length`` asks how many rows a source makes, and how full they are.
    """

    column: str = "input_ids"
    vocab_size: int | None = None
    sequence_length: int | None = None


_NOTHING_MORE = Asked()


@dataclass(frozen=True)
class Checked:
    """What was found out about the source at ``path``: its problems, or where it has none its sizes."""

    path: str
    problems: tuple[str, ...]
    summary: Summary


def sources_at(path: Path) -> list[Path]:
    """Names of the sources that a path stands for: a prefix, its .bin or .idx, a table, or a folder of pairs.

    Raises UserError where there is nothing.
    """
    prefix = path.with_suffix("") if path.suffix in (".bin", ".idx") else path
    if Path(f"{prefix}.idx").exists() or Path(f"{prefix}.bin").exists():
        return [prefix]
    inside = sorted(path.glob("*.idx")) if path.is_dir() else []
    pairs = [index.with_suffix("") for index in inside if not index.name.endswith(".mask.idx")]
    if pairs or (path.exists() and TableTokens.stands_at(os.fspath(path))):
        return pairs or [path]
    expected = "a name before .bin and .idx, an .arrow or .parquet file, or a folder of either"
    raise UserError(str(path), got="no data", expected=expected)


def tokens_at(path: Path, asked: Asked) -> int:
    """Tokens and mask values that a check of ``path`` will read; 0 where it can't be opened."""
    try:
        mask = IndexedTokens.open(f"{path}.mask").num_tokens if _is_chat(path) else 0
        return open_tokens(path, column=asked.column).num_tokens + mask
    except DataError:
        return 0


def check(path: Path, asked: Asked = _NOTHING_MORE, progress: Progress | None = None) -> Checked:
    """Check one source. Later checks are left out where earlier ones failed, since they would say the same again."""
    try:
        problems, summary = _check(path, asked, progress)
    except DataError as error:
        return Checked(str(path), (str(error),), {})
    return Checked(str(path), tuple(problems), {} if problems else summary)


def _check(path: Path, asked: Asked, progress: Progress | None) -> tuple[list[str], Summary]:
    claims = _manifest(path)
    if problems := list(check_files(path, claims)):
        return problems, {}
    tokens = open_tokens(path, column=asked.column)
    vocab_size = asked.vocab_size or claims.get("tokenizer", {}).get("vocab_size")
    found = scan(tokens, vocab_size=vocab_size, progress=progress)
    sizes, problems = _sizes(found), found.problems
    if claims.get("kind") == "chat":
        mask = IndexedTokens.open(f"{path}.mask")
        problems += _mask_problems(tokens, mask, scan(mask, is_mask=True, progress=progress))
        sizes["supervised_tokens"] = sum(int(array.sum(dtype=np.int64)) for array in mask.flat.arrays)
    if isinstance(tokens, IndexedTokens):
        problems += check_claims(path, claims, tokens, sizes)
    return problems, sizes if problems else {**sizes, **_rows(path, asked)}


def _manifest(path: Path) -> Mapping[str, Any]:
    """The manifest as it stands on disk, checked by those who read it; empty where there is none."""
    if Manifest.read(path) is None:
        return {}
    claims: Mapping[str, Any] = json.loads(Path(f"{path}.json").read_bytes())
    return claims


def _is_chat(path: Path) -> bool:
    manifest = Manifest.read(path)
    return manifest is not None and manifest.kind == "chat"


def _mask_problems(tokens: TokenStore, mask: TokenStore, found: Scan) -> Iterator[str]:
    yield from found.problems
    if found.dtypes != {"uint8"}:
        yield problem(f"{mask.prefix}.bin: dtype", " ".join(sorted(found.dtypes)), "uint8")
    if not _same_documents(tokens, mask):
        yield problem(f"{mask.prefix}.idx", "other document lengths", f"those of {tokens.prefix}.idx")


def _same_documents(one: TokenStore, other: TokenStore) -> bool:
    if (one.num_documents, one.num_tokens) != (other.num_documents, other.num_tokens):
        return False
    firsts = range(0, one.num_documents, DOCUMENTS_AT_A_TIME)
    chunks = (np.arange(first, min(first + DOCUMENTS_AT_A_TIME, one.num_documents)) for first in firsts)
    return all(np.array_equal(one.document_starts(chunk), other.document_starts(chunk)) for chunk in chunks)


def _sizes(found: Scan) -> Summary:
    return {
        "documents": found.num_documents,
        "tokens": found.num_tokens,
        "dtype": " ".join(sorted(found.dtypes)),
        "shortest": found.shortest_tokens,
        "longest": found.longest_tokens,
        "empty": found.empty_documents,
        "max_id": -1 if found.largest_id is None else found.largest_id,
    }


def _rows(path: Path, asked: Asked) -> Summary:
    """Rows of a source that nothing is held out of, and the share of their positions that is no padding."""
    if asked.sequence_length is None:
        return {}
    source = open_source(path, name=path.name, sequence_length=asked.sequence_length, column=asked.column)
    filled = source.row_filled
    fill = 1.0 if filled is None else int(filled.sum()) / (source.num_rows * asked.sequence_length)
    return {"rows": source.num_rows, "fill": fill}
