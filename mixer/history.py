"""The plan of reading as resolved integers: what was read, which is locked, and what will be, which may change.

    history = History(seed=1, sequence_length=4096, sources={"web": SourceHistory([Generation(0, 9_000)]), ...},
                      spans=[Span(0, 800, {"web": 1.0}), Span(800, 1000, {"web": 0.7, "sft": 0.3})])
    json.dump(history.to_json(), file)                       # with each checkpoint
    history = saved.continue_with(history, at_sample=900)    # on resume, from the recipe as it stands now

Everything that the reader does follows from this object: two runs with equal histories read the same samples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise, zip_longest
from typing import Any, Literal, get_args

from .apportion import MAX_LENGTH, check_weights
from .cursors import Cursors, Skip, Span, resolve
from .errors import DataError

Shuffle = Literal["each_epoch", "once", "off"]
Window = Literal["concatenated", "packed"]


@dataclass(frozen=True)
class Generation:
    """One state of a source's data: the rows that its draws from ``first_draw`` on are taken from.

    Rows are windows cut from the concatenated documents outside ``holdout`` (runs of tokens, first and end), or packed
    windows; ``fingerprint`` stands for the files and for all that decides how rows are made of them.
    """

    first_draw: int
    num_rows: int
    fingerprint: str = ""
    holdout: tuple[tuple[int, int], ...] = ()
    window: Window = "concatenated"


@dataclass(frozen=True)
class SourceHistory:
    """A source's generations, oldest first, and whether its order is drawn anew each epoch, once, or not at all."""

    generations: tuple[Generation, ...]
    shuffle: Shuffle = "each_epoch"

    def __post_init__(self) -> None:
        object.__setattr__(self, "generations", tuple(self.generations))


@dataclass(frozen=True)
class History:
    """Sources by name, spans from sample 0 on without gaps, and skips in order of start.

    Raises DataError where a span, a weight, a skip or a generation makes no sense.

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

    def __post_init__(self) -> None:
        _check_sources(self.sources)
        _check_spans(self.spans, self.sources)
        _check_skips(self.skips, self.num_samples)
        object.__setattr__(self, "spans", tuple(self.spans))
        object.__setattr__(self, "skips", resolve(list(self.sources), self.spans, self.skips))

    @property
    def num_samples(self) -> int:
        """Length of the run."""
        return self.spans[-1].end_sample

    @property
    def phases(self) -> list[Span]:
        """Spans as the recipe gave them last: what edits cut is one phase again, with its latest weights."""
        phases: list[Span] = []
        for span in self.spans:
            start = phases.pop().start_sample if span.continues and phases else span.start_sample
            phases.append(Span(start, span.end_sample, span.weights))
        return phases

    def cursors(self) -> Cursors:
        """Where each source stands at any sample."""
        return Cursors.of(list(self.sources), self.spans, self.skips)

    def cut(self, at_sample: int) -> "History":
        """The same run with the span that runs at ``at_sample`` as two; reads exactly the same."""
        return replace(self, spans=[*_before(self.spans, at_sample), *_after(self.spans, at_sample)])

    def first_difference(self, other: "History", before_sample: int) -> tuple[str, Any, Any] | None:
        """Path and both values of the first thing by which ``other`` would have read otherwise before a sample.

        The phase that runs at ``before_sample`` must have begun at the same sample; its weights and end are free.
        """
        pairs = zip(_locked(self, self, before_sample), _locked(other, self, before_sample), strict=True)
        for (path, ours), (_, theirs) in pairs:
            if theirs is not None and ours != theirs:
                return _narrow(path, ours, theirs)
        return None

    def continue_with(self, new: "History", at_sample: int) -> "History":
        """What was read before ``at_sample`` as it stands here, what comes after as ``new`` says.

        Each source goes on from its cursor, one that left and returns included. The running span is cut only if what
        follows differs. Raises DataError, naming the first field, where ``new`` contradicts what was read.
        """
        difference = self.first_difference(new, at_sample)
        if difference:
            path, ours, theirs = difference
            raise DataError(
                f"{path}: {theirs}, but up to sample {at_sample:,} the run has read with {ours}; "
                "put it back, or begin a new run"
            )
        drawn = _drawn(self, at_sample)
        kept = [skip for skip in self.skips if skip.start < at_sample]
        ahead = [replace(skip, draws=None) for skip in new.skips if skip.start >= at_sample]
        return History(
            seed=new.seed,
            sequence_length=new.sequence_length,
            sources={**new.sources, **{name: self.sources[name] for name in self.sources if name in drawn}},
            spans=_splice(_before(self.spans, at_sample), _after(new.spans, at_sample)),
            skips=[*kept, *ahead],
        )

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
                sources={name: _source_from_json(source) for name, source in state["sources"].items()},
                spans=[Span(**span) for span in state["spans"]],
                skips=[Skip(**skip) for skip in state["skips"]],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"history of the run state can't be read: {error!r}; was it edited by hand?") from error


def _source_from_json(state: Mapping[str, Any]) -> SourceHistory:
    generations = [
        Generation(**{**generation, "holdout": tuple((first, end) for first, end in generation["holdout"])})
        for generation in state["generations"]
    ]
    return SourceHistory(tuple(generations), state["shuffle"])


def _before(spans: Sequence[Span], sample: int) -> list[Span]:
    return [replace(span, end_sample=min(span.end_sample, sample)) for span in spans if span.start_sample < sample]


def _after(spans: Sequence[Span], sample: int) -> list[Span]:
    """Spans from ``sample`` on; the one cut there goes on with a phase that began before."""
    return [
        replace(
            span,
            start_sample=max(span.start_sample, sample),
            continues=span.continues or span.start_sample < sample,
        )
        for span in spans
        if span.end_sample > sample
    ]


def _splice(past: list[Span], future: list[Span]) -> list[Span]:
    if past and future and future[0].continues and past[-1].positive == future[0].positive:
        return [*past[:-1], replace(past[-1], end_sample=future[0].end_sample), *future[1:]]
    return [*past, *future]


def _drawn(history: History, sample: int) -> dict[str, int]:
    counts = history.cursors().counts(min(sample, history.num_samples)).tolist()
    return {name: count for name, count in zip(history.sources, counts, strict=True) if count}


def _locked(history: History, truth: History, sample: int) -> list[tuple[str, Any]]:
    """What may not change at ``sample``, as (path, value) in the order to compare; ``truth`` is what was read."""
    if sample == 0:
        return []
    drawn = _drawn(truth, sample)
    begun = [phase for phase in history.phases if phase.start_sample < sample]
    return [
        ("seed", history.seed),
        ("sequence_length", history.sequence_length),
        *((f"sources.{name}", _begun(history, name, draws)) for name, draws in drawn.items()),
        ("phases", [_ended(phase, sample) for phase in begun]),
        ("skips", [(skip.start, skip.end) for skip in history.skips if skip.start < sample]),
    ]


def _begun(history: History, name: str, draws: int) -> dict[str, Any] | None:
    """A source's shuffle and the generations that its first ``draws`` draws came from; None where it is gone."""
    if name not in history.sources:
        return None
    source = history.sources[name]
    generations = [asdict(generation) for generation in source.generations if generation.first_draw < draws]
    return {"shuffle": source.shuffle, "generations": generations}


