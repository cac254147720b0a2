"""What an edited recipe changes of a running run, in tokens of each source; ``annealmix plan --resume-from``."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from mixer.history import History
from mixer.mixture import Mixture
from mixer.spans import Span
from schedulers.schedule import Schedule

from .pretrain.state import RunState
from .recipe.numbers import format_tokens
from .recipe.past import Past
from .recipe.planned import Plan


@dataclass(frozen=True)
class SourceChange:
    """Tokens of one source: read so far, ahead in the saved plan, ahead in the new one."""

    read_tokens: int
    ahead_before_tokens: int
    ahead_now_tokens: int
    epochs_at_end: float


@dataclass(frozen=True)
class Changes:
    """A checkpoint's plan beside the recipe's: tokens of each source, and a line for everything else."""

    consumed_tokens: int
    sources: Mapping[str, SourceChange]
    notes: tuple[str, ...]

    @property
    def nothing(self) -> bool:
        """Whether the run goes on as it was planned."""
        same = all(change.ahead_before_tokens == change.ahead_now_tokens for change in self.sources.values())
        return same and not self.notes


def changes_since(state: RunState, plan: Plan) -> Changes:
    """What ``plan``, made of a recipe that goes on from ``state``, changes."""
    saved, at = History.from_json(state.history), state.consumed_samples
    before, now = Mixture(saved), plan.mixture
    read, planned, wanted = before.reads(at), before.reads(saved.num_samples), now.reads(now.num_samples)
    length, epochs = plan.recipe.sequence_length, plan.epochs(now.num_samples)
    names = [name for name in {**now.history.sources, **saved.sources} if planned.get(name) or wanted.get(name)]
    sources = {
        name: SourceChange(
            read_tokens=read.get(name, 0) * length,
            ahead_before_tokens=(planned.get(name, 0) - read.get(name, 0)) * length,
            ahead_now_tokens=(wanted.get(name, 0) - read.get(name, 0)) * length if name in wanted else 0,
            epochs_at_end=epochs.get(name, 0.0),
        )
        for name in names
    }
    return Changes(state.consumed_tokens, sources, tuple(_notes(state, saved, plan)))


def print_changes(changes: Changes, console: Console) -> None:
    """The changes for people."""
    at = format_tokens(changes.consumed_tokens)
    if changes.nothing:
        console.print(f"\n[bold]at {at} tokens[/]  the recipe changes nothing of what lies ahead")
        return
    console.print(f"\n[bold]at {at} tokens[/]  what changes ahead, in tokens")
    console.print(_table(changes))
    for note in changes.notes:
        console.print(note)


def _table(changes: Changes) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("source", "read so far", "ahead before", "ahead now", "change", "epochs at the end"):
        table.add_column(column, justify="left" if column == "source" else "right")
    for name, source in changes.sources.items():
        difference = source.ahead_now_tokens - source.ahead_before_tokens
        numbers = (source.read_tokens, source.ahead_before_tokens, source.ahead_now_tokens)
        signed = f"{'-' if difference < 0 else '+'}{format_tokens(abs(difference))}" if difference else "0"
        table.add_row(name, *map(format_tokens, numbers), signed, f"{source.epochs_at_end:.2f}")
    return table


def _notes(state: RunState, saved: History, plan: Plan) -> Iterator[str]:
    yield from _phase_notes(saved, plan)
    yield from _growth_notes(Past(saved, state.consumed_samples), plan)
    yield from _skip_notes(saved, plan)
    if Schedule.from_dict(state.schedule).to_dict() != plan.schedule.to_dict():
        yield "learning rate: changes ahead"
    ahead = [entry for entry in plan.recipe.global_batch_size if entry[0] > state.consumed_tokens]
    planned = [tuple(entry) for entry in state.batch_size if entry[0] > state.consumed_tokens]
    if ahead != planned or plan.batches.ramp.at(state.consumed_tokens) != _batch_size_at(state):
        yield "batch size: changes ahead"


def _batch_size_at(state: RunState) -> int:
    return [size for start, size in state.batch_size if start <= state.consumed_tokens][-1]


def _phase_notes(saved: History, plan: Plan) -> Iterator[str]:
    """Phases whose edges, weights, ramps or caps are no longer those of the checkpoint."""
    length = plan.recipe.sequence_length
    before, now = saved.phases, plan.history.phases
    for index, (old, new) in enumerate(zip(before, now, strict=False)):
        name = plan.recipe.phases[index].name
        if (old.start_sample, old.end_sample) != (new.start_sample, new.end_sample):
            yield f"phase {name}: was {_edges(old, length)}, now {_edges(new, length)}"
        changed = [part for part, wanted in new.wanted.items() if wanted != old.wanted[part]]
        if changed:
            yield f"phase {name}: other {' and '.join(changed)}"
    yield from (f"phase {phase.name}: new" for phase in plan.recipe.phases[len(before) : len(now)])
    if len(before) > len(now):
        yield f"phases left out at the end: {len(before) - len(now)}"


def _edges(span: Span, length: int) -> str:
    return f"{format_tokens(span.start_sample * length)} to {format_tokens(span.end_sample * length)}"


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
