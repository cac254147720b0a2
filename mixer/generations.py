"""The states that a source's data goes through, and how data that grew joins in."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal, get_args

from .errors import DataError

Shuffle = Literal["each_epoch", "once", "off"]
Window = Literal["concatenated", "document", "packed"]
Growth = Literal["next_epoch", "append"]


@dataclass(frozen=True)
class Generation:
    """One state of a source's data: the rows that its draws from ``first_draw`` on are taken from.

    Its rows are numbers ``first_row`` to ``first_row + num_rows`` of the source, windows of the first ``num_tokens``
    tokens of its files outside ``holdout`` (runs of tokens, first and end); ``fingerprint`` stands for the files and
    for all that decides how rows are made of them.

    With ``carries`` it is a bridge, one epoch only: what the generation before had left of its open epoch, ``carries``
    draws, shuffled together with the ``num_rows - carries`` rows from ``first_row`` on, which are new.
    """

    first_draw: int
    num_rows: int
    fingerprint: str = ""
    holdout: tuple[tuple[int, int], ...] = ()
    window: Window = "concatenated"
    num_tokens: int = 0
    first_row: int = 0
    carries: int = 0

    @property
    def end_row(self) -> int:
        """One past the last of its rows."""
        return self.first_row + self.num_rows - self.carries


@dataclass(frozen=True)
class SourceHistory:
    """A source's generations, oldest first, and whether its order is drawn anew each epoch, once, or not at all.

    ``epoch_offset``: windows are cut at another offset in each epoch.
    """

    generations: tuple[Generation, ...]
    shuffle: Shuffle = "each_epoch"
    epoch_offset: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "generations", tuple(self.generations))

    def begun(self, draws: int) -> tuple[Generation, ...]:
        """The generations that the first ``draws`` draws came from."""
        return tuple(generation for generation in self.generations if generation.first_draw < draws)

    def fixed(self, draws: int) -> "SourceHistory":
        """The generations of the data that the first ``draws`` draws (1 or more) came from, the one that goes on too.

        Those of data that grew and waits for its epoch are left out: they may still give way, and number no rows.

        >>> web = SourceHistory((Generation(0, 10, num_tokens=41), Generation(10, 15, num_tokens=61)))
        >>> [len(web.fixed(draws).generations) for draws in (10, 11)]
        [1, 2]
        """
        last = self.begun(draws)[-1]
        kept = (known for known in self.generations if known.first_draw < draws or known.num_tokens == last.num_tokens)
        return replace(self, generations=tuple(kept))

    def grown(self, new: Generation, draw: int, how: Growth) -> "SourceHistory":
        """The source once its data is as ``new`` says, its first ``draw`` draws as they were.

        ``next_epoch``: the open epoch goes on to its end, and later ones read all rows. ``append``: the new rows are
        shuffled into what is left of the open epoch. Data that is as the last generation has it changes nothing;
        generations that have not begun give way.

        >>> web = SourceHistory((Generation(0, 10),))
        >>> [(g.first_draw, g.num_rows) for g in web.grown(Generation(0, 15), 4, "next_epoch").generations]
        [(0, 10), (10, 15)]
        >>> [(g.first_draw, g.num_rows, g.carries) for g in web.grown(Generation(0, 15), 4, "append").generations]
        [(0, 10, 0), (4, 11, 6), (15, 15, 0)]
        """
        begun = self.begun(draw)
        fixed = self.fixed(draw) if begun else self
        for known in (self, fixed):
            if replace(new, first_draw=known.generations[-1].first_draw) == known.generations[-1]:
                return known
        if not begun:
            return replace(self, generations=(replace(new, first_draw=0),))
        open_epoch_end = begun[-1].first_draw + _round_up(draw - begun[-1].first_draw, begun[-1].num_rows)
        end_row = max(known.end_row for known in fixed.generations)
        added = new.end_row - end_row
        if how == "next_epoch" or added == 0 or open_epoch_end == draw:
            return replace(self, generations=(*begun, replace(new, first_draw=open_epoch_end)))
        carries = open_epoch_end - draw
        bridge = replace(new, first_draw=draw, num_rows=carries + added, first_row=end_row, carries=carries)
        return replace(self, generations=(*begun, bridge, replace(new, first_draw=draw + bridge.num_rows)))


def source_from_json(state: Mapping[str, Any]) -> SourceHistory:
    """Read a source back from the JSON of a history."""
    generations = [
        Generation(**{**generation, "holdout": tuple((first, end) for first, end in generation["holdout"])})
        for generation in state["generations"]
    ]
    return SourceHistory(tuple(generations), state["shuffle"], state["epoch_offset"])


def check_sources(sources: Mapping[str, SourceHistory]) -> None:
    """Raise DataError unless each source's generations follow each other and have rows."""
    for name, source in sources.items():
        _check_generations(f"sources.{name}", source.generations)
        if source.shuffle not in get_args(Shuffle):
            expected = ", ".join(get_args(Shuffle))
            raise DataError(f"sources.{name}.shuffle: {source.shuffle!r}; expected one of {expected}")


def _check_generations(where: str, generations: tuple[Generation, ...]) -> None:
    firsts = [generation.first_draw for generation in generations]
    if firsts[:1] != [0] or any(a >= b for a, b in pairwise(firsts)):
        raise DataError(f"{where}: generations begin at draws {firsts}; expected 0 first, then increasing")
    if any(generation.num_rows < 1 for generation in generations):
        raise DataError(f"{where}: has no rows; give it more data or leave it out")
    for k, (before, bridge) in enumerate(pairwise((None, *generations))):
        assert bridge is not None
        left = _left_open(before, bridge.first_draw) if before else 0
        if bridge.carries and not bridge.carries == left <= bridge.num_rows:
            got = f"carries {bridge.carries:,} draws of {bridge.num_rows:,}"
            raise DataError(f"{where}.generations[{k}]: {got}; expected the {left:,} left of the open epoch before it")


def _left_open(generation: Generation, draw: int) -> int:
    return _round_up(draw - generation.first_draw, generation.num_rows) - (draw - generation.first_draw)


def _round_up(number: int, unit: int) -> int:
    return -(-number // unit) * unit
