"""A plan as text: tables for people, and values for programs."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from schedulers.words import format_tokens, format_value

from ..recipe.planned import Plan
from .joints import aligned, joints, table


def plan_json(plan: Plan, *, with_joints: bool = False) -> dict[str, Any]:
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
        **({"joints": [asdict(joint) for joint in joints(plan)]} if with_joints else {}),
    }


def learning_rate_at_joints(plan: Plan) -> list[list[float]]:
    """[tokens, value] at every joint of the curve; a jump stands twice, with the value before it first."""
    curve = plan.learning_rate
    jumps = {jump.tokens: jump.left for jump in curve.jumps()}
    points = []
    for tokens in curve.joints:
        if tokens in jumps:
            points.append([tokens, jumps[tokens]])
        points.append([tokens, curve.value(tokens)])
    return points


def print_plan(plan: Plan, console: Console, *, with_joints: bool = False) -> None:
    """Tables for people: the run, its phases, its learning rate or every value at its joints, what to mind."""
    console.print(f"[bold]{plan.recipe.name}[/]  {summary(plan)}")
    console.print(_phase_table(plan))
    console.print(f"each source stays within {plan.bound_samples:.2f} windows of its share at every prefix")
    if with_joints:
        console.print(aligned(*table(plan)), markup=False)
    else:
        console.print(_learning_rate_table(plan))
    for warning in plan.warnings:
        console.print(f"[yellow]warning:[/] {warning}")


def summary(plan: Plan) -> str:
    """The run in a line."""
    left = plan.batches.leftover_samples
    unread = f"{left} windows ({format_tokens(left * plan.recipe.sequence_length)} tokens)" if left else "none"
    return (
        f"{format_tokens(plan.total_tokens)} tokens in {plan.batches.num_steps:,} steps, "
        f"windows of {plan.recipe.sequence_length:,}, {unread} left after the last step"
    )


def _phase_table(plan: Plan) -> Table:
    head, rows = phase_cells(plan)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in head:
        if column in ("phase", "source"):  # names give way where it is narrow, numbers never do
            table.add_column(column, overflow="fold")
        else:
            table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def phase_cells(plan: Plan) -> tuple[list[str], list[list[str]]]:
    """Head and rows of what each phase reads of each source, as text."""
    ramped = any(use.start_share != use.end_share for phase in plan.phases for use in phase.sources.values())
    shares = ["share", *(["at end"] if ramped else [])]
    rows = []
    for phase in plan.phases:
        edges = [phase.name, format_tokens(phase.start_tokens), format_tokens(phase.end_tokens)]
        for name, use in phase.sources.items():
            both = [f"{use.start_share:.4f}", *([f"{use.end_share:.4f}"] if ramped else [])]
            numbers = [f"{use.samples:,}", format_tokens(use.tokens), f"{use.epochs_so_far:.2f}"]
            rows.append([*edges, name, *both, *numbers])
            edges = ["", "", ""]
    return ["phase", "from", "to", "source", *shares, "windows", "tokens", "epochs"], rows


def _learning_rate_table(plan: Plan) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("tokens", "learning rate", "then"):
        table.add_column(column, justify="left" if column == "then" else "right")
    points, then = learning_rate_at_joints(plan), _then(plan)
    for (tokens, value), following in zip(points, [*points[1:], None], strict=True):
        jumps = following is not None and following[0] == tokens
        table.add_row(format_tokens(int(tokens)), format_value(value), "a jump" if jumps else then[int(tokens)])
    return table


def _then(plan: Plan) -> Mapping[int, str]:
    """What begins at each joint of the learning rate."""
    shapes = [f"{segment.shape} to {format_value(segment.last_value)}" for segment in plan.schedule.segments]
    sizes = {tokens: f"batch size {size}" for tokens, size in plan.batches.ramp.entries}
    return {**sizes, **dict(zip(plan.schedule.joints, [*shapes, "end"], strict=True))}
