"""Which kinds of tokens are told apart, and to which a token belongs: one stratum of each family.

    source     of the data
    loss       the token's own, in nats, by fixed fine edges; entropy: of the model's prediction, by the same edges
    position   tokens before it in its segment: 0, 1, 2-3, 4-7, ...
    class      massive, first of its segment, delimiter, rest: the first that holds

Fine edges are fixed so that sums add up over runs; reports join them into buckets of about equal size in the first
checkpoint, and use the same buckets for the others. They lie a quarter of a nat apart from 0.5 to 12 nats: a vocabulary
of 256 Ki tokens has 12.5. With 256 groups, 32 layers and two sources the sums of strata are 25 MB.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

EDGES_NATS = (0.01, 0.03, 0.1, 0.2, 0.35, 0.5, *(0.75 + quarter / 4 for quarter in range(46)), 16)
CLASSES = ("massive", "first", "delimiter", "rest")
FAMILIES = ("source", "loss", "entropy", "position", "class")


@dataclass(frozen=True)
class Strata:
    """The strata of a probe, numbered family after family.

    >>> strata = Strata(("web", "code"), 8, frozenset())
    >>> strata.sizes, strata.names("position")
    ({'source': 2, 'loss': 54, 'entropy': 54, 'position': 4, 'class': 4}, ['0', '1', '2-3', '4-7'])
    """

    sources: tuple[str, ...]
    sequence_length: int
    delimiters: frozenset[int]

    @property
    def sizes(self) -> dict[str, int]:
        """Number of strata in each family."""
        return {family: len(self.names(family)) for family in FAMILIES}

    @property
    def num_strata(self) -> int:
        """Of all families."""
        return sum(self.sizes.values())

    def span(self, family: str) -> slice:
        """Where the strata of a family stand among all."""
        before = FAMILIES[: FAMILIES.index(family)]
        start = sum(self.sizes[name] for name in before)
        return slice(start, start + self.sizes[family])

    def names(self, family: str) -> list[str]:
        """Names of a family's strata, in order."""
        if family == "source":
            return list(self.sources)
        if family == "class":
            return list(CLASSES)
        if family == "position":
            return [_doubling(bucket) for bucket in range(position_bucket(self.sequence_length - 1) + 1)]
        edges = ("0", *(f"{edge:g}" for edge in EDGES_NATS))
        return [f"{low}-{high}" for low, high in pairwise(edges)] + [f"{edges[-1]}-"]

    def numbers(
        self,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        sources: torch.Tensor,
        massive: torch.Tensor,
        loss: torch.Tensor,
        entropy: torch.Tensor,
    ) -> torch.Tensor:
        """(families, tokens) int64 out of what is known of each token, all (tokens,)."""
        edges = torch.tensor(EDGES_NATS, device=loss.device, dtype=loss.dtype)
        within = (
            sources,
            torch.bucketize(loss, edges, right=True),
            torch.bucketize(entropy, edges, right=True),
            torch.floor(torch.log2(positions.clamp(min=0.5).double())).long() + 1,
            self._classes(tokens, positions, massive),
        )
        return torch.stack([number + self.span(f).start for f, number in zip(FAMILIES, within, strict=True)])

    def _classes(self, tokens: torch.Tensor, positions: torch.Tensor, massive: torch.Tensor) -> torch.Tensor:
        delimiters = torch.tensor(sorted(self.delimiters), device=tokens.device, dtype=tokens.dtype)
        found = torch.where(torch.isin(tokens, delimiters), CLASSES.index("delimiter"), CLASSES.index("rest"))
        found = torch.where(positions == 0, CLASSES.index("first"), found)
        return torch.where(massive, CLASSES.index("massive"), found)


def position_bucket(position: int) -> int:
    """0 for position 0, and one more at each power of two.

    >>> [position_bucket(position) for position in (0, 1, 2, 3, 4)]
    [0, 1, 2, 2, 3]
    """
    return position.bit_length()


def _doubling(bucket: int) -> str:
    low, high = 2 ** (bucket - 1) if bucket else 0, 2**bucket - 1
    return str(low) if low == high else f"{low}-{high}"


def joined_buckets(counts: npt.NDArray[np.float64], buckets: int = 5) -> list[slice]:
    """Neighbouring fine strata joined into at most ``buckets`` of about as many tokens each, none of them empty.

    >>> joined_buckets(np.array([4.0, 1, 1, 2, 0]), 2)
    [slice(0, 1, None), slice(1, 5, None)]
    """
    shares = np.cumsum(counts) / max(counts.sum(), 1)
    number = np.minimum((shares - counts / max(counts.sum(), 1) / 2) * buckets, buckets - 1).astype(int)
    edges = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(counts)]
    slices = [slice(low, high) for low, high in pairwise(edges)]
    return _without_empty(slices, counts)


def _without_empty(slices: Sequence[slice], counts: npt.NDArray[np.float64]) -> list[slice]:
    """Empty ones go to the bucket before, or the one after where none is before."""
    kept: list[slice] = []
    for part in slices:
        if kept and (not counts[part].sum() or not counts[kept[-1]].sum()):
            kept[-1] = slice(kept[-1].start, part.stop)
        else:
            kept.append(part)
    return kept
