"""Where the layers of a run stand at its end, read back from its journal: which changed most and which least."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from schedulers.words import format_tokens

from ..recipe.schema import Recipe
from .summary import Curve

_CHANGE = "layers/distance_change/layer_"


@dataclass(frozen=True)
class LayerChange:
    """How one layer's distance differs from the run's first measurement; no interval with too few documents."""

    layer: int
    first_tokens: float
    last_tokens: float
    change: float
    interval: tuple[float, float] | None = None

    def __str__(self) -> str:
        ends = "no interval" if self.interval is None else f"95% {self.interval[0]:+.4f} to {self.interval[1]:+.4f}"
        return f"layer {self.layer} {self.change:+.4f} ({ends})"


def layer_changes(curves: Mapping[str, Curve]) -> list[LayerChange]:
    """Of each layer that was measured twice or more, the last change."""
    numbers = sorted(int(name.removeprefix(_CHANGE)) for name in curves if name.startswith(_CHANGE))
    found = [_last(curves, number) for number in numbers]
    return [change for change in found if change.last_tokens > change.first_tokens]


def _last(curves: Mapping[str, Curve], layer: int) -> LayerChange:
    tokens, changes = curves[f"{_CHANGE}{layer}"]
    ends = [curves.get(f"layers/distance_{end}/layer_{layer}", ([], [])) for end in ("low", "high")]
    known = all(end_tokens[-1:] == tokens[-1:] for end_tokens, _ in ends)
    interval = (ends[0][1][-1], ends[1][1][-1]) if known else None
    return LayerChange(layer, tokens[0], tokens[-1], changes[-1], interval)


def describe_layers(curves: Mapping[str, Curve], recipe: Recipe) -> list[str]:
    """Lines for the run's report; none where its layers were measured once or not at all."""
    changes = layer_changes(curves)
    if not changes:
        return []
    by_size = sorted(changes, key=lambda change: abs(change.change))
    first, last = format_tokens(int(by_size[0].first_tokens)), format_tokens(int(by_size[0].last_tokens))
    most = f"1 - cos of layers, change from {first} to {last} tokens:  most {by_size[-1]}   least {by_size[0]}"
    return [most, f"full report of the layers:  {_command(recipe.output_folder, recipe)}"]


def _command(run_dir: Path, recipe: Recipe) -> str:
    data = (word for text in recipe.layers.probe for word in ("--data", text))
    return shlex.join(["annealmix", "layers", str(run_dir), *data, "--out", str(run_dir / "layers")])
