"""All that is kept of the tokens read: sums by document group, histograms, pairs of layers. Added, never listed.

Sums are kept of groups of documents (see document_groups.py), which the bootstrap draws.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch

from .document_groups import GROUPS
from .measures import MEASURES
from .taps import PARTS

BINS_PER_DECADE = 32
LOWEST_EXPONENT = -9
HISTOGRAM_BINS = 300  # 1e-9 to 2.3, what lies outside in the first and the last


@dataclass(eq=False)
class LayerSums:
    """Sums in fp64, counts too.

    ``parts`` (groups, layers, PARTS, 1 + MEASURES): tokens with a direction, then the sum of each measure;
    ``strata`` (groups, strata, layers, 3): tokens, distance and update_ratio of whole layers;
    ``losses`` (groups, strata, 3): tokens, loss, entropy, in nats;
    ``histogram`` (layers, HISTOGRAM_BINS): tokens by distance, the bins even in its logarithm;
    ``pairs`` (3, layers + 1, layers + 1): tokens, distance and angle between the residual before two layers, the last
    row and column being the model's end.
    """

    parts: torch.Tensor
    strata: torch.Tensor
    losses: torch.Tensor
    histogram: torch.Tensor
    pairs: torch.Tensor

    @classmethod
    def zeros(
        cls, num_layers: int, num_strata: int, *, groups: int = GROUPS, device: torch.device | None = None
    ) -> "LayerSums":
        """Nothing read yet."""
        shapes = (
            (groups, num_layers, len(PARTS), 1 + len(MEASURES)),
            (groups, num_strata, num_layers, 3),
            (groups, num_strata, 3),
            (num_layers, HISTOGRAM_BINS),
            (3, num_layers + 1, num_layers + 1),
        )
        return cls(*(torch.zeros(shape, dtype=torch.float64, device=device) for shape in shapes))

    def tensors(self) -> Iterator[torch.Tensor]:
        """Each of them, to be summed over processes in place."""
        return (getattr(self, field.name) for field in fields(self))

    def __iadd__(self, other: "LayerSums") -> "LayerSums":
        for mine, theirs in zip(self.tensors(), other.tensors(), strict=True):
            mine += theirs
        return self

    def add_layers(
        self, values: torch.Tensor, defined: torch.Tensor, groups: torch.Tensor, strata: torch.Tensor, first: int
    ) -> None:
        """Add tokens of the layers from ``first`` on.

        ``values`` (tokens, layers, parts, MEASURES), the first of PARTS or all, ``defined`` without the last;
        ``groups`` (tokens,); ``strata`` (families, tokens), the stratum of each token in each family.
        """
        here, num_parts = slice(first, first + values.shape[1]), values.shape[2]
        counted = torch.cat([defined.unsqueeze(-1).to(values), values], -1)
        _add_rows(self.parts[:, :, :num_parts], here, groups, counted)
        if len(strata):
            whole = counted[:, :, 0, [0, 1, 1 + MEASURES.index("update_ratio")]]
        num_strata = self.strata.shape[1]
        for family in strata:
            flat = self.strata.view(-1, *self.strata.shape[2:])
            _add_rows(flat, here, groups * num_strata + family, whole)
        self.histogram[here] += _histogram(values[:, :, 0, 0], defined[:, :, 0])

    def add_losses(self, loss: torch.Tensor, entropy: torch.Tensor, groups: torch.Tensor, strata: torch.Tensor) -> None:
        """Add each token's loss and entropy, (tokens,), to its strata."""
        rows = torch.stack([torch.ones_like(loss), loss, entropy], -1).double()
        for family in strata:
            self.losses.view(-1, 3).index_add_(0, groups * self.losses.shape[1] + family, rows)

    def add_pairs(self, states: torch.Tensor) -> None:
        """Add the residual of sampled tokens, (tokens, layers + 1, hidden) fp32: all pairs from one Gram product."""
        cosine, defined = pair_cosines(states)
        distance, angle = (1 - cosine) * defined, torch.arccos(cosine) / torch.pi * defined
        self.pairs += torch.stack([defined.double(), distance, angle]).sum(1)


def _add_rows(total: torch.Tensor, layers: slice, rows: torch.Tensor, values: torch.Tensor) -> None:
    total[:, layers].index_add_(0, rows, values.double())


def pair_cosines(states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(tokens, points, hidden) -> fp64 cosines (tokens, points, points) clamped to [-1, 1], and where they exist.

    In fp64, in which one minus a cosine near 1 still has its digits.

    >>> pair_cosines(torch.tensor([[[2.0, 0.0], [0.0, 1.0]]]))[0].tolist()
    [[[1.0, 0.0], [0.0, 1.0]]]
    """
    states = states.double()
    lengths = torch.linalg.vector_norm(states, dim=-1, keepdim=True)
    directions = states / torch.where(lengths > 0, lengths, 1.0)
    exists = (lengths > 0).squeeze(-1)
    gram = torch.bmm(directions, directions.transpose(1, 2)).clamp(-1, 1)
    gram.diagonal(dim1=1, dim2=2).fill_(1.0)
    return gram, exists[:, :, None] & exists[:, None, :]


def _histogram(distance: torch.Tensor, defined: torch.Tensor) -> torch.Tensor:
    """(tokens, layers) -> (layers, HISTOGRAM_BINS)."""
    layers = distance.shape[1]
    exponent = distance.clamp(min=10.0**LOWEST_EXPONENT).log10() - LOWEST_EXPONENT
    bins = (exponent * BINS_PER_DECADE).long().clamp(0, HISTOGRAM_BINS - 1)
    places = bins + torch.arange(layers, device=bins.device) * HISTOGRAM_BINS
    counts = torch.bincount(places.flatten(), defined.double().flatten(), minlength=layers * HISTOGRAM_BINS)
    return counts.view(layers, HISTOGRAM_BINS)
