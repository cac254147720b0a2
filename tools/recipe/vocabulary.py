"""The vocabulary of a recipe, and whether the data was written with it."""

import hashlib
import json
from pathlib import Path
from typing import Any

from mixer.manifest import Manifest

from ..errors import UserError
from .schema import Recipe


def read_vocabulary(recipe: Recipe, where: str) -> tuple[int, str | None]:
    """Size of the vocabulary, and sha256 of the tokenizer's file where there is one."""
    if recipe.tokenizer is None:
        assert recipe.vocab_size is not None, "the schema asks for one of them"
        return recipe.vocab_size, None
    try:
        content = recipe.tokenizer.read_bytes()
        ids = _ids(json.loads(content))
    except FileNotFoundError:
        raise UserError(
            f"{where}: tokenizer", got=str(recipe.tokenizer), expected="a file", fix="make it with annealmix prepare"
        ) from None
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise UserError(f"{where}: tokenizer", got=str(recipe.tokenizer), expected="a tokenizer.json") from None
    if not ids:
        raise UserError(f"{where}: tokenizer", got=str(recipe.tokenizer), expected="a tokenizer.json with a vocabulary")
    return max(ids) + 1, hashlib.sha256(content).hexdigest()


def _ids(state: Any) -> list[int]:
    vocabulary = state["model"]["vocab"]  # token to id; of a Unigram model, a list of (token, score)
    known = range(len(vocabulary)) if isinstance(vocabulary, list) else vocabulary.values()
    return [*known, *(token["id"] for token in state.get("added_tokens", ()))]


def check_tokenizer(place: str, path: Path | str, digest: str) -> None:
    """Refuse data that was written with another tokenizer than the recipe's; ``place`` names it there."""
    manifest = Manifest.read(path)
    if manifest and manifest.tokenizer_sha256 and manifest.tokenizer_sha256 != digest:
        raise UserError(
            place,
            got=f"{path}, written with tokenizer {manifest.tokenizer_sha256[:12]}",
            expected=f"data of the recipe's tokenizer {digest[:12]}",
            fix="name the tokenizer the data was written with, or prepare the data again",
        )
