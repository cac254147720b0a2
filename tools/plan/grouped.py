"""Which sources are shown by themselves where there are too many to show."""

from ..recipe.planned import Plan


def grouped(plan: Plan, most: int) -> tuple[list[str], list[str]]:
    """Names of the sources to show, in the recipe's order, and of those to sum up.

    Where there are more than ``most``, those that give the run most tokens stand alone.
    """
    names = [name for name in plan.mixture.names if name in plan.recipe.sources]
    if len(names) <= most:
        return names, []
    read = plan.mixture.reads(plan.total_samples)
    largest = set(sorted(names, key=lambda name: -read.get(name, 0))[: most - 1])
    return [name for name in names if name in largest], [name for name in names if name not in largest]
