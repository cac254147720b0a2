"""How far the reading is, on a terminal: a bar for each model, over the windows of all its passes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class WindowsBar:
    """Windows that are read, of one model after the other."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=None)

    def begin(self, model: str, windows: int) -> None:
        """A model is read next, ``windows`` of it in all its passes."""
        self._bar.reset(self._task, total=windows, description=model)

    def read(self, windows: int) -> None:
        """So many more are done."""
        self._bar.advance(self._task, windows)


@contextmanager
def windows_bar(console: Console | None = None) -> Iterator[WindowsBar]:
    """A bar on stderr while the block lasts; nothing where that is no terminal, or in any process but the first."""
    console = console or Console(stderr=True)
    shown = console.is_terminal and os.environ.get("RANK", "0") == "0"
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("windows")
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not shown) as bar:
        yield WindowsBar(bar)
