"""Sources of a run that began on Megatron's BlendedDataset: what it has left unread comes first."""

import os
from functools import cache

from mixer.errors import DataError
from mixer.from_megatron import MegatronRun, blended_counts, cached_counts
from mixer.indexed import IndexedTokens
from mixer.rows import Source
from mixer.unread import UnreadSource

from .past import Past
from .schema import Recipe
from .source_spec import FromMegatron, SourceSpec


def unread_part(name: str, spec: SourceSpec, recipe: Recipe, past: Past | None) -> Source | None:
    """A source as what the earlier run has not read of it; None for a source that was not in its blend.

    Raises DataError where the source asks for rows that such a source doesn't have.
    """
    spec_run, paths = recipe.from_megatron, spec.path or ()
    if spec_run is None:
        return None
    run = _replay(spec_run, recipe.sequence_length)
    names = {real_prefix(path) for path in paths}
    found = [k for k, prefix in enumerate(run.prefixes) if real_prefix(prefix) in names]
    if not found:
        return None
    _check_alone(name, spec, found)
    tokens = IndexedTokens.open(paths[0])
    _check_length(name, tokens, past)
    samples = _samples_read(spec_run, recipe.sequence_length)[found[0]]
    reads = run.reads(found[0], tokens, samples=samples)
    return UnreadSource(name, tokens, recipe.sequence_length, reads, spec.attention)


def prefixes_without_source(recipe: Recipe) -> list[str]:
    """Data of the earlier run that no source of the recipe names."""
    if recipe.from_megatron is None:
        return []
    known = {real_prefix(path) for spec in recipe.sources.values() for path in spec.path or ()}
    prefixes = _replay(recipe.from_megatron, recipe.sequence_length).prefixes
    return [prefix for prefix in prefixes if real_prefix(prefix) not in known]


def real_prefix(path: str | os.PathLike[str]) -> str:
    """The data's one name, wherever it is named from and through whichever link: of a table, of .bin, or a prefix."""
    content = f"{os.fspath(path)}.bin"
    return os.path.realpath(content if os.path.exists(content) else path)


def _check_alone(name: str, spec: SourceSpec, found: list[int]) -> None:
    if len(found) > 1 or len(spec.path or ()) > 1:
        fix = "name each file of the Megatron run once, as a source of its own"
        raise DataError(f"source {name}: {max(len(found), len(spec.path or ()))} files that a Megatron run read; {fix}")
    if spec.epoch_offset or spec.windows in ("document", "packed"):
        got = "epoch_offset is set" if spec.epoch_offset else f"windows are {spec.windows}"
        raise DataError(f"source {name}: {got}; what a Megatron run has left is read in concatenated windows only")
    if spec.loss == "assistant":
        raise DataError(f"source {name}: loss is 'assistant'; Megatron trained on all tokens, so leave it at all")
    if spec.holdout is not None or spec.holdout_runs is not None:
        raise DataError(f"source {name}: holdout is set; what the Megatron run's split kept from training is held out")


def _check_length(name: str, tokens: IndexedTokens, past: Past | None) -> None:
    """Megatron shuffles by the number of documents: with more of them it would have read others."""
    begun = past.begun(name) if past else None
    if begun and begun.generations[-1].num_tokens != tokens.num_tokens:
        got = f"{tokens.num_tokens:,} tokens, {begun.generations[-1].num_tokens:,} at the checkpoint"
        raise DataError(f"source {name}: {got}; data of a Megatron run can't grow, add it as another source")


@cache
def _samples_read(run: FromMegatron, sequence_length: int) -> tuple[int, ...]:
    """Samples of each part of the blend among those that the earlier run consumed."""
    replay, consumed = _replay(run, sequence_length), run.consumed_samples
    if run.dataset_index is not None:
        counts = cached_counts(run.dataset_index, consumed, num_sources=len(replay.prefixes))
    elif replay.weights is None and len(replay.prefixes) > 1:
        lengths = [replay.num_samples(k, IndexedTokens.open(prefix)) for k, prefix in enumerate(replay.prefixes)]
        counts = blended_counts(lengths, consumed)
    else:
        counts = replay.counts(consumed)
    return tuple(counts.tolist())


def _replay(run: FromMegatron, sequence_length: int) -> MegatronRun:
    length = run.sequence_length or sequence_length
    return MegatronRun(run.blend, run.train_samples, length, seed=run.seed, split=run.split)
