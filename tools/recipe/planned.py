"""What a recipe comes to: the plan that every part of a run reads from, phase by phase in whole windows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from mixer.history import History
from mixer.mixture import Mixture
from mixer.source import Source
from schedulers.batch_size import Steps
from schedulers.schedule import Schedule

from .schema import Recipe


@dataclass(frozen=True)
class SourceUse:
    """What one phase draws from one source; ``epochs`` in this phase, ``epochs_so_far`` at its end."""

    weight: float
    samples: int
    tokens: int
    epochs: float
    epochs_so_far: float


@dataclass(frozen=True)
class PlannedPhase:
    """A phase in whole windows."""

    name: str
    start_sample: int
    end_sample: int
    start_tokens: int
    end_tokens: int
    sources: Mapping[str, SourceUse]


@dataclass(frozen=True, eq=False)
class Plan:
    """A recipe with its numbers resolved: what every part of a run reads from."""

    recipe: Recipe
    schedule: Schedule
    batches: Steps
    history: History
    sources: Mapping[str, Source]
    vocab_size: int
    warnings: tuple[str, ...] = ()

    @cached_property
    def mixture(self) -> Mixture:
        """Which row each sample reads."""
        return Mixture(self.history)

    @property
    def total_samples(self) -> int:
        """Windows of the run, those after its last whole global batch included."""
        return self.history.num_samples

    @property
    def total_tokens(self) -> int:
        """Tokens of the run."""
        return self.total_samples * self.recipe.sequence_length

    @cached_property
    def phases(self) -> tuple[PlannedPhase, ...]:
        """Phases with what each draws from its sources."""
        return tuple(self._planned_phases())

    def phase_at(self, sample: int) -> PlannedPhase:
        """The phase that a sample belongs to."""
        return next(phase for phase in self.phases if sample < phase.end_sample)

    def _planned_phases(self) -> Iterator[PlannedPhase]:
        recipe, length = self.recipe, self.recipe.sequence_length
        edges = sample_edges(recipe)
        for spec, mixture, start, end in zip(recipe.phases, mixtures(recipe), edges, edges[1:], strict=False):
            before, after = self.mixture.counts(start), self.mixture.counts(end)
            total = sum(mixture.values())
            uses = {
                name: SourceUse(
                    weight=weight / total,
                    samples=after[name] - before[name],
                    tokens=(after[name] - before[name]) * length,
                    epochs=(after[name] - before[name]) / self.sources[name].num_rows,
                    epochs_so_far=after[name] / self.sources[name].num_rows,
                )
                for name, weight in mixture.items()
                if weight > 0
            }
            yield PlannedPhase(spec.name, start, end, start * length, end * length, uses)


def sample_edges(recipe: Recipe) -> list[int]:
    """Where phases begin and the last one ends, in windows: the nearest one to the tokens asked.

    Edges are rounded from the start of the run, so errors don't add up.
    """
    length = recipe.sequence_length
    ends = accumulate(phase.tokens for phase in recipe.phases)
    return [0, *((2 * tokens + length) // (2 * length) for tokens in ends)]


def mixtures(recipe: Recipe) -> list[dict[str, float]]:
    """The mixture of each phase; one that states none goes on with the one before."""
    carried: dict[str, float] = {}
    found = []
    for phase in recipe.phases:
        carried = phase.mixture or carried
        found.append(carried)
    return found
