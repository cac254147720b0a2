"""What a running run may not change: the first field by which another history would have read otherwise."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from .spans import DocumentSkip, Span

if TYPE_CHECKING:
    from .history import History


def first_difference(ours: "History", theirs: "History", before_sample: int) -> tuple[str, Any, Any] | None:
    """Path and both values of the first difference in what is locked before a sample; see History."""
    pairs = zip(_locked(ours, ours, before_sample), _locked(theirs, ours, before_sample), strict=True)
    for (path, one), (_, other) in pairs:
        if other is not None and one != other:
            return _narrow(path, one, other)
    return None


def documents_ahead(ours: "History", theirs: "History", at_sample: int) -> list[DocumentSkip]:
    """Skips of documents that have begun, as they are, and what is asked for besides, from ``at_sample`` on."""
    kept = [_renumbered(ours, theirs, skip, at_sample) for skip in ours.document_skips if skip.start < at_sample]
    asked = theirs.document_skips
    for skip in asked:
        documents, rows = _documents(kept, skip.source), _rows(kept, skip.source)
        new_documents = tuple(document for document in skip.documents if document not in documents)
        new_rows = tuple(row for row in skip.rows if row not in rows)
        if new_documents or new_rows:
            start = max(skip.start, at_sample)
            kept.append(replace(skip, documents=new_documents or skip.documents, rows=new_rows, start=start))
    return kept


def _renumbered(ours: "History", theirs: "History", skip: DocumentSkip, sample: int) -> DocumentSkip:
    """Without the rows of data that has grown again before a draw came to them: they have other numbers since."""
    if skip.source not in theirs.sources:
        return skip
    source, known = ours.sources[skip.source], theirs.sources[skip.source].generations
    if source.generations[-1] in known:
        return skip
    drawn = ours.draws(sample)[skip.source]
    fixed = ours.fixed(skip.source, sample).generations if drawn else ()
    end_row = max((generation.end_row for generation in fixed), default=0)
    return replace(skip, rows=tuple(row for row in skip.rows if row < end_row))


def _documents(skips: Sequence[DocumentSkip], source: str) -> set[int]:
    return {document for skip in skips if skip.source == source for document in skip.documents}


def _rows(skips: Sequence[DocumentSkip], source: str) -> set[int]:
    return {row for skip in skips if skip.source == source for row in skip.rows}


def _locked(history: "History", truth: "History", sample: int) -> list[tuple[str, Any]]:
    """What may not change at ``sample``, as (path, value) in the order to compare; ``truth`` is what was read."""
    if sample == 0:
        return []
    drawn = {name: draws for name, draws in truth.draws(sample).items() if draws}
    begun = [phase for phase in history.phases if phase.start_sample < sample]
    barred = sorted({skip.source for skip in truth.document_skips if skip.start < sample})
    return [
        ("seed", history.seed),
        ("sequence_length", history.sequence_length),
        *((f"sources.{name}", _begun(history, name, draws)) for name, draws in drawn.items()),
        ("phases", [_ended(phase, sample) for phase in begun]),
        ("skips", [(skip.start, skip.end) for skip in history.skips if skip.start < sample]),
        *((f"document_skips.{name}", _barred(history, truth, name, sample)) for name in barred),
    ]


def _begun(history: "History", name: str, draws: int) -> dict[str, Any] | None:
    """A source's switches and the generations that its first ``draws`` draws came from; None where it is gone."""
    if name not in history.sources:
        return None
    source = history.sources[name]
    generations = [asdict(generation) for generation in source.begun(draws)]
    return {"shuffle": source.shuffle, "epoch_offset": source.epoch_offset, "generations": generations}


def _barred(history: "History", truth: "History", name: str, sample: int) -> list[int] | None:
    """Which of the documents that were out of bounds before ``sample`` are; None where the source is gone."""
    if name not in history.sources:
        return None
    begun = [skip for skip in truth.document_skips if skip.start < sample]
    return sorted(_documents(begun, name) & _documents(history.document_skips, name))


def _ended(phase: Span, sample: int) -> dict[str, Any]:
    edges = {"start_sample": phase.start_sample, "end_sample": min(phase.end_sample, sample)}
    return edges if phase.end_sample >= sample else {**edges, "weights": phase.positive, "ramp": phase.wanted["ramp"]}


def _narrow(path: str, ours: Any, theirs: Any) -> tuple[str, Any, Any]:
    """Path and values of the first difference inside two unequal values."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        key = next(key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key))
        return _narrow(f"{path}.{key}", ours.get(key), theirs.get(key))
    if isinstance(ours, list) and isinstance(theirs, list):
        pairs = enumerate(zip_longest(ours, theirs))
        k, (left, right) = next((k, pair) for k, pair in pairs if pair[0] != pair[1])
        return _narrow(f"{path}[{k}]", left, right)
    return path, ours, theirs
