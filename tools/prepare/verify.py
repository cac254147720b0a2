"""Reads a prepared source back and checks it against its manifest; needs neither torch nor Megatron.

verify(Path("data/mine/web"))        []                                       all is well
                                     ["web.bin: got 912 bytes; expected ..."]   what is not, one line each
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .writer import describe_file

MAGIC = b"MMIDIDX\x00\x00"
HEADER_BYTES = 34
DTYPES = {1: "uint8", 4: "int32", 8: "uint16"}
BLOCK_TOKENS = 1 << 22


@dataclass(frozen=True, kw_only=True)
class Index:
    """A .idx file: dtype of the .bin, tokens of each sequence (n,), its first byte (n,), document bounds (n + 1,)."""

    dtype: str
    lengths: NDArray[np.int32]
    offsets: NDArray[np.int64]
    documents: NDArray[np.int64]


def verify(prefix: Path) -> list[str]:
    """Return what is wrong with the prepared source at `prefix`: sizes, digests, index, token ids, end tokens, mask.

    Later checks are left out where earlier ones failed. Raises UserError if the manifest is missing or is none.
    """
    manifest = _read_manifest(prefix)
    for check in (_check_files, _check_tokens, _check_mask):
        if problems := list(check(prefix, manifest)):
            return problems
    return []


def read_index(path: Path) -> Index:
    """Read a .idx file (34-byte header, int32 lengths, int64 offsets, int64 bounds); UserError if it is none."""
    data = path.read_bytes()
    if len(data) < HEADER_BYTES or data[:9] != MAGIC or data[17] not in DTYPES:
        raise UserError(str(path), got="another header", expected="an index of tokens as Megatron writes it")
    count, bounds = np.frombuffer(data, "<u8", 2, HEADER_BYTES - 16).tolist()
    if len(data) != HEADER_BYTES + 12 * count + 8 * bounds:
        raise UserError(str(path), got=f"{len(data)} bytes", expected=f"{HEADER_BYTES + 12 * count + 8 * bounds}")
    return Index(
        dtype=DTYPES[data[17]],
        lengths=np.frombuffer(data, "<i4", count, HEADER_BYTES),
        offsets=np.frombuffer(data, "<i8", count, HEADER_BYTES + 4 * count),
        documents=np.frombuffer(data, "<i8", bounds, HEADER_BYTES + 12 * count),
    )


def _read_manifest(prefix: Path) -> Mapping[str, Any]:
    path = prefix.with_name(f"{prefix.name}.json")
    try:
        manifest = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(str(path), got=f"no manifest ({error})", expected="what `prepare` wrote") from error
    if not isinstance(manifest, dict) or manifest.get("version") != 1:
        raise UserError(str(path), got="no manifest of version 1", expected="what `prepare` wrote")
    return manifest


def _check_files(prefix: Path, manifest: Mapping[str, Any]) -> Iterator[str]:
    tokenizer = manifest["tokenizer"]
    expected = {**manifest["files"], tokenizer["file"]: {"sha256": tokenizer["sha256"]}}
    for name, entry in expected.items():
        path = prefix.with_name(name)
        if not path.is_file():
            yield _problem(name, "bytes", "no file", "one")
            continue
        found = describe_file(path)
        yield from (_problem(name, key, found[key], entry[key]) for key in entry if found[key] != entry[key])


def _check_tokens(prefix: Path, manifest: Mapping[str, Any]) -> Iterator[str]:
    name, size = f"{prefix.name}.bin", manifest["tokenizer"]["vocab_size"]
    index = read_index(prefix.with_name(f"{prefix.name}.idx"))
    yield from _check_index(f"{prefix.name}.idx", index, manifest, manifest["dtype"])
    tokens = np.memmap(prefix.with_name(name), index.dtype, "r")
    if len(tokens) != manifest["tokens"]:
        yield _problem(name, "tokens", len(tokens), manifest["tokens"])
        return
    low, high = _range(tokens)
    if low < 0 or high >= size:
        yield _problem(name, "token ids", f"{low} to {high}", f"0 to {size - 1}")
    ends = tokens[np.cumsum(index.lengths, dtype=np.int64) - 1]
    if open_documents := int((ends != manifest["special_tokens"]["eod"]).sum()):
        yield _problem(name, "documents without an end token", open_documents, 0)


def _check_index(name: str, index: Index, manifest: Mapping[str, Any], dtype: str) -> Iterator[str]:
    found = {"dtype": index.dtype, "documents": len(index.lengths), "tokens": int(index.lengths.sum(dtype=np.int64))}
    expected = {"dtype": dtype, "documents": manifest["documents"], "tokens": manifest["tokens"]}
    yield from (_problem(name, key, found[key], expected[key]) for key in found if found[key] != expected[key])
    starts = np.cumsum(index.lengths, dtype=np.int64) - index.lengths
    if not np.array_equal(index.offsets, starts * np.dtype(index.dtype).itemsize):
        yield _problem(name, "offsets", "gaps or overlaps", "documents back to back")
    if not np.array_equal(index.documents, np.arange(len(index.lengths) + 1)):
        yield _problem(name, "bounds", "another count", "one sequence per document")


def _check_mask(prefix: Path, manifest: Mapping[str, Any]) -> Iterator[str]:
    if manifest["kind"] != "chat":
        return
    name = f"{prefix.name}.mask"
    index = read_index(prefix.with_name(f"{name}.idx"))
    yield from _check_index(f"{name}.idx", index, manifest, "uint8")
    if not np.array_equal(index.lengths, read_index(prefix.with_name(f"{prefix.name}.idx")).lengths):
        yield _problem(f"{name}.idx", "lengths", "others", f"those of {prefix.name}.idx")
    mask = np.memmap(prefix.with_name(f"{name}.bin"), np.uint8, "r")
    if _range(mask)[1] > 1:
        yield _problem(f"{name}.bin", "values", f"up to {_range(mask)[1]}", "0 and 1")
    elif int(mask.sum()) != manifest["supervised_tokens"]:
        yield _problem(f"{name}.bin", "supervised tokens", int(mask.sum()), manifest["supervised_tokens"])


def _range(tokens: NDArray[Any]) -> tuple[int, int]:
    blocks = [tokens[start : start + BLOCK_TOKENS] for start in range(0, len(tokens), BLOCK_TOKENS)]
    return min(int(block.min()) for block in blocks), max(int(block.max()) for block in blocks)


def _problem(name: str, what: str, got: object, expected: object) -> str:
    return str(UserError(f"{name}: {what}", got=str(got), expected=str(expected)))
