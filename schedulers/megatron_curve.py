"""Megatron's learning-rate and weight-decay curves, operation for operation, so that every bit is theirs.

Positions are samples, as `num_steps` of its scheduler counts them. `schedulers.from_megatron.schedule_of` says the same
as a `Schedule`.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass
from functools import cached_property

from .errors import ScheduleError, nearest
from .shapes import Cosine, Linear, OneMinusSqrt


def _exponential(share: float) -> float:
    """`MegatronExponential` by `math`, for its last bit; the shape goes by numpy."""
    return 2.0 * math.pow(0.5, share) - 1.0


STYLES = ("constant", "linear", "cosine", "inverse-square-root", "WSD")
WSD_STYLES: dict[str, Callable[[float], float]] = {
    "linear": Linear().fall,
    "cosine": Cosine().fall,
    "exponential": _exponential,
    "minus_sqrt": OneMinusSqrt().fall,
}


@dataclass(frozen=True)
class MegatronCurve:
    """The learning rate by the arguments of Megatron's `OptimizerParamScheduler`, under their own names.

    Args:
        init_lr: Where the warmup begins, at most `max_lr`.
        max_lr: The peak.
        min_lr: The floor, 0 to `max_lr`.
        lr_warmup_steps: Samples of warmup, less than `lr_decay_steps`; not whole where it was given as a fraction.
        lr_decay_steps: Sample at which the decay ends.
        lr_decay_style: One of `STYLES`.
        wsd_decay_steps: Samples of decay before `lr_decay_steps`; WSD needs it.
        lr_wsd_decay_style: One of `WSD_STYLES`; WSD needs it.

    Raises:
        ScheduleError: An argument out of its range. A style that doesn't exist is refused here, not at the step
            that first needs it.

    >>> curve = MegatronCurve(0.0, 3e-4, 3e-5, 100, 1000, "WSD", wsd_decay_steps=200, lr_wsd_decay_style="minus_sqrt")
    >>> curve.value(900)
    0.00010908116907963214
    """

    init_lr: float
    max_lr: float
    min_lr: float
    lr_warmup_steps: float
    lr_decay_steps: float
    lr_decay_style: str
    _: KW_ONLY
    wsd_decay_steps: float | None = None
    lr_wsd_decay_style: str | None = None

    def __post_init__(self) -> None:
        for problem in self._problems():
            raise ScheduleError(f"Megatron scheduler: {problem}")

    def value(self, num_steps: int, *, max_lr: float | None = None, min_lr: float | None = None) -> float:
        """The learning rate at a sample, for a group with bounds of its own if they are given.

        >>> MegatronCurve(0.0, 3e-4, 3e-5, 100, 1000, "linear").value(99, max_lr=3e-3)
        0.00297
        """
        high = self.max_lr if max_lr is None else max_lr
        low = self.min_lr if min_lr is None else min_lr
        warmup = self.lr_warmup_steps
        if warmup > 0 and num_steps <= warmup:
            return self.init_lr + (high - self.init_lr) * float(num_steps) / float(warmup)
        if self.lr_decay_style == "constant":
            return high
        if num_steps > self.lr_decay_steps:
            return low
        if self.lr_decay_style == "inverse-square-root":
            return max(low, high * float(max(warmup, 1) ** 0.5) / float(max(num_steps, 1) ** 0.5))
        return low + self._fall(num_steps) * (high - low)

    def notes(self) -> Iterator[str]:
        """What this curve does that its writer may not have meant, a line each.

        >>> list(MegatronCurve(3e-6, 3e-4, 3e-5, 100, 1000, "inverse-square-root").notes())
        ['inverse-square-root jumps from 9.48683e-05 to min_lr=3e-05 after 1000 samples']
        """
        last = self.value(int(self.lr_decay_steps))
        if self.lr_decay_style == "inverse-square-root" and last > self.min_lr:
            place = f"min_lr={self.min_lr:g} after {self.lr_decay_steps:g} samples"
            yield f"inverse-square-root jumps from {last:g} to {place}"
        if self.init_lr == 0 and self.lr_warmup_steps > 0:
            yield "the first step has a learning rate of 0 and learns nothing; set --lr-warmup-init above 0"

    def _fall(self, num_steps: int) -> float:
        if self.lr_decay_style != "WSD":
            done, total = num_steps - self.lr_warmup_steps, self.lr_decay_steps - self.lr_warmup_steps
            return self._shape(float(done) / float(total))
        if num_steps <= self._decay_start:
            return 1.0
        assert self.wsd_decay_steps is not None
        return self._shape(float(num_steps - self._decay_start) / float(self.wsd_decay_steps))

    @property
    def _decay_start(self) -> float:
        return self.lr_decay_steps - (self.wsd_decay_steps or 0)

    @cached_property
    def _shape(self) -> Callable[[float], float]:
        style = self.lr_wsd_decay_style if self.lr_decay_style == "WSD" else self.lr_decay_style
        return WSD_STYLES[style or ""]

    def _problems(self) -> Iterator[str]:
        if not 0 <= self.min_lr <= self.max_lr:
            yield f"min_lr={self.min_lr}; expected 0 to max_lr={self.max_lr}"
        if not 0 <= self.init_lr <= self.max_lr:
            yield f"init_lr={self.init_lr}; expected 0 to max_lr={self.max_lr}"
        if not 0 <= self.lr_warmup_steps < self.lr_decay_steps:
            yield f"lr_warmup_steps={self.lr_warmup_steps}; expected less than lr_decay_steps={self.lr_decay_steps}"
        if self.lr_decay_style not in STYLES:
            yield f"lr_decay_style={self.lr_decay_style!r}; {nearest(self.lr_decay_style, known=STYLES)}"
        if self.lr_decay_style == "WSD":
            yield from self._wsd_problems()

    def _wsd_problems(self) -> Iterator[str]:
        if self.wsd_decay_steps is None or not 0 < self.wsd_decay_steps <= self.lr_decay_steps:
            got, most = self.wsd_decay_steps, self.lr_decay_steps
            yield f"wsd_decay_steps={got}; expected above 0 and at most lr_decay_steps={most}, the length of the decay"
        if self.lr_wsd_decay_style not in WSD_STYLES:
            style = self.lr_wsd_decay_style
            yield f"lr_wsd_decay_style={style!r}; {nearest(str(style), known=WSD_STYLES)}"


@dataclass(frozen=True)
class MegatronWeightDecay:
    """The weight decay by the arguments of Megatron's scheduler; here it may fall as well.

    >>> MegatronWeightDecay(0.0, 0.1, 1000, "linear").value(250)
    0.025
    """

    start_wd: float
    end_wd: float
    wd_incr_steps: int
    wd_incr_style: str

    def __post_init__(self) -> None:
        styles = ("constant", "linear", "cosine")
        if self.wd_incr_style not in styles:
            style = self.wd_incr_style
            raise ScheduleError(f"Megatron scheduler: wd_incr_style={style!r}; {nearest(style, known=styles)}")
        if min(self.start_wd, self.end_wd) < 0 or (self.wd_incr_style == "constant" and self.start_wd != self.end_wd):
            span = f"{self.start_wd} to {self.end_wd}"
            raise ScheduleError(
                f"Megatron scheduler: {self.wd_incr_style} weight decay from {span}; expected both >= 0"
            )

    def value(self, num_steps: int, *, start_wd: float | None = None, end_wd: float | None = None) -> float:
        """The weight decay at a sample, for a group with bounds of its own if they are given.

        >>> MegatronWeightDecay(0.0, 0.1, 1000, "cosine").value(500)
        0.05
        """
        start = self.start_wd if start_wd is None else start_wd
        end = self.end_wd if end_wd is None else end_wd
        if num_steps > self.wd_incr_steps or self.wd_incr_style == "constant" or self.wd_incr_steps == 0:
            return end
        share = float(num_steps) / float(self.wd_incr_steps)
        risen = share if self.wd_incr_style == "linear" else Cosine().fall(1.0 - share)
        return start + risen * (end - start)
