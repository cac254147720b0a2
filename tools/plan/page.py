"""A plan as one HTML file: its curves with values at the cursor, and its tables. It asks nothing of a network."""

import json
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from ..recipe.planned import Plan
from ..web_page import document, table
from . import changes as changed
from .chart import LEFT, RIGHT, WIDTH, Line, Stack, chart, colour
from .joints import table as joint_cells
from .page_parts import SCRIPT, STYLE
from .picture import planned_curves
from .tables import phase_cells, summary

_TEXT = ("phase", "source")
_LONG_TABLE, _LONG_LIST = 40, 8  # longer ones are folded


def page(plan: Plan, changes: changed.Changes | None = None) -> str:
    """The page."""
    recipe, found = plan.recipe, planned_curves(plan)
    body = [
        f"<h1>{escape(recipe.name)}</h1>",
        f"<p>{escape(summary(plan))}</p>",
        *_list("Warnings", plan.warnings),
        *(_changes(changes) if changes else ()),
        '<p id="here" aria-live="polite">Move over the picture, or use the arrow keys, to read values.</p>',
        chart(_panels(found), found["joints"], plan.total_tokens),
        _legend(list(found["mixture"][1])),
        *_folded("At every joint", joint_cells(plan)),
        *_folded("What each phase reads", phase_cells(plan)),
        f"<p>Each source stays within {plan.bound_samples:.2f} windows of its share at every prefix.</p>",
        f'<script type="application/json" id="data">{_json(_data(plan, found))}</script>',
        f"<script>{SCRIPT}</script>",
    ]
    return document(f"{recipe.name}: plan", STYLE, "\n".join(body))


def _panels(found: dict[str, Any]) -> list[Line | Stack]:
    return [
        Line("learning rate", found["learning_rate"][0], found["learning_rate"][1], height=170),
        *(Line(name.replace("_", " "), *points) for name, points in found["beside"].items()),
        Line("batch size (windows)", *found["batch_size"]),
        Stack("mixture (share)", *found["mixture"]),
    ]


def _data(plan: Plan, found: dict[str, Any]) -> dict[str, Any]:
    """What the script reads values from; steps are [first token, first step, tokens of a step]."""
    length = plan.recipe.sequence_length
    runs = [[run.first_sample * length, run.first_step, run.batch_size * length] for run in plan.batches.runs]
    curves = {"learning rate": found["learning_rate"], **found["beside"], "batch size": found["batch_size"]}
    return {
        "end": plan.total_tokens,
        "axis": [LEFT / WIDTH, 1 - RIGHT / WIDTH],
        "phases": found["joints"],
        "steps": runs,
        "numSteps": plan.batches.num_steps,
        "curves": [[name.replace("_", " "), *points] for name, points in curves.items()],
        "mixture": [found["mixture"][0], list(found["mixture"][1].values())],
    }


def _json(value: Any) -> str:
    """JSON that can't end the element it stands in."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _legend(names: Sequence[str]) -> str:
    cells = (
        f'<span><i style="background:{colour(index)}"></i>{escape(name)} <b></b></span>'
        for index, name in enumerate(names)
    )
    return f'<p id="legend">{"".join(cells)}</p>'


def _list(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        items = "".join(f"<li>{escape(line)}</li>" for line in lines)
        yield _details(title, len(lines), f"<ul>{items}</ul>", most=_LONG_LIST)


def _changes(changes: changed.Changes) -> Iterator[str]:
    yield from _list("What changes", changed.lines(changes) or ["nothing"])
    yield from _folded("Tokens of each source", changed.cells(changes))


def _folded(title: str, cells: tuple[list[str], list[list[str]]]) -> Iterator[str]:
    """A table under its title."""
    head, rows = cells
    yield _details(title, len(rows), table(head, rows, left=_TEXT), most=_LONG_TABLE)


def _details(title: str, count: int, inside: str, *, most: int) -> str:
    opened = "" if count > most else " open"
    return f"<details{opened}><summary>{title} ({count})</summary>{inside}</details>"
