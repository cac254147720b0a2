"""Panels over one token axis as SVG: lines and stacked shares, phases behind them, one cursor through all."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

from schedulers.words import format_tokens, format_value

WIDTH, LEFT, RIGHT = 1000, 78, 14
COLOURS = (
    "#4a7ebb", "#e08a3c", "#4fa06f", "#c75d5d", "#8f74c4", "#a98b4b", "#3fa6ab", "#d27bae", "#7396c9", "#93a84a",
    "#b0795a", "#8a8a93",
)  # fmt: skip
_TOP, _GAP, _ROW = 52, 30, 15
_CHARACTER = 7.0  # width of one at the size of the labels
_LABEL_ROWS = 3


@dataclass(frozen=True)
class Line:
    """One curve over tokens, as a panel of its own."""

    title: str
    tokens: Sequence[float]
    values: Sequence[float]
    height: int = 90


@dataclass(frozen=True)
class Stack:
    """Shares over tokens, one on the other."""

    title: str
    tokens: Sequence[float]
    shares: Mapping[str, Sequence[float]]
    height: int = 230


Panel = Line | Stack


def chart(panels: Sequence[Panel], phases: Sequence[tuple[str, int]], end_tokens: int) -> str:
    """The SVG; ``phases`` are names at their first token, the last one ends with the axis."""
    tops = [_TOP]
    for panel in panels:
        tops.append(tops[-1] + panel.height + _GAP)
    bottom = tops[-1] - _GAP
    inside = [
        *_phases(phases, end_tokens, bottom),
        *(part for panel, top in zip(panels, tops, strict=False) for part in _panel(panel, top, end_tokens)),
        *_token_axis(end_tokens, bottom),
        f'<line id="cursor" y1="{_TOP}" y2="{bottom}" x1="-9" x2="-9"/>',
    ]
    names = ", ".join(panel.title for panel in panels)
    head = f'<svg id="chart" viewBox="0 0 {WIDTH} {bottom + 40}" role="img" tabindex="0" aria-label="{escape(names)}">'
    return "\n".join([head, *inside, "</svg>"])


def _x(tokens: float, end_tokens: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * tokens / end_tokens


def _phases(phases: Sequence[tuple[str, int]], end_tokens: int, bottom: int) -> Iterator[str]:
    """A band for every second phase, and names in up to three rows; a name without room is left to the cursor."""
    free = [0.0] * _LABEL_ROWS
    for index, (name, start) in enumerate(phases):
        end = phases[index + 1][1] if index + 1 < len(phases) else end_tokens
        left, right = _x(start, end_tokens), _x(end, end_tokens)
        band = ' class="odd"' if index % 2 else ' class="even"'
        yield f'<rect{band} x="{left:.1f}" y="{_TOP}" width="{right - left:.1f}" height="{bottom - _TOP}"/>'
        row = next((row for row in range(_LABEL_ROWS) if free[row] <= left), None)
        width = _CHARACTER * (len(name) + 1)
        if row is not None and left + width <= WIDTH + 2 * RIGHT:
            free[row] = left + width
            yield f'<text class="phase" x="{left + 2:.1f}" y="{_TOP - 6 - _ROW * row}">{escape(name)}</text>'


@dataclass(frozen=True)
class _Scale:
    """Where values stand in a panel."""

    lowest: float
    highest: float
    top: int
    height: int

    @classmethod
    def of(cls, panel: Panel, top: int) -> "_Scale":
        if isinstance(panel, Stack):
            return cls(0.0, 1.0, top, panel.height)
        lowest, highest = lowest_shown(panel.values), max(panel.values) or 1.0
        return cls(lowest, highest + 0.04 * (highest - lowest), top, panel.height)

    def y(self, value: float) -> float:
        return self.top + self.height * (1 - (value - self.lowest) / (self.highest - self.lowest))


def _panel(panel: Panel, top: int, end_tokens: int) -> Iterator[str]:
    scale = _Scale.of(panel, top)
    yield f'<text class="title" x="{LEFT}" y="{top - 6 if top > _TOP else 12}">{escape(panel.title)}</text>'
    yield from _grid(scale)
    if isinstance(panel, Stack):
        yield from _areas(panel, scale, end_tokens)
    else:
        points = zip(panel.tokens, panel.values, strict=True)
        joined = " ".join(f"{_x(tokens, end_tokens):.2f},{scale.y(value):.2f}" for tokens, value in points)
        yield f'<polyline class="line" points="{joined}"/>'


def _grid(scale: _Scale) -> Iterator[str]:
    for tick in ticks(scale.lowest, scale.highest, max(2, scale.height // 40)):
        y, label = scale.y(tick), f"{tick:,.0f}" if scale.highest >= 10 else format_value(tick, 4)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="tick y" x="{LEFT - 8}" y="{y + 4:.1f}">{label}</text>'


def _areas(panel: Stack, scale: _Scale, end_tokens: int) -> Iterator[str]:
    xs = [_x(tokens, end_tokens) for tokens in panel.tokens]
    below = [0.0] * len(xs)
    for index, (name, shares) in enumerate(panel.shares.items()):
        above = [low + share for low, share in zip(below, shares, strict=True)]
        edge = [*zip(xs, above, strict=True), *reversed(list(zip(xs, below, strict=True)))]
        points = " ".join(f"{x:.2f},{scale.y(min(share, 1.0)):.2f}" for x, share in edge)
        paint = f'fill="{colour(index)}" stroke="{colour(index)}"'
        yield f'<polygon {paint} points="{points}"><title>{escape(name)}</title></polygon>'
        below = above


def colour(index: int) -> str:
    """Of the n-th source."""
    return COLOURS[index % len(COLOURS)]


def _token_axis(end_tokens: int, bottom: int) -> Iterator[str]:
    for tick in ticks(0, end_tokens, 8):
        x = _x(tick, end_tokens)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 5}"/>'
        yield f'<text class="tick x" x="{x:.1f}" y="{bottom + 19}">{format_tokens(int(tick))}</text>'
    yield f'<text class="tick x" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{bottom + 36}">tokens</text>'


def ticks(lowest: float, highest: float, count: int) -> list[float]:
    """Round values from ``lowest`` to ``highest``, about ``count`` of them.

    >>> ticks(0.0, 10.0, 4), ticks(0.94, 0.985, 2)
    ([0.0, 2.0, 4.0, 6.0, 8.0, 10.0], [0.94, 0.96, 0.98])
    """
    rough = (highest - lowest) / count
    size = 10.0 ** floor(log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough * 0.75)
    first, last = ceil(lowest / step * (1 - 1e-9)), floor(highest / step * (1 + 1e-9))
    return [float(f"{step * index:.12g}") for index in range(first, last + 1)]


def lowest_shown(values: Sequence[float]) -> float:
    """Where an axis begins: at 0, or a little below a curve that never comes near it, such as Adam's beta2.

    >>> lowest_shown([0.1, 0.02]), lowest_shown([0.1, 0.1]), lowest_shown([8.0, 10.0])
    (0.0, 0.0, 7.0)
    """
    low, high = min(values), max(values)
    return low - 0.5 * (high - low) if high > low > 0.5 * high else 0.0
