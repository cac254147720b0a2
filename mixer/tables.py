"""Tables of token ids as Hugging Face stores them: a column of lists, one document a row, read where it lies on disk.

    web.arrow, web.parquet          one file: arrow IPC (stream or file), or parquet
    web/                            a folder of `datasets.save_to_disk`, or of .arrow or .parquet files by name

Arrow files are mapped and not copied: each record batch's ids are one stretch of memory. Parquet is compressed, so
`datasets` writes it once as arrow into its own cache (HF_DATASETS_CACHE), which is then mapped. What stays in memory is
8 bytes for each document.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .apportion import Ints
from .errors import DataError
from .flat_tokens import FlatTokens, map_file
from .token_store import checked_positions, store_fingerprint

_ENDINGS = (".arrow", ".parquet")


@dataclass(frozen=True, eq=False)
class TableTokens:
    """One table's column of token ids, opened by ``TableTokens.open(path)``."""

    prefix: str
    flat: FlatTokens
    starts: Ints  # (num_documents + 1,) first token of each document

    @staticmethod
    def stands_at(path: str) -> bool:
        """Whether a path names a table: a file with a table's ending, or a folder that no .idx stands beside.

        Megatron keeps the caches of PREFIX.bin in a folder PREFIX.
        """
        return path.endswith(_ENDINGS) or (Path(path).is_dir() and not Path(f"{path}.idx").exists())

    @classmethod
    def open(cls, path: str, *, column: str = "input_ids") -> "TableTokens":
        """Map a file or a folder. Raises DataError where it is no table, or ``column`` no lists of integers."""
        parts = [_column(file, column) for file in _files(Path(path))]
        arrays = [ids for file in parts for ids, _ in file]
        lengths = [np.diff(offsets) for file in parts for _, offsets in file]
        starts = np.concatenate([[0], np.cumsum(np.concatenate([np.zeros(0, np.int64), *lengths]))])
        if not starts[-1]:
            raise DataError(f"{path}: no tokens in column {column!r}; write the data again")
        return cls(path, FlatTokens([ids for ids in arrays if len(ids)]), starts.astype(np.int64))

    @property
    def num_tokens(self) -> int:
        """Tokens in all rows."""
        return int(self.starts[-1])

    @property
    def num_documents(self) -> int:
        """Rows of the table, empty ones included."""
        return len(self.starts) - 1

    def document_starts(self, documents: Ints) -> Ints:
        """First token of each document; ``num_documents`` itself gives ``num_tokens``."""
        return self.starts[documents]

    def document_of_token(self, positions: Ints) -> Ints:
        """Number of the document that holds each token; DataError outside the table."""
        return np.searchsorted(self.starts, checked_positions(self, positions), side="right") - 1

    def fingerprint(self, num_tokens: int | None = None) -> str:
        """sha256 of the first ``num_tokens`` tokens' document bounds and both ends, as TokenStore says."""
        return store_fingerprint(self, num_tokens)


def _files(path: Path) -> list[Path]:
    """Arrow files of a table, in the order in which its rows stand."""
    if path.is_dir():
        if (path / "dataset_dict.json").exists():
            raise DataError(f"{path}: several splits; name the folder of one of them")
        state = path / "state.json"
        if state.exists():
            return [path / part["filename"] for part in json.loads(state.read_text(encoding="utf-8"))["_data_files"]]
        found = [file for ending in _ENDINGS for file in sorted(path.glob(f"*{ending}"))]
        if not found or {file.suffix for file in found} == set(_ENDINGS):
            raise DataError(f"{path}: {len(found)} tables; expected a folder of .arrow or of .parquet files")
        return [part for file in found for part in _files(file)]
    return [path] if path.suffix == ".arrow" else _cached(path)


def _cached(path: Path) -> list[Path]:
    """Arrow files that `datasets` makes of a parquet file, once."""
    import datasets

    if not path.exists():
        raise DataError(f"{path}: No such file; expected a table of token ids")
    try:
        datasets.disable_progress_bars()
        table = datasets.load_dataset("parquet", data_files=str(path), split="train")
    except Exception as error:  # of many kinds, from several libraries
        reason = str(error.__cause__ or error).splitlines()[0]
        raise DataError(f"{path}: {reason}; expected a parquet table") from error
    return [Path(file["filename"]) for file in table.cache_files]


def _column(path: Path, column: str) -> list[tuple[npt.NDArray[Any], Ints]]:
    """Ids and document offsets of each record batch of a file."""
    import pyarrow

    mapped = map_file(str(path))
    buffer = pyarrow.py_buffer(mapped)
    try:
        table = _table(pyarrow, buffer)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: {str(error).splitlines()[0]}; expected an arrow table") from error
    _check_column(pyarrow, path, table, column)
    parts = [_ids(chunk) for chunk in table.column(column).chunks]
    if not all(np.may_share_memory(ids, mapped) for ids, _ in parts if len(ids)):
        raise DataError(f"{path}: compressed, so it can't be mapped; write it again uncompressed")
    return parts


def _check_column(pyarrow: Any, path: Path, table: Any, column: str) -> None:
    if column not in table.column_names:
        raise DataError(f"{path}: no column {column!r}; it has {', '.join(table.column_names)}")
    kind, types = table.schema.field(column).type, pyarrow.types
    lists = types.is_list(kind) or types.is_large_list(kind)
    if not lists or not types.is_integer(kind.value_type) or kind.value_type == pyarrow.uint64():
        raise DataError(f"{path}: column {column!r} is {kind}; expected lists of token ids")
    if any(chunk.null_count or chunk.values.null_count for chunk in table.column(column).chunks):
        raise DataError(f"{path}: column {column!r} has nulls; write the data again without them")


def _table(pyarrow: Any, buffer: Any) -> Any:
    """A table of the IPC stream that `datasets` writes, or of the IPC file that others do."""
    try:
        return pyarrow.ipc.open_stream(buffer).read_all()
    except pyarrow.ArrowInvalid:
        return pyarrow.ipc.open_file(buffer).read_all()


def _ids(chunk: Any) -> tuple[npt.NDArray[Any], Ints]:
    """Ids of a chunk, and where in them each document begins, and the end."""
    offsets = chunk.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
    if not len(chunk):
        return np.zeros(0, np.int64), np.zeros(1, np.int64)
    ids = chunk.values.to_numpy(zero_copy_only=True)[offsets[0] : offsets[-1]]
    return ids, offsets - offsets[0]
