"""The figures of a report, as names and titles of PNG files; plots.py draws them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..plots import Curve, draw_curves, draw_matrix
from .ablate import Ablation
from .findings import Analysis, Estimate
from .report import Report
from .trajectory import Trajectory


def draw_figures(report: Report, folder: Path) -> list[tuple[str, str]]:
    """Write every figure that there is something for; (file name, what it shows) in the order of the page."""
    return list(_draw(report, folder))


def _draw(report: Report, folder: Path) -> Iterator[tuple[str, str]]:
    if len(report.analyses) > 1:
        yield _models_side_by_side(report.analyses, folder / "models.png")
    if report.trajectory:
        yield _trajectory(report.trajectory, folder / "trajectory.png")
    last = report.analyses[-1]
    yield _distances(last, folder / "distance.png")
    yield _sources(last, folder / "sources.png")
    for family in ("loss", "entropy", "position", "class"):
        yield _strata(last, family, folder / f"{family}.png")
    if np.isfinite(last.pair_angle).all():
        yield _pairs(last, folder / "pairs.png")
    for name, ablations in report.ablations.items():
        if name == last.name and any(ablation.part != "span" for ablation in ablations):
            yield _ablations(ablations, folder / "ablation.png")


def _curve(name: str, estimate: Estimate) -> Curve:
    layers = np.arange(len(estimate.mean))
    known = bool(np.isfinite(estimate.low).all())
    ends = (estimate.low.tolist(), estimate.high.tolist()) if known else ((), ())
    return Curve(name, layers.tolist(), estimate.mean.tolist(), *ends)


def _distances(analysis: Analysis, path: Path) -> tuple[str, str]:
    parts = analysis.table.measures
    curves = [_curve(part, named["distance"]) for part, named in parts.items()]
    null = analysis.table.null
    curves.append(Curve("null model", list(range(len(null))), null, dashed=True))
    title = f"{analysis.name}: 1 - cos of input and output, with 95 % intervals"
    draw_curves(curves, path, title=title, x_label="layer", y_label="1 - cos", logarithmic=True)
    return path.name, "Distance of each layer, its attention and its MLP, beside the null model of orthogonal updates."


def _models_side_by_side(analyses: list[Analysis], path: Path) -> tuple[str, str]:
    curves = []
    for analysis in analyses:
        curve = _curve(analysis.name, analysis.table.measures["layer"]["distance"])
        depth = [(layer + 0.5) / len(curve.y) for layer in curve.x]
        curves.append(Curve(curve.name, depth, curve.y, curve.low, curve.high))
    draw_curves(
        curves, path, title="Models on the same text", x_label="relative depth", y_label="1 - cos", logarithmic=True
    )
    return path.name, "Models on the same text, layers at the middle of their part of the depth."


def _sources(analysis: Analysis, path: Path) -> tuple[str, str]:
    rows = [row for row in analysis.strata if row.family == "source"]
    values = np.stack([row.distance.mean for row in rows])
    whole = analysis.table.measures["layer"]["distance"].mean
    draw_matrix(
        values / np.where(whole > 0, whole, 1),
        path,
        title=f"{analysis.name}: 1 - cos by source, over that of all text",
        rows=[row.name for row in rows],
        columns=[str(layer) for layer in range(len(whole))],
        labels=("layer", "source", "times all text"),
    )
    return path.name, "Which source moves which layer: distance of the source over that of all text."


def _strata(analysis: Analysis, family: str, path: Path) -> tuple[str, str]:
    rows = [row for row in analysis.strata if row.family == family]
    curves = [_curve(f"{row.name} ({row.tokens:,})", row.distance) for row in rows]
    unit = {"loss": "loss, nats", "entropy": "entropy, nats", "position": "tokens before it", "class": "class"}[family]
    title = f"{analysis.name}: 1 - cos by {unit} (tokens)"
    draw_curves(curves, path, title=title, x_label="layer", y_label="1 - cos", logarithmic=True)
    return path.name, f"Distance of each layer by the token's {family}."


def _pairs(analysis: Analysis, path: Path) -> tuple[str, str]:
    names = [*map(str, range(len(analysis.pair_angle) - 1)), "end"]
    draw_matrix(
        analysis.pair_angle,
        path,
        title=f"{analysis.name}: angle between the residual before two layers",
        rows=names,
        columns=names,
        labels=("before layer", "before layer", "angle / pi"),
    )
    return path.name, "Angle between the residual before any two layers; a dark block turns little."


def _ablations(ablations: list[Ablation], path: Path) -> tuple[str, str]:
    curves = [_curve(ablation.part, ablation.rise) for ablation in ablations if ablation.part != "span"]
    draw_curves(curves, path, title="Rise of the loss without it", x_label="layer", y_label="nats per token")
    return path.name, "What the loss rises by when a layer, or its part, is left out."


def _trajectory(found: Trajectory, path: Path) -> tuple[str, str]:
    draw_matrix(
        found.drift.T,
        path,
        title="1 - cos of each layer over the checkpoints",
        rows=[str(layer) for layer in range(found.drift.shape[1])],
        columns=[f"{tokens:,}" for tokens in found.tokens],
        labels=("tokens trained", "layer", "1 - cos"),
        logarithmic=True,
    )
    return path.name, "Distance of each layer at each checkpoint of the run, on the same tokens."
