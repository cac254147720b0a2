"""What a recipe says of its data: sources, how their rows are made and how long they last, and a run they come from."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_serializer, field_validator, model_validator

from mixer.errors import DataError
from mixer.from_megatron import parse_blend

from .numbers import Count, Real
from .section import Section, complaint


class SourceSpec(Section):
    """One source of tokens: data on disk by ``path`` (one name or several, end to end), or a count to plan with."""

    path: tuple[Path, ...] | None = None
    tokens: Count | None = None
    column: str = "input_ids"
    loss: Literal["all", "assistant"] = "all"
    shuffle: Literal["each_epoch", "once", "off"] = "each_epoch"
    epoch_offset: bool = False
    windows: Literal["concatenated", "document", "packed"] | None = None
    attention: Literal["window", "document"] = "window"
    overlong: Literal["split", "drop", "truncate"] = "split"
    pad: Count | None = None
    holdout: Real | None = None
    holdout_runs: Annotated[int, Field(gt=0)] | None = None
    max_epochs: Annotated[Real, Field(gt=0)] | None = None
    exhausted: Literal["error", "stop", "redistribute"] = "error"
    redistribute_to: tuple[str, ...] = ()
    grown: Literal["next_epoch", "append"] = "next_epoch"
    mean_loss_tokens: Annotated[Real, Field(gt=0)] | None = None

    @field_validator("path", mode="before")
    @classmethod
    def _one_path(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str | Path) else value

    @field_serializer("path")
    def _plain_path(self, path: tuple[Path, ...] | None) -> str | list[str] | None:
        return str(path[0]) if path and len(path) == 1 else [str(part) for part in path] if path else None

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.path is None) == (self.tokens is None):
            got = "neither" if self.path is None else "both"
            raise complaint("either path (data on disk) or tokens (a count to plan with)", got=got)
        if self.path is not None and self.mean_loss_tokens is not None:
            raise complaint(
                "none with path: data on disk is counted", got=self.mean_loss_tokens, place="mean_loss_tokens"
            )
        if self.path == ():
            raise complaint("at least one path", got="an empty list", place="path")
        if self.epoch_offset and self.windows in ("document", "packed"):
            raise complaint("false with windows kept inside documents", got="true", place="epoch_offset")
        return self

    @model_validator(mode="after")
    def _policy_of_a_cap(self) -> Self:
        if self.exhausted != "error" and self.max_epochs is None:
            raise complaint("max_epochs beside it: how often the source may be read", got="none", place="max_epochs")
        if (self.exhausted == "redistribute") != bool(self.redistribute_to):
            got = ", ".join(self.redistribute_to) or "none"
            raise complaint("sources with exhausted: redistribute, and only there", got=got, place="redistribute_to")
        return self


class FromMegatron(Section):
    """A run on Megatron's BlendedDataset that this one goes on from, as its arguments say it."""

    blend: tuple[str, ...]
    train_samples: Count
    consumed_samples: Count
    seed: Annotated[int, Field(ge=0)] = 1234
    split: str | None = "969, 30, 1"
    sequence_length: Annotated[int, Field(gt=0)] | None = None
    dataset_index: Path | None = None

    @field_validator("blend", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        words = value.split() if isinstance(value, str) else value
        return [str(word) for word in words] if isinstance(words, list) else words

    @field_validator("blend")
    @classmethod
    def _paths_and_weights(cls, blend: tuple[str, ...]) -> tuple[str, ...]:
        try:
            paths, _ = parse_blend(blend)
        except DataError:
            paths = []
        if not paths:
            raise complaint("paths, or a positive number before each path", got=" ".join(blend) or "nothing")
        return blend

    @model_validator(mode="after")
    def _consumed_of_train(self) -> Self:
        if self.consumed_samples > self.train_samples:
            expected = f"at most train_samples, {self.train_samples}"
            raise complaint(expected, got=self.consumed_samples, place="consumed_samples")
        return self
