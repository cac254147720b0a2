"""A tokenizer file and the numbers that its data needs: size, dtype, ids of special tokens.

vocabulary = read_vocabulary(Path("data/python/tokenizer.json"))
vocabulary.size, vocabulary.dtype            (4096, "uint16")
vocabulary.special("<|endoftext|>")          0
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import UserError

END_OF_DOCUMENT = "<|endoftext|>"
PADDING = "<|pad|>"


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """A tokenizer file known by its content; small, so that it can be sent to workers."""

    path: Path
    sha256: str
    size: int

    @property
    def dtype(self) -> str:
        """Name of the dtype of stored tokens."""
        return token_dtype(self.size)

    def find(self, token: str) -> int | None:
        """Return the id of a token, or None if the tokenizer has none of that name."""
        number = self.tokenizer().token_to_id(token)
        return None if number is None else int(number)

    def special(self, token: str) -> int:
        """Return the id of a token that must be there; UserError if it is not."""
        number = self.find(token)
        if number is None:
            present = [added.content for added in self.tokenizer().get_added_tokens_decoder().values()]
            got = f"special tokens {' '.join(present[:8]) or 'none'}"
            raise UserError(str(self.path), got=got, expected=token, fix="add it, or name the one that stands for it")
        return number

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode texts, adding nothing to them."""
        tokenizer = self.tokenizer()
        # The fast form computes no character offsets, which nobody reads here; old releases lack it.
        encode_batch = getattr(tokenizer, "encode_batch_fast", tokenizer.encode_batch)
        return [encoding.ids for encoding in encode_batch(texts, add_special_tokens=False)]

    def tokenizer(self) -> Any:
        """Return the tokenizer itself, set up to encode data (see `load_tokenizer`)."""
        return load_tokenizer(self.path, self.sha256)


def token_dtype(vocab_size: int) -> str:
    """Return "uint16" below 65500 ids and "int32" from there on: Megatron's own cut.

    >>> token_dtype(65499), token_dtype(65500)
    ('uint16', 'int32')
    """
    return "uint16" if vocab_size < 65500 else "int32"


def read_vocabulary(path: Path) -> Vocabulary:
    """Read a `tokenizer.json`; size is its largest id plus one. UserError if the file is missing or no tokenizer."""
    if not path.is_file():
        raise UserError(str(path), got="no such file", expected="a tokenizer.json of the tokenizers library")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    tokenizer = load_tokenizer(path, digest)
    # The largest id, not the count: tokenizers with holes in their ids exist.
    size = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
    return Vocabulary(path=path, sha256=digest, size=size)


@lru_cache(maxsize=2)
def load_tokenizer(path: Path, sha256: str) -> Any:
    """Load a tokenizer so that it changes no data; cached by content, since a worker asks at each chunk.

    Truncation and padding that the file may carry are switched off (they would cut documents silently), and the text of
    a special token found inside a document is encoded as plain text: no document can forge the end of another one.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        reason = f"a file that does not load ({str(error).splitlines()[0]})"
        raise UserError(str(path), got=reason, expected="a tokenizer.json of the tokenizers library") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer
