"""Where a recipe's phases begin and what each reads, before any data is opened."""

from itertools import accumulate, pairwise

from mixer.history import History

from ..errors import UserError
from .numbers import nearest_window
from .schema import Recipe


def sample_edges(recipe: Recipe) -> list[int]:
    """Where phases begin and the last one ends, in windows: the nearest one to the tokens asked.

    Edges are rounded from the start of the run, so errors don't add up.
    """
    return [nearest_window(tokens, recipe.sequence_length) for tokens in stated_edges(recipe)]


def stated_edges(recipe: Recipe) -> list[int]:
    """The same in tokens, as the recipe states them."""
    return list(accumulate((phase.tokens for phase in recipe.phases), initial=0))


def phase_edges(recipe: Recipe, history: History) -> list[int]:
    """The same as the run has them: a run that stops where a source is used up has later phases of no window."""
    return [min(edge, history.num_samples) for edge in sample_edges(recipe)]


def mixtures(recipe: Recipe) -> list[dict[str, float]]:
    """The mixture that each phase reads, or ramps to; one that states none goes on with the one before."""
    carried: dict[str, float] = {}
    found = []
    for phase in recipe.phases:
        carried = phase.mixture or carried
        found.append(carried)
    return found


def check_edges(recipe: Recipe, where: str) -> None:
    """Raise UserError for a phase so short that it snaps to no window at all."""
    for index, (start, end) in enumerate(pairwise(sample_edges(recipe))):
        if start == end:
            raise UserError(
                f"{where}: phases[{index}].tokens",
                got=str(recipe.phases[index].tokens),
                expected=f"at least half a window of {recipe.sequence_length} tokens",
            )
