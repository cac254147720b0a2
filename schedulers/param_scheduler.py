"""A drop-in for Megatron's `OptimizerParamScheduler`: the same constructor, methods and state keys, to the last bit.

    scheduler = ParamScheduler(optimizer, init_lr=0.0, max_lr=3e-4, ...)                      # Megatron's own curve
    scheduler = ParamScheduler(optimizer, ..., schedule=wsd(3e-4, ...), sequence_length=4096)  # any of ours

What differs from Megatron's:

- Loading sets the position, however often it is done, and the weight decay with it, before the first step.
- It owns the groups' `max_lr` and `min_lr`: what a checkpoint of the optimizer brings back does not survive an
  override, and bounds that differ between groups stay different.
- The state says the shape and length of the decay too, under one more key that Megatron does not read.
- A learning rate held in a tensor is filled in place. The weight decay may fall.
"""

from collections.abc import Mapping
from copy import copy
from typing import Any, Protocol

from .errors import ScheduleError
from .hyperparameters import write_rate
from .megatron_curve import MegatronCurve, MegatronWeightDecay
from .schedule import Schedule

_ALIASES = {  # keys of older checkpoints
    "max_lr": ("start_lr",),
    "lr_warmup_steps": ("warmup_iter", "warmup_steps"),
    "lr_decay_steps": ("end_iter", "decay_steps"),
    "lr_decay_style": ("decay_style",),
    "num_steps": ("num_iters",),
}
_LR = ("max_lr", "min_lr", "lr_warmup_steps", "lr_decay_steps", "lr_decay_style")
_WD = ("start_wd", "end_wd", "wd_incr_steps", "wd_incr_style")
_OURS = ("init_lr", "wsd_decay_steps", "lr_wsd_decay_style", "schedule", "sequence_length")
OWN_KEY = "annealmix"  # what Megatron's ten keys leave out


