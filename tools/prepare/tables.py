"""Parquet files and Hugging Face data sets (saved on disk, or from the hub) as chunks of rows.

Only the columns asked for are read. Rows are counted from 0, as the libraries index them.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import UserError
from .records import Chunk

ROWS_PER_CHUNK = 128
Dataset = Any


def count_parquet_rows(name: str, *, fields: tuple[str, ...]) -> int:
    """Return the number of rows; UserError if the file cannot be read or has none of the columns."""
    with _open_parquet(name) as file:
        _existing(name, file.schema_arrow.names, fields)
        return int(file.metadata.num_rows)


def parquet_chunks(name: str, *, fields: tuple[str, ...]) -> Iterator[Chunk]:
    """Read a parquet file in its own order."""
    first = 0
    with _open_parquet(name) as file:
        columns = _existing(name, file.schema_arrow.names, fields)
        for batch in file.iter_batches(batch_size=ROWS_PER_CHUNK, columns=columns):
            yield Chunk(where=name, first=first, rows=batch.to_pylist(), work=len(batch))
            first += len(batch)


def open_saved_dataset(folder: str, *, fields: tuple[str, ...]) -> Dataset:
    """Open what `Dataset.save_to_disk` wrote; UserError for other folders and for a folder of several splits."""
    from datasets import load_from_disk

    splits = Path(folder) / "dataset_dict.json"
    if splits.is_file():
        names = json.loads(splits.read_text())["splits"]
        raise UserError(folder, got=f"splits {', '.join(names)}", expected="one split", fix=f"name {folder}/{names[0]}")
    if not (Path(folder) / "state.json").is_file():
        raise UserError(
            folder, got="a plain folder", expected="a saved data set, or files", fix=f"try {folder}/*.jsonl"
        )
    return _selected(folder, load_from_disk(folder), fields)


def open_hub_dataset(pattern: str, *, fields: tuple[str, ...]) -> Dataset:
    """Load `hub:NAME@SPLIT` or `hub:NAME:CONFIG@SPLIT` through the library's own cache; UserError if that fails."""
    from datasets import load_dataset

    path, _, split = pattern.removeprefix("hub:").rpartition("@")
    name, _, config = path.partition(":")
    if not name or not split:
        raise UserError(f"--input {pattern}", got="no split", expected="hub:NAME@SPLIT or hub:NAME:CONFIG@SPLIT")
    try:
        dataset = load_dataset(name, config or None, split=split)
    except Exception as error:  # the network, the hub and the builders each raise their own
        got = f"{type(error).__name__}: {_first_line(error)}"
        raise UserError(f"--input {pattern}", got=got, expected="a data set that loads") from error
    return _selected(pattern, dataset, fields)


def dataset_chunks(where: str, dataset: Dataset) -> Iterator[Chunk]:
    """Read an opened data set in its own order."""
    first = 0
    for table in dataset.iter(batch_size=ROWS_PER_CHUNK):
        yield Chunk(where=where, first=first, rows=table.to_pylist(), work=len(table))
        first += len(table)


@contextmanager
def _open_parquet(name: str) -> Iterator[Any]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(name) as file:
            yield file
    except (pyarrow.ArrowException, OSError) as error:
        got = f"unreadable data ({_first_line(error)})"
        raise UserError(name, got=got, expected="a whole parquet file") from error


def _selected(where: str, dataset: Dataset, fields: tuple[str, ...]) -> Dataset:
    return dataset.select_columns(_existing(where, dataset.column_names, fields)).with_format("arrow")


def _existing(where: str, present: Sequence[str], fields: tuple[str, ...]) -> list[str]:
    columns = [name for name in fields if name in present]
    if not columns:
        raise UserError(where, got=f"columns {', '.join(present)}", expected=f"a column {' or '.join(fields)}")
    return columns


def _first_line(error: BaseException) -> str:
    return (str(error) or "no message").splitlines()[0]
