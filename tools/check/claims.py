"""What a manifest says of a source, beside what was found: sizes and digests of files, counts, end tokens."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mixer.indexed import IndexedTokens

from ..errors import UserError
from ..prepare.writer import describe_file

DOCUMENTS_AT_A_TIME = 2**20


def check_files(prefix: Path, claims: Mapping[str, Any]) -> Iterator[str]:
    """Files that are missing, or have other sizes or digests than the manifest says; it may list none."""
    files = dict(claims.get("files", {}))
    tokenizer = claims.get("tokenizer", {})
    if "file" in tokenizer:
        files[tokenizer["file"]] = {"sha256": tokenizer["sha256"]}
    for name, entry in files.items():
        path = prefix.with_name(name)
        if not path.is_file():
            yield problem(str(path), "no file", "one, which the manifest lists")
            continue
        found = describe_file(path)
        yield from (problem(f"{path}: {key}", found[key], entry[key]) for key in entry if found[key] != entry[key])


def check_claims(
    prefix: Path, claims: Mapping[str, Any], tokens: IndexedTokens, sizes: Mapping[str, object]
) -> Iterator[str]:
    """Counts and dtype that differ from the manifest's, and documents without the end token it names."""
    for key in ("documents", "tokens", "dtype", "supervised_tokens"):
        claimed, found = claims.get(key), sizes.get(key)
        if None not in (claimed, found) and claimed != found:
            yield problem(f"{prefix}: {key}", found, f"{claimed}, as in {prefix.name}.json")
    end = claims.get("special_tokens", {}).get("eod")
    if "version" in claims and end is not None and (missing := _without_end(tokens, end)):
        yield problem(f"{prefix}: documents without an end token", missing, 0)


def problem(where: str, got: object, expected: object) -> str:
    """One line, worded as errors are."""
    return str(UserError(where, got=str(got), expected=str(expected)))


def _without_end(tokens: IndexedTokens, end: int) -> int:
    missing = 0
    for first in range(0, tokens.num_documents, DOCUMENTS_AT_A_TIME):
        starts = tokens.document_starts(np.arange(first, min(first + DOCUMENTS_AT_A_TIME, tokens.num_documents) + 1))
        last = starts[1:][np.diff(starts) > 0] - 1
        missing += int((tokens.tokens[last] != end).sum())
    return missing
