"""What a run on Megatron's BlendedDataset has read, so that a decay phase of ours need not read it again.

    run = MegatronRun("0.7 data/web 0.3 data/code".split(), train_samples=100_000, sequence_length=4096, seed=1234)
    counts = run.counts(consumed_samples=80_000)      # samples of each source; from its cache: cached_counts
    web = IndexedTokens.open("data/web")
    reads = run.reads(0, web, samples=int(counts[0]))
    reads.tokens_read(starts, window_tokens=4096)     # of each window of ours, how much was read: 0 to 4096
    source = UnreadSource("web", web, 4096, reads)    # unread.py: rows of what is left, then of everything

GPTDataset is replayed, not read from its caches: numpy's RandomState gives the same stream for ever, and a sample is
the S tokens (and a label) from a multiple of S on in the shuffled documents laid end to end.

Exact for GPTDataset with the extra token (the default), and for one blend, seed and train_samples from the first step
on. A run that changed one of them, or used --phase-transition-iterations, was several runs: ``Reads`` of each add up by
``Reads.of`` of all their ranges. The blend's greedy is replayed in float64 as x86-64 does it, 2 to 3 us a sample; a
build that fuses multiplication and addition may choose otherwise at ties, so where the run's cache is at hand,
``cached_counts`` is the truth, and fast. Memory, one source at a time: 40 bytes a document and epoch, 8 a sample of the
run, and 100 for each stretch that was read.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from .apportion import Ints
from .errors import DataError
from .indexed import IndexedTokens
from .unread import Joined, Reads

_CHUNK = 2**24  # entries of a cached index counted at a time
_APART_BELOW = 0.80  # if a smaller share of the last epoch is asked for, Megatron shuffles it apart from the others


@dataclass(frozen=True)
class MegatronRun:
    """What decides the reading of a run, as Megatron's arguments say it.

    ``blend`` is --data-path, of which ``split`` says how much is trained on, or --train-data-path (``split=None``);
    ``train_samples`` is what the dataset was built for: --train-samples, or --train-iters x global batch size.
    """

    blend: Sequence[str]
    train_samples: int
    sequence_length: int
    seed: int = 1234
    split: str | None = "969, 30, 1"
    mid_level_dataset_surplus: float = 0.005

    @cached_property
    def prefixes(self) -> list[str]:
        """Paths of the sources, without .bin."""
        return parse_blend(self.blend)[0]

    @cached_property
    def weights(self) -> list[float] | None:
        """Shares of the sources; None where Megatron weighs them by their number of samples."""
        weights = parse_blend(self.blend)[1]
        return normalized(weights) if weights else None

    def counts(self, consumed_samples: int) -> Ints:
        """Samples of each source among the run's first ``consumed_samples``, by replay of a weighted blend."""
        if not 0 <= consumed_samples <= self.train_samples:
            raise DataError(f"consumed_samples is {consumed_samples:,}; expected 0 to {self.train_samples:,}")
        if len(self.prefixes) == 1:
            return np.array([consumed_samples])
        if self.weights is None:
            fix = "count the run's cache (cached_counts), or blended_counts of num_samples of each"
            raise DataError(f"blend without weights: Megatron took the lengths of the sources; {fix}")
        return blended_counts(self.weights, consumed_samples)

    def num_samples(self, source: int, tokens: IndexedTokens) -> int:
        """Samples that Megatron built of a source, of all its epochs."""
        return self._epochs(source, tokens)[2]

    def train_tokens(self, tokens: IndexedTokens) -> tuple[int, int]:
        """First and end token of what is trained on: Megatron splits by sequence, not by token."""
        end = self._train_sequences(tokens)
        return 0, int(tokens.lengths[:end].sum())

    def reads(self, source: int, tokens: IndexedTokens, *, samples: int) -> Reads:
        """How often each token of a source was read by the source's first ``samples`` samples."""
        built = self.num_samples(source, tokens)
        if not 0 <= samples <= built:
            got = f"{samples:,} samples were consumed of {built:,} that Megatron built"
            raise DataError(f"{tokens.prefix}: {got}; are train_samples, sequence_length and split those of the run?")
        documents, order = self._shuffled(source, tokens)
        firsts, ends = _stretches(order[:samples], self.sequence_length)
        begins = tokens.offsets[documents] // tokens.tokens.itemsize
        joined = Joined.of(begins, tokens.lengths[documents].astype(np.int64))
        return Reads.of(joined.ranges(firsts, ends), self.train_tokens(tokens), tokens.num_tokens)

    def _shuffled(self, source: int, tokens: IndexedTokens) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.generic]]:
        """Documents of all epochs in the order that they are laid end to end, and samples in the order read."""
        epochs, before_last, built = self._epochs(source, tokens)
        random = np.random.RandomState(self.seed)
        one_epoch = np.arange(self._train_sequences(tokens), dtype=np.int32)
        samples = np.arange(built, dtype=np.int64 if built >= np.iinfo(np.uint32).max - 1 else np.uint32)
        if before_last:
            groups = [np.tile(one_epoch, epochs - 1), one_epoch]
            orders = [samples[:before_last], samples[before_last:]]
        else:
            groups, orders = [np.tile(one_epoch, epochs)], [samples]
        for array in [*groups, *orders]:
            random.shuffle(array)
        return np.concatenate(groups), np.concatenate(orders)

    def _epochs(self, source: int, tokens: IndexedTokens) -> tuple[int, int, int]:
        """Epochs, samples before the last epoch if that is shuffled apart (else 0), and samples in all."""
        epoch_tokens, length = self.train_tokens(tokens)[1], self.sequence_length
        if epoch_tokens <= length:
            raise DataError(f"{tokens.prefix}: {epoch_tokens:,} tokens to train on make no sample of {length:,}")
        asked = self._samples_asked(source)
        epochs = -(-(asked * length + 1) // epoch_tokens) if asked else 1
        one, before_last, built = ((e * epoch_tokens - 1) // length for e in (1, epochs - 1, epochs))
        apart = epochs > 1 and (asked or 0) - before_last < int(_APART_BELOW * one)
        return epochs, before_last if apart else 0, built

    def _samples_asked(self, source: int) -> int | None:
        """Its share of the run and a surplus; None for one epoch, whatever its length."""
        if len(self.prefixes) == 1 and (self.weights is None or self.split is None):
            return self.train_samples
        if self.weights is None:
            return None
        share = math.ceil(self.train_samples * self.weights[source])
        return math.ceil(share * (1 + self.mid_level_dataset_surplus))

    def _train_sequences(self, tokens: IndexedTokens) -> int:
        if self.split is None:
            return len(tokens.lengths)
        parts = [_number(part) for part in self.split.split(",")]
        shares = [part for part in parts if part is not None and part >= 0]
        if len(shares) < len(parts) or not sum(shares):
            raise DataError(
                f"split is {self.split!r}; expected shares of train, validation and test, as in '969, 30, 1'"
            )
        return round(normalized(shares)[0] * len(tokens.lengths))


def parse_blend(blend: Sequence[str]) -> tuple[list[str], list[float] | None]:
    """Paths and weights of ``weight path weight path ...``; weights None for paths alone.

    Raises DataError where only some of the weights are numbers: Megatron would take all the words for paths.

    >>> parse_blend(["30", "a", "70", "b"]), parse_blend(["a", "b"])
    ((['a', 'b'], [30.0, 70.0]), (['a', 'b'], None))
    """
    numbers = [_number(word) for word in blend[::2]]
    if len(blend) % 2 or all(number is None for number in numbers):
        return [word.strip() for word in blend], None
    weights = [number for number in numbers if number is not None]
    if len(weights) < len(numbers) or not all(0 < weight < math.inf for weight in weights):
        raise DataError(f"blend {' '.join(blend)}: expected a positive number before each path, or paths alone")
    return [word.strip() for word in blend[1::2]], weights


def normalized(weights: Sequence[float]) -> list[float]:
    """Weights divided by their sum, rounded as Megatron rounds."""
    array = np.array(weights, np.float64)
    return [float(weight) for weight in array / np.sum(array)]


def blended_counts(weights: Sequence[float], samples: int) -> Ints:
    """Samples of each source among the first ``samples`` of Megatron's greedy: the source furthest behind is next.

    >>> blended_counts([0.7, 0.3], 10).tolist()
    [7, 3]
    """
    shares = np.array(normalized(weights))  # once more where the builder has done so already, as Megatron does
    counts = np.zeros(len(shares))
    for sample in range(samples):
        counts[(shares * max(sample, 1) - counts).argmax()] += 1
    return counts.astype(np.int64)


def cached_counts(dataset_index: str | os.PathLike[str], samples: int, *, num_sources: int) -> Ints:
    """The same from a run's cached ``*-BlendedDataset-train-dataset_index.npy``, whatever weights made it.

    The ``dataset_sample_index.npy`` beside it numbers each source's samples from 0 and tells nothing more. Raises
    DataError for a file that is no such array, is too short, or has more sources.
    """
    path = os.fspath(dataset_index)
    try:
        index = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: {error}; expected Megatron's dataset_index.npy") from error
    if index.ndim != 1 or index.dtype != np.int16 or len(index) < samples:
        got = f"{index.dtype} of shape {index.shape}"
        raise DataError(f"{path}: {got}; expected int16, one entry for each of {samples:,} samples")
    counts = np.zeros(num_sources, np.int64)
    for first in range(0, samples, _CHUNK):
        chunk = index[first : min(samples, first + _CHUNK)]
        if chunk.min() < 0 or chunk.max() >= num_sources:
            raise DataError(f"{path}: sources {chunk.min()} to {chunk.max()}, but the blend has {num_sources}")
        counts += np.bincount(chunk, minlength=num_sources)
    return counts


def _stretches(samples: npt.NDArray[np.generic], length: int) -> tuple[Ints, Ints]:
    """First and end token of each run of adjacent samples, in the documents laid end to end."""
    taken = np.sort(samples).astype(np.int64)
    firsts = taken[np.diff(taken, prepend=-2) > 1]
    lasts = taken[np.diff(taken, append=np.iinfo(np.int64).max) > 1]
    return firsts * length, (lasts + 1) * length


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None
