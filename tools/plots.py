"""Pictures: a run on one token axis, curves and heat maps; the one file that imports matplotlib."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .recipe.numbers import format_tokens

_COLOURS = ("#3b6ea8", "#d98c3f", "#5a9e6f", "#b5534f", "#7d6aa8", "#8a7a5c", "#4fa3a5", "#c77fa0")

_LABEL_LINES = (1.02, 1.10)


@dataclass(frozen=True)
class Picture:
    """What a run's picture shows; curves that are empty are left out.

    ``learning_rate`` (tokens, values); ``mixture`` token positions with each source's share there, a jump twice;
    ``loss`` (tokens, values); ``validation`` source -> (tokens, values); ``joints`` phase names at their first token.
    """

    title: str
    learning_rate: tuple[Sequence[float], Sequence[float]]
    mixture: tuple[Sequence[int], Mapping[str, Sequence[float]]]
    joints: Sequence[tuple[str, int]]
    loss: tuple[Sequence[float], Sequence[float]] = ((), ())
    validation: Mapping[str, tuple[Sequence[float], Sequence[float]]] = field(default_factory=dict)


def draw(picture: Picture, path: Path) -> None:
    """Write the picture as PNG (or SVG, by the ending): learning rate, mixture and, where there is one, loss."""
    has_loss = len(picture.loss[0]) > 0
    heights = [1.0, 1.0, 1.7] if has_loss else [1.0, 1.0]
    figure, axes = plt.subplots(
        len(heights), 1, sharex=True, figsize=(9, 2.1 * sum(heights)), height_ratios=heights, layout="constrained"
    )
    _draw_learning_rate(axes[0], picture)
    _draw_mixture(axes[1], picture)
    if has_loss:
        _draw_loss(axes[2], picture)
    _finish(axes, picture)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _draw_learning_rate(axis: Axes, picture: Picture) -> None:
    axis.plot(*picture.learning_rate, color="#222222", linewidth=1.6)
    axis.set_ylabel("learning rate")
    axis.set_ylim(bottom=0)
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _draw_mixture(axis: Axes, picture: Picture) -> None:
    tokens, shares = picture.mixture
    names = list(shares)
    colours = [_COLOURS[i % len(_COLOURS)] for i in range(len(names))]
    axis.stackplot(tokens, *shares.values(), labels=names, colors=colours)
    axis.set_ylabel("mixture (share)")
    axis.set_ylim(0, 1)
    if len(names) <= 12:
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)


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
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0)
        for _, tokens in picture.joints[1:]:
            axis.axvline(tokens, color="#999999", linewidth=0.7, linestyle=":")
    for (name, tokens), height in zip(picture.joints, _label_heights(picture), strict=True):
        axes[0].annotate(name, (tokens, height), xycoords=("data", "axes fraction"), fontsize=8, color="#555555")
    axes[0].set_title(picture.title, fontsize=10, pad=26, loc="left")
    axes[-1].set_xlabel("tokens")
    axes[-1].xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_tokens(int(value))))


def _label_heights(picture: Picture) -> list[float]:
    """Phase names stand on one line, or a line higher where the name before would run into them."""
    near = 0.09 * picture.mixture[0][-1]
    heights: list[float] = []
    for index, (_, tokens) in enumerate(picture.joints):
        crowded = index > 0 and tokens - picture.joints[index - 1][1] < near and heights[-1] == _LABEL_LINES[0]
        heights.append(_LABEL_LINES[crowded])
    return heights


@dataclass(frozen=True)
class Curve:
    """A line with its points, and a band from ``low`` to ``high`` where they are given."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    dashed: bool = False


def draw_curves(
    curves: Sequence[Curve], path: Path, *, title: str, x_label: str, y_label: str, logarithmic: bool = False
) -> None:
    """Write several curves over one axis as PNG."""
    figure, axis = plt.subplots(figsize=(9, 3.8), layout="constrained")
    for index, curve in enumerate(curves):
        colour = "#888888" if curve.dashed else _COLOURS[index % len(_COLOURS)]
        marker = "" if curve.dashed else "os^"[index // len(_COLOURS) % 3]
        line = "--" if curve.dashed else "-"
        axis.plot(curve.x, curve.y, color=colour, linewidth=1.3, linestyle=line, marker=marker, ms=3, label=curve.name)
        if len(curve.low):
            axis.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.2, linewidth=0)
    axis.set_yscale("log" if logarithmic else "linear")
    if all(float(x).is_integer() for curve in curves for x in curve.x):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.spines[["top", "right"]].set_visible(False)
    _label(axis, title, x_label, y_label)
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
    _save(figure, path)


def draw_matrix(
    values: np.ndarray,
    path: Path,
    *,
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    labels: tuple[str, str, str],
    logarithmic: bool = False,
) -> None:
    """Write a heat map as PNG; ``labels`` name columns, rows and colours."""
    height = min(max(1.4 + 0.3 * len(rows), 2.2), 8)
    figure, axis = plt.subplots(figsize=(9, height), layout="constrained")
    scale = "log" if logarithmic and values.min() > 0 else "linear"
    image = axis.imshow(values, aspect="auto", cmap="cividis", interpolation="nearest", norm=scale)
    for ticks, names, most in ((axis.set_yticks, rows, 34), (axis.set_xticks, columns, 34)):
        kept = range(0, len(names), -(-len(names) // most))
        ticks(list(kept), [names[number] for number in kept], fontsize=8)
    _label(axis, title, labels[0], labels[1])
    figure.colorbar(image, ax=axis, label=labels[2])
    _save(figure, path)


def _label(axis: Axes, title: str, x_label: str, y_label: str) -> None:
    axis.set_title(title, fontsize=10, loc="left")
    axis.set_xlabel(x_label)
    axis.set_ylabel(y_label)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=130)
    plt.close(figure)
