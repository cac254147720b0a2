"""Whether a model is trained enough, out of several checkpoints of one run on the same tokens: trends, never one value.

The trend of a number is its slope over the tokens trained, told as the change over as many tokens as the checkpoints
span. Three answers, by the interval of that change against a margin:

    moving         the whole interval lies outside the margin
    settled        the whole interval lies inside it
    cannot tell    it crosses the margin; more probe text would narrow it, as one over the root of its tokens

The run is saturated if loss and layers are settled, and still moving if either moves. Distances are known to grow
through pretraining in some families (arXiv 2406.15786), so the sign of their trend says nothing by itself; and where
the learning rate has decayed to its floor, little moves whatever the model could still learn.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from .findings import Analysis, Estimate, loss_sums
from .strata import Strata
from .uncertainty import Bootstrap

Array = npt.NDArray[np.float64]
Answer = Literal["moving", "settled", "cannot tell"]
Verdict = Literal["still moving", "saturated", "cannot tell"]

LOSS_MARGIN_NATS = 0.01
DISTANCE_MARGIN = 0.02  # of the mean distance of the layers
_BILLION = 1e9


@dataclass(frozen=True)
class Trend:
    """Change over the span of the checkpoints, with its interval; ``probe_tokens_to_tell`` 0 where it is told."""

    name: str
    change: float
    low: float
    high: float
    margin: float
    answer: Answer
    probe_tokens_to_tell: int


@dataclass(frozen=True)
class Trajectory:
    """Checkpoints of one run in order.

    ``drift`` (checkpoints, layers) is each layer's distance; ``slope`` its change per billion tokens, of each layer;
    ``loss`` the loss at each checkpoint; ``jump_share`` the last layer's part of all layers' angles.
    """

    tokens: list[int]
    drift: Array
    slope: Estimate
    loss: Array
    jump_share: list[float]
    trends: list[Trend]
    verdict: Verdict


def trajectory(analyses: Sequence[Analysis], tokens: Sequence[int], strata: Strata, *, seed: int = 0) -> Trajectory:
    """Of checkpoints after so many tokens, two or more, at different positions."""
    bootstrap = analyses[0].found.bootstrap(seed=seed)
    read = int(analyses[0].found.group_tokens.sum())
    distance = np.stack([_means(bootstrap, a.found.parts[:, :, 0, 1], a.found.parts[:, :, 0, 0]) for a in analyses], 1)
    loss = np.stack([_means(bootstrap, *loss_sums(a.found, strata)) for a in analyses], 1)
    slopes, span = slope(np.array(tokens, float), distance), max(tokens) - min(tokens)
    inner = distance.mean(2)
    trends = [
        trend("loss", slope(np.array(tokens, float), loss) * span, LOSS_MARGIN_NATS, bootstrap, read),
        trend(
            "distance", slope(np.array(tokens, float), inner) * span / inner[0].mean(), DISTANCE_MARGIN, bootstrap, read
        ),
    ]
    low, high = bootstrap.interval(slopes[1:] * _BILLION)
    return Trajectory(
        list(tokens),
        distance[0],
        Estimate(slopes[0] * _BILLION, low, high),
        loss[0],
        [_jump_share(a) for a in analyses],
        trends,
        verdict([t.answer for t in trends]),
    )


def _means(bootstrap: Bootstrap, sums: Array, counts: Array) -> Array:
    """The mean over all documents first, then that of each draw."""
    return np.concatenate([(sums.sum(0) / counts.sum(0))[None], bootstrap.means(sums, counts)])


def _jump_share(analysis: Analysis) -> float:
    angles = analysis.table.measures["layer"]["angle"].mean
    return float(angles[-1] / angles.sum()) if angles.sum() else float("nan")


def slope(tokens: Array, values: Array) -> Array:
    """Least squares over the second axis: (checkpoints,), (draws, checkpoints, ...) -> (draws, ...) per token.

    >>> slope(np.array([0.0, 1.0, 2.0]), np.array([[1.0, 3.0, 5.0]])).tolist()
    [2.0]
    """
    centred = tokens - tokens.mean()
    return np.asarray(np.tensordot(values, centred, (1, 0)) / (centred @ centred))


def trend(name: str, changes: Array, margin: float, bootstrap: Bootstrap, read: int) -> Trend:
    """Out of the change on all documents, then on each draw of them; ``read`` tokens were in the probe."""
    low, high = (float(end) for end in bootstrap.interval(changes[1:]))
    change = float(changes[0])
    answer = answer_of(low, high, margin)
    room = abs(margin - abs(change))
    enough = read * ((high - low) / 2 / room) ** 2 if answer == "cannot tell" and room and high > low else 0
    return Trend(name, change, low, high, margin, answer, math.ceil(enough))


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
