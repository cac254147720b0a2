"""The history that a recipe asks for: phases as spans, ramps, caps and skips, joined to what was read before."""

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np

from mixer.errors import DataError
from mixer.generations import SourceHistory
from mixer.history import History
from mixer.mixture import Mixture
from mixer.rows import Source
from mixer.spans import Cap, DocumentSkip, Ramp, Skip, Span

from ..errors import UserError
from .caps import caps_of, check_caps, stopped_early
from .changed_past import check_past
from .edges import mixtures, sample_edges
from .past import Past, fresh_history
from .schema import Recipe
from .shares import divisor

_RECIPE_KEYS = {"skips": "skip_samples", "document_skips": "skip_documents"}  # of the history's keys
_KEYS = re.compile(r"^(document_)?skips\b")


def lay_out(recipe: Recipe, sources: Mapping[str, Source], past: Past | None, where: str) -> History:
    """The whole reading of a run. Raises UserError where a cap can't hold, and where the past would change."""
    try:
        return _lay_out(recipe, sources, past, where)
    except DataError as error:
        raise UserError(where, fix=_KEYS.sub(lambda key: _RECIPE_KEYS[key[0]], str(error))) from None


def _lay_out(recipe: Recipe, sources: Mapping[str, Source], past: Past | None, where: str) -> History:
    histories = {name: source_history(name, recipe, source, past) for name, source in sources.items()}
    skips = list(_document_skips(recipe, sources, where))

    def history_of(changed: Recipe) -> History:
        history = History(
            seed=changed.seed,
            sequence_length=changed.sequence_length,
            sources=histories,
            spans=_spans(changed, sources, caps_of(changed, histories)),
            skips=[Skip(first, end) for first, end in changed.skip_samples],
            document_skips=skips,
        )
        if past:
            check_past(past, history, changed, sources, where)
        joined = past.history.continue_with(history, past.at_sample) if past else history
        return stopped_early(changed, joined, past.at_sample if past else 0)

    history = history_of(recipe)
    check_caps(recipe, history, history_of, past, where)
    if past:
        _check_open(recipe, history, past, where)
    return history


def _check_open(recipe: Recipe, history: History, past: Past, where: str) -> None:
    """Raise UserError for a source that the recipe no longer has and that a running ramp still reads on its way out."""
    mixture = Mixture(history)
    before, after = mixture.reads(min(past.at_sample, history.num_samples)), mixture.reads(history.num_samples)
    for name in mixture.names:
        if name not in recipe.sources and after[name] > before[name]:
            got = f"none, and the running ramp still reads {after[name] - before[name]:,} windows of it"
            fix = "keep it until the ramp has ended, or take mixture_ramp away"
            raise UserError(f"{where}: sources.{name}", got=got, fix=fix)


def source_history(name: str, recipe: Recipe, source: Source, past: Past | None) -> SourceHistory:
    """A source's generations, from a running run on where there is one."""
    spec = recipe.sources[name]
    return past.source_history(name, spec, source) if past else fresh_history(spec, source)


def _spans(recipe: Recipe, sources: Mapping[str, Source], caps: Mapping[str, Cap]) -> list[Span]:
    """One span a phase, weights per window; a ramp begins with the mixture before it."""
    edges, asked = sample_edges(recipe), [_per_window(recipe, sources, mixture) for mixture in mixtures(recipe)]
    spans = []
    for index, (start, end) in enumerate(pairwise(edges)):
        shape = recipe.phases[index].mixture_ramp
        ramp = Ramp(start, end, asked[index - 1], shape) if shape else None
        spans.append(Span(start, end, asked[index], ramp=ramp, caps=caps))
    return spans


def _per_window(recipe: Recipe, sources: Mapping[str, Source], mixture: Mapping[str, float]) -> dict[str, float]:
    return {name: weight / divisor(recipe, sources[name]) for name, weight in mixture.items()}


def _document_skips(recipe: Recipe, sources: Mapping[str, Source], where: str) -> Iterator[DocumentSkip]:
    for name, documents in (recipe.skip_documents or {}).items():
        rows = {row for document in documents for row in _rows(name, document, sources[name], where)}
        if documents:
            yield DocumentSkip(name, tuple(sorted(set(documents))), tuple(sorted(rows)))


def _rows(name: str, document: int, source: Source, where: str) -> set[int]:
    """Training rows of a document. Raises UserError for one that the source doesn't have."""
    known = num_documents(source)
    if not 0 <= document < known:
        expected = f"document numbers from 0 to {known - 1:,}" if known else "a source with data on disk"
        raise UserError(f"{where}: skip_documents.{name}", got=str(document), expected=expected)
    return {int(row) for row in np.asarray(source.rows_of_document(document))}


def num_documents(source: Source) -> int:
    """Documents of a source; 0 where only a count is known."""
    tokens = getattr(source, "tokens", None)
    return int(tokens.num_documents) if tokens is not None else 0
