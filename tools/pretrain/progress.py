"""The live line of a run: phase, tokens, loss, learning rate, speed, time left; plain lines without a terminal."""

import time
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from schedulers.words import format_tokens


class Display(Protocol):
    """What the loop tells a person."""

    def step(self, *, tokens: int, phase: str, loss: float, learning_rate: float, tokens_per_second: float) -> None:
        """One step is done; ``tokens`` are consumed."""

    def say(self, line: str) -> None:
        """A line that stays."""

    def close(self) -> None:
        """The run is over."""


class Silent:
    """For the ranks that don't speak."""

    def step(self, *, tokens: int, phase: str, loss: float, learning_rate: float, tokens_per_second: float) -> None:
        """Say nothing."""

    def say(self, line: str) -> None:
        """Say nothing."""

    def close(self) -> None:
        """Nothing to close."""


class LiveLine:
    """A progress bar on a terminal; elsewhere a line every ``every_s`` seconds."""

    def __init__(self, total_tokens: int, *, utilisation: float | None = None, every_s: float = 10.0) -> None:
        """``utilisation`` is the MFU of one token per second, None where the device's peak isn't known."""
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._total = total_tokens
        self._utilisation = utilisation
        self._every_s = every_s
        self._last_line_s = 0.0
        self._bar = Progress(
            TextColumn("{task.fields[phase]}"), BarColumn(bar_width=24), TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(elapsed_when_finished=True), console=self._console, transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task("", total=total_tokens, phase="", facts="")

    def step(self, *, tokens: int, phase: str, loss: float, learning_rate: float, tokens_per_second: float) -> None:
        """Move the bar, or print a line when the last one is old enough."""
        facts = f"{format_tokens(tokens)} tokens  loss {loss:.4f}  lr {learning_rate:.3g}"
        facts += f"  {tokens_per_second:,.0f} tokens/s"
        if self._utilisation is not None:
            facts += f"  MFU {self._utilisation * tokens_per_second:.1%}"
        if self._console.is_terminal:
            self._bar.start()  # where it runs already, this does nothing
        self._bar.update(self._task, completed=tokens, phase=phase, facts=facts)
        if not self._console.is_terminal and time.monotonic() - self._last_line_s >= self._every_s:
            self._last_line_s = time.monotonic()
            left_s = (self._total - tokens) / max(tokens_per_second, 1e-9)
            self._console.print(f"{phase:>10}  {tokens / self._total:4.0%}  {facts}  {left_s:,.0f} s left")

    def say(self, line: str) -> None:
        """A line above the bar."""
        self._console.print(line, markup=False)

    def close(self) -> None:
        """Take the bar away."""
        self._bar.stop()
