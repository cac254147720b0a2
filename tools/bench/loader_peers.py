"""What others deliver from the same tokens, batch by batch: megatron-core behind torch's DataLoader, and if they are
installed (``pip install annealmix[bench]``) mosaicml-streaming and grain.

Each function gives an iterator of batches whose ``tokens`` are (batch, S); the caller takes them and watches the clock.
"""

import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from .token_files import VOCAB_SIZE

Start = Callable[[int], Iterator[Any]]  # so many batches


def peers(
    prefixes: Mapping[Path, float], folder: Path, *, window: int, batch: int, num_batches: int
) -> dict[str, Start]:
    """How to start each peer that is installed; ``prefixes`` are .bin/.idx pairs and their weights."""
    dataset = _megatron_dataset(prefixes, folder, window, batch * num_batches)
    found: dict[str, Start] = {
        f"megatron-core, {workers} workers": partial(_megatron, dataset, batch, workers) for workers in (0, 2, 4)
    }
    if importlib.util.find_spec("streaming"):
        rows = min(batch * num_batches, 4096)
        found["mosaicml-streaming, 0 workers"] = partial(_mosaic, _write_shards(prefixes, folder, window, rows), batch)
    if importlib.util.find_spec("grain"):
        found["grain"] = partial(_grain, prefixes, window, batch)
    return found


def missing() -> list[str]:
    """Peers that are not installed."""
    names = {"streaming": "mosaicml-streaming", "grain": "grain"}
    return [name for module, name in names.items() if importlib.util.find_spec(module) is None]


def _megatron_dataset(prefixes: Mapping[Path, float], folder: Path, window: int, num_samples: int) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("megatron.core").setLevel(logging.ERROR)  # it would say that its index is not kept
        from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
        from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig

        tokenizer = SimpleNamespace(eod=0, pad=1, vocab_size=VOCAB_SIZE, unique_identifiers={"ids": VOCAB_SIZE})
        config = GPTDatasetConfig(
            random_seed=1,
            sequence_length=window,
            blend=([str(prefix) for prefix in prefixes], list(prefixes.values())),
            split="1,0,0",
            tokenizer=tokenizer,
            reset_position_ids=False,
            reset_attention_mask=False,
            eod_mask_loss=False,
            create_attention_mask=False,
            mid_level_dataset_surplus=0.05,
        )
        return BlendedMegatronDatasetBuilder(GPTDataset, [num_samples, 0, 0], lambda: True, config).build()[0]


def _megatron(dataset: Any, batch: int, workers: int, num_batches: int) -> Iterator[Any]:
    from torch.utils.data import DataLoader

    batches = [list(range(first, first + batch)) for first in range(0, num_batches * batch, batch)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of more workers than cores
        return iter(DataLoader(dataset, batch_sampler=batches, num_workers=workers))


def _write_shards(prefixes: Mapping[Path, float], folder: Path, window: int, rows: int) -> Path:
    from streaming import MDSWriter

    tokens = np.memmap(f"{next(iter(prefixes))}.bin", np.uint16, mode="r")
    with MDSWriter(out=str(folder / "mds"), columns={"tokens": f"ndarray:uint16:{window + 1}"}) as writer:
        for row in range(min(rows, (len(tokens) - 1) // window)):
            writer.write({"tokens": tokens[row * window : (row + 1) * window + 1]})
    return folder / "mds"


def _mosaic(folder: Path, batch: int, num_batches: int) -> Iterator[Any]:
    from streaming import StreamingDataset
    from torch.utils.data import DataLoader

    dataset = StreamingDataset(local=str(folder), shuffle=True, batch_size=batch, epoch_size=num_batches * batch)
    return iter(DataLoader(dataset, batch_size=batch, collate_fn=_tokens_and_labels))


def _tokens_and_labels(rows: list[dict[str, Any]]) -> dict[str, Any]:
    joined = np.stack([row["tokens"] for row in rows]).astype(np.int64)
    return {"tokens": joined[:, :-1], "labels": joined[:, 1:]}


def _grain(prefixes: Mapping[Path, float], window: int, batch: int, num_batches: int) -> Iterator[Any]:
    import grain

    datasets = [
        grain.MapDataset.source(_Cut(np.memmap(f"{prefix}.bin", np.uint16, mode="r"), window)).shuffle(seed=1).repeat()
        for prefix in prefixes
    ]
    mixed = grain.MapDataset.mix(datasets, weights=list(prefixes.values()))
    return iter(mixed.to_iter_dataset().batch(batch, batch_fn=_tokens_and_labels))


class _Cut:
    """Windows of S + 1 tokens by number, as grain asks for them."""

    def __init__(self, tokens: Any, window: int) -> None:
        self._tokens, self._window = tokens, window

    def __len__(self) -> int:
        return (len(self._tokens) - 1) // self._window

    def __getitem__(self, row: int) -> dict[str, Any]:
        first = int(row) * self._window
        return {"tokens": self._tokens[first : first + self._window + 1]}
