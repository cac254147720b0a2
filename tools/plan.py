"""``annealmix plan``: check a recipe and show the whole run before paying for it. No torch, no megatron."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from mixer.ramp import RampApportionment

from .changes import changes_since, print_changes
from .recipe.continued import continued_plan, read_state
from .recipe.load import load_recipe
from .recipe.numbers import format_tokens
from .recipe.planned import Plan
from .recipe.resolve import resolve
from .recipe.shares import shares_of

_POINTS_OF_A_RAMP = 65


def show_plan(
    recipe_path: Path, overrides: Sequence[str], *, plot: Path | None, as_json: bool, resume_from: Path | None = None
) -> None:
    """Print the plan as tables or JSON, and draw it if asked; with ``resume_from``, what changes since a checkpoint."""
    if resume_from is None:
        plan = resolve(load_recipe(recipe_path, overrides), where=str(recipe_path))
        changes = None
    else:
        state = read_state(resume_from, lambda line: print(line, file=sys.stderr))
        plan = continued_plan(load_recipe(recipe_path, overrides), state, where=str(recipe_path))
        changes = changes_since(state, plan)
    if as_json:
        print(json.dumps({**plan_json(plan), **({"changes": asdict(changes)} if changes else {})}, indent=1))
    else:
        console = Console(soft_wrap=True, highlight=False)
        print_plan(plan, console)
        if changes:
            print_changes(changes, console)
    if plot:
        draw_plan(plan, plot)


def plan_json(plan: Plan) -> dict[str, Any]:
    """The plan as JSON values; docs/recipes.md describes each key."""
    return {
        "phases": [
            {
                "name": phase.name,
                "start_tokens": phase.start_tokens,
                "end_tokens": phase.end_tokens,
                "start_sample": phase.start_sample,
                "end_sample": phase.end_sample,
                "sources": {name: asdict(use) for name, use in phase.sources.items()},
            }
            for phase in plan.phases
        ],
        "bound_samples": plan.bound_samples,
        "learning_rate": learning_rate_at_joints(plan),
        "warnings": list(plan.warnings),
    }


def learning_rate_at_joints(plan: Plan) -> list[list[float]]:
    """[tokens, value] at every joint of the curve; a jump stands twice, with the value before it first."""
    schedule = plan.schedule
    jumps = {jump.tokens: jump.left for jump in schedule.jumps()}
    points = []
    for tokens in schedule.joints:
        if tokens in jumps:
            points.append([tokens, jumps[tokens]])
        points.append([tokens, schedule.value(tokens)])
    return points


def print_plan(plan: Plan, console: Console) -> None:
    """Tables for people: the run, its phases, its learning rate, what each source gives."""
    recipe = plan.recipe
    console.print(
        f"[bold]{recipe.name}[/]  {format_tokens(plan.total_tokens)} tokens in {plan.batches.num_steps:,} steps, "
        f"windows of {recipe.sequence_length:,}, {plan.batches.leftover_samples} windows left after the last step"
    )
    console.print(_phase_table(plan))
    console.print(f"each source stays within {plan.bound_samples:.2f} windows of its share at every prefix")
    console.print(_learning_rate_table(plan))
    for warning in plan.warnings:
        console.print(f"[yellow]warning:[/] {warning}")


def _phase_table(plan: Plan) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    ramped = any(use.start_share != use.end_share for phase in plan.phases for use in phase.sources.values())
    table.add_column("phase", overflow="fold")
    for column in ("from", "to"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("source", overflow="fold")  # names give way where it is narrow, numbers never do
    for column in ("share", *(["at end"] if ramped else []), "windows", "tokens", "epochs"):
        table.add_column(column, justify="right", no_wrap=True)
    for phase in plan.phases:
        edges = [phase.name, format_tokens(phase.start_tokens), format_tokens(phase.end_tokens)]
        for name, use in phase.sources.items():
            shares = [f"{use.start_share:.4f}", *([f"{use.end_share:.4f}"] if ramped else [])]
            numbers = [f"{use.samples:,}", format_tokens(use.tokens), f"{use.epochs_so_far:.2f}"]
            table.add_row(*edges, name, *shares, *numbers)
            edges = ["", "", ""]
    return table


def _learning_rate_table(plan: Plan) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("tokens", "learning rate", "then"):
        table.add_column(column, justify="left" if column == "then" else "right")
    shapes = [f"{segment.shape} to {segment.last_value:g}" for segment in plan.schedule.segments]
    names = dict(zip(plan.schedule.joints, [*shapes, "end"], strict=True))
    for tokens, value in learning_rate_at_joints(plan):
        table.add_row(format_tokens(int(tokens)), f"{value:g}", names[int(tokens)])
    return table


def draw_plan(plan: Plan, path: Path) -> None:
    """The learning rate and the mixture on one token axis, as a picture."""
    from .plots import Picture, draw

    draw(Picture(title=plan.recipe.name, **planned_curves(plan)), path)


def planned_curves(plan: Plan) -> dict[str, Any]:
    """The parts of a picture that the plan alone gives: learning rate, mixture, joints."""
    joints = np.asarray(plan.schedule.joints)
    grid = np.unique(np.concatenate([np.linspace(0, plan.total_tokens, 600).astype(np.int64), joints, joints[1:] - 1]))
    return {
        "learning_rate": (grid, plan.schedule.value(grid)),
        "mixture": mixture_curves(plan),
        "joints": [(phase.name, phase.start_tokens) for phase in plan.phases],
    }


def mixture_curves(plan: Plan) -> tuple[list[int], dict[str, list[float]]]:
    """Token positions, and the share that each source is asked for there; a jump stands twice, as a joint does."""
    samples: list[int] = []
    found: list[dict[str, float]] = []
    for stretch in plan.mixture.cursors.stretches:
        num_points = _POINTS_OF_A_RAMP if isinstance(stretch.apportionment, RampApportionment) else 2
        points = np.linspace(stretch.start_sample, stretch.end_sample, num_points)
        inside = np.unique(points.astype(np.int64)).tolist()
        samples += inside
        found += [shares_of(plan.mixture, stretch, sample, plan.divisors) for sample in inside]
    shares = {name: [at.get(name, 0.0) for at in found] for name in plan.recipe.sources}
    return [sample * plan.recipe.sequence_length for sample in samples], shares
