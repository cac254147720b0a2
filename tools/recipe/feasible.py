"""The largest share of a source that keeps it within its cap, found by planning with other shares."""

from collections.abc import Callable
from dataclasses import dataclass

from mixer.epochs import allowed_draws
from mixer.history import History
from mixer.mixture import Mixture

from .edges import mixtures, phase_edges, sample_edges
from .schema import Recipe

_SHARE_STEPS = 10**6  # shares are tried, and told, to the millionth
_ROUNDING_WINDOWS = 4  # by which the counts of two plans may differ from the difference of their shares


@dataclass(frozen=True)
class Trial:
    """A recipe to be planned with another share of a source in the mixture of phases ``first`` to ``last``."""

    recipe: Recipe
    history_of: Callable[[Recipe], History]
    name: str
    first: int
    last: int

    def excess(self, share: float) -> int:
        """Draws beyond the cap where the last of the phases ends, with that share; 0 or less where it holds."""
        tried = with_share(self.recipe, self.first, self.name, share)
        history = self.history_of(tried)
        draws = allowed_draws(history.sources[self.name], self.recipe.sources[self.name].max_epochs or 0.0)
        return Mixture(history).counts(phase_edges(tried, history)[self.last + 1])[self.name] - draws

    def largest_share(self) -> float | None:
        """To the millionth, rounded down, the other weights in their ratios; None where not even 0 is little enough.

        Counts are nearly straight in the share, so a straight line leaves a few steps for the bisection; where they are
        not, it takes twenty.
        """
        at_none, at_all = self.excess(0), self.excess(1)
        if at_none > 0:
            return None
        low, high = 0, _SHARE_STEPS
        guess = _SHARE_STEPS * -at_none // max(at_all - at_none, 1)
        for step in (guess - self._margin, guess + self._margin):
            low, high = self._narrowed(low, high, step)
        while high - low > 1:
            low, high = self._narrowed(low, high, (low + high) // 2)
        return low / _SHARE_STEPS

    @property
    def _margin(self) -> int:
        edges = sample_edges(self.recipe)
        return 2 + _ROUNDING_WINDOWS * _SHARE_STEPS // (edges[self.last + 1] - edges[self.first])

    def _narrowed(self, low: int, high: int, step: int) -> tuple[int, int]:
        if not low < step < high:
            return low, high
        return (step, high) if self.excess(step / _SHARE_STEPS) <= 0 else (low, step)


def with_share(recipe: Recipe, phase: int, name: str, share: float) -> Recipe:
    """The recipe with a source's share of a phase's mixture set, and the others' scaled to fill the rest."""
    before = mixtures(recipe)[phase]
    rest = sum(weight for other, weight in before.items() if other != name)
    mixture = {other: weight / rest * (1 - share) for other, weight in before.items() if other != name}
    changed = recipe.phases[phase].model_copy(update={"mixture": {**mixture, name: share}})
    phases = (*recipe.phases[:phase], changed, *recipe.phases[phase + 1 :])
    return recipe.model_copy(update={"phases": phases})
