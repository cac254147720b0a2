"""report.html: one file with its figures inside, which asks nothing of a network."""

import base64
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from schedulers.words import format_tokens

from ..web_page import document, table
from .ablate import Ablation
from .findings import Analysis
from .report import Report
from .sentences import (
    LAYER_HEAD,
    RUN_MEANING,
    UNKNOWN,
    ablation_title,
    correlation_line,
    head_lines,
    interval,
    layer_cells,
    loss_line,
    number,
    rise_cells,
    rise_head,
    shown_line,
    span_line,
    verdict_line,
)
from .trajectory import Trajectory, Trend

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; } h3 { font-size: 1rem; margin-top: 1.6rem; }
summary { cursor: pointer; margin-top: 1.6rem; font-size: 1.15rem; font-weight: 600; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; display: block;
        overflow-x: auto; }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }
th:first-child, td:first-child, .text { text-align: left; }
img { max-width: 100%; } figcaption { color: #555; font-size: .9rem; } figure { margin: 1.2rem 0; }
.answer { font-weight: 600; } .reading { color: #555; font-size: .9rem; }
"""


_MOST_OPEN = 2  # models whose sections stand open


def page(report: Report, figures: Sequence[tuple[str, str]], folder: Path) -> str:
    """The page; figures are read from ``folder``."""
    parts = [
        f"<h1>{escape(_title(report.analyses))}</h1>",
        *(f"<p>{escape(line)}</p>" for line in head_lines(report)),
        *(_trajectory(report.trajectory) if report.trajectory else ()),
        *(_models(report.analyses) if len(report.analyses) > 1 else ()),
        f"<h2>{escape(_layers_title(report))}</h2>",
        f"<p>{escape(shown_line(report))}</p>" if report.trajectory else "",
        f'<p class="reading">{escape(_MEASURES)} {escape(RUN_MEANING)}</p>',
        *_sections(report),
        "<h2>Figures</h2>",
        f"<p>Those of one model are of the last, {escape(report.shown[-1].name)}.</p>" if len(report.shown) > 1 else "",
        *(_figure(folder / name, caption) for name, caption in figures),
    ]
    return document("Layers", _STYLE, "\n".join(filter(None, parts)))


def _layers_title(report: Report) -> str:
    return f"Layers of {report.shown[0].name}" if len(report.shown) == 1 else "Layers"


def _sections(report: Report) -> Iterator[str]:
    """What is said of each model that is shown, folded up where they are many."""
    many = len(report.shown) > 1
    state = "" if len(report.shown) > _MOST_OPEN else " open"
    for analysis in report.shown:
        yield f"<details{state}><summary>{escape(analysis.name)}</summary>" if many else ""
        yield from _section(analysis, report.ablations.get(analysis.name, []))
        yield "</details>" if many else ""


def _section(analysis: Analysis, ablations: Sequence[Ablation]) -> Iterator[str]:
    yield f"<p>{escape(loss_line(analysis))} {escape(span_line(analysis))}</p>"
    yield table(LAYER_HEAD, layer_cells(analysis))
    yield from _plan(analysis)
    yield from _ablations(ablations)


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
            analysis.name, UNKNOWN if trained is None else f"{trained:,}",
            str(facts["num_layers"]), f"{facts['hidden_size']:,}", facts["norm"],
            number(loss.mean, ".4f"), interval(loss.low, loss.high, ".4f"),
            number(analysis.table.measures["layer"]["distance"].mean.mean(), ".3g"),
        ])  # fmt: skip
    yield table(head, rows)


def _plan(analysis: Analysis) -> Iterator[str]:
    if not analysis.quietest_runs:
        return
    yield "<h3>Which layers could go, or be repeated</h3>"
    yield (
        '<p class="reading">The run of each length that turns the residual least on this text; another may be as '
        "quiet. It is a guess: a small turn may be amplified downstream. annealmix depth makes the model "
        "without it (--drop A:B) or with it twice (--repeat A:B) and measures the loss before and after; annealmix "
        "layers --ablate-span A:B measures only.</p>"
    )
    rows = [[str(r.end - r.first), f"{r.first}:{r.end}", number(r.angle, ".3f")] for r in analysis.quietest_runs]
    yield table(("layers", "A:B", "angle, half turns"), rows)


def _trajectory(found: Trajectory) -> Iterator[str]:
    yield "<h2>Trained enough?</h2>"
    yield f'<p class="answer">{escape(verdict_line(found))}</p>'
    yield table(_TREND_HEAD, map(_trend_cells, found.trends), left=("in",))
    yield f'<p class="reading">{escape(_TRENDS)}</p>'
    yield "<h3>Each layer over the run</h3>"
    head = ("layer", "slope per 1B tokens", "95 % interval", *map(format_tokens, found.tokens))
    yield table(head, _course_cells(found))
    yield f'<p class="reading">{escape(_COURSE)}</p>'


def _trend_cells(trend: Trend) -> list[str]:
    unit = _UNITS[trend.name.partition(" ")[0]]
    change = [number(trend.change, "+.4f"), interval(trend.low, trend.high, "+.4f"), f"{trend.margin:g}"]
    needed = f"{trend.probe_tokens_to_tell:,}" if trend.probe_tokens_to_tell else UNKNOWN
    return [trend.name, unit, *change, trend.answer, needed if trend.answer == "cannot tell" else "none needed"]


def _course_cells(found: Trajectory) -> Iterator[list[str]]:
    """A row for each layer, one for the loss, one for the last layer's share; a column for each checkpoint."""
    slopes = zip(found.slope.mean, found.slope.low, found.slope.high, strict=True)
    for layer, (mean, low, high) in enumerate(slopes):
        values = (number(value, ".3g") for value in found.drift[:, layer])
        yield [str(layer), *_slope_cells(mean, low, high), *values]
    slope = found.loss_slope
    yield [
        "loss, nats a token",
        *_slope_cells(slope.mean, slope.low, slope.high),
        *(number(value, ".4f") for value in found.loss),
    ]
    yield ["last layer's share", "-", "-", *(number(share, ".3f") for share in found.jump_share)]


def _slope_cells(mean: Any, low: Any, high: Any) -> tuple[str, str]:
    form = "+,.0f" if abs(float(mean)) >= 1000 else "+.3g"
    return number(mean, form), interval(low, high, form)


_COURSE = (
    "1 - cos of each layer and the loss at each checkpoint, by tokens trained, and what a billion tokens would change "
    "by the straight line through them; a short run extrapolates far. An interval is of its row by itself, and holds "
    "what other documents would say, not how far checkpoints scatter. The last layer's share is its part of the angles "
    "of all layers: a high one is the jump before the prediction."
)
_UNITS = {"loss": "nats a token", "distance": "share of it"}
_TREND_HEAD = ("trend", "in", "with a doubling", "95 % interval", "margin", "answer", "probe tokens to tell")
_TRENDS = (
    "What a doubling of the tokens trained would change, by the line through the checkpoints. Moving: the interval is "
    "outside the margin; settled: inside it; cannot tell: across. The layer shown is the one that decides. The "
    "intervals of loss and all layers hold together, so that one of many layers isn't taken for moving by chance. With "
    "two checkpoints nothing can be told, and after the learning rate has decayed little moves whatever could still be "
    "learnt: take checkpoints of the stable phase. Where the probe tokens to tell are not known, more checkpoints "
    "would tell, or more documents of a source that has too few for intervals."
)


def _ablations(ablations: Sequence[Ablation]) -> Iterator[str]:
    for ablation in ablations:
        yield f"<h3>{ablation_title(ablation)}</h3>"
        yield f"<p>{escape(correlation_line(ablation))} An interval is of its row by itself.</p>"
        yield table(rise_head(ablation), rise_cells(ablation))


def _figure(path: Path, caption: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    image = f'<img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"
