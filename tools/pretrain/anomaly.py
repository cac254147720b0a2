"""The message of a run that stops itself: what happened, what was read, where to go back to, what to write to go on."""

import json

import numpy as np

from mixer.batch import GlobalBatch

from ..recipe.planned import Plan
from .checkpoint_store import CheckpointStore
from .watch import RunStoppedError

_SHOWN = 3


def explain_stop(complaint: str, batch: GlobalBatch, plan: Plan, store: CheckpointStore) -> RunStoppedError:
    """The error to raise; every document of the step goes into a file, and a few of each source into the message."""
    end = batch.first_sample + batch.size
    documents = documents_read(plan, batch.first_sample, end)
    listing = store.folder.parent / f"stopped_at_step_{batch.step:08d}.json"
    listing.parent.mkdir(parents=True, exist_ok=True)
    listing.write_text(json.dumps({"samples": [batch.first_sample, end], "documents": documents}, indent=1))
    good = store.newest_valid(lambda line: None)
    read = "; ".join(f"{name}: documents {_few(numbers)}" for name, numbers in documents.items())
    return RunStoppedError(
        f"step {batch.step + 1} (samples {batch.first_sample:,} to {end:,})",
        got=complaint,
        fix=(
            f"it read {read} (all in {listing}); last good checkpoint: {good[0] if good else 'none'}; to go on "
            f"without these samples, write  skip_samples: [[{batch.first_sample}, {end}]]  into the recipe and start "
            "with --resume"
        ),
    )


def documents_read(plan: Plan, first: int, end: int) -> dict[str, list[int]]:
    """Source name -> sorted numbers of the documents that samples [first, end) touch."""
    located = plan.mixture.locate(np.arange(first, end))
    found: dict[str, set[int]] = {}
    columns = located.source.tolist(), located.row.tolist(), located.offset.tolist()
    for source, row, offset in zip(*columns, strict=True):
        name = plan.mixture.names[source]
        found.setdefault(name, set()).update(plan.sources[name].documents(row, offset=offset))
    return {name: sorted(numbers) for name, numbers in sorted(found.items())}


def _few(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:_SHOWN]))
    return shown if len(numbers) <= _SHOWN else f"{shown} and {len(numbers) - _SHOWN} more"
