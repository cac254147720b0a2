"""Shares asked for at one place of a run, in the recipe's unit, from the weights per window that the mixer keeps."""

from collections.abc import Mapping

from mixer.layout import Stretch
from mixer.mixture import Mixture
from mixer.rows import Source

from .schema import Recipe


def divisor(recipe: Recipe, source: Source) -> float:
    """What a weight is divided by to become a weight per window: the unit's mean tokens per training row.

    Every window has as many positions, so in ``tokens`` all divisors are 1.
    """
    return 1.0 if recipe.unit == "tokens" else source.mean_loss_tokens


def stretch_at(mixture: Mixture, sample: int, *, ending: bool = False) -> Stretch:
    """The stretch of one mixture or ramp that runs at a sample; with ``ending``, the one that ends there."""
    return next(stretch for stretch in mixture.cursors.stretches if sample < stretch.end_sample + ending)


def shares_of(mixture: Mixture, stretch: Stretch, sample: int, divisors: Mapping[str, float]) -> dict[str, float]:
    """Shares above 0 that a stretch asks for at a sample, both its ends included, in the recipe's unit.

    A source that the recipe no longer has counts as if all its positions were trained on.
    """
    per_window = zip(mixture.names, stretch.shares_at(sample).tolist(), strict=True)
    weights = {name: share * divisors.get(name, 1.0) for name, share in per_window if share > 0}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}
