"""A prepared source on disk: Megatron's .bin and .idx by Megatron's own builder, and the manifest beside them.

data/mine/web.bin          tokens of all documents back to back, each closed by its end token
data/mine/web.idx          one sequence per document
data/mine/web.mask.bin     chat only: one byte per token, 1 where it is a target of the loss; .mask.idx likewise
data/mine/web.json         the manifest; it is renamed last, so where it stands the rest is whole
data/mine/tokenizer.json   shared by the sources of a folder
"""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..durable import sync
from ..errors import UserError
from .spool import Spool, Tokens
from .vocabulary import Vocabulary

TOKENIZER_FILE = "tokenizer.json"
RESERVED_NAMES = ("tokenizer", "corpus")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a prepared source holds; `web.json` is this, field by field.

    `tokens` counts end tokens too. `supervised_tokens` are the targets of the loss: all tokens of a text. `dtype` is
    that of NAME.bin. `shuffle_seed` is None where documents stand in the order of the input, `special_tokens["pad"]`
    is None where the tokenizer has no padding token.
    """

    version: int = 1
    name: str
    kind: str
    documents: int
    tokens: int
    supervised_tokens: int
    dtype: str
    files: dict[str, dict[str, int | str]]
    tokenizer: dict[str, int | str]
    special_tokens: dict[str, int | None]
    duplicates_removed: int
    bad_records: int
    shuffle_seed: int | None
    provenance: str


def write_documents(
    folder: Path, name: str, spool: Spool, *, order: NDArray[np.int64]
) -> dict[str, dict[str, int | str]]:
    """Write the documents of a spool in the given order; return the manifest's entry for each file written."""
    lengths = spool.lengths
    mask = spool.read_mask()
    stems = [name] if mask is None else [name, f"{name}.mask"]
    _write_sequences(folder / name, spool.read_tokens(), lengths, order)
    if mask is not None:
        _write_sequences(folder / f"{name}.mask", mask, lengths, order)
    return {f"{stem}{end}": describe_file(folder / f"{stem}{end}") for stem in stems for end in (".bin", ".idx")}


def describe_file(path: Path) -> dict[str, int | str]:
    """Return the size and the SHA-256 of a file, as a manifest records them."""
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def describe_tokenizer(vocabulary: Vocabulary) -> dict[str, int | str]:
    """Return a manifest's entry for the tokenizer; its file stands beside the manifest."""
    return {"file": TOKENIZER_FILE, "sha256": vocabulary.sha256, "vocab_size": vocabulary.size}


def save_json(path: Path, value: Any) -> None:
    """Write JSON that a person can read too."""
    path.write_text(json.dumps(value, indent=2) + "\n")


def save_manifest(folder: Path, manifest: Manifest) -> None:
    """Write NAME.json."""
    save_json(folder / f"{manifest.name}.json", asdict(manifest))


def copy_tokenizer(vocabulary: Vocabulary, folder: Path, *, destination: Path) -> None:
    """Put the tokenizer among the files to publish; UserError if another one already stands at the destination."""
    present = destination / TOKENIZER_FILE
    if not present.exists():
        shutil.copyfile(vocabulary.path, folder / TOKENIZER_FILE)
    elif describe_file(present)["sha256"] != vocabulary.sha256:
        fix = "prepare this source in a folder of its own"
        raise UserError(str(present), got="another tokenizer", expected=f"the same as {vocabulary.path}", fix=fix)


def check_name(out: Path) -> None:
    """UserError if the last part of the output prefix cannot name a source."""
    if not out.name or out.name in RESERVED_NAMES or out.is_dir():
        got = "a folder" if out.is_dir() else f"the name {out.name!r}"
        raise UserError(f"--out {out}", got=got, expected="a prefix such as data/mine/web")


@contextmanager
def partial_folder(target: Path) -> Iterator[Path]:
    """Give a folder beside `target` to write in; whatever was not published from it is gone afterwards."""
    folder = target.parent / f".{target.name}.partial"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(folder: Path, destination: Path, *, last: Sequence[str]) -> None:
    """Move the files of `folder` to `destination`, synced, those named in `last` at the end and in that order.

    Old files of those names go first: at no moment does a manifest stand beside files that it does not describe.
    """
    destination.mkdir(parents=True, exist_ok=True)
    for name in reversed(last):
        (destination / name).unlink(missing_ok=True)
    first = sorted(path.name for path in folder.iterdir() if path.name not in last)
    for name in [*first, *last]:
        sync(folder / name)
        os.replace(folder / name, destination / name)
    sync(destination)


def _write_sequences(prefix: Path, tokens: Tokens, lengths: NDArray[np.int64], order: NDArray[np.int64]) -> None:
    builder = _megatron_builder()(f"{prefix}.bin", dtype=tokens.dtype.type)
    ends = np.cumsum(lengths)
    for end, length in zip(ends[order].tolist(), lengths[order].tolist(), strict=True):
        builder.add_document(tokens[end - length : end], [length])
    builder.finalize(f"{prefix}.idx")


def _megatron_builder() -> Any:
    # Imported here, since it takes seconds; its warnings are about speed on a GPU, which no one needs here.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder
    return IndexedDatasetBuilder
