"""The command: select samples, look them up, print them. Imports neither torch nor megatron."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..recipe.load import load_recipe
from ..recipe.planned import Plan
from ..recipe.resolve import resolve
from .excerpt import excerpts
from .records import documents, numbers_in_short, records
from .selection import Selection, readings_of_document

_LEFT = ("source", "documents", "text")
_WIDTH_WHEN_PIPED = 120


def show_trace(
    recipe_path: Path,
    overrides: Sequence[str],
    selection: Selection,
    *,
    with_text: bool = True,
    resume_from: Path | None = None,
    as_json: bool = False,
) -> None:
    """Print what the selected samples read, or the samples that read a document."""
    plan = _plan(recipe_path, overrides, resume_from)
    found, remark = trace(plan, selection, with_text=with_text)
    if as_json:
        print(json.dumps(found))
    elif found:
        _console().print(_table(found, "text" if plan.recipe.tokenizer else "token ids"))
    if remark:
        print(remark, file=sys.stderr if as_json else sys.stdout)


def trace(plan: Plan, selection: Selection, *, with_text: bool = True) -> tuple[list[dict[str, Any]], str]:
    """Records of what was selected, and a remark where a document has none.

    Records of samples carry the documents of their row and, unless told otherwise, an excerpt of it.
    """
    if selection.document is not None:
        readings = readings_of_document(plan, selection.document)
        remark = f"{selection.document} is never read: {readings.why_none}" if readings.why_none else ""
        return records(plan, readings.samples, readings.located), remark
    samples = selection.numbers(plan)
    located = plan.mixture.locate(samples)
    found = records(plan, samples, located)
    for record in found:
        record["documents"] = documents(plan, record)
    if with_text:
        for record, text in zip(found, excerpts(plan, located), strict=True):
            record["text"] = text
    return found, ""


def _plan(recipe_path: Path, overrides: Sequence[str], resume_from: Path | None) -> Plan:
    if resume_from is None:
        return resolve(load_recipe(recipe_path, overrides), where=str(recipe_path))
    from ..recipe.continued import continued

    return continued(recipe_path, overrides, resume_from)


def _table(found: list[dict[str, Any]], text_header: str) -> Table:
    """Columns of which nothing is known are left out; the excerpt takes the room that is left, and is cut there."""
    shown = [key for key in found[0] if key in ("sample", "step", "draw", "epoch", "row") or any(r[key] for r in found)]
    table = Table(box=None, header_style="bold", pad_edge=False, expand="text" in shown)
    for key in shown:
        justify: Literal["left", "right"] = "left" if key in _LEFT else "right"
        flexible: dict[str, Any] = {"overflow": "ellipsis", "ratio": 1} if key == "text" else {}
        table.add_column(text_header if key == "text" else key, justify=justify, no_wrap=True, **flexible)
    for record in found:
        table.add_row(*(_cell(key, record[key]) for key in shown))
    return table


def _cell(key: str, value: Any) -> Text:
    if key == "documents":
        return Text(numbers_in_short(value))
    return Text("-" if value is None else str(value))


def _console() -> Console:
    """As wide as the terminal, and wide enough for the numbers where there is none."""
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDTH_WHEN_PIPED
    return console
