"""The figures of a report, as names and titles of PNG files; plots.py draws them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from schedulers.words import format_tokens

from ..plots import Curve, draw_curves, draw_matrix
from .ablate import Ablation
from .findings import Analysis, Estimate
from .report import Report
from .trajectory import Trajectory

Figure = tuple[str, str]  # name of the file, how to read it
_PART_NAMES = {"layer": "whole layer", "mlp": "MLP"}


def draw_figures(report: Report, folder: Path) -> list[Figure]:
    """Write every figure that there is something for; (file name, what it shows) in the order of the page."""
    return list(_draw(report, folder))


def _draw(report: Report, folder: Path) -> Iterator[Figure]:
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


def _distances(analysis: Analysis, path: Path) -> Figure:
    parts = analysis.table.measures
    curves = [_curve(_PART_NAMES.get(part, part), named["distance"]) for part, named in parts.items()]
    null = analysis.table.null
    curves.append(Curve("null model", list(range(len(null))), null, dashed=True))
    title = f"{analysis.name}: 1 - cos of input and output"
    draw_curves(curves, path, title=title, x_label="layer", y_label="1 - cos", logarithmic=True)
    return path.name, (
        "How far each layer, its attention and its MLP turn the residual; bands are 95 % intervals, of each layer by "
        "itself. A low one does little to its direction. Dashed is what orthogonal updates of one length give: depth "
        "alone makes it fall."
    )


def _models_side_by_side(analyses: list[Analysis], path: Path) -> Figure:
    curves = []
    for analysis in analyses:
        curve = _curve(analysis.name, analysis.table.measures["layer"]["distance"])
        depth = [(layer + 0.5) / len(curve.y) for layer in curve.x]
        curves.append(Curve(curve.name, depth, curve.y, curve.low, curve.high))
    draw_curves(
        curves, path, title="Models on the same text", x_label="relative depth", y_label="1 - cos", logarithmic=True
    )
    return path.name, (
        "All models on the same text, each layer at the middle of its part of the depth. Compare shapes; heights only "
        "within a family, as where norms stand moves the whole curve."
    )


def _sources(analysis: Analysis, path: Path) -> Figure:
    rows = [row for row in analysis.strata if row.family == "source"]
    whole = _whole(analysis)
    draw_matrix(
        np.stack([row.distance.mean for row in rows]) / whole,
        path,
        title=f"{analysis.name}: 1 - cos by source, over that of all text",
        rows=[row.name for row in rows],
        columns=[str(layer) for layer in range(len(whole))],
        labels=("layer", "source", "times all text"),
        beside_one=True,
    )
    return path.name, "Which source moves which layer: red more than all text together, blue less."


def _whole(analysis: Analysis) -> npt.NDArray[np.float64]:
    """Distance of each layer on all text, to divide by."""
    mean = analysis.table.measures["layer"]["distance"].mean
    return np.where(mean > 0, mean, 1)


_UNITS = {"loss": "loss, nats", "entropy": "entropy, nats", "position": "tokens before it", "class": "class"}
_READINGS = {
    "loss": "By the token's own loss: lines above 1 are kinds of tokens that a layer does more for than on average. If "
    "hard tokens lie above easy ones, an idle-looking layer is idle on easy text only.",
    "entropy": "By how uncertain the prediction is, from certain (dark) to uncertain (light).",
    "position": "By how many tokens stand before it: whether longer context makes layers do more.",
    "class": "By the class of the token: the first of a document and massive ones often behave on their own.",
}


def _strata(analysis: Analysis, family: str, path: Path) -> Figure:
    rows = [row for row in analysis.strata if row.family == family]
    whole = _whole(analysis)
    curves = [
        _curve(
            f"{row.name} ({row.tokens:,})",
            Estimate(row.distance.mean / whole, row.distance.low / whole, row.distance.high / whole),
        )
        for row in rows
    ]
    title = f"{analysis.name}: 1 - cos by {_UNITS[family]} (number of tokens), over that of all text"
    ordered = family != "class"
    draw_curves(curves, path, title=title, x_label="layer", y_label="times all text", ordered=ordered)
    return path.name, _READINGS[family]


def _pairs(analysis: Analysis, path: Path) -> Figure:
    names = [*map(str, range(len(analysis.pair_angle) - 1)), "end"]
    draw_matrix(
        analysis.pair_angle,
        path,
        title=f"{analysis.name}: angle between the residual before two layers, in half turns",
        rows=names,
        columns=names,
        labels=("before layer", "before layer", "angle / pi"),
    )
    return path.name, "How far the residual turns between any two places; a dark block along the diagonal turns little."


def _ablations(ablations: list[Ablation], path: Path) -> Figure:
    curves = [_curve(ablation.part, ablation.rise) for ablation in ablations if ablation.part != "span"]
    draw_curves(curves, path, title="Rise of the loss without it", x_label="layer", y_label="nats per token")
    return path.name, (
        "What the loss rises by when a layer, or its part, is left out: what it is worth. Bands are 95 % intervals, of "
        "each layer by itself."
    )


def _trajectory(found: Trajectory, path: Path) -> Figure:
    draw_matrix(
        (found.drift / np.where(found.drift[0] > 0, found.drift[0], 1)).T,
        path,
        title="1 - cos of each layer, over that at the first checkpoint",
        rows=[str(layer) for layer in range(found.drift.shape[1])],
        columns=[format_tokens(tokens) for tokens in found.tokens],
        labels=("tokens trained", "layer", "times the first"),
        beside_one=True,
    )
    return path.name, "How each layer changes over the run, on the same tokens: red does more than at first, blue less."
