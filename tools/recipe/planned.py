"""What a recipe comes to: the plan that every part of a run reads from, phase by phase in whole windows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

from mixer.epochs import epochs_of
from mixer.history import History
from mixer.mixture import Mixture
from mixer.rows import Source
from schedulers.batch_ramps import Coupled
from schedulers.batch_size import Steps
from schedulers.hyperparameters import Hyperparameters, as_schedule
from schedulers.parts import parts
from schedulers.schedule import Schedule

from .edges import phase_edges
from .schema import Recipe
from .shares import divisor, shares_of, stretch_at

# The curves beside the learning rate: their keys in a recipe, and their names in Hyperparameters.
BESIDE = {"weight_decay": "weight_decay", "adam_beta2": "beta2", "clip_grad": "clip_grad"}


@dataclass(frozen=True)
class SourceUse:
    """What one phase draws from one source.

    Shares are asked for, in the recipe's unit, at the phase's first window and where it ends; they differ in a ramp, in
    a phase that was edited under way, and where a cap hands a share on. ``epochs`` are passes in this phase,
    ``epochs_so_far`` those at its end.
    """

    start_share: float
    end_share: float
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
    hyperparameters: Hyperparameters
    batches: Steps
    history: History
    sources: Mapping[str, Source]
    vocab_size: int
    warnings: tuple[str, ...] = ()

    @property
    def learning_rate(self) -> Schedule | Coupled:
        """What each step runs at, by the tokens consumed before it."""
        rate = self.hyperparameters.learning_rate
        assert isinstance(rate, Schedule | Coupled), "a recipe's learning rate is a curve"
        return rate

    @property
    def schedule(self) -> Schedule:
        """The learning rate as segments; where it is coupled, that at the reference batch size."""
        return as_schedule(self.hyperparameters.learning_rate)

    @cached_property
    def decay_starts(self) -> tuple[int, ...]:
        """Where the learning rate begins to decay: branches start there. The fall of a wave is no decay."""
        return tuple(part.start_tokens for part in parts(self.schedule) if part.kind == "decay")

    @property
    def curves_beside(self) -> dict[str, Schedule]:
        """The curves beside the learning rate that are more than a number, by their keys in the recipe."""
        found = {key: getattr(self.hyperparameters, name) for key, name in BESIDE.items()}
        return {key: curve for key, curve in found.items() if isinstance(curve, Schedule)}

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

    def with_batches(self, batches: Steps) -> "Plan":
        """The plan with other steps; a learning rate that is coupled to the batch size goes by theirs."""
        rate, hyperparameters = self.learning_rate, self.hyperparameters
        if isinstance(rate, Coupled):
            hyperparameters = replace(hyperparameters, learning_rate=replace(rate, ramp=batches.ramp))
        return replace(self, batches=batches, hyperparameters=hyperparameters)

    @cached_property
    def phases(self) -> tuple[PlannedPhase, ...]:
        """Phases with what each draws from its sources; those after an early stop are left out."""
        return tuple(self._planned_phases())

    @cached_property
    def divisors(self) -> dict[str, float]:
        """What each source's weights are divided by to be weights per window."""
        return {name: divisor(self.recipe, source) for name, source in self.sources.items()}

    @cached_property
    def bound_samples(self) -> float:
        """No source's count differs from the sum of its shares by more than this, before any sample of the run."""
        return max(self.mixture.bounds().values())

    def phase_at(self, sample: int) -> PlannedPhase:
        """The phase that a sample belongs to."""
        return next(phase for phase in self.phases if sample < phase.end_sample)

    def epochs(self, sample: int) -> dict[str, float]:
        """Passes over each source's rows before a sample."""
        return {name: epochs_of(self.history.sources[name], n) for name, n in self.mixture.counts(sample).items()}

    def _planned_phases(self) -> Iterator[PlannedPhase]:
        length, edges = self.recipe.sequence_length, phase_edges(self.recipe, self.history)
        for spec, (start, end) in zip(self.recipe.phases, pairwise(edges), strict=True):
            if start < end:
                yield PlannedPhase(spec.name, start, end, start * length, end * length, self._uses(start, end))

    def _uses(self, start: int, end: int) -> dict[str, SourceUse]:
        before, after = self.mixture.reads(start), self.mixture.reads(end)
        epochs_before, epochs_after = self.epochs(start), self.epochs(end)
        first = shares_of(self.mixture, stretch_at(self.mixture, start), start, self.divisors)
        last = shares_of(self.mixture, stretch_at(self.mixture, end, ending=True), end, self.divisors)
        return {
            name: SourceUse(
                start_share=first.get(name, 0.0),
                end_share=last.get(name, 0.0),
                samples=after[name] - before[name],
                tokens=(after[name] - before[name]) * self.recipe.sequence_length,
                epochs=epochs_after[name] - epochs_before[name],
                epochs_so_far=epochs_after[name],
            )
            for name in self.mixture.names
            if first.get(name) or last.get(name) or after[name] > before[name]
        }
