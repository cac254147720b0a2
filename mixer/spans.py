"""What is asked of a run: weights over spans of samples, ramps between them, caps, and what is put out of bounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

from .apportion import MAX_LENGTH, check_weights
from .errors import DataError
from .ramp import Shape


@dataclass(frozen=True)
class Ramp:
    """Weights on their way: ``from_weights`` at ``start_sample``, the span's weights at ``end_sample``.

    A span may be a part of its ramp: what an edit or a cap leaves of it.
    """

    start_sample: int
    end_sample: int
    from_weights: Mapping[str, float]
    shape: Shape = "linear"


@dataclass(frozen=True)
class Cap:
    """A source's last draw: from draw number ``draws`` on, its share goes ``to`` other sources, by their weights.

    Draws are numbered over the whole run, those that document skips pass over included.
    """

    draws: int
    to: tuple[str, ...]


@dataclass(frozen=True)
class Span:
    """Samples [start_sample, end_sample) drawn with these weights, per sample; sources not named have weight 0.

    Weights are constant, or where a ``ramp`` ends. ``continues`` marks what an edit made of a phase that was already
    running: the phase began with an earlier span. ``asked`` is the recipe's ramp where an edit began another one inside
    it. ``caps`` hold within this span.
    """

    start_sample: int
    end_sample: int
    weights: Mapping[str, float]
    continues: bool = False
    ramp: Ramp | None = None
    asked: Ramp | None = None
    caps: Mapping[str, Cap] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Sources drawn anywhere in the span, in order of name, so that the order of a recipe's changes nothing."""
        ends = [self.weights, self.ramp.from_weights if self.ramp else {}]
        return sorted({name for end in ends for name, weight in end.items() if weight > 0})

    @property
    def positive(self) -> dict[str, float]:
        """The weights that are not 0 where the span or its ramp ends, in order of name."""
        return _positive(self.weights)

    @property
    def wanted(self) -> dict[str, object]:
        """What the recipe says of these samples: two spans that want the same are parts of one."""
        return {"weights": self.positive, "ramp": _plain(self.asked or self.ramp), "caps": dict(self.caps)}


@dataclass(frozen=True)
class Skip:
    """Samples [start, end) put out of bounds: what they would have read is passed over, and reading goes on after it.

    ``draws`` is what each source passes over at ``start``, document skips left out of the count; None until a History
    has worked it out.
    """

    start: int
    end: int
    draws: Mapping[str, int] | None = None


@dataclass(frozen=True)
class DocumentSkip:
    """Documents of a source put out of bounds from sample ``start`` on: no draw of any of their ``rows`` is read."""

    source: str
    documents: tuple[int, ...]
    rows: tuple[int, ...]
    start: int = 0


def join(spans: Sequence[Span]) -> list[Span]:
    """Adjacent spans of equal weights, ramp and caps as one, so that a cut that changes nothing is no restart."""
    joined: list[Span] = []
    for span in spans:
        if joined and _read_alike(joined[-1], span):
            joined[-1] = replace(joined[-1], end_sample=span.end_sample)
        else:
            joined.append(span)
    return joined


def before(spans: Sequence[Span], sample: int) -> list[Span]:
    """Spans up to ``sample``, the one that runs there cut."""
    return [replace(span, end_sample=min(span.end_sample, sample)) for span in spans if span.start_sample < sample]


def after(spans: Sequence[Span], sample: int) -> list[Span]:
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


def splice(past: list[Span], future: list[Span], shares: Mapping[str, float]) -> list[Span]:
    """A run cut at the end of ``past``, where ``shares`` are in force, and what a recipe asks for from there on.

    A running phase that is asked for again as it was goes on uncut. One that changed begins anew at the cut: a ramp
    from the shares in force there to its own end, so that shares never jump back.
    """
    if not (past and future and future[0].continues):
        return [*past, *future]
    running, asked = past[-1], future[0]
    same_ramp = _plain(running.asked or running.ramp) == _plain(asked.asked or asked.ramp)
    if same_ramp and running.positive == asked.positive:
        asked = replace(asked, ramp=running.ramp, asked=running.asked)
    elif asked.asked or asked.ramp:
        wanted = asked.asked or asked.ramp
        assert wanted is not None
        ramp = replace(wanted, start_sample=asked.start_sample, from_weights=_positive(shares))
        asked = replace(asked, ramp=ramp, asked=wanted)
    return [*_join_phase(running, past[:-1], asked), *future[1:]]


