"""The plan of reading as resolved integers: what was read, which is locked, and what will be, which may change.

    history = History(seed=1, sequence_length=4096, sources={"web": SourceHistory([Generation(0, 9_000)]), ...},
                      spans=[Span(0, 800, {"web": 1.0}), Span(800, 1000, {"web": 0.7, "sft": 0.3})])
    json.dump(history.to_json(), file)                       # with each checkpoint
    history = saved.continue_with(history, at_sample=900)    # on resume, from the recipe as it stands now

Everything that the reader does follows from this object: two runs with equal histories read the same samples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from .cursors import Cursors
from .errors import DataError
from .generations import Generation, Growth, SourceHistory, check_sources, source_from_json
from .order import Order
from .out_of_bounds import check_document_skips, check_skips, settled
from .past import documents_ahead, first_difference
from .spans import Cap, DocumentSkip, Ramp, Skip, Span, after, before, check_spans, splice


@dataclass(frozen=True)
class History:
    """Sources by name, spans from sample 0 on without gaps, and skips of samples and of documents.

    Raises DataError where a span, a weight, a ramp, a cap, a skip or a generation makes no sense.

    >>> sources = {"web": SourceHistory([Generation(0, 50)]), "code": SourceHistory([Generation(0, 20)])}
    >>> saved = History(seed=1, sequence_length=8, sources=sources, spans=[Span(0, 100, {"web": 1, "code": 0})])
    >>> recipe = replace(saved, spans=[Span(0, 100, {"web": 1, "code": 1})])
    >>> [(span.start_sample, span.end_sample) for span in saved.continue_with(recipe, at_sample=60).spans]
    [(0, 60), (60, 100)]
    """

    seed: int
    sequence_length: int
    sources: Mapping[str, SourceHistory]
    spans: Sequence[Span]
    skips: Sequence[Skip] = field(default=())
    document_skips: Sequence[DocumentSkip] = field(default=())

    def __post_init__(self) -> None:
        check_sources(self.sources)
        check_spans(self.spans, list(self.sources))
        check_skips(self.skips, self.num_samples)
        check_document_skips(self.document_skips, self.sources)
        skips, cursors = settled(self.order, self.sources, self.spans, self.skips, self.document_skips)
        object.__setattr__(self, "spans", tuple(self.spans))
        object.__setattr__(self, "skips", skips)
        object.__setattr__(self, "document_skips", tuple(self.document_skips))
        object.__setattr__(self, "_cursors", cursors)

    @property
    def num_samples(self) -> int:
        """Length of the run."""
        return self.spans[-1].end_sample

    @property
    def phases(self) -> list[Span]:
        """Spans as the recipe gave them last: what edits cut is one phase again, with its latest weights and ramp."""
        phases: list[Span] = []
        for span in self.spans:
            start = phases.pop().start_sample if span.continues and phases else span.start_sample
            phases.append(Span(start, span.end_sample, span.weights, ramp=span.asked or span.ramp, caps=span.caps))
        return phases

    @cached_property
    def order(self) -> Order:
        """Which row each draw reads."""
        return Order.of(self.seed, self.sequence_length, self.sources)

    def cursors(self) -> Cursors:
        """Where each source stands at any sample."""
        cursors: Cursors = vars(self)["_cursors"]
        return cursors

    def draws(self, at_sample: int) -> dict[str, int]:
        """Draws of each source before a sample, or before the run's end; its cursor there."""
        counts = self.cursors().counts(min(at_sample, self.num_samples)).tolist()
        return dict(zip(self.sources, counts, strict=True))

    def cut(self, at_sample: int) -> "History":
        """The same run with the span that runs at ``at_sample`` as two; reads exactly the same."""
        return replace(self, spans=[*before(self.spans, at_sample), *after(self.spans, at_sample)])

    def grown(self, name: str, new: Generation, at_sample: int, how: Growth) -> SourceHistory:
        """A source that is in the data as ``new`` says from ``at_sample`` on; see SourceHistory.grown.

        >>> web = SourceHistory((Generation(0, 50),))
        >>> run = History(seed=1, sequence_length=8, sources={"web": web}, spans=[Span(0, 90, {"web": 1})])
        >>> [g.first_draw for g in run.grown("web", Generation(0, 60), at_sample=70, how="next_epoch").generations]
        [0, 100]
        """
        return self.sources[name].grown(new, self._next_draw(name, at_sample), how)

    def fixed(self, name: str, at_sample: int) -> SourceHistory:
        """What growth at ``at_sample`` leaves of a source that was drawn before; see SourceHistory.fixed."""
        return self.sources[name].fixed(self._next_draw(name, at_sample))

    def _next_draw(self, name: str, at_sample: int) -> int:
        return self.cursors().next_draw(list(self.sources).index(name), min(at_sample, self.num_samples))

    def first_difference(self, other: "History", before_sample: int) -> tuple[str, Any, Any] | None:
        """Path and both values of the first thing by which ``other`` would have read otherwise before a sample.

        The phase that runs at ``before_sample`` must have begun at the same sample; its weights, its ramp and its end
        are free, and so are all caps: those of the past stay as they were.
        """
        return first_difference(self, other, before_sample)

    def continue_with(self, new: "History", at_sample: int) -> "History":
        """What was read before ``at_sample`` as it stands here, what comes after as ``new`` says.

        Each source goes on from its cursor, one that left and returns included. The running span is cut only if what
        follows differs, and a ramp in it begins anew from the shares in force. Raises DataError, naming the first
        field, where ``new`` contradicts what was read.
        """
        difference = self.first_difference(new, at_sample)
        if difference:
            path, ours, theirs = difference
            raise DataError(
                f"{path}: {theirs}, but up to sample {at_sample:,} the run has read with {ours}; "
                "put it back, or begin a new run"
            )
        kept = [skip for skip in self.skips if skip.start < at_sample]
        ahead = [replace(skip, draws=None) for skip in new.skips if skip.start >= at_sample]
        return History(
            seed=new.seed,
            sequence_length=new.sequence_length,
            sources={**new.sources, **self._sources_left_out(new, at_sample)},
            spans=splice(before(self.spans, at_sample), after(new.spans, at_sample), self._shares(at_sample)),
            skips=[*kept, *ahead],
            document_skips=documents_ahead(self, new, at_sample),
        )

    def _sources_left_out(self, new: "History", at_sample: int) -> dict[str, SourceHistory]:
        """Sources that were read and that ``new`` does not name: what was read stays known."""
        drawn = self.draws(at_sample)
        return {name: self.sources[name] for name in self.sources if name not in new.sources and drawn[name]}

    def _shares(self, at_sample: int) -> dict[str, float]:
        """Shares in force where the samples before ``at_sample`` end."""
        if at_sample == 0:
            return {}
        shares = self.cursors().shares_before(min(at_sample, self.num_samples)).tolist()
        return dict(zip(self.sources, shares, strict=True))

    def to_json(self) -> dict[str, Any]:
        """The history as JSON values; ``from_json`` gives it back, equal."""
        return asdict(self)

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> "History":
        """Read what ``to_json`` wrote. Raises DataError where a field is missing or unknown."""
        try:
            return cls(
                seed=state["seed"],
                sequence_length=state["sequence_length"],
                sources={name: source_from_json(source) for name, source in state["sources"].items()},
                spans=[_span_from_json(span) for span in state["spans"]],
                skips=[Skip(**skip) for skip in state["skips"]],
                document_skips=[_document_skip_from_json(skip) for skip in state["document_skips"]],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"history of the run state can't be read: {error!r}; was it edited by hand?") from error


def _span_from_json(state: Mapping[str, Any]) -> Span:
    ramps = {name: Ramp(**state[name]) if state[name] else None for name in ("ramp", "asked")}
    caps = {name: Cap(cap["draws"], tuple(cap["to"])) for name, cap in state["caps"].items()}
    return Span(**{**state, **ramps, "caps": caps})


def _document_skip_from_json(state: Mapping[str, Any]) -> DocumentSkip:
    return DocumentSkip(**{**state, "documents": tuple(state["documents"]), "rows": tuple(state["rows"])})
