"""Run state: everything about a run that isn't a weight, as one JSON file in each checkpoint."""

import json
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, Self

from schedulers.hyperparameters import Hyperparameters

VERSION = 3


@dataclass(frozen=True)
class RunState:
    """Where a run stands.

    ``step`` steps are done and ``consumed_samples`` windows consumed; ``history`` and ``hyperparameters`` are what was
    read and how the learning rate and the curves beside it went, as resolved numbers; ``model`` and ``sources`` are
    what the recipe said of the network and of how rows are made, which can't change; ``recent_losses`` are the last
    steps' losses, which a spike is measured against; ``before_decay`` marks a checkpoint that branches start from and
    that is always kept.
    """

    step: int
    consumed_samples: int
    consumed_tokens: int
    history: dict[str, Any]
    hyperparameters: dict[str, Any]
    batch_size: list[list[int]]
    model: dict[str, Any]
    sources: dict[str, dict[str, Any]]
    recent_losses: tuple[float, ...] = ()
    before_decay: bool = False
    versions: dict[str, str] | None = None
    version: int = VERSION

    @cached_property
    def curves(self) -> Hyperparameters:
        """The curves of the run, of what lies ahead of it too."""
        return Hyperparameters.from_dict(self.hyperparameters)

    def to_json(self) -> str:
        """The state as text; floats are written so that they come back to the last bit."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a state back; ValueError where it isn't one, or was written by another version of this program."""
        values = json.loads(text)
        if not isinstance(values, dict) or values.get("version") != VERSION:
            raise ValueError(f"not a run state of version {VERSION}")
        known = {field.name for field in fields(cls)}
        if values.keys() - known:
            raise ValueError(f"unknown keys {sorted(values.keys() - known)}")
        return cls(**{**values, "recent_losses": tuple(values["recent_losses"])})


def first_state() -> RunState:
    """A run before its first step; in a checkpoint, that its weights are the ones to begin with."""
    return RunState(
        step=0,
        consumed_samples=0,
        consumed_tokens=0,
        history={},
        hyperparameters={},
        batch_size=[],
        model={},
        sources={},
    )
