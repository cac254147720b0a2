"""YAML as a recipe needs it; the one file that imports PyYAML.

PyYAML reads YAML 1.1, in which ``no`` is false, ``12:30`` is 750 and ``2e9`` is a string. Here ``true`` and ``false``
are the only booleans, base-60 numbers don't exist, ``2e9`` and ``3e-4`` are numbers, and a key may stand only once.
"""

import re
from pathlib import Path
from typing import Any, ClassVar

import yaml

from ..errors import UserError


class _RecipeLoader(yaml.CSafeLoader):
    """SafeLoader with the scalars of YAML 1.2 and no duplicate keys, in C: a recipe may have thousands of sources."""

    yaml_implicit_resolvers: ClassVar[dict[Any, Any]] = {}  # type: ignore[misc]


_NUMBER_STARTS = list("-+.0123456789")
_RecipeLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|false)$"), list("tf"))
_RecipeLoader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(null|~|)$"), ["n", "~", ""])
_RecipeLoader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?\d[\d_]*$"), _NUMBER_STARTS)
_RecipeLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*\.?\d*|\.\d+)([eE][-+]?\d+)?$"),
    _NUMBER_STARTS,
)


def _unique_mapping(loader: _RecipeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, "a key must be a plain value", key_node.start_mark)
        key = loader.construct_object(key_node)
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} stands twice; keep one of them", key_node.start_mark
            )
        seen.add(key)
    mapping: dict[Any, Any] = loader.construct_mapping(node, deep=True)
    return mapping


def _decimal_int(loader: _RecipeLoader, node: yaml.ScalarNode) -> int:
    return int(node.value.replace("_", ""))


def _decimal_float(loader: _RecipeLoader, node: yaml.ScalarNode) -> float:
    return float(node.value.replace("_", ""))


_RecipeLoader.add_constructor("tag:yaml.org,2002:map", _unique_mapping)
_RecipeLoader.add_constructor("tag:yaml.org,2002:int", _decimal_int)
_RecipeLoader.add_constructor("tag:yaml.org,2002:float", _decimal_float)


class _RecipeDumper(yaml.SafeDumper):
    """Quotes a string exactly where the loader would read it as something else."""

    yaml_implicit_resolvers = _RecipeLoader.yaml_implicit_resolvers


def parse_yaml(text: str, where: str) -> Any:
    """Parse one YAML document; a mistake is a UserError that names the line.

    >>> parse_yaml("a: 2e9\\nno: [1_000, true]", "x.yaml")
    {'a': 2000000000.0, 'no': [1000, True]}
    """
    try:
        return yaml.load(text, Loader=_RecipeLoader)
    except yaml.MarkedYAMLError as error:
        raise UserError(_place(where, error), fix=_explain(text, error)) from None
    except yaml.YAMLError as error:
        raise UserError(where, fix=f"not readable as YAML ({str(error).splitlines()[0]})") from None


def _place(where: str, error: yaml.MarkedYAMLError) -> str:
    return f"{where}:{error.problem_mark.line + 1}" if error.problem_mark else where


def _explain(text: str, error: yaml.MarkedYAMLError) -> str:
    line = text.splitlines()[error.problem_mark.line : error.problem_mark.line + 1] if error.problem_mark else []
    if line and "\t" in line[0]:
        return "got a tab; expected spaces: YAML indents with spaces only"
    return error.problem or "not readable as YAML"


def read_yaml(path: Path) -> Any:
    """Read a YAML file; a missing or unreadable one is a UserError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(str(path), got="no such file", expected="a recipe in YAML") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(str(path), got=str(error), expected="a readable recipe in YAML") from None
    return parse_yaml(text, str(path))


def write_yaml(value: Any) -> str:
    """The value as YAML, keys in the order given."""
    return yaml.dump(value, Dumper=_RecipeDumper, sort_keys=False, allow_unicode=True, width=120)
