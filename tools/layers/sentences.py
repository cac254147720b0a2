"""What the page and the terminal say alike: sentences and rows of an analysis, with no number where none is known."""

import math
from collections.abc import Iterator
from typing import Any

from ..plan.joints import aligned
from .ablate import Ablation
from .findings import BUCKETED, Analysis
from .report import Report
from .trajectory import Trajectory
from .uncertainty import FEWEST_DOCUMENTS

UNKNOWN = "not known"
RUN_MEANING = "A:B is layers A up to but without B."
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
_CROWDED = 0.9  # of a model's tokens in one bucket


def number(value: Any, form: str) -> str:
    """A value, where it is known.

    >>> number(0.5, ".2f"), number(float("nan"), ".2f")
    ('0.50', 'not known')
    """
    return f"{float(value):{form}}" if math.isfinite(float(value)) else UNKNOWN


def interval(low: Any, high: Any, form: str) -> str:
    """The ends, where both are known."""
    known = math.isfinite(float(low)) and math.isfinite(float(high))
    return f"{float(low):{form}} to {float(high):{form}}" if known else UNKNOWN


def head_lines(report: Report) -> Iterator[str]:
    """What was read, and what of it limits what can be told."""
    yield from (*probe_lines(report.probe), *length_lines(report), *bucket_lines(report))


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


def length_lines(report: Report) -> Iterator[str]:
    """Which models were made for shorter windows, in a line."""
    length = report.probe["sequence_length"]
    made_for = {a.name: a.facts["context_length"] for a in report.shown}
    if told := [f"{name} ({known:,})" for name, known in made_for.items() if known and known < length]:
        yield f"Windows of {length:,} tokens are longer than those that these were made for: {', '.join(told)}."


def bucket_lines(report: Report) -> Iterator[str]:
    """Which models have nearly all tokens in one bucket, a line for the loss and one for the entropy."""
    first = report.analyses[0]
    for family in BUCKETED:
        found = ((a.name, *_fullest(a, family)) for a in report.shown if a is not first)
        if told := [f"{name} ({100 * share:.0f} % in {bucket})" for name, bucket, share in found if share > _CROWDED]:
            yield (
                f"Buckets of {family} are those of the first model, {first.name}, and hardly tell the tokens of these "
                f"apart: {', '.join(told)}. Begin with a later checkpoint, or another model."
            )


def _fullest(analysis: Analysis, family: str) -> tuple[str, float]:
    """The bucket that holds the most tokens, and its share of all."""
    rows = [row for row in analysis.strata if row.family == family]
    fullest = max(rows, key=lambda row: row.tokens)
    low, _, high = fullest.name.partition("-")
    name = f"{low} to {high} nats" if high else f"{low} nats or more"
    return name, fullest.tokens / sum(row.tokens for row in rows)


def shown_line(report: Report) -> str:
    """Whose tables follow, where models are checkpoints of one run and only one is shown; else nothing."""
    if not report.trajectory:
        return ""
    return f"Layers are those of the last checkpoint, {report.shown[0].name}; report.json holds those of all."


def loss_line(analysis: Analysis) -> str:
    """The loss with its interval, in a sentence."""
    loss = analysis.loss
    ends = interval(loss.low, loss.high, ".4f")
    return f"Loss {number(loss.mean, '.4f')} nats a token (95 % interval {ends})."


def span_line(analysis: Analysis) -> str:
    """The runs of layers that act as one, in a sentence."""
    if not analysis.spans:
        return "No run of layers turns the residual as little as one layer beside it."
    spans = ", ".join(f"{span.first}:{span.end}" for span in analysis.spans)
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
            f"{number(distance.mean[layer], '.3g')}{mark}",
            interval(distance.low[layer], distance.high[layer], ".3g"),
            f"{found.null[layer]:.3g}",
            number(whole["update_ratio"].mean[layer], ".3g"),
            number(whole["output_ratio"].mean[layer], ".3g"),
            number(found.measures["attention"]["distance"].mean[layer], ".3g"),
            number(found.measures["mlp"]["distance"].mean[layer], ".3g"),
            str(low) if low == high else f"{low} to {high}",
            number(found.chance_redundant[layer], ".2f"),
        ]


def verdict_line(found: Trajectory) -> str:
    """The verdict, in a sentence."""
    return f"{found.verdict.capitalize()}, over {found.tokens[0]:,} to {found.tokens[-1]:,} tokens trained."


def ablation_title(ablation: Ablation) -> str:
    """What was left out, as a heading."""
    return f"Loss without {'its' if ablation.part in ('attention', 'mlp') else 'a'} {ablation.part}"


def correlation_line(ablation: Ablation) -> str:
    """How far the distance tells what a layer is worth, in a sentence."""
    name = "Rank correlation of the distance with the rise of the loss"
    if math.isfinite(ablation.rank_correlation):
        return f"{name}: {ablation.rank_correlation:.2f}."
    places = len(ablation.places)
    return f"{name}: needs three or more, got {places}." if places < 3 else f"{name}: none, as one of them is constant."


def rise_head(ablation: Ablation) -> tuple[str, ...]:
    """Names of the columns of ``rise_cells``."""
    return ("span" if ablation.part == "span" else "layer", "rise, nats", "95 % interval")


def rise_cells(ablation: Ablation) -> Iterator[list[str]]:
    """A row for each place that was left out."""
    rise = ablation.rise
    for place, mean, low, high in zip(ablation.places, rise.mean, rise.low, rise.high, strict=True):
        yield [place, number(mean, "+.4f"), interval(low, high, "+.4f")]


def summary_lines(report: Report) -> Iterator[str]:
    """What the terminal shows of a report: the tables of each model that is shown, and a line for each finding."""
    yield from head_lines(report)
    if report.trajectory:
        yield shown_line(report)
    for analysis in report.shown:
        yield from ("",) if len(report.shown) > 1 else ()
        yield f"{analysis.name}: {loss_line(analysis)} {span_line(analysis)}"
        rows = [[*row[:4], *row[8:]] for row in layer_cells(analysis)]
        yield aligned([*LAYER_HEAD[:4], *LAYER_HEAD[8:]], rows)
        for ablation in report.ablations.get(analysis.name, []):
            yield f"{ablation_title(ablation)}. {correlation_line(ablation)}"
            yield aligned(rise_head(ablation), list(rise_cells(ablation)))
    if any(analysis.spans for analysis in report.shown) or _has_spans(report):
        yield RUN_MEANING
    if report.trajectory:
        yield verdict_line(report.trajectory)


def _has_spans(report: Report) -> bool:
    return any(a.part == "span" for ablations in report.ablations.values() for a in ablations)
