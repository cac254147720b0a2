"""Samples as records: what ``--json`` prints, and what the table shows."""

from typing import Any

from mixer.apportion import Ints
from mixer.mixture import Located

from ..recipe.planned import Plan


def records(plan: Plan, samples: Ints, located: Located) -> list[dict[str, Any]]:
    """One record a sample: its step (None after the last whole batch), source, draw, generation, epoch, row, offset."""
    trained = plan.batches.first_sample(plan.batches.num_steps)
    names = plan.mixture.names
    columns = (located.source, located.draw, located.generation, located.epoch, located.row, located.offset)
    numbers = zip(samples.tolist(), *(column.tolist() for column in columns), strict=True)
    return [
        {
            "sample": sample,
            "step": plan.batches.step_of_sample(sample) if sample < trained else None,
            "source": names[source],
            "draw": draw,
            "generation": generation,
            "epoch": epoch,
            "row": row,
            "offset": offset,
        }
        for sample, source, draw, generation, epoch, row, offset in numbers
    ]


def documents(plan: Plan, record: dict[str, Any]) -> list[int]:
    """Numbers of the documents in a record's row; none for a source without data."""
    return plan.sources[record["source"]].documents(record["row"], offset=record["offset"])


def numbers_in_short(numbers: list[int], *, most_chars: int = 16) -> str:
    """Numbers with runs as first-last, and how many more there are where they take too much room.

    >>> numbers_in_short([3, 4, 5, 9]), numbers_in_short([10, 30, 50, 70, 90, 110, 130])
    ('3-5 9', '10 30 50 70 +3')
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    text, shown = "", 0
    for run in runs:
        word = str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}"
        rest = len(numbers) - shown
        if text and len(f"{text} {word}") + (len(f" +{rest}") if rest > len(run) else 0) > most_chars:
            return f"{text} +{rest}"
        text, shown = f"{text} {word}".strip(), shown + len(run)
    return text
