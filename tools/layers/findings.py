"""What the sums of a pass say: means with intervals, ranks with ties, percentiles, strata, pairs. Arithmetic only."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .measures import MEASURES, null_distance
from .order import QuietRun, quietest_runs
from .ranking import chance_in_lowest, rank_ranges
from .spans import Span, acting_as_one
from .strata import Strata, joined_buckets
from .sums import BINS_PER_DECADE, LOWEST_EXPONENT, LayerSums
from .taps import PARTS
from .uncertainty import Bootstrap, ratio

Array = npt.NDArray[np.float64]
PERCENTILES = (5, 50, 95)
BUCKETED = ("loss", "entropy")


@dataclass(frozen=True)
class Pass:
    """The sums of one model as arrays, under the names of ``LayerSums``, and ``group_sources`` of the probe."""

    parts: Array
    strata: Array
    losses: Array
    histogram: Array
    pairs: Array
    group_sources: npt.NDArray[np.int64]

    @classmethod
    def of(cls, sums: LayerSums, group_sources: npt.NDArray[np.int64]) -> "Pass":
        """Off the device."""
        parts, strata, losses, histogram, pairs = (tensor.cpu().numpy() for tensor in sums.tensors())
        return cls(parts, strata, losses, histogram, pairs, group_sources)

    @property
    def group_tokens(self) -> Array:
        """Tokens of each document group."""
        return np.asarray(self.parts[:, :, 0, 0].max(1))

    def bootstrap(self, *, draws: int = 1000, seed: int = 0) -> Bootstrap:
        """Draws of this probe's documents; models that read the same probe get the same draws."""
        return Bootstrap.of(self.group_tokens, self.group_sources, draws=draws, seed=seed)


def loss_sums(found: Pass, strata: Strata) -> tuple[Array, Array]:
    """Summed loss and tokens of each group; every token is of one source."""
    of_sources = found.losses[:, strata.span("source")].sum(1)
    return of_sources[:, 1], of_sources[:, 0]


@dataclass(frozen=True)
class Estimate:
    """Means of the layers and the ends of their intervals; nan where there is no token."""

    mean: Array
    low: Array
    high: Array


def estimate(bootstrap: Bootstrap, sums: Array, counts: Array) -> Estimate:
    """Of sums and counts (groups, ...)."""
    low, high = bootstrap.interval(bootstrap.means(sums, counts), counts)
    return Estimate(ratio(sums.sum(0), counts.sum(0)), low, high)


@dataclass(frozen=True)
class Table:
    """One row for each layer: every measure of every part, and its place among the most redundant layers."""

    measures: dict[str, dict[str, Estimate]]  # part -> measure -> layers
    percentiles: Array  # (layers, PERCENTILES) of the distance
    chance_redundant: Array
    ranks: list[tuple[int, int]]
    below_resolution: list[bool]
    null: list[float]
    redundant: int


def table(found: Pass, bootstrap: Bootstrap, *, redundant: int, resolution: float) -> Table:
    """Of a whole pass; ``redundant`` is the k of the k most redundant layers."""
    counts = found.parts[..., 0]
    measures = {
        part: {
            name: estimate(bootstrap, found.parts[:, :, p, 1 + m], counts[:, :, p]) for m, name in enumerate(MEASURES)
        }
        for p, part in enumerate(PARTS)
    }
    distances = bootstrap.means(found.parts[:, :, 0, 1], counts[:, :, 0])
    distance, known = distances.value, bool(bootstrap.spread(distances).known.all())
    return Table(
        measures,
        percentiles(found.histogram),
        chance_in_lowest(distances.draws, redundant) if known else np.full(len(distance), np.nan),
        rank_ranges(bootstrap, distances),
        [bool(value < resolution) for value in distance],
        [null_distance(layer) for layer in range(len(distance))],
        redundant,
    )


def percentiles(histogram: Array) -> Array:
    """(layers, bins) -> (layers, PERCENTILES): the middle of the bin, in its logarithm, that holds the percentile.

    >>> bins = np.zeros((1, 300)); bins[0, 288] = 10  # the first bin from 1 on
    >>> percentiles(bins).round(2).tolist()
    [[1.04, 1.04, 1.04]]
    """
    shares = np.cumsum(histogram, 1) / np.maximum(histogram.sum(1, keepdims=True), 1)
    bins = np.stack([(shares < p / 100).sum(1) for p in PERCENTILES], 1)
    return np.asarray(10.0 ** (LOWEST_EXPONENT + (bins + 0.5) / BINS_PER_DECADE))


@dataclass(frozen=True)
class Stratum:
    """Tokens of one kind: how many, their loss, and the distance of each layer on them."""

    family: str
    name: str
    tokens: int
    loss: float
    distance: Estimate


Buckets = dict[str, list[slice]]


def buckets_of(found: Pass, strata: Strata) -> Buckets:
    """How the fine strata of loss and entropy are joined; made from the first checkpoint, used for all."""
    tokens = found.losses[:, :, 0].sum(0)
    return {family: joined_buckets(tokens[strata.span(family)]) for family in BUCKETED}


def strata_table(found: Pass, strata: Strata, bootstrap: Bootstrap, buckets: Buckets) -> list[Stratum]:
    """Every stratum that has tokens, family after family."""
    rows = []
    for family, size in strata.sizes.items():
        names, start = strata.names(family), strata.span(family).start
        for part in buckets.get(family, [slice(number, number + 1) for number in range(size)]):
            where = slice(start + part.start, start + part.stop)
            rows.append(_stratum(found, bootstrap, where, family, _joined(names[part])))
    return [row for row in rows if row.tokens]


def _joined(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0].partition('-')[0]}-{names[-1].partition('-')[2]}"


def _stratum(found: Pass, bootstrap: Bootstrap, where: slice, family: str, name: str) -> Stratum:
    sums, losses = found.strata[:, where].sum(1), found.losses[:, where].sum((0, 1))
    loss = float(losses[1] / losses[0]) if losses[0] else float("nan")
    return Stratum(family, name, int(losses[0]), loss, estimate(bootstrap, sums[:, :, 1], sums[:, :, 0]))


@dataclass(frozen=True)
class Analysis:
    """All that is said of one model."""

    name: str
    facts: dict[str, Any]
    table: Table
    loss: Estimate
    strata: list[Stratum]
    pair_distance: Array
    pair_angle: Array
    spans: list[Span]
    quietest_runs: list[QuietRun]
    found: Pass = field(repr=False)


def analyse(
    found: Pass,
    strata: Strata,
    *,
    name: str,
    facts: dict[str, Any],
    resolution: float,
    redundant: int,
    buckets: Buckets | None = None,
    seed: int = 0,
) -> Analysis:
    """Put together what a pass says; ``buckets`` are the first model's where there are several."""
    bootstrap = found.bootstrap(seed=seed)
    angle = ratio(found.pairs[2], found.pairs[0])
    return Analysis(
        name,
        facts,
        table(found, bootstrap, redundant=redundant, resolution=resolution),
        estimate(bootstrap, *loss_sums(found, strata)),
        strata_table(found, strata, bootstrap, buckets or buckets_of(found, strata)),
        ratio(found.pairs[1], found.pairs[0]),
        angle,
        acting_as_one(angle) if np.isfinite(angle).all() else [],
        quietest_runs(angle),
        found,
    )
