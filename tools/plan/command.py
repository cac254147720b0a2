"""``annealmix plan``: check a recipe and show the whole run before paying for it. No torch, no megatron."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from ..errors import UserError
from ..recipe.continued import continued_plan, read_state
from ..recipe.load import load_recipe
from ..recipe.planned import Plan
from ..recipe.resolve import resolve
from .changes import Changes, changes_beside, changes_since, print_changes
from .page import page
from .picture import draw_plan
from .tables import plan_json, print_plan


def show_plan(
    recipe_path: Path,
    overrides: Sequence[str],
    *,
    plot: Path | None,
    as_json: bool,
    table: bool = False,
    resume_from: Path | None = None,
    against: Path | None = None,
) -> None:
    """Print the plan as tables or JSON, and draw it if asked; with a checkpoint or another recipe, what changes."""
    _check_plot(plot)
    plan, changes = _planned(recipe_path, overrides, resume_from, against)
    if as_json:
        found = plan_json(plan, with_joints=table)
        print(json.dumps({**found, **({"changes": asdict(changes)} if changes else {})}, indent=1))
    else:
        console = Console(soft_wrap=True, highlight=False)
        print_plan(plan, console, with_joints=table)
        if changes:
            print_changes(changes, console)
    if plot and plot.suffix == ".html":
        plot.parent.mkdir(parents=True, exist_ok=True)
        plot.write_text(page(plan, changes), encoding="utf-8")
    elif plot:
        draw_plan(plan, plot)


def _check_plot(plot: Path | None) -> None:
    if plot and plot.suffix not in (".png", ".svg", ".html"):
        raise UserError("--plot", got=str(plot), expected="a name that ends in .png, .svg or .html")


def _planned(
    recipe_path: Path, overrides: Sequence[str], resume_from: Path | None, against: Path | None
) -> tuple[Plan, Changes | None]:
    if resume_from and against:
        fix = "give one of them: a checkpoint has the plan that it was made with"
        raise UserError("--resume-from", got="--against as well", fix=fix)
    recipe = load_recipe(recipe_path, overrides)
    if resume_from:
        state = read_state(resume_from, lambda line: print(line, file=sys.stderr))
        plan = continued_plan(recipe, state, where=str(recipe_path))
        return plan, changes_since(state, plan)
    plan = resolve(recipe, where=str(recipe_path))
    if against:
        return plan, changes_beside(resolve(load_recipe(against, []), where=str(against)), plan)
    return plan, None
