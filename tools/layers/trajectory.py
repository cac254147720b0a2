"""Whether a model is trained enough, out of several checkpoints of one run on the same tokens: trends, never one value.

A trend is the slope over the logarithm of the tokens trained, told as the change that a doubling of them gives, so that
it doesn't depend on how far apart the checkpoints lie. Its interval holds two things: other documents in the probe
(bootstrap), and how far checkpoints scatter about the line from step to step of the training (residuals, Student's t;
with two checkpoints nothing is known of that). Three answers, by the interval against a margin:

    moving         the whole interval lies outside the margin
    settled        the whole interval lies inside it
    cannot tell    it crosses the margin

Layers move if one of them does and are settled if all are. The run is saturated if loss and layers are settled, and
still moving if either moves. As one of many would do, intervals of loss and layers hold all together: those of the
loss and those of all layers fail with half of the chance each. Distances are known to grow through pretraining in
some families (arXiv 2406.15786), so the sign of their trend says nothing by itself; and where the learning rate has
decayed to its floor, little moves whatever the model could still learn.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .findings import Analysis, Estimate, loss_sums
from .strata import Strata
from .student import student_quantile
from .uncertainty import LEVEL, Bootstrap, Means

Array = npt.NDArray[np.float64]
Answer = Literal["moving", "settled", "cannot tell"]
Verdict = Literal["still moving", "saturated", "cannot tell"]

LOSS_MARGIN_NATS = 0.01
DISTANCE_MARGIN = 0.05  # of a layer's own distance
_HALF = 1 - (1 - LEVEL) / 2
_BILLION = 1e9


@dataclass(frozen=True)
class Trend:
    """Change with a doubling of the tokens trained, and its interval.

    ``probe_tokens_to_tell`` is about how much text would tell; None where it is told, where the scatter of the
    checkpoints leaves no room, however much text is read, or where a source has too few documents for intervals.
    """

    name: str
    change: float
    low: float
    high: float
    margin: float
    answer: Answer
    probe_tokens_to_tell: int | None


@dataclass(frozen=True)
class Trajectory:
    """Checkpoints of one run in order.

    ``drift`` (checkpoints, layers) is each layer's distance; ``slope`` its change per billion tokens, of each layer;
    ``loss`` the loss at each checkpoint and ``loss_slope`` its change per billion tokens; ``jump_share`` the last
    layer's part of all layers' angles.
    """

    tokens: list[int]
    drift: Array
    slope: Estimate
    loss: Array
    loss_slope: Estimate
    jump_share: list[float]
    trends: list[Trend]
    verdict: Verdict


def trajectory(analyses: Sequence[Analysis], tokens: Sequence[int], strata: Strata, *, seed: int = 0) -> Trajectory:
    """Of checkpoints after so many tokens, two or more, in order and at different positions above 0."""
    bootstrap = analyses[0].found.bootstrap(seed=seed)
    read = int(analyses[0].found.group_tokens.sum())
    positions = np.array(tokens, float)
    distance = Means.stack([bootstrap.means(a.found.parts[:, :, 0, 1], a.found.parts[:, :, 0, 0]) for a in analyses])
    loss = Means.stack([bootstrap.means(*loss_sums(a.found, strata)) for a in analyses])
    slopes, loss_slopes = (means.map(lambda rows: slope(positions, rows) * _BILLION) for means in (distance, loss))
    trends = _of_loss_and_layers(loss, distance, x=np.log2(positions), bootstrap=bootstrap, read=read)
    return Trajectory(
        list(tokens),
        distance.value,
        Estimate(slopes.value, *bootstrap.interval(slopes)),
        loss.value,
        Estimate(loss_slopes.value, *bootstrap.interval(loss_slopes)),
        [_jump_share(a) for a in analyses],
        trends,
        verdict([t.answer for t in trends]),
    )


def _of_loss_and_layers(loss: Means, distance: Means, **given: Any) -> list[Trend]:
    """The trend of the loss, and that of the layer that decides."""
    of_loss = trends_of(
        ["loss"], values=loss.map(lambda rows: rows[..., None]), margin=LOSS_MARGIN_NATS, level=_HALF, **given
    )
    scale = np.maximum(distance.value.mean(0), 1e-300)
    names = [f"distance of layer {layer}" for layer in range(len(scale))]
    of_each = trends_of(
        names, values=distance.map(lambda rows: rows / scale), margin=DISTANCE_MARGIN, level=_HALF, **given
    )
    return [*of_loss, of_layers(of_each)]


def apart(tokens: Sequence[int], least: float = 1.01) -> list[int]:
    """Which checkpoints a trend is made of, by their positions: in order, none at 0, each beyond the one before.

    Two that are close tell nothing of a trend, and their likeness would pass for a training without noise.

    >>> apart([1000, 0, 400, 404, 1001])
    [2, 3, 0]
    """
    kept: list[int] = []
    for number in sorted(range(len(tokens)), key=tokens.__getitem__):
        if tokens[number] >= (least * tokens[kept[-1]] if kept else 1):
            kept.append(number)
    return kept


def _jump_share(analysis: Analysis) -> float:
    angles = analysis.table.measures["layer"]["angle"].mean
    return float(angles[-1] / angles.sum()) if angles.sum() else float("nan")


def slope(tokens: Array, values: Array) -> Array:
    """Least squares over the second axis: (checkpoints,), (rows, checkpoints, ...) -> (rows, ...) per token.

    >>> slope(np.array([0.0, 1.0, 2.0]), np.array([[1.0, 3.0, 5.0]])).tolist()
    [2.0]
    """
    centred = tokens - tokens.mean()
    return np.asarray(np.tensordot(values, centred, (1, 0)) / (centred @ centred))


def trends_of(
    names: Sequence[str],
    *,
    x: Array,
    values: Means,
    margin: float,
    bootstrap: Bootstrap,
    read: int,
    level: float = LEVEL,
) -> list[Trend]:
    """Of values (checkpoints, names) over x (checkpoints,), with intervals that hold together at ``level``.

    ``read`` tokens were in the probe.
    """
    changes = values.map(partial(slope, x))
    low, high = bootstrap.joint_interval(changes, level)
    each = 1 - (1 - level) / len(names)
    scatter = np.array([scatter_of_slope(x, column, each) for column in values.value.T])
    rows = zip(names, changes.value.tolist(), ((high - low) / 2).tolist(), scatter.tolist(), strict=True)
    return [trend(*row, margin=margin, read=read) for row in rows]


def trend(name: str, change: float, text: float, scatter: float, *, margin: float, read: int) -> Trend:
    """Of a change that other text would move by up to ``text``, and the training's own noise by up to ``scatter``."""
    low, high = change - math.hypot(text, scatter), change + math.hypot(text, scatter)
    answer = answer_of(low, high, margin)
    room = (margin - abs(change)) ** 2 - scatter**2
    told = answer != "cannot tell" or not room > 0 or math.isnan(text)
    needed = None if told else max(math.ceil(read * text**2 / room), read + 1)
    return Trend(name, change, low, high, margin, answer, needed)


