"""What an edited recipe changes of a running run, or one recipe of another, in tokens of each source and in words."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from mixer.history import History
from mixer.mixture import Mixture
from mixer.spans import Span
from schedulers.batch_ramps import Coupled
from schedulers.batch_size import BatchSizeRamp
from schedulers.difference import difference_in_words
from schedulers.hyperparameters import Curve, Hyperparameters, as_schedule
from schedulers.row import Row
from schedulers.schedule import Schedule
from schedulers.words import format_tokens, format_value

from ..pretrain.state import RunState
from ..recipe.past import Past
from ..recipe.planned import BESIDE, Plan


@dataclass(frozen=True)
class SourceChange:
    """Tokens of one source: read so far, ahead in the plan before, ahead in the new one."""

    read_tokens: int
    ahead_before_tokens: int
    ahead_now_tokens: int
    epochs_at_end: float


@dataclass(frozen=True)
class Changes:
    """A plan beside the one before it: tokens of each source, and a line for everything else.

    ``place`` says where a checkpoint stands in the recipe's phases; empty where two recipes are compared.
    """

    consumed_tokens: int
    sources: Mapping[str, SourceChange]
    notes: tuple[str, ...]
    place: str = ""

    @property
    def nothing(self) -> bool:
        """Whether everything ahead is as it was planned."""
        same = all(change.ahead_before_tokens == change.ahead_now_tokens for change in self.sources.values())
        return same and not self.notes


@dataclass(frozen=True)
class _Before:
    """The plan that another is compared with, and how much of it is past; phases have names in a recipe alone."""

    history: History
    consumed_samples: int
    curves: Hyperparameters
    ramp: BatchSizeRamp
    phase_names: Sequence[str] = ()


def changes_since(state: RunState, plan: Plan) -> Changes:
    """What ``plan``, made of a recipe that goes on from ``state``, changes."""
    ramp = BatchSizeRamp(tuple((start, size) for start, size in state.batch_size))
    before = _Before(History.from_json(state.history), state.consumed_samples, state.curves, ramp)
    return _changes(before, plan, where_it_stands(plan, state.consumed_samples))


def changes_beside(old: Plan, plan: Plan) -> Changes:
    """What ``plan`` has other than ``old``, where neither has begun."""
    names = [phase.name for phase in old.recipe.phases]
    return _changes(_Before(old.history, 0, old.hyperparameters, old.batches.ramp, names), plan)


def _changes(before: _Before, plan: Plan, place: str = "") -> Changes:
    planned, now, at = Mixture(before.history), plan.mixture, before.consumed_samples
    read, reads = planned.reads(at), (planned.reads(before.history.num_samples), now.reads(now.num_samples))
    length, epochs = plan.recipe.sequence_length, plan.epochs(now.num_samples)
    names = {**now.history.sources, **before.history.sources}
    sources = {
        name: SourceChange(
            read_tokens=read.get(name, 0) * length,
            ahead_before_tokens=(reads[0].get(name, 0) - read.get(name, 0)) * before.history.sequence_length,
            ahead_now_tokens=(reads[1].get(name, 0) - read.get(name, 0)) * length if name in reads[1] else 0,
            epochs_at_end=epochs.get(name, 0.0),
        )
        for name in names
        if reads[0].get(name) or reads[1].get(name)
    }
    return Changes(at * length, sources, tuple(_notes(before, plan)), place)


def where_it_stands(plan: Plan, consumed_samples: int) -> str:
    """The phase that runs at a checkpoint, and what its `tokens` have to be for it to end there."""
    length, at = plan.recipe.sequence_length, consumed_samples
    running = next((i for i, phase in enumerate(plan.phases) if at < phase.end_sample), None)
    if running is None:
        return "where the recipe ends"
    name, tokens = plan.phases[running].name, at * length
    if at == plan.phases[running].start_sample:
        return f"where phase {name} begins"
    if plan.recipe.learning_rate:
        return f"in phase {name}; learning_rate lays out the whole run, as long as its phases are"
    keys = [f"phases.{running}.tokens={tokens - sum(phase.tokens for phase in plan.recipe.phases[:running])}"]
    cut = next((s for s in plan.schedule.segments if s.start_tokens < tokens < s.end_tokens and not s.is_flat), None)
    if cut:
        stating = max(i for i, phase in enumerate(plan.phases) if phase.start_tokens <= cut.start_tokens)
        keys.append(f"phases.{stating}.learning_rate.over={cut.curve_end_tokens - cut.start_tokens}")
    return f"in phase {name}, which ends here with {' and '.join(keys)}"


def print_changes(changes: Changes, console: Console) -> None:
    """The changes for people."""
    at = f"at {format_tokens(changes.consumed_tokens)} tokens" if changes.place else "beside the other recipe"
    if changes.nothing:
        console.print(f"\n[bold]{at}[/]  the recipe changes nothing of what lies ahead")
    else:
        console.print(f"\n[bold]{at}[/]  what changes ahead, in tokens")
        console.print(_table(changes))
    for line in lines(changes):
        console.print(line, markup=False)


def lines(changes: Changes) -> list[str]:
    """Everything about the changes but the sources' tokens."""
    place = f"the checkpoint stands at {changes.consumed_tokens:,} tokens, {changes.place}" if changes.place else ""
    return [*changes.notes, *([place] if place else [])]


def _table(changes: Changes) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    head, rows = cells(changes)
    for column in head:
        table.add_column(column, justify="left" if column == "source" else "right")
    for row in rows:
        table.add_row(*row)
    return table


