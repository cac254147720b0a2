"""Random edits of a running run against a model that walks it sample by sample."""

import json
import math
import random
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mixer.errors import DataError
from mixer.generations import Generation, Growth, SourceHistory
from mixer.history import History
from mixer.ledger import Ledger
from mixer.mixture import Mixture
from mixer.source import CountedSource
from mixer.spans import Cap, DocumentSkip, Ramp, Skip, Span

NAMES = ["code", "math", "sft", "web"]
S = 4
VALUES = 1 + np.arange(400) % 4  # supervised positions of each row


@dataclass
class Recipe:
    """What a user writes; ``history`` is what the tools make of it."""

    sources: dict[str, SourceHistory]
    phases: list[tuple[int, dict[str, float], str | None]]  # samples, weights, shape of the ramp to them
    skips: list[tuple[int, int]] = field(default_factory=list)
    documents: dict[str, list[int]] = field(default_factory=dict)  # rows of a source, each a document of its own
    caps: dict[str, Cap] = field(default_factory=dict)

    @property
    def ends(self) -> list[int]:
        return np.cumsum([length for length, _, _ in self.phases]).tolist()

    def history(self) -> History:
        spans: list[Span] = []
        for end, (length, weights, shape) in zip(self.ends, self.phases, strict=True):
            ramp = Ramp(end - length, end, spans[-1].weights, shape) if shape and spans else None  # type: ignore[arg-type]
            spans.append(Span(end - length, end, weights, ramp=ramp, caps=self.caps))
        return History(
            seed=3,
            sequence_length=S,
            sources=self.sources,
            spans=spans,
            skips=[Skip(start, end) for start, end in self.skips],
            document_skips=[DocumentSkip(name, tuple(rows), tuple(rows)) for name, rows in self.documents.items()],
        )


def live(name: str, caps: Mapping[str, Cap], gone: set[str]) -> list[str]:
    """Who takes a share, by the words of the docstring: targets, else the targets of those, and so on."""
    level = set(caps[name].to)
    while not level - gone:
        level |= {target for source in level for target in caps[source].to}
    return sorted(level - gone)


def shared(weights: Mapping[str, float], caps: Mapping[str, Cap], gone: set[str]) -> dict[str, float]:
    total = sum(weights.values())
    shares = {name: weights.get(name, 0) / total for name in NAMES}
    out = {name: 0.0 if name in gone else share for name, share in shares.items()}
    for name in gone:
        takers = live(name, caps, gone) if shares[name] else []
        own = sum(shares[taker] for taker in takers)
        for taker in takers:
            out[taker] += shares[name] * (shares[taker] / own if own else 1 / len(takers))
    return out


def way(ramp: Ramp, sample: int) -> float:
    """Integral of the part of the way gone over one sample of a ramp."""
    length = ramp.end_sample - ramp.start_sample
    at = (sample - ramp.start_sample) / length
    if ramp.shape == "linear":
        return at + 0.5 / length
    return 0.5 - (math.sin(math.pi * (at + 1 / length)) - math.sin(math.pi * at)) * length / (2 * math.pi)


