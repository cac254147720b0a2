"""Going on: which checkpoint to take, agreed on by all processes. What may have changed since: recipe/continued.py."""

from collections.abc import Callable
from pathlib import Path

import torch.distributed as dist

from ..errors import UserError
from ..runtime.processes import Layout
from .checkpoint_store import CheckpointStore
from .state import RunState

Found = tuple[Path, RunState]


def find_checkpoint(
    store: CheckpointStore, *, resume: bool, layout: Layout, warn: Callable[[str], None]
) -> Found | None:
    """The checkpoint to go on from, chosen by rank 0 for all; None for a fresh start.

    Raises UserError where there are checkpoints and nobody asked to resume, or where all of them are damaged.
    """
    return _agreed(lambda: _choose(store, resume=resume, warn=warn), layout)


def make_folder(store: CheckpointStore, layout: Layout) -> None:
    """Make the folder of the checkpoints, by rank 0 for all. Raises UserError where it can't be."""
    _agreed(lambda: _make(store.folder), layout)


def _agreed(answer: Callable[[], Found | UserError | None], layout: Layout) -> Found | None:
    """What rank 0 finds, on every rank; its error is raised on all."""
    answers = [answer() if layout.is_first else None]
    dist.broadcast_object_list(answers, src=0)
    if isinstance(answers[0], UserError):
        raise answers[0]
    return answers[0]


def _choose(store: CheckpointStore, *, resume: bool, warn: Callable[[str], None]) -> Found | UserError | None:
    folders = store.folders()
    if not folders:
        return None
    if not resume:
        return UserError(
            str(store.folder),
            got=f"{len(folders)} checkpoints of an earlier run",
            fix="go on with --resume, or give the new run another name or run_dir",
        )
    found = store.newest_valid(warn)
    return found or UserError(
        str(store.folder), got="only damaged checkpoints", fix="restore one, or start again in another run_dir"
    )


def _make(folder: Path) -> UserError | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        got = f"{error.strerror or error}"
        return UserError(str(folder), got=got, expected="a folder to write in", fix="name another run_dir")
    return None
