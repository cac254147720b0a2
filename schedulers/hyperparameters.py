"""The curves beside the learning rate, on the same clock: weight decay, Adam's beta2, clipping, multipliers of groups.

    settings = Hyperparameters(
        learning_rate=wsd(3e-4, ...),
        weight_decay=decay_from(constant(0.1), ...),
        beta2=0.95,
        clip_grad=1.0,
        group_multipliers={"embedding": 10.0, "hidden": 256 / 4096},
    )
    settings.write(optimizer.param_groups, consumed_tokens)

A number stands for a curve that never changes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .batch_ramps import Coupled
from .errors import ScheduleError, nearest
from .schedule import Schedule
from .segment import Segment

Curve = Schedule | Coupled | float
_HIGHEST = {"beta2": 1.0}  # below it; the others have no bound


class Values(NamedTuple):
    """What holds for one step."""

    learning_rate: float
    weight_decay: float
    beta2: float
    clip_grad: float


@dataclass(frozen=True)
class Hyperparameters:
    """Everything that an optimizer is told before a step, as curves on the token clock.

    Args:
        learning_rate: For groups whose multiplier is 1; it may be coupled to the batch size.
        weight_decay: For groups whose `wd_mult` is 1; it may fall.
        beta2: From 0 to below 1.
        clip_grad: Bound of the gradient's norm.
        group_multipliers: By the `name` of a group: what its learning rate is multiplied by (muP, embeddings).

    Raises:
        ScheduleError: A curve that leaves its range somewhere.

    >>> from schedulers.builders import constant
    >>> Hyperparameters(constant(1.0, warmup_tokens=10), weight_decay=0.1).at(5)
    Values(learning_rate=0.5, weight_decay=0.1, beta2=0.95, clip_grad=1.0)
    """

    learning_rate: Curve
    weight_decay: Curve = 0.1
    beta2: Curve = 0.95
    clip_grad: Curve = 1.0
    group_multipliers: Mapping[str, Curve] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, curve in self._curves():
            least, most = _range(curve)
            if not least >= 0.0 or not most < _HIGHEST.get(name, float("inf")):
                below = f" to below {_HIGHEST[name]:g}" if name in _HIGHEST else ""
                raise ScheduleError(f"{name} runs from {least:g} to {most:g}; expected at least 0{below}")

    def at(self, tokens: int) -> Values:
        """The values of the step before which so many tokens were consumed.

        >>> Hyperparameters(1e-3, beta2=0.99).at(0).beta2
        0.99
        """
        return Values(*(_value(getattr(self, name), tokens) for name in Values._fields))

    def multiplier(self, name: str, tokens: int) -> float:
        """What multiplies the learning rate of a group; 1 for one that is not named.

        >>> Hyperparameters(1e-3, group_multipliers={"embedding": 10.0}).multiplier("embedding", 0)
        10.0
        """
        return _value(self.group_multipliers.get(name, 1.0), tokens)

    def write(self, param_groups: list[dict[str, Any]], tokens: int) -> Values:
        """Write the values into the groups and answer them; the gradient's bound is the caller's to use.

        A group's `lr_mult` and `wd_mult` are kept as factors; `beta2` goes where the group has `betas`. A learning
        rate held in a tensor is filled in place.

        Raises:
            ScheduleError: A multiplier is given for a group that is not there.

        >>> groups = [{"name": "embedding", "betas": (0.9, 0.999)}]
        >>> _ = Hyperparameters(1e-3, group_multipliers={"embedding": 2.0}).write(groups, 0)
        >>> groups[0]["lr"], groups[0]["betas"]
        (0.002, (0.9, 0.95))
        """
        names = [str(group.get("name", "")) for group in param_groups]
        for name in self.group_multipliers:
            if name not in names:
                raise ScheduleError(f"group_multipliers: no group is named {name!r}; {nearest(name, known=names)}")
        values = self.at(tokens)
        for name, group in zip(names, param_groups, strict=True):
            factor = self.multiplier(name, tokens) * group.get("lr_mult", 1.0)
            write_rate(group, values.learning_rate * factor)
            group["weight_decay"] = values.weight_decay * group.get("wd_mult", 1.0)
            if "betas" in group:
                group["betas"] = (group["betas"][0], values.beta2)
        return values

    def to_dict(self) -> dict[str, Any]:
        """The curves ready for JSON: a schedule as its segments, a number as itself.

        >>> Hyperparameters(1e-3).to_dict()["beta2"]
        0.95
        """
        return {
            **{name: _state(getattr(self, name)) for name in Values._fields},
            "group_multipliers": {name: _state(curve) for name, curve in self.group_multipliers.items()},
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> "Hyperparameters":
        """The curves that `to_dict` wrote. Raises ScheduleError on other keys.

        >>> Hyperparameters.from_dict(Hyperparameters(1e-3).to_dict()) == Hyperparameters(1e-3)
        True
        """
        wanted = {*Values._fields, "group_multipliers"}
        if set(state) != wanted:
            raise ScheduleError(f"hyperparameters with keys {sorted(state)}; expected {', '.join(sorted(wanted))}")
        named = {name: _curve(curve) for name, curve in state["group_multipliers"].items()}
        rate, weight_decay, beta2, clip_grad = (_curve(state[name]) for name in Values._fields)
        return cls(rate, weight_decay, beta2, clip_grad, named)

    def _curves(self) -> Iterator[tuple[str, Curve]]:
        yield from ((name, getattr(self, name)) for name in Values._fields)
        yield from ((f"group_multipliers[{name!r}]", curve) for name, curve in self.group_multipliers.items())


def beta2_for_batch_size(beta2: float, *, batch_size: int, reference_batch_size: int) -> float:
    """beta2 whose memory is as many tokens at one batch size as `beta2` at another: beta2 ^ (batch / reference).

    >>> round(beta2_for_batch_size(0.95, batch_size=1024, reference_batch_size=512), 6)
    0.9025
    """
    if not 0.0 < beta2 < 1.0 or min(batch_size, reference_batch_size) < 1:
        got = f"beta2={beta2}, batch_size={batch_size}, reference_batch_size={reference_batch_size}"
        raise ScheduleError(f"{got}; expected beta2 between 0 and 1, sizes of at least 1")
    return float(beta2 ** (batch_size / reference_batch_size))


def write_rate(group: dict[str, Any], value: float) -> None:
    """Write a learning rate into a group, into the tensor that is there if there is one.

    >>> group = {}
    >>> write_rate(group, 0.5); group
    {'lr': 0.5}
    """
    fill = getattr(group.get("lr"), "fill_", None)
    if fill is None:
        group["lr"] = value
    else:
        fill(value)  # a CUDA graph or a compiled step reads this very tensor


def as_schedule(curve: Curve) -> Schedule:
    """A curve as segments: of a number a flat one, of a coupled learning rate the one at the reference batch size.

    >>> as_schedule(0.1).value(10**15)
    0.1
    """
    if isinstance(curve, Coupled):
        return curve.schedule
    return curve if isinstance(curve, Schedule) else Schedule((Segment(0, 1, curve, curve, "constant"),))


def _value(curve: Curve, tokens: int) -> float:
    return curve.value(tokens) if isinstance(curve, Schedule | Coupled) else curve


def _range(curve: Curve) -> tuple[float, float]:
    """The least and the largest value; of a coupled learning rate, but for its factors, which are above 0."""
    if isinstance(curve, float | int):
        return curve, curve
    values = [value for segment in as_schedule(curve).segments for value in (segment.start_value, segment.last_value)]
    return min(values), max(values)


def _state(curve: Curve) -> Any:
    return curve.to_dict() if isinstance(curve, Schedule | Coupled) else curve


def _curve(state: Any) -> Curve:
    if not isinstance(state, Mapping):
        return float(state)
    return Coupled.from_dict(state) if "ramp" in state else Schedule.from_dict(state)
