"""Encoded documents in the order read: what workers send back, and the flat file it is appended to before the shuffle.

Packed(tokens=[66, 222, 67, 0, 70, 0], lengths=[4, 2], ...)      two documents, each with its end token
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.unsignedinteger[Any] | np.signedinteger[Any]]


@dataclass(frozen=True, kw_only=True)
class Packed:
    """Documents of one chunk, back to back; `digests` tell equal documents, `bad` holds a message per bad record.

    `mask` has one byte per token (1: the token is a target of the loss), or is None where every token is.
    """

    tokens: Tokens
    lengths: NDArray[np.int64]
    digests: list[bytes]
    bad: list[str] = field(default_factory=list)
    mask: NDArray[np.uint8] | None = None

    def where(self, keep: NDArray[np.bool_]) -> "Packed":
        """Return the documents whose entry in `keep` (documents,) is true."""
        rows = np.repeat(keep, self.lengths)
        mask = None if self.mask is None else self.mask[rows]
        digests = [digest for digest, kept in zip(self.digests, keep, strict=True) if kept]
        return replace(self, tokens=self.tokens[rows], lengths=self.lengths[keep], digests=digests, mask=mask)


class Spool:
    """Appends packed documents to `tokens.bin` (and `mask.bin`) in a folder; keeps their lengths in memory."""

    def __init__(self, folder: Path, *, dtype: str, masked: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.dtype = np.dtype(dtype)
        self.supervised_tokens = 0
        self._tokens_path, self._mask_path = folder / "tokens.bin", folder / "mask.bin"
        self._tokens = self._tokens_path.open("wb")
        self._mask = self._mask_path.open("wb") if masked else None
        self._lengths: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]

    def __enter__(self) -> Self:
        """Write inside a `with` block; read after it."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the files."""
        self._tokens.close()
        if self._mask:
            self._mask.close()

    def append(self, packed: Packed) -> None:
        """Append the documents of one chunk."""
        self._tokens.write(packed.tokens.astype(self.dtype, copy=False).tobytes())
        self._lengths.append(packed.lengths)
        if self._mask and packed.mask is not None:
            self._mask.write(packed.mask.tobytes())
            self.supervised_tokens += int(packed.mask.sum())
        else:
            self.supervised_tokens += len(packed.tokens)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each document (documents,), end token included."""
        return np.concatenate(self._lengths)

    def read_tokens(self) -> Tokens:
        """Map all tokens (tokens,), in the order appended."""
        return np.memmap(self._tokens_path, self.dtype, "r")

    def read_mask(self) -> NDArray[np.uint8] | None:
        """Map the mask (tokens,), or return None if there is none."""
        return np.memmap(self._mask_path, np.uint8, "r") if self._mask else None