def _ended(phase: Span, sample: int) -> dict[str, Any]:
    edges = {"start_sample": phase.start_sample, "end_sample": min(phase.end_sample, sample)}
    return edges if phase.end_sample >= sample else {**edges, "weights": phase.positive}


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


def _check_sources(sources: Mapping[str, SourceHistory]) -> None:
    for name, source in sources.items():
        firsts = [generation.first_draw for generation in source.generations]
        if firsts[:1] != [0] or any(a >= b for a, b in pairwise(firsts)):
            raise DataError(f"sources.{name}: generations begin at draws {firsts}; expected 0 first, then increasing")
        if any(generation.num_rows < 1 for generation in source.generations):
            raise DataError(f"sources.{name}: has no rows; give it more data or leave it out")
        if source.shuffle not in get_args(Shuffle):
            expected = ", ".join(get_args(Shuffle))
            raise DataError(f"sources.{name}.shuffle: {source.shuffle!r}; expected one of {expected}")


def _check_spans(spans: Sequence[Span], sources: Mapping[str, SourceHistory]) -> None:
    edges = [0, *(span.end_sample for span in spans)]
    for k, span in enumerate(spans):
        if span.start_sample != edges[k] or span.end_sample <= span.start_sample:
            got = f"samples {span.start_sample:,} to {span.end_sample:,}"
            raise DataError(f"spans[{k}]: {got}; expected to start at {edges[k]:,} and end later")
        check_weights(dict(span.weights))
        unknown = sorted(set(span.weights) - set(sources))
        if unknown:
            raise DataError(f"spans[{k}].weights: source {unknown[0]!r} is unknown; sources are {', '.join(sources)}")
    if not 0 < edges[-1] <= MAX_LENGTH:
        raise DataError(f"the run has {edges[-1]:,} samples; expected 1 to 2^43")


def _check_skips(skips: Sequence[Skip], num_samples: int) -> None:
    for k, skip in enumerate(skips):
        if not 0 <= skip.start < skip.end <= num_samples:
            got = f"samples {skip.start:,} to {skip.end:,}"
            raise DataError(f"skips[{k}]: {got}; expected start before end, inside the run's {num_samples:,} samples")
