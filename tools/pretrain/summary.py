"""What came of a run, read back from its journal: its curves, and how fast validation loss fell around the decay.

The two slopes are over stretches of equal length: the decay, and the last part of the stable phase just before it.
Where learning rate and data change together, the difference is the effect of both.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from schedulers.words import format_tokens

Curve = tuple[list[float], list[float]]


@dataclass(frozen=True)
class DecaySlopes:
    """Validation loss at three points of the clock, and what it lost per million tokens between them."""

    before_tokens: int
    decay_tokens: int
    end_tokens: int
    loss_before: float
    loss_at_decay: float
    loss_at_end: float

    @property
    def stable_slope(self) -> float:
        """Change of loss per million tokens in the last stretch of stable."""
        return (self.loss_at_decay - self.loss_before) / (self.decay_tokens - self.before_tokens) * 1e6

    @property
    def decay_slope(self) -> float:
        """Change of loss per million tokens in the decay."""
        return (self.loss_at_end - self.loss_at_decay) / (self.end_tokens - self.decay_tokens) * 1e6


def decay_slopes(curve: Curve, decay_tokens: int, end_tokens: int) -> DecaySlopes | None:
    """Slopes around the decay that starts at ``decay_tokens``; None where validation doesn't cover both stretches.

    Between two validations the loss is interpolated.

    >>> curve = ([0, 100, 200, 300], [5.0, 4.0, 3.5, 2.5])
    >>> slopes = decay_slopes(curve, 200, 300)
    >>> round(slopes.stable_slope), round(slopes.decay_slope)
    (-5000, -10000)
    """
    tokens, losses = curve
    before = 2 * decay_tokens - end_tokens
    if len(tokens) < 2 or before < tokens[0] or end_tokens > tokens[-1]:
        return None
    at = [float(np.interp(point, tokens, losses)) for point in (before, decay_tokens, end_tokens)]
    return DecaySlopes(before, decay_tokens, end_tokens, *at)


def describe_slopes(slopes: DecaySlopes, *, data_changed: bool) -> str:
    """A line a person can read, the ratio where both fell, and a caveat where the data changed in the decay too."""
    stretch, falling = slopes.decay_tokens - slopes.before_tokens, max(slopes.stable_slope, slopes.decay_slope) < 0
    ratio = f"   ({slopes.decay_slope / slopes.stable_slope:.1f} times as fast)" if falling else ""
    line = (
        f"validation loss, change per million tokens:  last {format_tokens(stretch)} of stable "
        f"{slopes.stable_slope:+.3f}   decay {slopes.decay_slope:+.3f}{ratio}"
    )
    caveat = "the data changed in the decay too: this is the effect of both it and the learning rate"
    return f"{line}\n{caveat}" if data_changed else line


def curves(records: Iterable[Mapping[str, object]]) -> dict[str, Curve]:
    """Metric curves of a journal over tokens; where a step stands twice (a resumed run), the later record counts."""
    points: dict[str, dict[int, float]] = {}
    for record in records:
        values, tokens = record.get("values"), record.get("tokens")
        if isinstance(values, Mapping) and isinstance(tokens, int):
            for name, value in values.items():
                points.setdefault(str(name), {})[tokens] = float(value)
    return {name: _sorted(series) for name, series in points.items()}


def _sorted(series: Mapping[int, float]) -> Curve:
    tokens: Sequence[int] = sorted(series)
    return [float(point) for point in tokens], [series[point] for point in tokens]
