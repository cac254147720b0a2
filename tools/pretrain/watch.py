"""What ends a run early: a signal to leave, a loss that is no number, a loss that jumps."""

import math
import signal
from collections import deque
from collections.abc import Iterable
from types import FrameType

from ..errors import UserError


class LeaveRequest:
    """SIGTERM and Ctrl-C ask the run to save and leave after the step at hand; a second Ctrl-C leaves at once."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def listen(self) -> None:
        """Take over both signals."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            signal.default_int_handler(number, frame)
        self.signal = signal.Signals(number)

    @property
    def asked(self) -> bool:
        """Whether somebody asked."""
        return self.signal is not None

    @property
    def number(self) -> int:
        """The signal's number; SIGTERM's where another process was asked, and this one left with it."""
        return self.signal or signal.SIGTERM


class SpikeWatch:
    """Compares each loss with the mean of the steps before it.

    >>> watch = SpikeWatch(spike_nats=1.0, window_steps=2)
    >>> [watch.complaint(loss) for loss in (5.0, 5.2, 5.1)]
    ['', '', '']
    >>> watch.complaint(6.2)
    'the loss is 6.2000, 1.05 nats above the mean of the 2 steps before (the bound is 1)'
    """

    def __init__(self, *, spike_nats: float, window_steps: int, recent: Iterable[float] = ()) -> None:
        self._bound = spike_nats
        self._recent = deque(recent, maxlen=window_steps)

    @property
    def recent(self) -> tuple[float, ...]:
        """The losses that the next one is compared with, for the run state."""
        return tuple(self._recent)

    def complaint(self, loss: float, gradient_norm: float = 0.0) -> str:
        """Why the run must stop, or an empty string; a loss without complaint joins the window."""
        if not math.isfinite(loss) or not math.isfinite(gradient_norm):
            return f"the loss is {loss}, the gradient norm {gradient_norm}"
        full = len(self._recent) == self._recent.maxlen
        above = loss - sum(self._recent) / len(self._recent) if full else 0.0
        if above > self._bound:
            before = f"the mean of the {self._recent.maxlen} steps before (the bound is {self._bound:g})"
            return f"the loss is {loss:.4f}, {above:.2f} nats above {before}"
        self._recent.append(loss)
        return ""


class RunStoppedError(UserError):
    """The run ended itself because of what it read; the message names it."""
