"""Our stream as Megatron takes it: the object that ``pretrain_gpt.py --dataloader-type external`` calls ``next`` on.

    train = ExternalLoader(mixture, sources, micro_batch_size=2, data_parallel_rank=0, data_parallel_size=4,
                           consumed_samples=args.consumed_train_samples)
    next(train)["tokens"]       # (2, S) int64, a tensor of its own; labels, loss_mask and position_ids beside it
    train.save_state()          # {"consumed_samples": 8, "sequence_length": 4096}, the same on every rank

The m-th call of a rank gives samples consumed + m * mbs * dp + rank * mbs + [0, mbs), Megatron's own order. It does not
depend on where a global batch ends, so a batch-size ramp needs no word here. There is no ``__len__``, which Megatron
would ask, and no iter(), which it never calls. Reading begins with the first ``next``: ranks that Megatron never asks
(TP ranks but the first, inner pipeline stages) cost nothing. Each virtual pipeline stage gets a loader of its own.
"""

from collections.abc import Iterator, Mapping
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .batch import Batch
from .errors import DataError
from .loader import Loader, check_sources, validation_batches
from .mixture import Mixture
from .rows import Source
from .steps import check_layout
from .windows import text_masks

if TYPE_CHECKING:
    import torch


class ExternalLoader:
    """Endless ``next`` until the run's last whole micro-batch of all ranks, then StopIteration.

    ``attention_mask`` adds (mbs, 1, S, S) bool, true where attention is forbidden; ``cu_seqlens`` adds Megatron's
    packed form. Raises DataError where neither is asked for and a source keeps documents of a row apart, where
    a source is not the one that the history knows, where one that is still to be drawn is missing, where there is no
    such rank, and where ``consumed_samples`` is outside the run.
    """

    def __init__(
        self,
        mixture: Mixture,
        sources: Mapping[str, Source],
        *,
        micro_batch_size: int,
        data_parallel_rank: int,
        data_parallel_size: int,
        consumed_samples: int = 0,
        attention_mask: bool = False,
        cu_seqlens: bool = False,
        vocab_size: int | None = None,
    ) -> None:
        check_sources(mixture, sources)
        check_layout(micro_batch_size=micro_batch_size, rank=data_parallel_rank, num_ranks=data_parallel_size)
        apart = [name for name, source in sources.items() if not source.plain]
        if apart and not (attention_mask or cu_seqlens):
            raise DataError(
                f"source {apart[0]}: keeps documents of a row apart, which would see each other; ask for cu_seqlens "
                "(with Transformer Engine) or attention_mask"
            )
        self._mixture, self._sources, self._vocab_size = mixture, sources, vocab_size
        self._micro_batch_size, self._rank, self._ranks = micro_batch_size, data_parallel_rank, data_parallel_size
        self._keys = {"attention_mask": attention_mask, "cu_seqlens": cu_seqlens}
        self._loader: Loader | None = None
        self._seek(consumed_samples)
        _check_all_open(mixture, sources, consumed_samples)

    def __next__(self) -> "dict[str, torch.Tensor]":
        if self._loader is None:
            self._loader = self._open()
        (batch,) = next(self._loader).micro_batches
        self._consumed_samples += self._samples_a_call
        return megatron_batch(batch, **self._keys)

    def save_state(self) -> dict[str, int]:
        """Position after what was handed out: integers, equal on all ranks after equally many calls.

        At the end of a step ``consumed_samples`` is Megatron's ``args.consumed_train_samples``.
        """
        return {
            "consumed_samples": self._consumed_samples,
            "sequence_length": self._mixture.history.sequence_length,
        }

    def restore_state(self, state: Mapping[str, int]) -> None:
        """Go on from a ``save_state`` of any layout. Raises DataError outside the run or for another window."""
        expected = self._mixture.history.sequence_length
        if state.get("sequence_length") != expected or "consumed_samples" not in state:
            raise DataError(f"state of the loader: {dict(state)}; expected consumed_samples of {expected} tokens each")
        self._seek(int(state["consumed_samples"]))

    def close(self) -> None:
        """Stop reading; the next ``next`` goes on where this stopped."""
        if self._loader is not None:
            self._loader.close()
        self._loader = None

    @property
    def _samples_a_call(self) -> int:
        return self._micro_batch_size * self._ranks

    def _seek(self, sample: int) -> None:
        if not 0 <= sample <= self._mixture.num_samples:
            raise DataError(f"consumed_samples is {sample:,}, but the run has {self._mixture.num_samples:,} samples")
        self.close()
        self._consumed_samples = sample

    def _open(self) -> Loader:
        size = self._samples_a_call
        firsts = range(self._consumed_samples, self._mixture.num_samples - size + 1, size)
        return Loader(
            self._mixture,
            self._sources,
            micro_batch_size=self._micro_batch_size,
            data_parallel_rank=self._rank,
            data_parallel_size=self._ranks,
            batch_sizes=((first, size) for first in firsts),
            vocab_size=self._vocab_size,
        )


