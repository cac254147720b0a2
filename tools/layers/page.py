"""report.html: one file with its figures inside, which asks nothing of a network."""

import base64
import math
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..web_page import document, table
from .ablate import Ablation
from .findings import Analysis
from .report import Report
from .trajectory import Trajectory
from .uncertainty import FEWEST_DOCUMENTS

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; display: block;
        overflow-x: auto; }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }
th:first-child, td:first-child, .text { text-align: left; }
img { max-width: 100%; } figcaption { color: #555; font-size: .9rem; } figure { margin: 1.2rem 0; }
.answer { font-weight: 600; } .reading { color: #555; font-size: .9rem; }
"""


def page(report: Report, figures: Sequence[tuple[str, str]], folder: Path) -> str:
    """The page; figures are read from ``folder``."""
    last = report.analyses[-1]
    parts = [
        f"<h1>{escape(_title(report.analyses))}</h1>",
        *(f"<p>{escape(line)}</p>" for line in probe_lines(report.probe)),
        *(_trajectory(report.trajectory) if report.trajectory else ()),
        *(_models(report.analyses) if len(report.analyses) > 1 else ()),
        f"<h2>Layers of {escape(last.name)}</h2>",
        f"<p>{escape(loss_line(last))} {escape(span_line(last))}</p>",
        table(LAYER_HEAD, layer_cells(last)),
        f'<p class="reading">{escape(_MEASURES)}</p>',
        *_plan(last),
        *_ablations(report.ablations.get(last.name, [])),
        "<h2>Figures</h2>",
        *(_figure(folder / name, caption) for name, caption in figures),
    ]
    return document("Layers", _STYLE, "\n".join(parts))


def _title(analyses: Sequence[Analysis]) -> str:
    names = [analysis.name for analysis in analyses]
    return f"Layers of {', '.join(names)}" if len(names) <= 2 else f"Layers of {len(names)} models"


_MEASURES = (
    "x is the residual before a layer, u what the layer adds, y = x + u. 1 - cos is between x and y: 0 where the layer "
    "does not turn the residual at all; null is what orthogonal updates as long as the embedding would give. Attention "
    "and MLP are 1 - cos of each alone. An interval is of its layer by itself: one of 20 misses. Rank 1 is the most "
    "redundant; a rank is a range where this text does not tell, and for about 95 of 100 texts all ranks are right "
    "together. "
    "In lowest k: how often the layer is among the k most redundant when other documents are drawn. With * a value is "
    "no more than rounding can give."
)


def _models(analyses: Sequence[Analysis]) -> Iterator[str]:
    yield "<h2>Models</h2>"
    head = ("model", "tokens trained", "layers", "width", "norm", "loss, nats a token", "95 % interval", "mean 1 - cos")
    rows = []
    for analysis in analyses:
        facts, loss = analysis.facts, analysis.loss
        trained = facts["consumed_tokens"]
        rows.append([
            analysis.name, f"{trained:,}" if trained else "", str(facts["num_layers"]), f"{facts['hidden_size']:,}",
            facts["norm"], f"{float(loss.mean):.4f}", _interval(loss.low, loss.high, ".4f"),
            f"{analysis.table.measures['layer']['distance'].mean.mean():.3g}",
        ])  # fmt: skip
    yield table(head, rows)


def _interval(low: Any, high: Any, form: str) -> str:
    """The ends, where they are known."""
    known = math.isfinite(float(low)) and math.isfinite(float(high))
    return f"{float(low):{form}} to {float(high):{form}}" if known else "not known"


def _plan(analysis: Analysis) -> Iterator[str]:
    if not analysis.quietest_runs:
        return
    yield "<h2>Which layers could go, or be repeated</h2>"
    yield (
        '<p class="reading">The run of each length that turns the residual least on this text; another may be as '
        "quiet. It is a guess: a small turn may be amplified downstream. annealmix depth makes the model "
        "without it (--drop A:B) or with it twice (--repeat A:B) and measures the loss before and after; annealmix "
        "layers --ablate-span A:B measures only.</p>"
    )
    rows = [[str(r.end - r.first), f"{r.first}:{r.end}", f"{r.angle:.3f}"] for r in analysis.quietest_runs]
    yield table(("layers", "A:B", "angle, half turns"), rows)


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


def probe_lines(probe: dict[str, Any]) -> Iterator[str]:
    """What text was read, in a sentence, and which sources are too small for intervals, in another."""
    names = ", ".join(probe["sources"])
    yield (
        f"{probe['tokens']:,} tokens of {probe['documents']:,} documents from {names}, "
        f"in windows of {probe['sequence_length']:,}."
    )
    documents = dict(zip(probe["sources"], probe["documents_of_sources"], strict=True))
    if few := [f"{name} ({number})" for name, number in documents.items() if number < FEWEST_DOCUMENTS]:
        yield f"No intervals over text with fewer than {FEWEST_DOCUMENTS} documents of a source: {', '.join(few)}."


def loss_line(analysis: Analysis) -> str:
    """The loss with its interval, in a sentence."""
    loss = analysis.loss
    return f"Loss {float(loss.mean):.4f} nats a token (95 % interval {_interval(loss.low, loss.high, '.4f')})."


def span_line(analysis: Analysis) -> str:
    """The runs of layers that act as one, in a sentence."""
    if not analysis.spans:
        return "No run of layers turns the residual as little as one layer beside it."
    spans = ", ".join(f"{span.first} to {span.end - 1}" for span in analysis.spans)
    return f"Layers that together turn the residual no further than one layer beside them: {spans}."


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
            _interval(distance.low[layer], distance.high[layer], ".3g"),
            f"{found.null[layer]:.3g}",
            f"{whole['update_ratio'].mean[layer]:.3g}",
            f"{whole['output_ratio'].mean[layer]:.3g}",
            f"{found.measures['attention']['distance'].mean[layer]:.3g}",
            f"{found.measures['mlp']['distance'].mean[layer]:.3g}",
            str(low) if low == high else f"{low} to {high}",
            "not known" if math.isnan(found.chance_redundant[layer]) else f"{found.chance_redundant[layer]:.2f}",
        ]


def _trajectory(found: Trajectory) -> Iterator[str]:
    yield "<h2>Trained enough?</h2>"
    yield f'<p class="answer">{escape(verdict_line(found))}</p>'
    rows = []
    for t in found.trends:
        needed = f"{t.probe_tokens_to_tell:,}" if t.probe_tokens_to_tell else ""
        change = [f"{t.change:+.4f}", _interval(t.low, t.high, "+.4f"), f"{t.margin:g}"]
        rows.append([t.name, _UNITS[t.name.partition(" ")[0]], *change, t.answer, needed])
    yield table(_TREND_HEAD, rows, left=("in",))
    yield f'<p class="reading">{escape(_TRENDS)}</p>'


_UNITS = {"loss": "nats a token", "distance": "share of it"}
_TREND_HEAD = ("trend", "in", "with a doubling", "95 % interval", "margin", "answer", "probe tokens to tell")
_TRENDS = (
    "What a doubling of the tokens trained would change, by the line through the checkpoints. Moving: the interval is "
    "outside the margin; settled: inside it; cannot tell: across. The layer shown is the one that decides. The "
    "intervals of loss and all layers hold together, so that one of many layers isn't taken for moving by chance. With "
    "two checkpoints nothing can be told, and after the learning rate has decayed little moves whatever could still be "
    "learnt: take checkpoints of the stable phase. Where no number of probe tokens is given, more checkpoints would "
    "tell, or more documents of a source that has too few for intervals."
)


def verdict_line(found: Trajectory) -> str:
    """The verdict, in a sentence."""
    return f"{found.verdict.capitalize()}, over {found.tokens[0]:,} to {found.tokens[-1]:,} tokens trained."


def _ablations(ablations: Sequence[Ablation]) -> Iterator[str]:
    for ablation in ablations:
        yield f"<h2>Loss without {'its' if ablation.part in ('attention', 'mlp') else 'a'} {ablation.part}</h2>"
        yield f"<p>{escape(correlation_line(ablation))} An interval is of its row by itself.</p>"
        rise = ablation.rise
        ends = zip(ablation.places, rise.mean, rise.low, rise.high, strict=True)
        rows = [[place, f"{mean:.4f}", _interval(low, high, ".4f")] for place, mean, low, high in ends]
        yield table((ablation.part if ablation.part == "span" else "layer", "rise, nats", "95 % interval"), rows)


def correlation_line(ablation: Ablation) -> str:
    """How far the distance tells what a layer is worth, in a sentence."""
    return f"Rank correlation of the distance with the rise of the loss: {ablation.rank_correlation:.2f}."


def _figure(path: Path, caption: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    image = f'<img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"
