"""The curves of a plan as points, for pictures: learning rate and what runs beside it, batch size, mixture."""

from pathlib import Path
from typing import Any

import numpy as np

from mixer.ramp import RampApportionment

from ..recipe.planned import Plan
from ..recipe.shares import shares_of
from .grouped import grouped
from .joints import Curve, curves

_POINTS = 600
_POINTS_OF_A_RAMP = 65
_MOST_SOURCES = 12


def draw_plan(plan: Plan, path: Path) -> None:
    """Every curve of the plan over one token axis, as a picture (PNG, SVG)."""
    from ..plots import Picture, draw

    draw(Picture(title=plan.recipe.name, **planned_curves(plan)), path)


def planned_curves(plan: Plan) -> dict[str, Any]:
    """The parts of a picture that the plan alone gives; docs of the parts in `tools/plots.py`."""
    points = {name: curve_points(curve, plan.total_tokens) for name, curve in curves(plan).items()}
    return {
        "learning_rate": points.pop("learning_rate"),
        "beside": points,
        "batch_size": batch_points(plan),
        "mixture": mixture_curves(plan, _MOST_SOURCES),
        "joints": [(phase.name, phase.start_tokens) for phase in plan.phases],
    }


def curve_points(curve: Curve, end_tokens: int) -> tuple[list[int], list[float]]:
    """Positions and values of a curve up to the end of the run; a jump stands twice, as a joint does."""
    joints = np.asarray([tokens for tokens in curve.joints if tokens < end_tokens], dtype=np.int64)
    spread = np.linspace(0, end_tokens, _POINTS).astype(np.int64)
    grid = np.unique(np.concatenate([spread, joints, joints[1:] - 1]))
    return grid.tolist(), curve.value(grid).tolist()


def batch_points(plan: Plan) -> tuple[list[int], list[int]]:
    """Token positions and windows of the global batch: two points for each size, both ends of where it holds."""
    entries = [entry for entry in plan.batches.ramp.entries if entry[0] < plan.total_tokens]
    ends = [*(start for start, _ in entries[1:]), plan.total_tokens]
    points = [(at, size) for (start, size), end in zip(entries, ends, strict=True) for at in (start, end)]
    return [at for at, _ in points], [size for _, size in points]


def mixture_curves(plan: Plan, most: int | None = None) -> tuple[list[int], dict[str, list[float]]]:
    """Token positions, and the share that each source is asked for there; a jump stands twice, as a joint does.

    Of more than ``most`` sources the smaller ones are summed up, under a name that says how many they are.
    """
    samples: list[int] = []
    found: list[dict[str, float]] = []
    for stretch in plan.mixture.cursors.stretches:
        num_points = _POINTS_OF_A_RAMP if isinstance(stretch.apportionment, RampApportionment) else 2
        points = np.linspace(stretch.start_sample, stretch.end_sample, num_points)
        inside = np.unique(points.astype(np.int64)).tolist()
        samples += inside
        found += [shares_of(plan.mixture, stretch, sample, plan.divisors) for sample in inside]
    named, others = grouped(plan, most or len(plan.mixture.names))
    shares = {name: [at.get(name, 0.0) for at in found] for name in named}
    if others:
        shares[f"{len(others)} others"] = [sum(at.get(name, 0.0) for name in others) for at in found]
    return [sample * plan.recipe.sequence_length for sample in samples], shares