def scatter_of_slope(x: Array, values: Array, level: float) -> float:
    """Half the interval of a slope by the residuals of its line; infinite with two points, which have none.

    >>> round(scatter_of_slope(np.array([0.0, 1, 2]), np.array([0.0, 1, 0]), 0.95), 3)
    7.336
    """
    degrees = len(x) - 2
    if degrees < 1:
        return math.inf
    centred = x - x.mean()
    line = values.mean() + centred * (values @ centred) / (centred @ centred)
    spread = math.sqrt(((values - line) ** 2).sum() / degrees / (centred @ centred))
    return student_quantile((1 + level) / 2, degrees) * spread


def of_layers(trends: Sequence[Trend]) -> Trend:
    """The layer that decides: the one that moves most if any moves, else of those that can't be told, else of all."""
    for answer in ("moving", "cannot tell", "settled"):
        if found := [trend for trend in trends if trend.answer == answer]:
            return max(found, key=lambda trend: abs(trend.change))
    raise ValueError("no layers")


def answer_of(low: float, high: float, margin: float) -> Answer:
    """By the interval's place; an interval that isn't known tells nothing.

    >>> [answer_of(*ends, 1.0) for ends in ((2, 3), (-0.5, 0.9), (0.5, 1.5))]
    ['moving', 'settled', 'cannot tell']
    """
    if low > margin or high < -margin:
        return "moving"
    return "settled" if low >= -margin and high <= margin else "cannot tell"


def verdict(answers: Sequence[Answer]) -> Verdict:
    """Of loss and layers together."""
    if "moving" in answers:
        return "still moving"
    return "saturated" if set(answers) == {"settled"} else "cannot tell"