class Walk:
    """A run read sample by sample: where each source must stand, and the shares it was asked for."""

    def __init__(self, history: History) -> None:
        self.history, self.mixture = history, Mixture(history)
        self.names = list(history.sources)
        self.stand = dict.fromkeys(self.names, 0)
        self.asked, self.read = dict.fromkeys(NAMES, 0.0), dict.fromkeys(self.names, 0)
        self.barred: dict[str, set[int]] = defaultdict(set)
        self.rows = {name: self._rows(name) for name in self.names}

    def _rows(self, name: str) -> list[int]:
        ends = self.mixture.counts(self.history.num_samples)[name] + 60
        k = np.full(ends, self.names.index(name))
        rows: list[int] = self.mixture.rows(k, np.arange(ends)).row.tolist()
        return rows

    def next_draw(self, name: str) -> int:
        draw = self.stand[name]
        while draw < len(self.rows[name]) and self.rows[name][draw] in self.barred[name]:
            draw += 1
        return draw

    def begin(self, sample: int) -> None:
        for barred in self.history.document_skips:
            if barred.start == sample:
                self.barred[barred.source] |= set(barred.rows)
        for skip in self.history.skips:
            for name, turns in (skip.draws or {}).items() if skip.start == sample else ():
                for _ in range(turns):
                    self.stand[name] = self.next_draw(name) + 1

    def ask(self, sample: int) -> None:
        span = next(span for span in self.history.spans if sample < span.end_sample)
        gone = {name for name, cap in span.caps.items() if self.next_draw(name) >= cap.draws}
        shares = shared(span.weights, span.caps, gone)
        if span.ramp:
            part, start = way(span.ramp, sample), shared(span.ramp.from_weights, span.caps, gone)
            shares = {name: start[name] * (1 - part) + share * part for name, share in shares.items()}
        assert all(share == 0 for name, share in shares.items() if name in gone)
        for name, share in shares.items():
            self.asked[name] += share

    def check(self) -> None:
        """Walk to the end."""
        total, cursors = self.history.num_samples, self.mixture.cursors
        located = self.mixture.locate(np.arange(total))
        columns = (located.source, located.draw, located.row)
        reads = [(self.names[k], draw, row) for k, draw, row in zip(*(c.tolist() for c in columns), strict=True)]
        accounts = {at: Ledger(self.mixture, sources_of(self.history)).at(at) for at in (total // 2, total)}
        supervised = dict.fromkeys(self.names, 0)
        for sample, (name, draw, row) in enumerate(reads):
            self.begin(sample)
            assert self.mixture.counts(sample) == self.stand, sample
            self.check_bounds(sample)
            self.check_account(accounts.get(sample), supervised)
            self.ask(sample)
            assert draw == self.next_draw(name), (sample, name)
            assert row == self.rows[name][draw]
            assert cursors.sample_at(self.names.index(name), draw) == sample
            self.stand[name], self.read[name] = draw + 1, self.read[name] + 1
            supervised[name] += int(VALUES[row])
        assert self.mixture.counts(total) == self.stand
        self.check_bounds(total)
        self.check_account(accounts[total], supervised)
        self.check_gaps(reads)
        self.check_epochs()

    def check_bounds(self, sample: int) -> None:
        bounds = self.mixture.bounds(sample)
        assert all(abs(self.read[name] - self.asked[name]) <= bounds[name] + 1e-6 for name in self.names), sample

    def check_account(self, account: Mapping[str, object] | None, supervised: Mapping[str, int]) -> None:
        for name in self.names if account else ():
            assert account[name].samples == self.read[name]  # type: ignore[index, attr-defined]
            assert account[name].supervised_tokens == supervised[name]  # type: ignore[index, attr-defined]

    def check_gaps(self, reads: list[tuple[str, int, int]]) -> None:
        """No sample reads what was passed over, and ``samples_of`` finds all that reads a row."""
        for k, name in enumerate(self.names):
            read = {draw: sample for sample, (who, draw, _) in enumerate(reads) if who == name}
            for draw in range(len(self.rows[name])):
                assert self.mixture.cursors.sample_at(k, draw) == read.get(draw)
            rows = self.rows[name][:2]
            samples, _ = self.mixture.samples_of(name, np.array(rows, np.int64))
            assert samples.tolist() == [n for n, (who, _, row) in enumerate(reads) if who == name and row in rows]

    def check_epochs(self) -> None:
        """Each epoch has each row once; a bridge and the part of the epoch that it ends have each row once."""
        for name, source in self.history.sources.items():
            generations, rows, open_epoch = source.generations, self.rows[name], list[int]()
            edges = [*(generation.first_draw for generation in generations), len(rows)]
            for generation, (first_draw, end) in zip(generations, pairwise(edges), strict=True):
                read = (open_epoch if generation.carries else []) + rows[first_draw:end]
                size = generation.end_row if generation.carries else generation.num_rows
                whole = len(read) // size * size
                for first in range(0, whole, size):
                    assert sorted(read[first : first + size]) == list(range(size))
                open_epoch = read[whole:]
                assert len(set(open_epoch)) == len(open_epoch)


def sources_of(history: History) -> dict[str, CountedSource]:
    return {name: CountedSource(name, 400 * S + 1, S, row_supervised=VALUES) for name in history.sources}


Edit = tuple[str, str, int, int]
KINDS = [
    "weights",
    "ramp",
    "last",
    "enter",
    "leave",
    "skip",
    "document",
    "grow",
    "append",
    "append",
    "cap",
    "cap",
    "uncap",
]
OFTEN = ["web", "web", "web", "math", "sft", "code"]
SHAPES = [None, "linear", "cosine"]


def edited(recipe: Recipe, run: History, at: int, edit: Edit) -> Recipe:
    """The recipe with one thing changed ahead of sample ``at``."""
    kind, name, a, b = edit
    phases, last = list(recipe.phases), len(recipe.phases) - 1
    running = next((k for k, end in enumerate(recipe.ends) if end > at), last)
    length, weights, shape = phases[running]
    if kind == "weights":
        phases[running] = (length, {**weights, name: b / 10}, shape)
    elif kind == "ramp":
        phases[running] = (length, weights, SHAPES[a % 3] if running else None)
    elif kind == "last":
        left = max(1, recipe.ends[-1] - phases[last][0] + 1, at + 1) - (recipe.ends[-1] - phases[last][0])
        phases[last] = (max(left, phases[last][0] + b - 15), *phases[last][1:])
    elif kind == "enter":
        phases[running] = (length, {**weights, "code": b / 10}, shape)
    elif kind == "leave" and len(weights) > 1:
        phases[running] = (length, {key: weights[key] for key in sorted(weights)[1:]}, shape)
    elif kind in ("grow", "append"):
        how: Growth = "append" if kind == "append" else "next_epoch"
        rows = recipe.sources[name].generations[-1].end_row + b
        grown = run.grown(name, Generation(0, rows, num_tokens=rows), at, how)
        return replace(recipe, sources={**recipe.sources, name: grown})
    elif kind == "skip" and at + a < recipe.ends[-1]:
        return replace(recipe, skips=[*recipe.skips, (at + a, min(at + a + b, recipe.ends[-1]))])
    elif kind == "document":
        rows = recipe.sources[name].generations[-1].end_row
        return replace(recipe, documents={**recipe.documents, name: [*recipe.documents.get(name, []), b % rows]})
    elif kind == "cap":
        to = tuple(other for k, other in enumerate(NAMES) if other != name and (k + a + b) % 3) or ("web",)
        return (
            replace(recipe, caps={**recipe.caps, name: Cap(run.draws(at)[name] + b // 2, to)})
            if name not in to
            else recipe
        )
    elif kind == "uncap":
        return replace(recipe, caps={})
    return replace(recipe, phases=phases)


def again(history: History) -> History:
    back = History.from_json(json.loads(json.dumps(history.to_json())))
    assert back == history
    return back


def begun(draw: random.Random) -> Recipe:
    phases = [(draw.randint(5, 40), mix(draw), draw.choice(SHAPES)) for _ in range(draw.randint(1, 3))]
    return Recipe({name: SourceHistory((Generation(0, draw.randint(1, 40)),)) for name in NAMES}, phases)


def mix(draw: random.Random) -> dict[str, float]:
    return {name: draw.choice([0.25, 1, 3, 0.7]) for name in draw.sample(NAMES[1:], draw.randint(1, 3))}


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=100)
def test_no_sequence_of_edits_repeats_or_leaves_out_anything(seed: int) -> None:
    draw = random.Random(seed)
    recipe = begun(draw)
    run, at = again(recipe.history()), 0
    for _ in range(draw.randint(1, 5)):
        at = min(at + draw.randint(0, 25), run.num_samples)
        candidate = edited(
            recipe, run, at, (draw.choice(KINDS), draw.choice(OFTEN), draw.randint(0, 40), draw.randint(1, 20))
        )
        joined = continued(run, candidate, at)
        if joined:
            assert reads_before(joined, at) == reads_before(run, at)
            recipe, run = candidate, again(joined)
            assert run.continue_with(recipe.history(), at) == run, "the same recipe again changes nothing"
    Walk(run).check()


def continued(run: History, recipe: Recipe, at: int) -> History | None:
    """The run with a recipe that may ask for too much: no way out of caps, no row left, a skip beyond the end."""
    try:
        return run.continue_with(recipe.history(), at)
    except DataError as error:
        if not any(part in str(error) for part in ("reaches its cap", "rows of source", "inside the run")):
            raise
        return None


def reads_before(run: History, at: int) -> list[list[int]]:
    located = Mixture(run).locate(np.arange(at))
    columns = (located.source, located.draw, located.generation, located.epoch, located.row)
    return [column.tolist() for column in columns]
