"""From a recipe to a plan: the recipe resolved against data, and nothing else. Imports neither torch nor megatron.

Phases are given in tokens and snapped to whole windows; everything downstream (learning rate, batch size, mixture) is
a pure function of where the clock stands.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

from mixer.cursors import Skip, Span
from mixer.errors import DataError
from mixer.history import History, SourceHistory
from mixer.manifest import Manifest
from mixer.source import CountedSource, Source, mean_loss_tokens, open_source
from schedulers.batch_size import BatchSizeRamp, Steps
from schedulers.errors import ScheduleError
from schedulers.schedule import Schedule
from schedulers.segment import Segment

from ..errors import UserError
from .lint import lint
from .planned import Plan, mixtures, sample_edges
from .schema import LearningRate, Recipe, SourceSpec


def resolve(recipe: Recipe, *, where: str) -> Plan:
    """Open the data, snap the phases, and lay out learning rate, batches and mixture; ``where`` begins each error."""
    vocab_size, tokenizer_digest = _vocabulary(recipe, where)
    sources = {name: _open(name, spec, recipe, where) for name, spec in recipe.sources.items()}
    for name, spec in recipe.sources.items():
        _check_tokenizer(name, spec, tokenizer_digest, where)
    check_edges(recipe, where)
    history = _history(recipe, sources)
    batches = Steps(
        BatchSizeRamp(recipe.global_batch_size),
        sequence_length=recipe.sequence_length,
        total_samples=history.num_samples,
    )
    check_batches(recipe, batches, data_parallel_size=1, where=where)
    plan = Plan(recipe, build_schedule(recipe, where), batches, history, sources, vocab_size)
    return replace(plan, warnings=lint(plan))


def check_edges(recipe: Recipe, where: str) -> None:
    """Raise UserError for a phase so short that it snaps to no window at all."""
    edges = sample_edges(recipe)
    for index, (start, end) in enumerate(pairwise(edges)):
        if start == end:
            tokens = recipe.phases[index].tokens
            raise UserError(
                f"{where}: phases[{index}].tokens",
                got=str(tokens),
                expected=f"at least half a window of {recipe.sequence_length} tokens",
            )


def build_schedule(recipe: Recipe, where: str) -> Schedule:
    """The learning rate as segments; a phase that states none prolongs the segment before it."""
    edges = [sample * recipe.sequence_length for sample in sample_edges(recipe)]
    starts = [index for index, phase in enumerate(recipe.phases) if phase.learning_rate is not None]
    segments: list[Segment] = []
    for index, following in zip(starts, [*starts[1:], len(recipe.phases)], strict=True):
        spec, before = recipe.phases[index], segments[-1].last_value if segments else 0.0
        try:
            segments.append(_segment(spec.learning_rate, edges[index], edges[following], before))
        except ScheduleError as error:
            raise UserError(f"{where}: phases[{index}].learning_rate", fix=str(error)) from None
    return Schedule(tuple(segments))


def _segment(spec: LearningRate | None, start: int, end: int, before: float) -> Segment:
    assert spec is not None, "only phases with a learning rate begin a segment"
    start_value = before if spec.start is None else spec.start
    end_value = start_value if spec.to is None else spec.to
    return Segment(
        start, end, start_value, end_value, spec.shape, half_life_tokens=spec.half_life, exponent=spec.exponent
    )


def check_batches(recipe: Recipe, batches: Steps, *, data_parallel_size: int, where: str) -> None:
    """Raise UserError unless every global batch is a whole number of micro-batches on every data-parallel rank."""
    unit = recipe.micro_batch_size * data_parallel_size
    for index, (_, size) in enumerate(recipe.global_batch_size):
        if size % unit:
            raise UserError(
                f"{where}: global_batch_size" + (f"[{index}][1]" if len(recipe.global_batch_size) > 1 else ""),
                got=str(size),
                expected=f"a multiple of micro_batch_size x data-parallel size = {recipe.micro_batch_size} x "
                f"{data_parallel_size} = {unit}",
            )
    if batches.num_steps == 0:
        raise UserError(
            f"{where}: phases",
            got=f"{batches.total_samples} windows in all",
            expected=f"at least one global batch of {recipe.global_batch_size[0][1]}",
        )


def _history(recipe: Recipe, sources: Mapping[str, Source]) -> History:
    edges = sample_edges(recipe)
    spans = [
        Span(start, end, {name: weight / divisor(recipe, sources[name]) for name, weight in mixture.items()})
        for mixture, (start, end) in zip(mixtures(recipe), pairwise(edges), strict=True)
    ]
    return History(
        seed=recipe.seed,
        sequence_length=recipe.sequence_length,
        sources={
            name: SourceHistory((source.generation(),), recipe.sources[name].shuffle)
            for name, source in sources.items()
        },
        spans=spans,
        skips=[Skip(first, end) for first, end in recipe.skip_samples],
    )


def divisor(recipe: Recipe, source: Source) -> float:
    """What a weight is divided by to become a weight per window: the unit's mean tokens per training row.

    Every window has as many positions, so in ``tokens`` all divisors are 1.
    """
    return 1.0 if recipe.unit == "tokens" else mean_loss_tokens(source)


def _vocabulary(recipe: Recipe, where: str) -> tuple[int, str | None]:
    """Size of the vocabulary, and sha256 of the tokenizer's file where there is one."""
    if recipe.tokenizer is None:
        assert recipe.vocab_size is not None, "the schema asks for one of them"
        return recipe.vocab_size, None
    try:
        content = recipe.tokenizer.read_bytes()
        state = json.loads(content)
        vocabulary = state["model"]["vocab"]  # token to id; of a Unigram model, a list of (token, score)
        known = range(len(vocabulary)) if isinstance(vocabulary, list) else vocabulary.values()
        ids = [*known, *(token["id"] for token in state.get("added_tokens", ()))]
    except FileNotFoundError:
        raise UserError(
            f"{where}: tokenizer", got=str(recipe.tokenizer), expected="a file", fix="make it with annealmix prepare"
        ) from None
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise UserError(f"{where}: tokenizer", got=str(recipe.tokenizer), expected="a tokenizer.json") from None
    if not ids:
        raise UserError(f"{where}: tokenizer", got=str(recipe.tokenizer), expected="a tokenizer.json with a vocabulary")
    return max(ids) + 1, hashlib.sha256(content).hexdigest()