class HasGroups(Protocol):
    """An optimizer, as far as it is needed: torch's and Megatron's both are one."""

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Parameter groups, each a dict of settings."""


class ParamScheduler:
    """Sets `lr` and `weight_decay` of every group by the samples consumed; see the module for how it differs.

    Args:
        optimizer: Its groups may have `max_lr`, `min_lr`, `start_wd`, `end_wd` and `wd_mult` of their own.
        schedule: A curve to follow instead of Megatron's, its largest value `max_lr`. A group's own `max_lr` scales
            it, floor included.
        sequence_length: Tokens in a sample, for `schedule`.
        use_checkpoint_opt_param_scheduler: Loading takes the checkpoint's settings.
        override_opt_param_scheduler: Loading keeps these settings. With neither, both must be equal.

    Raises:
        ScheduleError: Settings out of their range, and when loading, settings that differ or keys that are missing.

    >>> from types import SimpleNamespace
    >>> optimizer = SimpleNamespace(param_groups=[{}])
    >>> scheduler = ParamScheduler(optimizer, 0.0, 3e-4, 3e-5, 100, 1000, "cosine", 0.1, 0.1, 0, "constant")
    >>> scheduler.step(50)
    >>> optimizer.param_groups[0]["lr"]
    0.00015
    """

    def __init__(
        self,
        optimizer: HasGroups,
        init_lr: float,
        max_lr: float,
        min_lr: float,
        lr_warmup_steps: float,
        lr_decay_steps: float,
        lr_decay_style: str,
        start_wd: float,
        end_wd: float,
        wd_incr_steps: int,
        wd_incr_style: str,
        use_checkpoint_opt_param_scheduler: bool | None = True,
        override_opt_param_scheduler: bool | None = False,
        wsd_decay_steps: float | None = None,
        lr_wsd_decay_style: str | None = None,
        *,
        schedule: Schedule | None = None,
        sequence_length: int = 1,
    ) -> None:
        if use_checkpoint_opt_param_scheduler and override_opt_param_scheduler:
            raise ScheduleError("Megatron scheduler: both override and use-checkpoint are set; choose one")
        self.optimizer = optimizer
        self.use_checkpoint_opt_param_scheduler = bool(use_checkpoint_opt_param_scheduler)
        self.override_opt_param_scheduler = bool(override_opt_param_scheduler)
        self.num_steps = 0
        self.init_lr, self.max_lr, self.min_lr = init_lr, float(max_lr), min_lr
        self.lr_warmup_steps, self.lr_decay_steps = lr_warmup_steps, lr_decay_steps
        self.lr_decay_style = lr_decay_style
        self.wsd_decay_steps, self.lr_wsd_decay_style = wsd_decay_steps, lr_wsd_decay_style
        self.start_wd, self.end_wd = start_wd, end_wd
        self.wd_incr_steps, self.wd_incr_style = wd_incr_steps, wd_incr_style
        self.schedule, self.sequence_length = schedule, sequence_length
        self._bounds: list[tuple[float | None, float | None]] = []
        self._build()
        self.step(0)

    def get_lr(self, param_group: Mapping[str, Any]) -> float:
        """The learning rate of a group at this position, by the bounds that stand in it."""
        high, low = float(param_group.get("max_lr", self.max_lr)), float(param_group.get("min_lr", self.min_lr))
        if self.schedule is None:
            return self._curve.value(self.num_steps, max_lr=high, min_lr=low)
        return self.schedule.value(self.num_steps * self.sequence_length) * (high / self.max_lr)

    def get_wd(self, param_group: Mapping[str, Any] | None = None) -> float:
        """The weight decay of a group at this position, without its `wd_mult`."""
        group = param_group or {}
        return self._weight_decay.value(self.num_steps, start_wd=group.get("start_wd"), end_wd=group.get("end_wd"))

    def step(self, increment: int) -> None:
        """Go on by so many samples, and write the values there into the groups."""
        self.num_steps += increment
        self._own_bounds()
        for group in self.optimizer.param_groups:
            write_rate(group, self.get_lr(group))
            group["weight_decay"] = self.get_wd(group) * group.get("wd_mult", 1.0)

    def state_dict(self) -> dict[str, Any]:
        """Megatron's ten keys, and under `OWN_KEY` what they leave out."""
        own = {name: getattr(self, name) for name in _OURS}
        own["schedule"] = self.schedule and self.schedule.to_dict()
        own["bounds"] = [list(bounds) for bounds in self._bounds]
        return {"num_steps": self.num_steps, **{name: getattr(self, name) for name in (*_LR, *_WD)}, OWN_KEY: own}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a state of ours or of Megatron's; sets the position, and writes its values into the groups."""
        saved, own = _named(state_dict), dict(state_dict.get(OWN_KEY, {}))
        if own.get("schedule") is not None:
            own["schedule"] = Schedule.from_dict(own["schedule"])
        chosen = {name: self._choose(name, {**saved, **own}[name]) for name in self._settings_in(saved, own)}
        loaded = copy(self)
        loaded.__dict__.update(chosen)
        loaded._build()  # before anything is taken over, for it may refuse
        self.__dict__.update(loaded.__dict__)
        if self.use_checkpoint_opt_param_scheduler:
            # A state of Megatron's does not say the bounds, but the optimizer's groups came with them.
            self._bounds = [(high, low) for high, low in own.get("bounds", [])] or self._bounds_of_groups()
        self.num_steps = saved["num_steps"]
        self.step(0)

    def _settings_in(self, saved: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
        return [name for name in (*_LR, *_WD) if name in saved] + [name for name in _OURS if name in own]

    def _choose(self, name: str, saved: Any) -> Any:
        own = getattr(self, name)
        if self.override_opt_param_scheduler:
            return own
        if not self.use_checkpoint_opt_param_scheduler and own != saved:
            fix = "use the checkpoint's (--use-checkpoint-opt_param-scheduler) or override it"
            raise ScheduleError(f"scheduler state: {name} is {saved} in the checkpoint and {own} here; {fix}")
        return saved

    def _build(self) -> None:
        self._curve = MegatronCurve(
            *(getattr(self, name) for name in ("init_lr", *_LR)),
            wsd_decay_steps=self.wsd_decay_steps,
            lr_wsd_decay_style=self.lr_wsd_decay_style,
        )
        self._weight_decay = MegatronWeightDecay(*(getattr(self, name) for name in _WD))
        if self.schedule is not None and self.schedule.peak != self.max_lr:
            raise ScheduleError(f"max_lr={self.max_lr}; expected {self.schedule.peak}, the schedule's largest value")

    def _bounds_of_groups(self) -> list[tuple[float | None, float | None]]:
        return [(group.get("max_lr"), group.get("min_lr")) for group in self.optimizer.param_groups]

    def _own_bounds(self) -> None:
        """Write the bounds into the groups again; a group that is new brings its own."""
        self._bounds += self._bounds_of_groups()[len(self._bounds) :]
        for group, bounds in zip(self.optimizer.param_groups, self._bounds, strict=False):
            for name, bound in zip(("max_lr", "min_lr"), bounds, strict=True):
                if bound is None:
                    group.pop(name, None)
                else:
                    group[name] = bound


def _named(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state under the names of today; weight decay may be missing, as in old checkpoints."""
    named = {}
    for name in ("num_steps", *_LR, *_WD):
        found = [key for key in (*_ALIASES.get(name, ()), name) if key in state]
        if found:
            named[name] = state[found[0]]
        elif name not in _WD:
            raise ScheduleError(
                f"scheduler state with keys {sorted(state)}: {name} is missing; expected Megatron's ten"
            )
    return named
