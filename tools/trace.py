"""``annealmix trace``: where each sample of a run comes from, by arithmetic alone."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from .errors import UserError
from .recipe.load import load_recipe
from .recipe.planned import Plan
from .recipe.resolve import resolve


def show_trace(recipe_path: Path, overrides: Sequence[str], *, samples: str, as_json: bool) -> None:
    """Print source, draw, epoch and row of samples A up to but without B."""
    plan = resolve(load_recipe(recipe_path, overrides), where=str(recipe_path))
    rows = trace(plan, *parse_range(samples, plan.total_samples))
    if as_json:
        print(json.dumps(rows))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("sample", "source", "draw", "epoch", "row"):
        table.add_column(column, justify="left" if column == "source" else "right")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console(highlight=False).print(table)


def parse_range(text: str, total_samples: int) -> tuple[int, int]:
    """``A:B`` as two numbers inside the run.

    >>> parse_range("0:1000", 5000)
    (0, 1000)
    """
    first, colon, end = text.partition(":")
    if not (colon and first.isdecimal() and end.isdecimal() and int(first) < int(end)):
        raise UserError("--samples", got=text or "nothing", expected="A:B with A before B, as in --samples 0:1000")
    if int(end) > total_samples:
        raise UserError("--samples", got=text, expected=f"samples of the run, which has {total_samples:,}")
    return int(first), int(end)


def trace(plan: Plan, first: int, end: int) -> list[dict[str, int | str]]:
    """One record a sample: its number, source, draw (of that source over the run), epoch and row."""
    located = plan.mixture.locate(np.arange(first, end, dtype=np.int64))
    columns = (located.source.tolist(), located.draw.tolist(), located.epoch.tolist(), located.row.tolist())
    return [
        {"sample": sample, "source": plan.mixture.names[source], "draw": draw, "epoch": epoch, "row": row}
        for sample, source, draw, epoch, row in zip(range(first, end), *columns, strict=True)
    ]
