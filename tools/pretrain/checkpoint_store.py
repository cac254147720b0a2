"""Checkpoints of a run as folders: written aside and renamed last, checked before use, the old ones removed.

    runs/quickstart/checkpoints/step_00000120/
        run_state.json      where the run stood (RunState)
        files.json          every other file with its size, and a digest of the small ones
        .metadata common.pt metadata.json __0_0.distcp ...      megatron-core's distributed checkpoint

A folder without ``files.json`` was never finished. Rank 0 alone touches names; all ranks write tensors.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..durable import sync
from .state import RunState

_STATE = "run_state.json"
_FILES = "files.json"
_DIGEST_UP_TO_BYTES = 64 * 2**20


@dataclass(frozen=True)
class CheckpointStore:
    """The checkpoints folder of one run."""

    folder: Path

    def path(self, step: int) -> Path:
        """Where the checkpoint after ``step`` steps is, or would be."""
        return self.folder / f"step_{step:08d}"

    def write(
        self, state: RunState, save_weights: Callable[[Path], None], *, is_first: bool, barrier: Callable[[], object]
    ) -> Path:
        """Save weights and state under a temporary name, sync, then rename; every rank calls it."""
        final = self.path(state.step)
        unfinished = final.with_suffix(".unfinished")
        if is_first:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
        barrier()
        save_weights(unfinished)
        barrier()
        if is_first:
            _seal(unfinished, state)
            _replace_folder(unfinished, final)
        barrier()
        return final

    def newest_valid(self, warn: Callable[[str], None]) -> tuple[Path, RunState] | None:
        """The checkpoint to go on from; a damaged one is passed over with a warning that says what is wrong."""
        for folder in reversed(self.folders()):
            complaint, state = check(folder)
            if state is not None:
                return folder, state
            warn(f"{folder}: {complaint}; trying the one before")
        return None

    def folders(self) -> list[Path]:
        """Finished checkpoint folders, oldest first."""
        return sorted(path for path in self.folder.glob("step_*") if path.is_dir() and path.suffix == "")

    def prune(self, keep_last: int) -> None:
        """Remove all but the last ``keep_last`` whole ones and those that a decay starts from; damaged ones too."""
        whole = 0
        for folder in reversed(self.folders()):
            _, state = check(folder, digests=False)
            whole += state is not None
            if state is None or (whole > keep_last and not state.before_decay):
                _remove(folder)
        for left_over in (*self.folder.glob("*.unfinished"), *self.folder.glob("*.removed")):
            shutil.rmtree(left_over, ignore_errors=True)


def check(folder: Path, *, digests: bool = True) -> tuple[str, RunState | None]:
    """Whether a checkpoint is whole: ("", state) if it is, (what is wrong, None) if not."""
    try:
        listed = json.loads((folder / _FILES).read_text())
        if _STATE not in listed:
            return f"{_FILES} doesn't list {_STATE}", None
        for name, facts in listed.items():
            if complaint := _check_file(folder / name, facts, digests):
                return f"{name} {complaint}", None
        return "", RunState.from_json((folder / _STATE).read_text())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"damaged ({error})", None


def _check_file(path: Path, facts: dict[str, str | int], digests: bool) -> str:
    size = path.stat().st_size if path.is_file() else None
    if size is None:
        return "is missing"
    if size != facts["bytes"]:
        return f"has {size} bytes, not {facts['bytes']}"
    if digests and "sha256" in facts and _digest(path) != facts["sha256"]:
        return "has other content than was written"
    return ""


def _seal(folder: Path, state: RunState) -> None:
    """Write the state and the list of files; sync everything."""
    (folder / _STATE).write_text(state.to_json())
    (folder / _FILES).write_text(json.dumps(dict(_describe_files(folder)), indent=1))
    for path in (*folder.iterdir(), folder):
        sync(path)


def _describe_files(folder: Path) -> Iterator[tuple[str, dict[str, str | int]]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            size = path.stat().st_size
            digest = {"sha256": _digest(path)} if size <= _DIGEST_UP_TO_BYTES else {}
            yield str(path.relative_to(folder)), {"bytes": size, **digest}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _replace_folder(unfinished: Path, final: Path) -> None:
    """Give the new folder its name; one that stands there already (a rewound run) makes way first."""
    if final.exists():
        _remove(final)
    unfinished.rename(final)
    sync(final.parent)


def _remove(folder: Path) -> None:
    """Take a checkpoint away: first its name, so that one half removed is never taken for a whole one."""
    doomed = folder.with_suffix(".removed")
    shutil.rmtree(doomed, ignore_errors=True)
    folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)