def _join_phase(running: Span, earlier: list[Span], asked: Span) -> list[Span]:
    """The running span and what goes on with it, as one where nothing changes."""
    if _read_alike(running, asked):
        return [*earlier, replace(running, end_sample=asked.end_sample)]
    return [*earlier, running, asked]


def check_spans(spans: Sequence[Span], names: Sequence[str]) -> None:
    """Raise DataError unless spans follow each other from sample 0 on, and their weights, ramps and caps make sense."""
    edges = [0, *(span.end_sample for span in spans)]
    for k, span in enumerate(spans):
        if span.start_sample != edges[k] or span.end_sample <= span.start_sample:
            got = f"samples {span.start_sample:,} to {span.end_sample:,}"
            raise DataError(f"spans[{k}]: {got}; expected to start at {edges[k]:,} and end later")
        _check_mixture(f"spans[{k}].weights", span.weights, names)
        for field_name, ramp in (("ramp", span.ramp), ("asked", span.asked)):
            if ramp:
                _check_ramp(f"spans[{k}].{field_name}", span, ramp, names)
        _check_caps(f"spans[{k}].caps", span.caps, names)
    if not 0 < edges[-1] <= MAX_LENGTH:
        raise DataError(f"the run has {edges[-1]:,} samples; expected 1 to 2^43")


def _check_mixture(where: str, weights: Mapping[str, float], names: Sequence[str]) -> None:
    check_weights(dict(weights))
    _check_known(where, weights, names)


def _check_ramp(where: str, span: Span, ramp: Ramp, names: Sequence[str]) -> None:
    _check_mixture(f"{where}.from_weights", ramp.from_weights, names)
    if ramp.shape not in get_args(Shape):
        raise DataError(f"{where}.shape: {ramp.shape!r}; expected one of {', '.join(get_args(Shape))}")
    if not ramp.start_sample <= span.start_sample < span.end_sample <= ramp.end_sample:
        got = f"samples {ramp.start_sample:,} to {ramp.end_sample:,}"
        raise DataError(f"{where}: {got}; expected to hold the span, {span.start_sample:,} to {span.end_sample:,}")


def _check_caps(where: str, caps: Mapping[str, Cap], names: Sequence[str]) -> None:
    _check_known(where, caps, names)
    for name, cap in caps.items():
        _check_known(f"{where}.{name}.to", cap.to, names)
        if cap.draws < 0:
            raise DataError(f"{where}.{name}.draws: {cap.draws}; expected 0 or more")
        if not cap.to or name in cap.to:
            raise DataError(f"{where}.{name}.to: {', '.join(cap.to) or 'nothing'}; expected other sources")


def _check_known(where: str, found: Mapping[str, object] | Sequence[str], names: Sequence[str]) -> None:
    unknown = sorted(set(found) - set(names))
    if unknown:
        raise DataError(f"{where}: source {unknown[0]!r} is unknown; sources are {', '.join(names)}")


def _read_alike(one: Span, other: Span) -> bool:
    alike = one.positive == other.positive and dict(one.caps) == dict(other.caps)
    return alike and _plain(one.ramp) == _plain(other.ramp)


def _plain(ramp: Ramp | None) -> dict[str, object] | None:
    return None if ramp is None else {**vars(ramp), "from_weights": _positive(ramp.from_weights)}


def _positive(weights: Mapping[str, float]) -> dict[str, float]:
    return {name: weights[name] for name in sorted(weights) if weights[name] > 0}
