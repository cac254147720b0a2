"""report.html: one file with its figures inside, which asks nothing of a network."""

import base64
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from .ablate import Ablation
from .findings import Analysis
from .report import Report
from .trajectory import Trajectory

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; display: block;
        overflow-x: auto; }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; } figcaption { color: #555; font-size: .9rem; } figure { margin: 1.2rem 0; }
"""


def page(report: Report, figures: Sequence[tuple[str, str]], folder: Path) -> str:
    """The page; figures are read from ``folder``."""
    last = report.analyses[-1]
    parts = [
        f"<h1>Layers of {escape(', '.join(a.name for a in report.analyses))}</h1>",
        f"<p>{escape(probe_line(report.probe))}</p>",
        *(_trajectory(report.trajectory) if report.trajectory else ()),
        f"<h2>Layers of {escape(last.name)}</h2>",
        f"<p>{escape(loss_line(last))} {escape(span_line(last))}</p>",
        table(LAYER_HEAD, layer_cells(last)),
        f"<p>{escape(_RANKS)}</p>",
        *_ablations(report.ablations.get(last.name, [])),
        "<h2>Figures</h2>",
        *(_figure(folder / name, caption) for name, caption in figures),
    ]
    return _document("\n".join(parts))


_RANKS = (
    "Rank 1 is the most redundant; layers whose ranks overlap can't be told apart on this text. A distance marked * is "
    "below what rounding gives. A small distance doesn't say that a layer can go: leaving it out (--ablate) does."
)
LAYER_HEAD = (
    "layer",
    "1 - cos",
    "95 % interval",
    "null",
    "|u|/|x|",
    "|y|/|x|",
    "attention",
    "MLP",
    "rank",
    "in lowest k",
)


def probe_line(probe: dict[str, Any]) -> str:
    """What text was read, in a sentence."""
    names = ", ".join(probe["sources"])
    return (
        f"{probe['tokens']:,} tokens of {probe['documents']:,} documents from {names}, "
        f"in windows of {probe['sequence_length']:,}."
    )


def loss_line(analysis: Analysis) -> str:
    """The loss with its interval, in a sentence."""
    loss = analysis.loss
    return f"Loss {float(loss.mean):.4f} nats a token ({float(loss.low):.4f} to {float(loss.high):.4f})."


def span_line(analysis: Analysis) -> str:
    """The runs of layers that act as one, in a sentence."""
    if not analysis.spans:
        return "No run of layers turns the residual as little as one layer."
    spans = ", ".join(f"{span.first} to {span.end - 1}" for span in analysis.spans)
    return f"Layers that together turn the residual no further than one: {spans}."


def layer_cells(analysis: Analysis) -> Iterator[list[str]]:
    """A row of the table for each layer."""
    found = analysis.table
    whole = found.measures["layer"]
    for layer, (low, high) in enumerate(found.ranks):
        distance = whole["distance"]
        mark = "*" if found.below_resolution[layer] else ""
        yield [
            str(layer),
            f"{distance.mean[layer]:.3g}{mark}",
            f"{distance.low[layer]:.3g} to {distance.high[layer]:.3g}",
            f"{found.null[layer]:.3g}",
            f"{whole['update_ratio'].mean[layer]:.3g}",
            f"{whole['output_ratio'].mean[layer]:.3g}",
            f"{found.measures['attention']['distance'].mean[layer]:.3g}",
            f"{found.measures['mlp']['distance'].mean[layer]:.3g}",
            str(low) if low == high else f"{low} to {high}",
            f"{found.chance_redundant[layer]:.2f}",
        ]


def _trajectory(found: Trajectory) -> Iterator[str]:
    yield "<h2>Trained enough?</h2>"
    yield f"<p>{escape(verdict_line(found))}</p>"
    rows = [
        [t.name, f"{t.change:.4g}", f"{t.low:.4g} to {t.high:.4g}", f"{t.margin:g}", t.answer,
         f"{t.probe_tokens_to_tell:,}" if t.probe_tokens_to_tell else ""]
        for t in found.trends
    ]  # fmt: skip
    yield table(("trend", "change over the checkpoints", "95 % interval", "margin", "", "probe tokens to tell"), rows)


def verdict_line(found: Trajectory) -> str:
    """The verdict, in a sentence."""
    return f"{found.verdict.capitalize()}, over {found.tokens[0]:,} to {found.tokens[-1]:,} tokens trained."


def _ablations(ablations: Sequence[Ablation]) -> Iterator[str]:
    for ablation in ablations:
        yield f"<h2>Loss without {'its' if ablation.part in ('attention', 'mlp') else 'a'} {ablation.part}</h2>"
        yield f"<p>{escape(correlation_line(ablation))}</p>"
        rise = ablation.rise
        ends = zip(ablation.places, rise.mean, rise.low, rise.high, strict=True)
        rows = [[place, f"{mean:.4f}", f"{low:.4f} to {high:.4f}"] for place, mean, low, high in ends]
        yield table((ablation.part if ablation.part == "span" else "layer", "rise, nats", "95 % interval"), rows)


def correlation_line(ablation: Ablation) -> str:
    """How far the distance tells what a layer is worth, in a sentence."""
    return f"Rank correlation of the distance with the rise of the loss: {ablation.rank_correlation:.2f}."


def table(head: Sequence[str], rows: Any) -> str:
    """A table in HTML, every cell escaped."""
    lines = ["<table><tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    return "\n".join([*lines, "</table>"])


def _figure(path: Path, caption: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    image = f'<img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def _document(body: str) -> str:
    head = f'<meta charset="utf-8"><title>Layers</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'
