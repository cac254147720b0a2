"""Which token ids are special and which are delimiters, read from a tokenizer.json."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError

_DELIMITERS = {".", ",", ";", ":", "!", "?", "\n", "Ċ", "<0x0A>"}  # Ċ is byte-level BPE's newline
_WORD_STARTS = "Ġ▁ "


@dataclass(frozen=True)
class TokenKinds:
    """Ids, and the sha256 of the file; all empty where there is no file."""

    special: frozenset[int] = frozenset()
    delimiters: frozenset[int] = frozenset()
    digest: str | None = None

    @classmethod
    def read(cls, path: Path | None) -> "TokenKinds":
        """Read a tokenizer.json, where there is one; UserError where it is none."""
        if path is None or not path.is_file():
            return cls()
        content = path.read_bytes()
        try:
            return cls.of(json.loads(content), hashlib.sha256(content).hexdigest())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            got = f"{type(error).__name__}: {error}".splitlines()[0]
            raise UserError(str(path), got=got, expected="a tokenizer.json with a vocabulary") from error

    @classmethod
    def of(cls, state: dict[str, Any], digest: str | None = None) -> "TokenKinds":
        """Out of the file's content.

        >>> TokenKinds.of({"model": {"vocab": {"a": 0, "Ġ.": 1}}, "added_tokens": [{"id": 2, "special": True}]})
        TokenKinds(special=frozenset({2}), delimiters=frozenset({1}), digest=None)
        """
        vocabulary = state["model"]["vocab"]  # of a Unigram model, a list of (token, score)
        if isinstance(vocabulary, list):
            vocabulary = {token: number for number, (token, _) in enumerate(vocabulary)}
        special = frozenset(token["id"] for token in state.get("added_tokens", ()) if token.get("special"))
        found = {number for token, number in vocabulary.items() if token.lstrip(_WORD_STARTS) in _DELIMITERS}
        return cls(special, frozenset(found) - special, digest)


NO_KINDS = TokenKinds()
