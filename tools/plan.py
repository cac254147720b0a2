"""``annealmix plan``: check a recipe and show the whole run before paying for it. No torch, no megatron."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from .recipe.load import load_recipe
from .recipe.numbers import format_tokens
from .recipe.planned import Plan
from .recipe.resolve import resolve


def show_plan(recipe_path: Path, overrides: Sequence[str], *, plot: Path | None, as_json: bool) -> None:
    """Print the plan as tables or JSON, and draw it if asked."""
    plan = resolve(load_recipe(recipe_path, overrides), where=str(recipe_path))
    if as_json:
        print(json.dumps(plan_json(plan), indent=1))
    else:
        print_plan(plan, Console(soft_wrap=True, highlight=False))
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
                "sources": {
                    name: {"weight": use.weight, "samples": use.samples, "tokens": use.tokens, "epochs": use.epochs}
                    for name, use in phase.sources.items()
                },
            }
            for phase in plan.phases
        ],
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
    console.print(_learning_rate_table(plan))
    for warning in plan.warnings:
        console.print(f"[yellow]warning:[/] {warning}")


def _phase_table(plan: Plan) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("phase", "from", "to", "source"):
        table.add_column(column, justify="left" if column in ("phase", "source") else "right")
    for column in ("weight", "windows", "tokens", "epochs so far"):
        table.add_column(column, justify="right")
    for phase in plan.phases:
        edges = [phase.name, format_tokens(phase.start_tokens), format_tokens(phase.end_tokens)]
        for name, use in phase.sources.items():
            numbers = [f"{use.weight:.4f}", f"{use.samples:,}", format_tokens(use.tokens), f"{use.epochs_so_far:.2f}"]
            table.add_row(*edges, name, *numbers)
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
    edges = [phase.start_tokens for phase in plan.phases] + [plan.phases[-1].end_tokens]
    shares = {
        name: [phase.sources[name].weight if name in phase.sources else 0.0 for phase in plan.phases]
        for name in plan.recipe.sources
    }
    return {
        "learning_rate": (grid, plan.schedule.value(grid)),
        "mixture": (edges, shares),
        "joints": [(phase.name, phase.start_tokens) for phase in plan.phases],
    }
