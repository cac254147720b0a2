"""From a YAML file and ``--set`` overrides to a Recipe; each mistake becomes one line that names its place."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..errors import UserError
from .schema import Recipe
from .yaml_file import parse_yaml, read_yaml

_EXPECTED = {  # of pydantic's errors, those that speak of Python's types
    "tuple_type": "a list",
    "dict_type": "a section of keys and values",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
}


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe.

    ``overrides`` are ``a.b=c`` or ``phases.1.tokens=2B``; the value is read as YAML.
    Raises UserError at the first thing that can't stand.
    """
    document = read_yaml(path)
    if not isinstance(document, dict):
        raise UserError(str(path), got=type(document).__name__, expected="a mapping: name, model, sources, phases, ...")
    for override in overrides:
        apply_override(document, override)
    return parse_recipe(document, str(path))


def parse_recipe(document: Any, where: str) -> Recipe:
    """Check a parsed document; ``where`` begins each message."""
    try:
        return Recipe.model_validate(document)
    except ValidationError as error:
        raise _one_line(error.errors(include_url=False)[0], where) from None


def _one_line(first: Any, where: str) -> UserError:
    """pydantic's first complaint as where, got, expected."""
    context = first.get("ctx", {}) if first["type"] == "recipe" else {}
    place = ".".join(part for part in (dotted(first["loc"]), context.get("place", "")) if part)
    got = "nothing" if first["type"] == "missing" else _short(context.get("got", first["input"]))
    return UserError(f"{where}: {place}" if place else where, got=got, expected=_expected(first))


def _expected(error: Any) -> str:
    if error["type"] == "missing":
        return "a value: this key has to stand in the recipe"
    if error["type"] in _EXPECTED:
        return _EXPECTED[error["type"]].format(**error.get("ctx", {}))
    return str(error["msg"]).removeprefix("Input should be ").removeprefix("Value error, ")


def _short(value: Any) -> str:
    text = "{" + ", ".join(map(str, value)) + "}" if isinstance(value, dict) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def dotted(place: Iterable[int | str]) -> str:
    """A place in the recipe as people write it; which kind of section stands there, in brackets, is left out.

    >>> dotted(("phases", 2, "learning_rate", "(waves)", "to"))
    'phases[2].learning_rate.to'
    """
    named = [part for part in place if isinstance(part, int) or not part.startswith("(")]
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in named).lstrip(".")


def apply_override(document: dict[str, Any], override: str) -> None:
    """Set one value of a parsed recipe in place; sections that are missing are made.

    >>> recipe = {"phases": [{"tokens": 1}]}
    >>> apply_override(recipe, "phases.0.tokens=2B"); apply_override(recipe, "tracking.enabled=false"); recipe
    {'phases': [{'tokens': '2B'}], 'tracking': {'enabled': False}}
    """
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(f"--set {override}", expected="KEY=VALUE, as in --set phases.1.tokens=2B")
    *parents, last = key.split(".")
    place: Any = document
    for part in parents:
        place = _child(place, part, override)
    if isinstance(place, list):
        place[_index(place, last, override)] = parse_yaml(text, f"--set {override}")
    else:
        place[last] = parse_yaml(text, f"--set {override}")


def _child(place: Any, part: str, override: str) -> Any:
    if isinstance(place, list):
        return place[_index(place, part, override)]
    child = place.setdefault(part, {})
    if not isinstance(child, dict | list):
        raise UserError(f"--set {override}", got=f"{part}, which is a plain value", expected="a section or a list")
    return child


def _index(place: list[Any], part: str, override: str) -> int:
    if not part.isdecimal() or int(part) >= len(place):
        raise UserError(f"--set {override}", got=part, expected=f"an index from 0 to {len(place) - 1}")
    return int(part)
