"""Where the layers of a model are met: hooks that take three dot products a token and keep no activation.

A layer is met at its input x, at its middle (the residual between attention and MLP) and at its output y:

    sequential        attention is x to middle, MLP is middle to y
    parallel          attention and MLP both start from x; their own outputs are met instead

The last layer's output is met before the final norm, because it is the layer's own. Hooks rely on the layer being
called under no_grad, once a micro-batch: with recomputation in training a second call would begin a new record.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import nn

from .measures import squares, update_products

PARTS = ("layer", "attention", "mlp")
SAMPLED_POSITIONS = 16  # of each window, for the pair matrix


@dataclass(frozen=True)
class Anatomy:
    """A layer's parts: modules whose input is the middle, or None where attention and MLP are parallel; their outputs.

    ``attention`` and ``mlp`` give what is added to the residual, the norm after them included.
    """

    layer: nn.Module
    middle: nn.Module | None
    attention: nn.Module
    mlp: nn.Module


@dataclass(frozen=True)
class _Met:
    """The residual at the begin of a part, (..., hidden), and its x.x (...), which several parts may need."""

    x: torch.Tensor
    xx: torch.Tensor


@dataclass
class Record:
    """One micro-batch as the layers of this process saw it."""

    products: dict[tuple[int, int], list[torch.Tensor]] = field(default_factory=dict)  # of a layer's part: (batch, seq)
    peaks: list[torch.Tensor] = field(default_factory=list)  # (batch, seq): largest x_i^2 of each layer's input
    states: list[torch.Tensor] = field(default_factory=list)  # (batch, sampled, hidden) at each input, then the output

    @cached_property
    def stacked(self) -> torch.Tensor:
        """(batch, seq, layers, parts, 3), layers in order; without the parts that were not met."""
        met = sorted(self.products)
        num_parts = 1 + max(part for _, part in met)
        products = torch.stack([each for place in met for each in self.products[place]], -1)
        return products.view(*products.shape[:2], -1, num_parts, 3)

    def massive(self, share: float = 0.5) -> torch.Tensor:
        """(batch, seq): whether at some layer's input one dimension holds ``share`` of |x|^2 (arXiv 2402.17762)."""
        norms = self.stacked[:, :, :, 0, 0]
        return (torch.stack(self.peaks, -1) > share * norms).any(-1)


def sampled_positions(length: int, part: int = 0, parts: int = 1) -> torch.Tensor:
    """Positions that enter the pair matrix, evenly spread over a window, its last one among them.

    ``length`` is that of the ``part``-th of ``parts`` of the window, in which the positions are counted.

    >>> sampled_positions(32).tolist()[-3:], len(sampled_positions(8)), sampled_positions(16, 1, 2).tolist()[-3:]
    ([27, 29, 31], 8, [11, 13, 15])
    """
    whole = length * parts
    count = min(whole, SAMPLED_POSITIONS)
    positions = (torch.arange(count) + 1) * whole // count - 1 - part * length
    return positions[(positions >= 0) & (positions < length)]


