"""The beginning of a row as people read it: one line of text, or token ids where there is no tokenizer."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mixer.apportion import Ints
from mixer.mixture import Located
from mixer.source import CountedSource
from mixer.windows import Windows

from ..prepare.vocabulary import read_vocabulary
from ..recipe.planned import Plan

EXCERPT_CHARS = 60
EXCERPT_IDS = 12
_TOKENS_DECODED = 80
_ROWS_AT_A_TIME = 64


def excerpts(plan: Plan, located: Located) -> list[str]:
    """One line a sample; empty where a source has no data."""
    found = [""] * len(located)
    for k, name in enumerate(plan.mixture.names):
        if not isinstance(plan.sources[name], CountedSource):
            at = np.flatnonzero(located.source == k)
            lines = (_line(ids, plan.recipe.tokenizer) for ids in _first_tokens(plan, name, located[at]))
            for place, line in zip(at.tolist(), lines, strict=True):
                found[place] = line
    return found


def one_line(text: str) -> str:
    r"""Its first characters, with those that do not print written as Python writes them.

    >>> one_line("a\tb\x1b[31m\nc")
    'a\\tb\\x1b[31m\\nc'
    """
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text[:EXCERPT_CHARS])[:EXCERPT_CHARS]


def _first_tokens(plan: Plan, name: str, located: Located) -> Iterator[Ints]:
    source = plan.sources[name]
    for start in range(0, len(located), _ROWS_AT_A_TIME):
        part = located[slice(start, start + _ROWS_AT_A_TIME)]
        windows = Windows.empty(len(part), source.sequence_length)
        source.fill(part.row, windows, np.arange(len(part)), offsets=part.offset)
        yield from windows.tokens[:, :_TOKENS_DECODED]


def _line(ids: Ints, tokenizer: Path | None) -> str:
    if tokenizer is None:
        return " ".join(map(str, ids[:EXCERPT_IDS].tolist()))
    return one_line(read_vocabulary(tokenizer).tokenizer().decode(ids.tolist(), skip_special_tokens=False))
