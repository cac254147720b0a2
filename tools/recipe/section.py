"""What the parts of the recipe's grammar share: refusing unknown keys, and complaints that name their place."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError


def complaint(expected: str, *, got: object = None, place: str = "") -> PydanticCustomError:
    """An error whose place (below the section at hand) and whose offending value are named by the check itself."""
    return PydanticCustomError("recipe", "{expected}", {"expected": expected, "got": got, "place": place})


def nearest(name: str, names: Iterable[str]) -> str:
    """The known name that looks most like one that isn't known.

    >>> nearest("wbe", ["code", "web"])
    'web'
    """
    return get_close_matches(name, list(names), n=1, cutoff=0.0)[0]


class Section(BaseModel):
    """A part of the recipe; a key it doesn't have is refused with the nearest one it has.

    ``near`` are keys that would make another kind of section of it: a misspelt one is told from them too.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, strict=False)
    near: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        names = [field.alias or name for name, field in cls.model_fields.items()]
        for key in value if isinstance(value, dict) else ():
            if key not in names and key not in cls.model_fields:
                near = nearest(str(key), [*names, *cls.near])
                raise complaint(f"a key that stands here; the nearest is {near}", got=str(key), place=str(key))
        return value