def held_out(
    sources: Mapping[str, Source],
    *,
    micro_batch_size: int,
    data_parallel_rank: int,
    data_parallel_size: int,
    max_rows: int | None = None,
    attention_mask: bool = False,
    cu_seqlens: bool = False,
) -> "Iterator[dict[str, torch.Tensor]]":
    """This rank's micro-batches of every source's first ``max_rows`` held-out rows, round and round, for validation.

    Each ``next`` goes on where the last evaluation stopped, as Megatron's do; set --eval-iters so that one evaluation
    is one round. Raises DataError where no source holds anything out.
    """
    if not any(source.num_validation_rows for source in sources.values()):
        raise DataError(f"sources {', '.join(sources)}: nothing is held out; give one a holdout, or --eval-iters 0")
    layout = {
        "micro_batch_size": micro_batch_size,
        "data_parallel_rank": data_parallel_rank,
        "data_parallel_size": data_parallel_size,
    }
    rounds = (validation_batches(source, max_rows=max_rows, **layout) for source in cycle(sources.values()))
    keys = {"attention_mask": attention_mask, "cu_seqlens": cu_seqlens}
    return (megatron_batch(batch, **keys) for batches in rounds for batch in batches)


def megatron_batch(
    batch: Batch, *, attention_mask: bool = False, cu_seqlens: bool = False
) -> "dict[str, torch.Tensor]":
    """A micro-batch under Megatron's keys; ``dataset_id`` (index into Mixture.names) and ``epoch`` (mbs,) besides.

    Every tensor is a copy: RerunDataIterator keeps those of a step and writes them into checkpoints, Megatron may write
    into any of them, and the batch's own memory is used again.
    """
    arrays: dict[str, npt.NDArray[Any]] = {
        "tokens": batch.tokens,
        "labels": batch.labels,
        "loss_mask": batch.loss_mask,
        "position_ids": batch.position_ids,
        "dataset_id": batch.sources,
        "epoch": batch.epochs,
    }
    segments = batch.segments
    if segments is None:
        segments = text_masks(*batch.tokens.shape)[2]
    if attention_mask:
        arrays["attention_mask"] = forbidden(segments)
    if cu_seqlens:
        arrays["cu_seqlens"] = boundaries(segments)
        arrays["max_seqlen"] = np.diff(arrays["cu_seqlens"], axis=1).max(axis=1)
    return {name: _tensor(array) for name, array in arrays.items()}


def forbidden(segments: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """Where attention may not go, causal inside each segment: (mbs, S) to (mbs, 1, S, S).

    >>> forbidden(np.array([[0, 0, 1]], np.int32))[0, 0].astype(int).tolist()
    [[0, 1, 1], [0, 0, 1], [1, 1, 0]]
    """
    length = segments.shape[1]
    future = np.triu(np.ones((length, length), np.bool_), 1)
    return np.asarray((segments[:, :, None] != segments[:, None, :]) | future)[:, None]


def boundaries(segments: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Where the segments of each row begin, then S up to the end: (mbs, S) to (mbs, S + 1); padding is a segment.

    >>> boundaries(np.array([[0, 0, 1, -1], [0, 0, 0, 0]], np.int32)).tolist()
    [[0, 2, 3, 4, 4], [0, 4, 4, 4, 4]]
    """
    num_rows, length = segments.shape
    begins = np.diff(segments, axis=1, prepend=segments[:, :1] - 1) != 0
    row, column = np.nonzero(begins)
    place = np.cumsum(begins, axis=1)[row, column] - 1
    starts = np.full((num_rows, length + 1), length, np.int32)
    starts[row, place] = column
    return starts


def _tensor(array: npt.NDArray[Any]) -> "torch.Tensor":
    import torch

    return torch.tensor(array, pin_memory=torch.cuda.is_available())


def _check_all_open(mixture: Mixture, sources: Mapping[str, Source], sample: int) -> None:
    """Raise DataError where a source is missing that the run draws from ``sample`` on: now, and not when it comes."""
    before, all_reads = mixture.reads(sample), mixture.reads(mixture.num_samples)
    missing = [name for name in mixture.names if name not in sources and before[name] < all_reads[name]]
    if missing:
        raise DataError(f"source {missing[0]} is drawn but not open; sources are {', '.join(sources)}")
