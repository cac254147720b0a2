"""Which samples are asked for: a range, a step or a rank's part of one, or all that read a document."""

from dataclasses import dataclass

import numpy as np

from mixer.apportion import Ints
from mixer.mixture import Located
from mixer.rows import StoredRows
from mixer.steps import rank_samples
from mixer.unread import UnreadSource

from ..errors import UserError
from ..recipe.planned import Plan
from .records import numbers_in_short

MAX_SAMPLES = 1_000_000  # at a time


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What the command line asks for, as it was written; exactly one of samples, step and document."""

    samples: str | None = None
    step: int | None = None
    document: str | None = None
    rank: int | None = None
    data_parallel_size: int | None = None

    def __post_init__(self) -> None:
        choices = {"--samples": self.samples, "--step": self.step, "--document": self.document}
        given = [option for option, value in choices.items() if value is not None]
        if len(given) != 1:
            expected = "exactly one of --samples A:B, --step S and --document SOURCE:N"
            raise UserError("trace", got=" and ".join(given) or "none of them", expected=expected)
        if (self.rank is None) != (self.data_parallel_size is None):
            got = "one of them alone"
            raise UserError("--rank and --data-parallel-size", got=got, expected="both, as in --step 5 --rank 0 ...")
        if self.rank is not None and self.step is None:
            raise UserError("--rank", got=given[0], expected="--step S: a rank reads its part of a step")

    def numbers(self, plan: Plan) -> Ints:
        """Samples of the range or the step, in the order read."""
        if self.samples is not None:
            return np.arange(*parse_range(self.samples, plan.total_samples))
        assert self.step is not None, "documents are looked up, not counted off"
        return samples_of_step(plan, self.step, rank=self.rank or 0, num_ranks=self.data_parallel_size or 1)


def parse_range(text: str, total_samples: int) -> tuple[int, int]:
    """``A:B`` as two numbers inside the run.

    >>> parse_range("0:1000", 5000)
    (0, 1000)
    """
    first, colon, end = text.partition(":")
    if not (colon and first.isdecimal() and end.isdecimal() and int(first) < int(end)):
        raise UserError("--samples", got=text or "nothing", expected="A:B with A before B, as in --samples 0:1000")
    if int(end) > total_samples:
        raise UserError("--samples", got=text, expected=f"samples of the run, which has {total_samples:,}")
    if int(end) - int(first) > MAX_SAMPLES:
        raise UserError("--samples", got=text, expected=f"at most {MAX_SAMPLES:,} samples at a time")
    return int(first), int(end)


def samples_of_step(plan: Plan, step: int, *, rank: int, num_ranks: int) -> Ints:
    """Samples of one rank's micro-batches in a step's global batch, one micro-batch after the other."""
    if not 0 <= step < plan.batches.num_steps:
        raise UserError("--step", got=str(step), expected=f"0 to {plan.batches.num_steps - 1:,}, the steps of the run")
    if num_ranks < 1 or not 0 <= rank < num_ranks:
        got = f"rank {rank} of {num_ranks}"
        raise UserError("--rank", got=got, expected=f"0 to {max(num_ranks - 1, 0)}, below --data-parallel-size")
    size, micro_batch_size = plan.batches.batch_size(step), plan.recipe.micro_batch_size
    own = rank_samples(size, micro_batch_size=micro_batch_size, rank=rank, num_ranks=num_ranks)
    return plan.batches.first_sample(step) + own.ravel()


@dataclass(frozen=True, eq=False)
class Readings:
    """All samples of the run that read a document, in order; ``why_none`` says why there are none."""

    samples: Ints
    located: Located
    why_none: str = ""


def readings_of_document(plan: Plan, text: str) -> Readings:
    """Find the samples that read document ``SOURCE:N``, by the inverse of the mixture's arithmetic: no scan."""
    name, document = parse_document(plan, text)
    source = plan.sources[name]
    rows = source.rows_of_document(document)
    samples, located = plan.mixture.samples_of(name, rows)
    pairs = zip(located.row.tolist(), located.offset.tolist(), strict=True)
    # A row holds the document at some offset, which need not be the one that its epoch has.
    inside = np.array([document in source.documents(row, offset=offset) for row, offset in pairs], bool)
    return Readings(samples[inside], located[inside], "" if inside.any() else _why_none(plan, name, document, rows))


def parse_document(plan: Plan, text: str) -> tuple[str, int]:
    """``SOURCE:N`` as the source's name and the document's number, both checked."""
    name, colon, number = text.rpartition(":")
    if not (colon and number.isdecimal()):
        raise UserError("--document", got=text or "nothing", expected="SOURCE:N, as in --document web:17")
    if name not in plan.sources:
        raise UserError("--document", got=text, expected=f"one of the sources {', '.join(plan.sources)}")
    source = plan.sources[name]
    if not isinstance(source, StoredRows | UnreadSource):
        raise UserError("--document", got=text, expected="a source with data; this one states its tokens only")
    if int(number) >= source.tokens.num_documents:
        expected = f"a document of {name}, 0 to {source.tokens.num_documents - 1:,}"
        raise UserError("--document", got=text, expected=expected)
    return name, int(number)


def _why_none(plan: Plan, name: str, document: int, rows: Ints) -> str:
    source = plan.sources[name]
    assert isinstance(source, StoredRows | UnreadSource), "parse_document lets no other pass"
    first, end = source.tokens.document_starts(np.array([document, document + 1])).tolist()
    if first == end:
        return "it is empty"
    if source.holdout.holds(np.array([first]))[0]:
        return "it is held out for validation"
    if not rows.size:
        return "no training row holds it (beside a held-out document, after the last whole window, or left out)"
    if any(skip.source == name and document in skip.documents for skip in plan.history.document_skips):
        return "skip_documents leaves it out"
    return f"the run ends before it reads row {numbers_in_short(rows.tolist())}"
