"""Pictures: a run on one token axis, curves and heat maps; the one file that imports matplotlib."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from schedulers.words import format_tokens, format_value

from .plan.chart import lowest_shown

_COLOURS = ("#3b6ea8", "#d98c3f", "#5a9e6f", "#b5534f", "#7d6aa8", "#8a7a5c", "#4fa3a5", "#c77fa0")
_MORE_COLOURS = ("#8fb0d6", "#a3b04a", "#c9a98a", "#999999")  # where up to twelve lie side by side

_GREYS = ("#888888", "#444444", "#bbbbbb")  # of curves to compare with
_LEAST_RANGE = 0.2  # of the colours of a heat map

_MOST_NUMBERS = 160
_LABEL_LINES = (1.03, 1.13, 1.23)
_MOST_CHARACTERS = 40
_CHARACTER = 0.0095  # width of one of a label, as a part of the axis


Colour = str | tuple[float, float, float, float]


@dataclass(frozen=True)
class Picture:
    """What a run's picture shows; curves that are empty are left out.

    ``learning_rate`` (tokens, values); ``mixture`` token positions with each source's share there, a jump twice;
    ``joints`` phase names at their first token; ``batch_size`` (tokens, windows), two points for each size; ``beside``
    name -> (tokens, values) of what else is a curve; ``loss`` (tokens, values); ``validation`` source -> (tokens,
    values).
    """

    title: str
    learning_rate: tuple[Sequence[float], Sequence[float]]
    mixture: tuple[Sequence[int], Mapping[str, Sequence[float]]]
    joints: Sequence[tuple[str, int]]
    batch_size: tuple[Sequence[float], Sequence[float]] = ((), ())
    beside: Mapping[str, tuple[Sequence[float], Sequence[float]]] = field(default_factory=dict)
    loss: tuple[Sequence[float], Sequence[float]] = ((), ())
    validation: Mapping[str, tuple[Sequence[float], Sequence[float]]] = field(default_factory=dict)


def draw(picture: Picture, path: Path) -> None:
    """Write the picture as PNG (or SVG, by the ending), a panel for each part that the run has."""
    panels: list[tuple[float, Callable[[Axes], None]]] = [(1.0, lambda axis: _draw_learning_rate(axis, picture))]
    for name, curve in picture.beside.items():
        panels.append((0.45, partial(_draw_line, name=name.replace("_", " "), curve=curve)))
    if len(picture.batch_size[0]):
        panels.append((0.45, partial(_draw_line, name="batch size", curve=picture.batch_size)))
    panels.append((1.0, lambda axis: _draw_mixture(axis, picture)))
    if len(picture.loss[0]):
        panels.append((1.7, lambda axis: _draw_loss(axis, picture)))
    heights = [height for height, _ in panels]
    figure, axes = plt.subplots(
        len(heights), 1, sharex=True, figsize=(9, 2.1 * sum(heights)), height_ratios=heights, layout="constrained"
    )
    for axis, (_, draw_panel) in zip(axes, panels, strict=True):
        draw_panel(axis)
    _finish(axes, picture)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _draw_learning_rate(axis: Axes, picture: Picture) -> None:
    axis.plot(*picture.learning_rate, color="#222222", linewidth=1.6)
    axis.set_ylabel("learning rate")
    axis.set_ylim(bottom=0)
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format_value(value)))


def _draw_line(axis: Axes, *, name: str, curve: tuple[Sequence[float], Sequence[float]]) -> None:
    axis.plot(*curve, color="#222222", linewidth=1.3)
    axis.set_ylabel(name.replace(" ", "\n", 1))
    low, high = lowest_shown(curve[1]), max(*curve[1], 1e-12)
    axis.set_ylim(low, high + 0.15 * (high - low))
    axis.yaxis.set_major_locator(MaxNLocator(3))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format_value(value)))


def _draw_mixture(axis: Axes, picture: Picture) -> None:
    tokens, shares = picture.mixture
    names, colours = list(map(_short, shares)), [*_COLOURS, *_MORE_COLOURS]
    axis.stackplot(
        tokens, *shares.values(), labels=names, colors=[colours[i % len(colours)] for i in range(len(names))]
    )
    axis.set_ylabel("mixture (share)")
    axis.set_ylim(0, 1)
    if len(names) <= len(colours):
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8, reverse=True)


def _draw_loss(axis: Axes, picture: Picture) -> None:
    axis.plot(*picture.loss, color="#bbbbbb", linewidth=0.8, label="training")
    for index, (name, curve) in enumerate(picture.validation.items()):
        axis.plot(
            *curve, color=_COLOURS[index % 8], marker="o", markersize=2.5, linewidth=1.2, label=f"held-out {name}"
        )
    values = np.asarray([value for _, curve in picture.validation.values() for value in curve])
    if values.size > 1:
        low, high = float(values.min()), float(np.quantile(values, 0.9))
        if high > low:
            axis.set_ylim(low - 0.15 * (high - low), high + 0.25 * (high - low))
    axis.set_ylabel("loss (nats per token)")
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)


def _finish(axes: Sequence[Axes], picture: Picture) -> None:
    end = picture.mixture[0][-1]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0)
        axis.set_xlim(0, end)
        for _, tokens in picture.joints[1:]:
            axis.axvline(tokens, color="#999999", linewidth=0.7, linestyle=":")
    labels = list(_labels(picture.joints, end))
    for name, tokens, line in labels:
        place = (tokens, _LABEL_LINES[line])
        axes[0].annotate(name, place, xycoords=("data", "axes fraction"), fontsize=8, color="#555555")
    axes[0].set_title(picture.title, fontsize=10, pad=12 * (2 + max(line for _, _, line in labels)), loc="left")
    axes[-1].set_xlabel("tokens")
    axes[-1].xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_tokens(int(value))))


def _short(name: str) -> str:
    """A name that leaves room for the picture; matplotlib's formulas are taken as they are written."""
    return (name if len(name) <= _MOST_CHARACTERS else f"{name[: _MOST_CHARACTERS - 3]}...").replace("$", r"\$")


