"""A schedule as a torch `LRScheduler`, for training loops that step one.

    scheduler = TokenLR(optimizer, wsd(3e-4, ...), tokens_per_step=global_batch_size * sequence_length)
    scheduler = TokenLR(optimizer, wsd(3e-4, ...), tokens_per_step=Steps(ramp, ...))  # under a batch-size ramp

It is the one file here that imports torch.
"""

from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from .batch_size import Steps
from .errors import ScheduleError
from .hyperparameters import write_rate
from .schedule import Schedule

_KEPT = ("last_epoch", "_step_count", "_last_lr")


class TokenLR(LRScheduler):
    """Sets each group's `lr` to the schedule's value at the tokens consumed before the step, times its `lr_mult`.

    The value is closed form: what others write into `lr` is neither read nor multiplied, and no error adds up. In a
    `ChainedScheduler` it comes first, for it sets what the others scale; in a `SequentialLR` it counts tokens from its
    own milestone. Groups may be added at any time. A learning rate in a tensor is filled in place, so that CUDA graphs
    and compiled steps see it.

    Args:
        optimizer: A group may have `lr_mult`, 1 if it doesn't.
        schedule: The learning rate by tokens. An optimizer's own `lr` is not used.
        tokens_per_step: Tokens of every step, or the step table of a run whose batch size changes; past its last step
            the last position holds.
        last_epoch: Steps already done, less 1, as in torch.

    Raises:
        ScheduleError: Tokens below 1. When loading: a state of another kind, or another past.

    >>> import torch
    >>> from schedulers.builders import wsd
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])
    >>> scheduler = TokenLR(optimizer, wsd(1.0, warmup_tokens=100, decay_tokens=10, total_tokens=200), 10)
    >>> optimizer.step(); scheduler.step(); scheduler.get_last_lr()
    [0.1]
    """

    def __init__(
        self, optimizer: Optimizer, schedule: Schedule, tokens_per_step: int | Steps, last_epoch: int = -1
    ) -> None:
        if not isinstance(tokens_per_step, Steps) and not (type(tokens_per_step) is int and tokens_per_step > 0):
            raise ScheduleError(f"tokens_per_step={tokens_per_step!r}; expected an int of at least 1, or a step table")
        self.schedule = schedule
        self.tokens_per_step = tokens_per_step
        self._origin = (0, 0)  # a step, and the tokens consumed before it
        super().__init__(optimizer, last_epoch)

    @property
    def consumed_tokens(self) -> int:
        """Tokens consumed before the step whose learning rate stands in the groups."""
        return self._tokens_before(max(0, self.last_epoch))

    def get_lr(self) -> list[float | Tensor]:
        """The learning rate of each group there is now."""
        value = self.schedule.value(self.consumed_tokens)
        return [value * group.get("lr_mult", 1.0) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Position and schedule, in numbers and text alone, so that `torch.load(weights_only=True)` takes it."""
        rates = [float(rate) for rate in self._last_lr]
        return {
            "last_epoch": self.last_epoch,
            "_step_count": self._step_count,
            "_last_lr": rates,
            "consumed_tokens": self.consumed_tokens,
            "schedule": self.schedule.to_dict(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to the tokens of a saved state; the schedule is this one's, its past must be the saved one's.

        Steps of another size go on from the same token. The groups' rates are written where the optimizer holds what
        this scheduler wrote, here or before the state was saved; others, as in a chain, come with its own state.
        """
        if not {*_KEPT, "consumed_tokens", "schedule"} <= set(state_dict):
            raise ScheduleError(f"scheduler state with keys {sorted(state_dict)}; expected one that TokenLR wrote")
        self._check_past(state_dict)
        self._check_table(state_dict["last_epoch"], state_dict["consumed_tokens"])
        held = [float(group["lr"]) for group in self.optimizer.param_groups]
        is_ours = held in ([float(rate) for rate in self._last_lr], state_dict["_last_lr"])
        self.__dict__.update({name: state_dict[name] for name in _KEPT})
        self._origin = (max(0, self.last_epoch), state_dict["consumed_tokens"])
        if is_ours:
            for group, rate in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
                write_rate(group, float(rate))

    def _tokens_before(self, step: int) -> int:
        if isinstance(self.tokens_per_step, int):
            origin, tokens = self._origin
            return tokens + (step - origin) * self.tokens_per_step
        table = self.tokens_per_step
        return table.first_sample(min(step, table.num_steps)) * table.sequence_length

    def _check_table(self, steps: int, consumed: int) -> None:
        here = self._tokens_before(max(0, steps))
        if isinstance(self.tokens_per_step, Steps) and here != consumed:
            raise ScheduleError(
                f"scheduler state: {steps} steps were {consumed} tokens in the state and are {here} by the step table "
                "here; give the table of the same past"
            )

    def _check_past(self, state_dict: dict[str, Any]) -> None:
        consumed = state_dict["consumed_tokens"]
        difference = Schedule.from_dict(state_dict["schedule"]).first_difference(self.schedule, before_tokens=consumed)
        if difference is not None:
            field, saved, here = difference
            raise ScheduleError(f"schedule: {field} is {saved} in the state and {here} here; leave the past as it was")