def _open(name: str, spec: SourceSpec, recipe: Recipe, where: str) -> Source:
    try:
        if spec.path is None:
            assert spec.tokens is not None, "the schema asks for one of them"
            return CountedSource(name, spec.tokens, recipe.sequence_length, spec.mean_loss_tokens, spec.loss)
        return open_source(
            spec.path,
            name=name,
            sequence_length=recipe.sequence_length,
            loss=spec.loss,
            overlong=spec.overlong,
            holdout_share=recipe.validation.holdout if spec.holdout is None else spec.holdout,
        )
    except DataError as error:
        raise UserError(f"{where}: sources.{name}", fix=str(error)) from None


def _check_tokenizer(name: str, spec: SourceSpec, digest: str | None, where: str) -> None:
    """Refuse data that was written with another tokenizer than the recipe's."""
    manifest = Manifest.read(spec.path) if spec.path and digest else None
    if manifest and manifest.tokenizer_sha256 and manifest.tokenizer_sha256 != digest:
        raise UserError(
            f"{where}: sources.{name}.path",
            got=f"{spec.path}, written with tokenizer {manifest.tokenizer_sha256[:12]}",
            expected=f"data of the recipe's tokenizer {digest[:12]}" if digest else "",
            fix="name the tokenizer the data was written with, or prepare the data again",
        )