def _labels(joints: Sequence[tuple[str, int]], end_tokens: int) -> Iterator[tuple[str, int, int]]:
    """Names of phases with the line that each has room on; where there is none, the name is left out."""
    free = [0.0] * len(_LABEL_LINES)
    for whole_name, tokens in joints:
        name = _short(whole_name)
        left = tokens / end_tokens
        line = next((line for line, right in enumerate(free) if right <= left), None)
        if line is not None:
            free[line] = left + _CHARACTER * (len(name) + 1)
            yield name, tokens, line


@dataclass(frozen=True)
class Curve:
    """A line with its points, and a band from ``low`` to ``high`` where they are given; ``dotted`` is grey, to compare.

    A ``bar`` is one level thing: a line without points.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    dotted: bool = False
    bar: bool = False


@dataclass(frozen=True)
class Panel:
    """Curves over one axis; those that are ``ordered`` go from dark to light."""

    curves: Sequence[Curve]
    title: str
    x_label: str
    y_label: str
    logarithmic: bool = False
    ordered: bool = False


def draw_curves(panels: Sequence[Panel], path: Path) -> None:
    """Write panels one below the other as PNG."""
    figure, axes = plt.subplots(len(panels), 1, figsize=(9, 3.8 * len(panels)), layout="constrained", squeeze=False)
    for axis, panel in zip(axes[:, 0], panels, strict=True):
        _draw_panel(axis, panel)
    _save(figure, path)


def _draw_panel(axis: Axes, panel: Panel) -> None:
    for curve, colour in zip(panel.curves, _colours(panel), strict=True):
        _draw_curve(axis, curve, colour, alpha=0.09 if panel.ordered else 0.15)
    if panel.logarithmic:
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
    if all(float(x).is_integer() for curve in panel.curves for x in curve.x if not curve.bar):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.spines[["top", "right"]].set_visible(False)
    _label(axis, panel.title, panel.x_label, panel.y_label)
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)


def _colours(panel: Panel) -> Iterator[Colour]:
    """One for each curve, greys for the dotted ones."""
    number = len(panel.curves)
    for index, curve in enumerate(panel.curves):
        if curve.dotted:
            yield _GREYS[sum(earlier.dotted for earlier in panel.curves[:index]) % len(_GREYS)]
        elif panel.ordered:
            yield matplotlib.colormaps["viridis"](0.9 * index / max(number - 1, 1))
        else:
            yield _COLOURS[index % len(_COLOURS)]


def _draw_curve(axis: Axes, curve: Curve, colour: Colour, *, alpha: float) -> None:
    marker = "" if curve.dotted or curve.bar else "o"
    line, width = (":" if curve.dotted else "-"), (2.5 if curve.bar else 1.3)
    axis.plot(curve.x, curve.y, color=colour, linewidth=width, linestyle=line, marker=marker, ms=3, label=curve.name)
    if len(curve.low):
        axis.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=alpha, linewidth=0)


def draw_matrix(
    values: np.ndarray,
    path: Path,
    *,
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    labels: tuple[str, str, str],
    beside_one: bool = False,
) -> None:
    """Write a heat map as PNG; ``labels`` name columns, rows and colours, and small ones have their numbers written in.

    Values ``beside_one`` are ratios: blue below 1, red above it. Others begin at 0. Colours span a least range, so that
    small differences look small.
    """
    height = min(max(1.4 + 0.3 * len(rows), 2.2), 8)
    figure, axis = plt.subplots(figsize=(9, height), layout="constrained")
    image = axis.imshow(values, aspect="auto", interpolation="nearest", **_colour_range(values, beside_one))
    if values.size <= _MOST_NUMBERS and len(columns) <= 16:
        _write_in(axis, values, np.asarray(image.to_rgba(values))[..., :3].mean(-1) < 0.5)
    for ticks, names, most in ((axis.set_yticks, rows, 34), (axis.set_xticks, columns, 34)):
        kept = range(0, len(names), -(-len(names) // most))
        ticks(list(kept), [names[number] for number in kept], fontsize=8)
    _label(axis, title, labels[0], labels[1])
    figure.colorbar(image, ax=axis, label=labels[2])
    _save(figure, path)


def _colour_range(values: np.ndarray, beside_one: bool) -> dict[str, Any]:
    known = values[np.isfinite(values)]
    if not beside_one:
        return {"cmap": "cividis", "vmin": 0, "vmax": np.max(known, initial=_LEAST_RANGE)}
    far = np.max(np.abs(known - 1), initial=_LEAST_RANGE)
    return {"cmap": "RdBu_r", "vmin": 1 - far, "vmax": 1 + far}


def _write_in(axis: Axes, values: np.ndarray, dark: np.ndarray) -> None:
    """The number of each cell that has one, in white where the cell is dark."""
    for (row, column), value in np.ndenumerate(values):
        if not np.isfinite(value):
            continue
        colour = "white" if dark[row, column] else "black"
        axis.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)


def _label(axis: Axes, title: str, x_label: str, y_label: str) -> None:
    axis.set_title(title, fontsize=10, loc="left")
    axis.set_xlabel(x_label)
    axis.set_ylabel(y_label)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=130)
    plt.close(figure)
