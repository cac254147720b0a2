"""The manifest that `prepare` writes beside the data as ``PREFIX.json``; data from elsewhere does without."""

import json
import os
from dataclasses import dataclass
from typing import Any, Literal

from .errors import DataError

Kind = Literal["text", "chat"]


@dataclass(frozen=True)
class Manifest:
    """What is known of a prepared source; ids are None where the tokenizer has no such token."""

    kind: Kind
    tokens: int
    documents: int
    supervised_tokens: int
    tokenizer_sha256: str | None
    eod: int | None
    pad: int | None
    shuffled: bool = False  # when it was written

    @classmethod
    def read(cls, prefix: str | os.PathLike[str]) -> "Manifest | None":
        """Manifest of the data at ``prefix``, or None where there is none.

        Raises DataError for a file that is not JSON, lacks a key, or has one id for padding and end of document.
        """
        path = f"{os.fspath(prefix)}.json"
        try:
            with open(path, encoding="utf-8") as file:
                return cls._from_json(path, json.load(file))
        except FileNotFoundError:
            return None
        except json.JSONDecodeError as error:
            raise DataError(f"{path}: not JSON ({error}); prepare the data again") from error

    @classmethod
    def _from_json(cls, path: str, state: dict[str, Any]) -> "Manifest":
        try:
            special = state.get("special_tokens", {})
            manifest = cls(
                kind=state["kind"],
                tokens=state["tokens"],
                documents=state["documents"],
                supervised_tokens=state["supervised_tokens"],
                tokenizer_sha256=state.get("tokenizer", {}).get("sha256"),
                eod=special.get("eod"),
                pad=special.get("pad"),
                shuffled=state.get("shuffle_seed") is not None,
            )
        except (KeyError, AttributeError) as error:
            raise DataError(f"{path}: {error!r}; expected kind, tokens, documents, supervised_tokens") from error
        if manifest.kind not in ("text", "chat"):
            raise DataError(f"{path}: kind is {manifest.kind!r}; expected text or chat")
        if manifest.pad is not None and manifest.pad == manifest.eod:
            raise DataError(f"{path}: pad and eod are both {manifest.pad}; choose a pad id of its own")
        return manifest
