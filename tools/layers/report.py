"""What is written of an analysis: report.json, two CSV files, figures and a page, in a folder that is whole."""

import csv
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .ablate import Ablation
from .findings import PERCENTILES, Analysis, Estimate, Stratum
from .folder import Earlier
from .trajectory import Trajectory

VERSION = 1
_REPORT, _LAYERS, _STRATA, PAGE = "report.json", "layers.csv", "strata.csv", "report.html"
FIGURES = ("models", "trajectory", "distance", "sources", "loss", "entropy", "position", "class", "pairs", "ablation")
_FILES = frozenset({_REPORT, _LAYERS, _STRATA, PAGE, *(f"{name}.png" for name in FIGURES)})
EARLIER = Earlier("an earlier report", _FILES, marker=_REPORT, keys=frozenset({"version", "probe", "models"}))


@dataclass(frozen=True)
class Report:
    """Everything that was asked: models in order, what was left out of each, and a run's trajectory."""

    analyses: list[Analysis]
    probe: dict[str, Any]
    ablations: dict[str, list[Ablation]]  # model -> parts
    trajectory: Trajectory | None

    @property
    def shown(self) -> list[Analysis]:
        """Models whose tables are shown: all of them, or of the checkpoints of one run the most trained."""
        if not self.trajectory:
            return self.analyses
        return [max(self.analyses, key=lambda analysis: analysis.facts["consumed_tokens"])]


def write_tables(report: Report, folder: Path) -> None:
    """report.json, layers.csv and strata.csv."""
    (folder / _REPORT).write_text(json.dumps(to_json(report), indent=1, allow_nan=False) + "\n")
    _write_csv(folder / _LAYERS, [row for a in report.analyses for row in layer_rows(a)])
    _write_csv(folder / _STRATA, [row for a in report.analyses for row in stratum_rows(a)])


def to_json(report: Report) -> dict[str, Any]:
    """The report as plain values; what is not known is null."""
    values: dict[str, Any] = plain(
        {
            "version": VERSION,
            "probe": report.probe,
            "models": [_model(analysis, report.ablations.get(analysis.name, [])) for analysis in report.analyses],
            "trajectory": report.trajectory and _trajectory(report.trajectory),
        }
    )
    return values


def plain(value: Any) -> Any:
    """Arrays as lists, nan and infinity as null.

    >>> plain({"a": np.array([1.0, float("nan")]), "b": (True, "x")})
    {'a': [1.0, None], 'b': [True, 'x']}
    """
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _model(analysis: Analysis, ablations: Sequence[Ablation]) -> dict[str, Any]:
    return {
        "name": analysis.name,
        **analysis.facts,
        "loss": _estimate(analysis.loss),
        "redundant_k": analysis.table.redundant,
        "layers": [_layer(analysis, layer) for layer in range(len(analysis.table.null))],
        "strata": [_stratum(row) for row in analysis.strata],
        "pairs": {"distance": analysis.pair_distance, "angle": analysis.pair_angle},
        "spans": [{"first": s.first, "end": s.end, "steps": s.steps} for s in analysis.spans],
        "quietest_runs": [{"first": r.first, "end": r.end, "angle": r.angle} for r in analysis.quietest_runs],
        "ablations": [_ablation(ablation) for ablation in ablations],
    }


def _layer(analysis: Analysis, layer: int) -> dict[str, Any]:
    table = analysis.table
    parts = {
        part: {name: _estimate(estimate, layer) for name, estimate in named.items()}
        for part, named in table.measures.items()
    }
    return {
        "number": layer,
        **parts,
        "percentiles": dict(zip(map(str, PERCENTILES), table.percentiles[layer], strict=True)),
        "null": table.null[layer],
        "below_resolution": table.below_resolution[layer],
        "chance_redundant": table.chance_redundant[layer],
        "rank": list(table.ranks[layer]),
    }


def _estimate(estimate: Estimate, *place: int) -> dict[str, Any]:
    ends = {"mean": estimate.mean, "low": estimate.low, "high": estimate.high}
    return {name: np.asarray(value)[place] if place else value for name, value in ends.items()}


def _stratum(row: Stratum) -> dict[str, Any]:
    return {
        "family": row.family,
        "name": row.name,
        "tokens": row.tokens,
        "loss": row.loss,
        "distance": _estimate(row.distance),
    }


def _ablation(ablation: Ablation) -> dict[str, Any]:
    return {
        "part": ablation.part,
        "places": ablation.places,
        "loss_rise": _estimate(ablation.rise),
        "rank_correlation": ablation.rank_correlation,
    }


def _trajectory(found: Trajectory) -> dict[str, Any]:
    return {
        "tokens": found.tokens,
        "distance": found.drift,
        "slope_per_billion_tokens": _estimate(found.slope),
        "loss": found.loss,
        "loss_slope_per_billion_tokens": _estimate(found.loss_slope),
        "last_layer_jump_share": found.jump_share,
        "trends": [vars(trend) for trend in found.trends],
        "verdict": found.verdict,
    }


def layer_rows(analysis: Analysis) -> Iterator[dict[str, Any]]:
    """One row a layer, every measure with its interval."""
    for layer in range(len(analysis.table.null)):
        row: dict[str, Any] = {"model": analysis.name, "layer": layer, "null": analysis.table.null[layer]}
        for part, named in analysis.table.measures.items():
            for name, estimate in named.items():
                row |= {f"{part}_{name}": estimate.mean[layer]}
                row |= {f"{part}_{name}_low": estimate.low[layer], f"{part}_{name}_high": estimate.high[layer]}
        table = analysis.table
        row |= {f"percentile_{p}": value for p, value in zip(PERCENTILES, table.percentiles[layer], strict=True)}
        row |= dict(zip(("rank_low", "rank_high"), table.ranks[layer], strict=True))
        row |= {"chance_redundant": table.chance_redundant[layer], "below_resolution": table.below_resolution[layer]}
        yield row


def stratum_rows(analysis: Analysis) -> Iterator[dict[str, Any]]:
    """One row for each layer of each stratum."""
    for row in analysis.strata:
        ends = zip(row.distance.mean, row.distance.low, row.distance.high, strict=True)
        for layer, (mean, low, high) in enumerate(ends):
            kind = {"family": row.family, "stratum": row.name, "tokens": row.tokens, "loss": row.loss}
            yield {"model": analysis.name, **kind, "layer": layer, "distance": mean, "low": low, "high": high}


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