def cells(changes: Changes) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the sources' tokens, as text."""
    rows = []
    for name, source in changes.sources.items():
        difference = source.ahead_now_tokens - source.ahead_before_tokens
        numbers = (source.read_tokens, source.ahead_before_tokens, source.ahead_now_tokens)
        signed = f"{'-' if difference < 0 else '+'}{format_tokens(abs(difference))}" if difference else "0"
        rows.append([name, *map(format_tokens, numbers), signed, f"{source.epochs_at_end:.2f}"])
    return ["source", "read so far", "ahead before", "ahead now", "change", "epochs at the end"], rows


def _notes(before: _Before, plan: Plan) -> Iterator[str]:
    yield from _phase_notes(before, plan)
    yield from _growth_notes(Past(before.history, before.consumed_samples), plan)
    yield from _skip_notes(before.history, plan)
    for key, name in {"learning_rate": "learning_rate", **BESIDE}.items():
        old, new = getattr(before.curves, name), getattr(plan.hyperparameters, name)
        yield from _curve_note(key.replace("_", " "), old, new)
    yield from _batch_note(before, plan)


def _curve_note(name: str, old: Curve, new: Curve) -> Iterator[str]:
    if isinstance(old, float) and isinstance(new, float):
        yield from ([f"{name}: {format_value(old)} -> {format_value(new)}"] if old != new else [])
    elif words := difference_in_words(_as_long_as(new, old), _as_long_as(old, new)):
        yield f"{name}: {words}"
    if (was := _coupling(old)) != (now := _coupling(new)):
        yield f"{name}: coupling to the batch size {was} -> {now}"


def _as_long_as(other: Curve, curve: Curve) -> Schedule:
    """A curve as a schedule; a number, which has no end of its own, up to the end of the other curve."""
    if isinstance(curve, float):
        return Row(0, curve).hold(as_schedule(other).joints[-1]).schedule()
    return as_schedule(curve)


def _coupling(curve: Curve) -> str:
    return f"{curve.rule} at {curve.reference_batch_size}" if isinstance(curve, Coupled) else "none"


def _batch_note(before: _Before, plan: Plan) -> Iterator[str]:
    """The first token ahead from which steps have other sizes, and how many changes follow."""
    at, old, new = before.consumed_samples * plan.recipe.sequence_length, before.ramp, plan.batches.ramp
    edges = sorted({at, *(start for ramp in (old, new) for start, _ in ramp.entries if start > at)})
    changed = [(start, old.at(start), new.at(start)) for start in edges if old.at(start) != new.at(start)]
    if changed:
        words = ", ".join(f"from {format_tokens(start)} tokens on: {was} -> {now}" for start, was, now in changed[:3])
        more = f", and {len(changed) - 3} more changes" if len(changed) > 3 else ""
        yield f"batch size: {words}{more}"


def _phase_notes(before: _Before, plan: Plan) -> Iterator[str]:
    """Phases whose edges, weights, ramps or caps are others; by name, or by place where the names are not known."""
    length, old_length, old = plan.recipe.sequence_length, before.history.sequence_length, before.history.phases
    names = [phase.name for phase in plan.recipe.phases]
    known = list(before.phase_names) or names[: len(old)] + [""] * (len(old) - len(names))
    planned = dict(zip(known, old, strict=False))
    for name, new in zip(names, plan.history.phases, strict=False):
        was = planned.pop(name, None)
        if was is None:
            yield f"phase {name}: new, {_edges(new, length)}"
            continue
        if _tokens(was, old_length) != _tokens(new, length):
            yield f"phase {name}: was {_edges(was, old_length)}, now {_edges(new, length)}"
        planned_part, wanted = _wanted(was), _wanted(new)
        changed = [part for part in wanted if wanted[part] != planned_part[part]]
        if changed:
            yield f"phase {name}: other {' and '.join(changed)}"
    if planned:
        yield f"phases left out: {', '.join(filter(None, planned)) or len(planned)}"


def _wanted(span: Span) -> dict[str, object]:
    """What the recipe says of a phase; of a ramp its beginning and shape, for its place is that of the phase."""
    ramp = span.asked or span.ramp
    start = {name: weight for name, weight in ramp.from_weights.items() if weight} if ramp else {}
    return {**span.wanted, "ramp": (ramp.shape, start) if ramp else None}


def _edges(span: Span, length: int) -> str:
    start, end = _tokens(span, length)
    return f"{format_tokens(start)} to {format_tokens(end)}"


def _tokens(span: Span, length: int) -> tuple[int, int]:
    return span.start_sample * length, span.end_sample * length


def _growth_notes(past: Past, plan: Plan) -> Iterator[str]:
    for name, generation in past.growth(plan.history.sources).items():
        saved = past.history.sources[name].generations[-1]
        more = format_tokens(generation.num_tokens - saved.num_tokens)
        joins = {"append": "its open epoch", "next_epoch": "where its open epoch ends"}[plan.recipe.sources[name].grown]
        yield f"source {name}: grew by {more} tokens, which join {joins}"


def _skip_notes(saved: History, plan: Plan) -> Iterator[str]:
    known = {(skip.start, skip.end) for skip in saved.skips}
    for skip in plan.history.skips:
        if (skip.start, skip.end) not in known:
            yield f"skip_samples: {skip.start:,} to {skip.end:,} are passed over"
    for documents in plan.history.document_skips:
        if documents not in saved.document_skips:
            shown = ", ".join(map(str, documents.documents[:5])) + (", ..." if len(documents.documents) > 5 else "")
            yield f"skip_documents: {documents.source} {shown} in {len(documents.rows)} rows, from here on"