class Recorder:
    """Collects one ``Record`` a micro-batch; tensors are (batch, seq, hidden), or (seq, batch, hidden) from Megatron.

    ``with_parts`` meets attention and MLP too, ``with_states`` keeps the sampled tokens for the pair matrix, and
    ``with_peaks`` the largest element of each input. ``window_part`` says which of how many parts of a window seq is.
    """

    def __init__(
        self,
        *,
        sequence_first: bool,
        window_part: tuple[int, int] = (0, 1),
        with_parts: bool = True,
        with_states: bool = True,
        with_peaks: bool = True,
    ) -> None:
        self.with_parts = with_parts
        self.records: list[Record] = []
        self._sequence_first = sequence_first
        self._window_part = window_part
        self._with_states = with_states
        self._with_peaks = with_peaks
        self._input: _Met | None = None
        self._middle: _Met | None = None

    def take(self) -> list[Record]:
        """The records so far, oldest first; the recorder begins anew."""
        taken, self.records = self.records, []
        return taken

    def enter(self, index: int, x: torch.Tensor, *, first: bool) -> None:
        """Layer ``index`` begins; ``first`` says that a micro-batch begins with it."""
        if first:
            self.records.append(Record())
        record, elements = self.records[-1], squares(x)
        if self._with_peaks:
            record.peaks.append(self._batch_first(elements.amax(-1)))
        if self._with_states:
            record.states.append(self._sample(x))
        self._input, self._middle = _Met(x, elements.sum(-1)), None

    def middle(self, index: int, middle: torch.Tensor) -> None:
        """The residual between attention and MLP."""
        self._add(index, 1, self._input, middle)
        self._middle = _Met(middle, squares(middle).sum(-1))

    def update(self, index: int, part: int, update: torch.Tensor) -> None:
        """What attention (1) or MLP (2) adds to the layer's own input, where they are parallel."""
        assert self._input is not None
        self._store(index, part, self._input, update)

    def leave(self, index: int, y: torch.Tensor, *, last: bool) -> None:
        """Layer ``index`` ends; ``last`` says that no layer of this process follows."""
        self._add(index, 0, self._input, y)
        if self._middle is not None:
            self._add(index, 2, self._middle, y)
        if last and self._with_states:
            self.records[-1].states.append(self._sample(y))
        self._input = self._middle = None

    def _add(self, index: int, part: int, met: _Met | None, y: torch.Tensor) -> None:
        assert met is not None
        self._store(index, part, met, y.float() - met.x.float())

    def _store(self, index: int, part: int, met: _Met, update: torch.Tensor) -> None:
        """xx, xu and uu."""
        products = (met.xx, *update_products(met.x, update))
        self.records[-1].products[index, part] = [self._batch_first(each) for each in products]

    def _batch_first(self, values: torch.Tensor) -> torch.Tensor:
        return values.transpose(0, 1) if self._sequence_first else values

    def _sample(self, x: torch.Tensor) -> torch.Tensor:
        x = self._batch_first(x)
        return x[:, sampled_positions(x.shape[1], *self._window_part).to(x.device)].float()


def hidden_of(value: Any) -> torch.Tensor:
    """The hidden states in what a module takes or gives: themselves, or the first of a tuple."""
    found: torch.Tensor = value[0] if isinstance(value, tuple) else value
    return found


def _first_argument(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    return hidden_of(args[0]) if args else hidden_of(kwargs["hidden_states"])


@contextmanager
def tapped(recorder: Recorder, anatomies: Sequence[Anatomy], first_index: int = 0) -> Iterator[None]:
    """Meet the layers, numbered from ``first_index``, while the block lasts."""
    handles: list[Any] = []
    for index, anatomy in enumerate(anatomies, first_index):
        first, last = index == first_index, index == first_index + len(anatomies) - 1
        handles += _hook(recorder, anatomy, index, first, last)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(recorder: Recorder, anatomy: Anatomy, index: int, first: bool, last: bool) -> list[Any]:
    def before(module: nn.Module, args: Any, kwargs: Any) -> None:
        recorder.enter(index, _first_argument(args, kwargs), first=first)

    def after(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        recorder.leave(index, hidden_of(output), last=last)

    layer = anatomy.layer
    handles = [layer.register_forward_pre_hook(before, with_kwargs=True)]
    handles.append(layer.register_forward_hook(after, with_kwargs=True))
    return handles + (_hook_parts(recorder, anatomy, index) if recorder.with_parts else [])


def _hook_parts(recorder: Recorder, anatomy: Anatomy, index: int) -> list[Any]:
    if anatomy.middle is None:
        parts = ((1, anatomy.attention), (2, anatomy.mlp))
        return [module.register_forward_hook(_adds(recorder, index, part)) for part, module in parts]

    def between(module: nn.Module, args: Any, kwargs: Any) -> None:
        recorder.middle(index, _first_argument(args, kwargs))

    return [anatomy.middle.register_forward_pre_hook(between, with_kwargs=True)]


def _adds(recorder: Recorder, index: int, part: int) -> Callable[[nn.Module, Any, Any], None]:
    def added(module: nn.Module, args: Any, output: Any) -> None:
        recorder.update(index, part, hidden_of(output))

    return added
