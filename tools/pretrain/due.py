"""When to validate, save, and look at weights and layers: all from the token clock, so a resumed run does the same."""

from collections.abc import Iterable

from ..recipe.planned import Plan
from .state import RunState

_UPDATE_RATIO_EVERY_STEPS = 10


class Due:
    """Answers from the state after a step; nothing is remembered between steps."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._joints = tuple(phase.end_tokens for phase in plan.phases[:-1])
        self._decay_starts = plan.decay_starts

    def validation(self, state: RunState) -> bool:
        """Every ``validation.every`` tokens, at each joint between phases, and at the end."""
        every = self._plan.recipe.validation.every
        return self._is_last(state) or self._reaches(state, every, self._joints)

    def checkpoint(self, state: RunState) -> bool:
        """Every ``checkpoints.every`` tokens, before each decay, and at the end."""
        every = self._plan.recipe.checkpoints.every
        return self._is_last(state) or self._reaches(state, every, self._decay_starts)

    def layers(self, state: RunState) -> bool:
        """Every ``layers.every`` tokens and at the end; never where that is 0."""
        every = self._plan.recipe.layers.every
        return bool(every) and (self._is_last(state) or self._reaches(state, every, ()))

    def is_before_decay(self, state: RunState) -> bool:
        """Whether the next step is the first in which a decay has begun."""
        return self._reaches(state, 0, self._decay_starts)

    def update_ratio(self, step: int) -> bool:
        """Every tenth step."""
        return step % _UPDATE_RATIO_EVERY_STEPS == 0

    def _is_last(self, state: RunState) -> bool:
        return state.step == self._plan.batches.num_steps

    def _reaches(self, state: RunState, every: int, points: Iterable[int]) -> bool:
        """Whether the clock stands at, or in the last step before, a point or a multiple of ``every``."""
        here, after = state.consumed_tokens, state.consumed_tokens
        if not self._is_last(state):
            after += self._plan.batches.batch_size(state.step) * self._plan.recipe.sequence_length
        crosses = bool(every) and (after - 1) // every > (here - 1) // every
        return crosses or any(here <= point < after for point in points)
