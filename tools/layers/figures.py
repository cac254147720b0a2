"""The figures of a report, as names and titles of PNG files; plots.py draws them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from schedulers.words import format_tokens

from ..plots import Curve, Panel, draw_curves, draw_matrix
from .ablate import Ablation
from .findings import Analysis, Estimate, Stratum
from .measures import null_distance
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
    last = report.shown[-1]
    yield _distances(last, folder / "distance.png")
    yield _sources(last, folder / "sources.png")
    for family in ("loss", "entropy", "position", "class"):
        yield _strata(last, family, folder / f"{family}.png")
    if np.isfinite(last.pair_angle).all():
        yield _pairs(last, folder / "pairs.png")
    if ablations := report.ablations.get(last.name):
        yield _ablations(last, ablations, folder / "ablation.png")


def _curve(name: str, estimate: Estimate) -> Curve:
    layers = np.arange(len(estimate.mean))
    known = bool(np.isfinite(estimate.low).all())
    ends = (estimate.low.tolist(), estimate.high.tolist()) if known else ((), ())
    return Curve(name, layers.tolist(), estimate.mean.tolist(), *ends)


def _distances(analysis: Analysis, path: Path) -> Figure:
    parts = analysis.table.measures
    curves = [_curve(_name(part), named["distance"]) for part, named in parts.items()]
    null = analysis.table.null
    curves.append(Curve("null model", list(range(len(null))), null, dotted=True))
    title = f"{analysis.name}: 1 - cos of input and output"
    draw_curves([Panel(curves, title, "layer", "1 - cos", logarithmic=True)], path)
    return path.name, (
        "How far each layer, its attention and its MLP turn the residual; bands are 95 % intervals, of each layer by "
        "itself. A low one does little to its direction. Dotted is what orthogonal updates of one length give: depth "
        "alone makes it fall."
    )


def _models_side_by_side(analyses: list[Analysis], path: Path) -> Figure:
    curves = []
    for analysis in analyses:
        curve = _curve(analysis.name, analysis.table.measures["layer"]["distance"])
        curves.append(Curve(curve.name, _relative_depth(len(curve.y)), curve.y, curve.low, curve.high))
    for depth in sorted({len(curve.y) for curve in curves}):
        null = [null_distance(layer) for layer in range(depth)]
        curves.append(Curve(f"null model, {depth} layers", _relative_depth(depth), null, dotted=True))
    draw_curves([Panel(curves, "Models on the same text", "relative depth", "1 - cos", logarithmic=True)], path)
    return path.name, (
        "All models on the same text, each layer at the middle of its part of the depth; dotted is what orthogonal "
        "updates of one length give at that depth. Compare shapes; heights only within a family, as where norms stand "
        "moves the whole curve."
    )


def _relative_depth(layers: int) -> list[float]:
    """Middles of the layers, from 0 for the start of the model to 1 for its end."""
    return [(layer + 0.5) / layers for layer in range(layers)]


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
    "position": "By how many tokens stand before it, from none (dark) to most (light): whether longer context makes "
    "layers do more. Some of the ranges only, spread over all; strata.csv has each.",
    "class": "By the class of the token: the first of a segment and massive ones often behave on their own.",
}


_MOST_LINES = 5


def _strata(analysis: Analysis, family: str, path: Path) -> Figure:
    rows = _spread_over([row for row in analysis.strata if row.family == family])
    whole = _whole(analysis)
    curves = [
        _curve(
            f"{row.name} ({row.tokens:,})",
            Estimate(row.distance.mean / whole, row.distance.low / whole, row.distance.high / whole),
        )
        for row in rows
    ]
    title = f"{analysis.name}: 1 - cos by {_UNITS[family]} (number of tokens), over that of all text"
    draw_curves([Panel(curves, title, "layer", "times all text", ordered=family != "class")], path)
    return path.name, _READINGS[family]


def _spread_over(rows: Sequence[Stratum]) -> list[Stratum]:
    """At most so many that their lines can be told apart, with the first and the last."""
    kept = np.linspace(0, len(rows) - 1, min(len(rows), _MOST_LINES)).round().astype(int)
    return [rows[number] for number in kept]


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


def _ablations(analysis: Analysis, ablations: Sequence[Ablation], path: Path) -> Figure:
    rises = [curve for ablation in ablations for curve in _rises(ablation)]
    parts = [ablation.part for ablation in ablations if ablation.part != "span"] or ["layer"]
    distances = [_curve(_name(part), analysis.table.measures[part]["distance"]) for part in parts]
    draw_curves(
        [
            Panel(rises, f"{analysis.name}: rise of the loss without it", "layer", "nats a token"),
            Panel(distances, "1 - cos of input and output", "layer", "1 - cos", logarithmic=True),
        ],
        path,
    )
    return path.name, (
        "Above, what the loss rises by when a layer, its part, or a span A:B is left out: what it is worth. Below, how "
        "far it turns the residual. Where the two go together, the distance is a guide. Bands are 95 % intervals, of "
        "each by itself."
    )


def _rises(ablation: Ablation) -> Iterator[Curve]:
    """One curve over all layers, or a bar over the layers of each span."""
    if ablation.part != "span":
        yield _curve(_name(ablation.part), ablation.rise)
        return
    rise = ablation.rise
    for place, mean, low, high in zip(ablation.places, rise.mean, rise.low, rise.high, strict=True):
        first, end = map(int, place.split(":"))
        lows, highs = ([low, low], [high, high]) if np.isfinite(low) else ((), ())
        yield Curve(f"span {place}", [first - 0.4, end - 0.6], [mean, mean], lows, highs, bar=True)


def _name(part: str) -> str:
    return _PART_NAMES.get(part, part)


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
