"""The command: check each source, with a progress bar where it takes long, and print what was found."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ..errors import UserError
from ..prepare.vocabulary import read_vocabulary
from .data import Asked, Checked, check, sources_at, tokens_at

_AS_WIDE_AS_IT_MUST_BE = 1000  # a line that the terminal wraps is better than a number that is cut


def show_check(paths: Sequence[Path], asked: Asked, *, tokenizer: Path | None = None, as_json: bool = False) -> bool:
    """Check all sources at ``paths`` and print problems, a line each, or sizes; True where all of them are whole."""
    if asked.vocab_size is not None and tokenizer is not None:
        raise UserError("check", got="--vocab-size and --tokenizer", expected="one of them")
    if tokenizer is not None:
        asked = replace(asked, vocab_size=read_vocabulary(tokenizer).size)
    found = _check_all([source for path in paths for source in sources_at(path)], asked)
    if as_json:
        print(json.dumps([asdict(checked) for checked in found]))
    else:
        _print(found)
    return not any(checked.problems for checked in found)


def _check_all(sources: Sequence[Path], asked: Asked) -> list[Checked]:
    parts = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f}%"), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*parts, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=sum(tokens_at(source, asked) for source in sources))
        found = []
        for source in sources:
            bar.update(task, description=source.name)
            found.append(check(source, asked, partial(bar.advance, task)))
    return found


def _print(found: Sequence[Checked]) -> None:
    for problem in (problem for checked in found for problem in checked.problems):
        print(problem)
    whole = [checked for checked in found if not checked.problems]
    if whole:
        Console(highlight=False, width=_AS_WIDE_AS_IT_MUST_BE).print(_table(whole))


def _table(whole: Sequence[Checked]) -> Table:
    keys = list(dict.fromkeys(key for checked in whole for key in checked.summary))
    table = Table(box=None, header_style="bold", pad_edge=False)
    for key in ("source", *keys):
        header = key.removesuffix("_tokens").replace("_", " ")
        table.add_column(header, justify="left" if key in ("source", "dtype") else "right", no_wrap=True)
    for checked in whole:
        table.add_row(Text(checked.path), *(_cell(checked.summary.get(key, "")) for key in keys))
    return table


def _cell(value: float | str) -> Text:
    if isinstance(value, str):
        return Text(value)
    return Text(f"{value:.2%}" if isinstance(value, float) else f"{value:,}")
