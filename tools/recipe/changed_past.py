"""What a recipe would change of what a run has read, in the recipe's own words."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mixer.history import History
from mixer.rows import Source
from schedulers.words import format_tokens

from ..errors import UserError
from .past import Past
from .schema import Recipe
from .shares import divisor

_PLACE = re.compile(r"(?P<section>\w+)(\[(?P<index>\d+)\])?\.?(?P<key>.*)")
_OTHER_UNIT = {"tokens": "loss_tokens", "loss_tokens": "tokens"}


def check_past(past: Past, history: History, recipe: Recipe, sources: Mapping[str, Source], where: str) -> None:
    """Raise UserError for the first key by which what was read before would have been read otherwise."""
    difference = past.history.first_difference(history, past.at_sample)
    if difference is None:
        return
    key, ours, theirs = _Words(past, history, recipe, sources).of(*difference)
    so_far = format_tokens(past.at_sample * past.history.sequence_length)
    expected = f"{ours}, as in the {so_far} tokens that the run has read"
    raise UserError(f"{where}: {key}", got=theirs, expected=expected, fix="put it back, or begin a new run")


def plain(value: Any) -> str:
    """A value as a recipe states it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value)) if isinstance(value, tuple) else str(value)


@dataclass(frozen=True)
class _Words:
    """The recipe's key for a path of the history, and the past's and the recipe's value as a recipe states them."""

    past: Past
    history: History
    recipe: Recipe
    sources: Mapping[str, Source]

    def of(self, path: str, ours: Any, theirs: Any) -> tuple[str, str, str]:
        place = _PLACE.match(path)
        assert place, path
        section, key = place["section"], place["key"]
        if section == "phases":
            return self._of_phase(int(place["index"]), key, ours, theirs)
        if section == "sources":
            name, _, field = key.partition(".")
            return self._of_source(name, field, plain(ours), plain(theirs))
        if section == "document_skips":
            return f"skip_documents.{key.partition('[')[0]}", f"document {ours} among them", f"no document {ours}"
        return {"skips": "skip_samples"}.get(section, section), plain(ours), plain(theirs)

    def _of_phase(self, index: int, key: str, ours: Any, theirs: Any) -> tuple[str, str, str]:
        was, now = self.past.history, self.history
        field, _, name = key.partition(".")
        if not field:
            return "phases", self._begun(was), self._begun(now)
        if field == "weights":
            return self._of_weight(index, name, ours or 0.0, theirs or 0.0)
        if field == "ramp":
            return f"phases[{index}].mixture_ramp", _ramp(was, index), _ramp(now, index)
        return f"phases[{index}].tokens", self._tokens_read(index), f"{self.recipe.phases[index].tokens:,}"

    def _of_weight(self, index: int, name: str, ours: float, theirs: float) -> tuple[str, str, str]:
        """The history's weights are per window; the recipe's are in its unit, which may be what has changed."""
        unit, other = self.recipe.unit, _OTHER_UNIT[self.recipe.unit]
        stated = theirs * self._per_window(name, unit)
        if math.isclose(ours * self._per_window(name, other), stated):
            return "unit", other, unit
        stating = [number for number, phase in enumerate(self.recipe.phases[: index + 1]) if phase.mixture is not None]
        carried = "" if stating[-1] == index else f", that of phases[{stating[-1]}]"
        read = f"{ours * self._per_window(name, unit):.6g}"
        return f"phases[{index}].mixture.{name}", read, f"{stated:.6g}{carried}"

    def _per_window(self, name: str, unit: str) -> float:
        """What a weight in a unit is divided by to be one per window."""
        recipe = self.recipe.model_copy(update={"unit": unit})
        return divisor(recipe, self.sources[name]) if name in self.sources else 1.0

    def _of_source(self, name: str, field: str, ours: str, theirs: str) -> tuple[str, str, str]:
        if not field.startswith("generations"):
            return f"sources.{name}.{field}", ours, theirs
        stated, known = self.recipe.sources[name].tokens, self.past.history.sources[name].generations[-1]
        if stated is not None:
            return f"sources.{name}.tokens", f"at least {known.num_tokens:,}", f"{stated:,}"
        what = f"data whose {field.rpartition('.')[2].replace('num_', 'number of ')} is"
        return f"sources.{name}.path", f"{what} {ours}", f"{what} {theirs}"

    def _begun(self, history: History) -> str:
        begun = sum(phase.start_sample < self.past.at_sample for phase in history.phases)
        return f"{begun} that begin before {self._tokens(self.past.at_sample)} tokens"

    def _tokens_read(self, index: int) -> str:
        """What was read of a phase; of the one that runs, at least that."""
        phase = self.past.history.phases[index]
        if phase.end_sample < self.past.at_sample:
            return self._tokens(phase.end_sample - phase.start_sample)
        return f"at least {self._tokens(self.past.at_sample - phase.start_sample)}"

    def _tokens(self, samples: int) -> str:
        return f"{samples * self.past.history.sequence_length:,}"


def _ramp(history: History, index: int) -> str:
    span = history.phases[index]
    ramp = span.asked or span.ramp
    return ramp.shape if ramp else "none"
