"""What a running run has read, as its checkpoint says: a recipe that goes on from it can't change that."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from mixer.generations import Generation, SourceHistory
from mixer.history import History
from mixer.rows import Source

from .source_spec import SourceSpec


@dataclass(frozen=True, eq=False)
class Past:
    """The history saved with a checkpoint, and the samples consumed by then."""

    history: History
    at_sample: int

    @cached_property
    def draws(self) -> Mapping[str, int]:
        """Draws of each source that was read at all."""
        return {name: draws for name, draws in self.history.draws(self.at_sample).items() if draws}

    def begun(self, name: str) -> SourceHistory | None:
        """What is fixed of a source; None where nothing of it was read."""
        return self.history.fixed(name, self.at_sample) if name in self.draws else None

    def source_history(self, name: str, spec: SourceSpec, source: Source) -> SourceHistory:
        """The source's generations as they go on, data that grew among them.

        Data that is neither as it was nor longer is returned as it lies on disk, for the history to refuse.
        """
        fresh, begun = fresh_history(spec, source), self.begun(name)
        if begun is None:
            return fresh
        now, last = fresh.generations[-1], begun.generations[-1]
        if not _grew(now, last) and _data(now) != _data(last):
            return fresh
        joined = self.history.grown(name, now, self.at_sample, spec.grown)
        return replace(joined, shuffle=spec.shuffle, epoch_offset=spec.epoch_offset)

    def growth(self, source_histories: Mapping[str, SourceHistory]) -> dict[str, Generation]:
        """The newest generation of each source whose data grew since the checkpoint."""
        return {
            name: history.generations[-1]
            for name, history in source_histories.items()
            if name in self.draws and _grew(history.generations[-1], self.history.sources[name].generations[-1])
        }


def fresh_history(spec: SourceSpec, source: Source) -> SourceHistory:
    """A source of which nothing was read."""
    return SourceHistory(tuple(source.generations()), spec.shuffle, spec.epoch_offset)


def _grew(now: Generation, last: Generation) -> bool:
    return now.num_tokens > last.num_tokens


def _data(generation: Generation) -> tuple[int, int, str]:
    return generation.end_row, generation.num_tokens, generation.fingerprint
