"""Models whose layers do what is known beforehand, and probes of given arrays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import nn

from tools.cli import main
from tools.layers.document_groups import GROUPS
from tools.layers.layered import LayeredModel
from tools.layers.probe import ProbeBatch
from tools.layers.taps import Anatomy
from tools.runtime.place import Place

Update = Callable[[torch.Tensor], torch.Tensor]


class ToyLayer(nn.Module):
    """Attention adds ``first(x)``, the MLP ``second(middle)``."""

    def __init__(self, first: Update, second: Update) -> None:
        super().__init__()
        self.attention, self.mlp, self.norm = _Call(first), _Call(second), nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        middle = x + self.attention(x)
        return middle + self.mlp(self.norm(middle))


class _Call(nn.Module):
    def __init__(self, function: Update) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def nothing(x: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(x)


def toy_model(
    updates: Sequence[Update], embedding: torch.Tensor, *, attention: Sequence[Update] | None = None
) -> LayeredModel:
    """Layers that add ``updates`` (in their MLP, or some of it in ``attention``) to rows of an embedding."""
    firsts = attention or [nothing] * len(updates)
    module = nn.Module()
    module.embedding = nn.Embedding.from_pretrained(embedding)
    module.layers = nn.ModuleList(ToyLayer(*parts) for parts in zip(firsts, updates, strict=True))

    def forward(batches, on_logits):
        for number, batch in enumerate(batches):
            x = module.embedding(torch.from_numpy(batch.tokens))
            for layer in module.layers:
                x = layer(x)
            if on_logits:
                on_logits(number, x)

    return LayeredModel(
        name="toy",
        num_layers=len(updates),
        hidden_size=embedding.shape[1],
        vocab_size=len(embedding),
        sequence_length=8,
        dtype=embedding.dtype,
        device=torch.device("cpu"),
        anatomies=tuple(Anatomy(layer, layer.norm, layer.attention, layer.mlp) for layer in module.layers),
        first_layer=0,
        sequence_first=False,
        norm="pre",
        place=Place(),
        forward=forward,
        module=module,
    )


@dataclass
class ArrayProbe:
    """Windows given as an array; each is a document of its own unless ``groups`` says otherwise."""

    tokens: np.ndarray
    counts: np.ndarray | None = None
    groups: np.ndarray | None = None
    names: list[str] = field(default_factory=lambda: ["web"])
    sources: np.ndarray | None = None

    @property
    def sequence_length(self) -> int:
        return self.tokens.shape[1]

    @property
    def group_sources(self) -> np.ndarray:
        of_groups = np.full(GROUPS, -1)
        rows = len(self.tokens)
        groups = np.arange(rows) if self.groups is None else self.groups
        of_groups[groups] = np.zeros(rows, int) if self.sources is None else self.sources
        return of_groups

    def check_vocabulary(self, batch, vocab_size, model):
        assert batch.tokens.max() < vocab_size

    def batches(self, micro_batch, *, rank=0, size=1):
        rows = np.arange(len(self.tokens))[rank::size]
        for start in range(0, len(rows), micro_batch):
            yield self._batch(rows[start : start + micro_batch])

    def _batch(self, rows):
        tokens = self.tokens[rows]
        counts = np.ones(tokens.shape, bool) if self.counts is None else self.counts[rows]
        groups = np.arange(len(self.tokens)) if self.groups is None else self.groups
        sources = np.zeros(len(self.tokens), int) if self.sources is None else self.sources
        across = (np.broadcast_to(part[rows, None], tokens.shape) for part in (groups, sources))
        positions = np.tile(np.arange(tokens.shape[1]), (len(tokens), 1))
        return ProbeBatch(tokens, np.roll(tokens, -1, 1), positions, None, counts, *across)


def random_probe(windows: int = 6, length: int = 8, vocabulary: int = 32, seed: int = 0) -> ArrayProbe:
    return ArrayProbe(np.random.default_rng(seed).integers(0, vocabulary, (windows, length)))


@pytest.fixture(scope="session")
def make_toy():
    return toy_model


@pytest.fixture(scope="session")
def make_probe():
    return random_probe


@pytest.fixture(scope="session")
def probe_of():
    return ArrayProbe


@pytest.fixture
def annealmix(monkeypatch, capsys):
    """Run a command line in this process; its exit status, output and errors."""

    def run(*words):
        monkeypatch.setattr("sys.argv", ["annealmix", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
        return left.value.code or 0, *capsys.readouterr()

    return run
