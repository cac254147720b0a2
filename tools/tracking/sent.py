"""What the sender keeps on disk: how far it came, and the lock that makes it the only one."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

WARNING_PREFIX = "warning: tracking: "
"""How each warning begins; the trainer repeats those lines of its sender's log."""


@dataclass(frozen=True)
class TrackingFolder:
    """The names of the files in RUN_DIR/tracking."""

    path: Path

    @classmethod
    def of(cls, run_dir: Path | str) -> "TrackingFolder":
        """The tracking folder of a run, which need not exist yet."""
        return cls(Path(run_dir).resolve() / "tracking")

    @property
    def journal(self) -> Path:
        """What the trainer wrote."""
        return self.path / "journal.jsonl"

    @property
    def sent(self) -> Path:
        """How far the sender came."""
        return self.path / "sent.json"

    @property
    def lock(self) -> Path:
        """Held by the one sender."""
        return self.path / "sender.lock"

    @property
    def sender_log(self) -> Path:
        """What a sender started by the trainer has to say."""
        return self.path / "sender.log"


@dataclass(frozen=True)
class Sent:
    """How far the sender came: all bytes of the journal before `offset` are at the tracker, in the run `run_id`.

    The run's own lines start at `run_offset`; `last_step` is the highest step sent of it; `session_pid` is the trainer
    that began and did not end; `replaces` is the run whose place this one took.
    """

    offset: int = 0
    run_offset: int = 0
    last_step: int = -1
    run_id: str | None = None
    experiment_id: str | None = None
    tracking_uri: str | None = None
    session_pid: int | None = None
    closed: bool = False
    replaces: str | None = None


def load_sent(path: Path) -> Sent:
    """What was sent; nothing yet where the file is missing or can't be read (the tracker knows a point sent twice)."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return Sent(**{field.name: stored[field.name] for field in fields(Sent)})
    except (OSError, ValueError, KeyError, TypeError):
        return Sent()


def save_sent(path: Path, sent: Sent) -> None:
    """Write the file under a temporary name, sync it, and give it its name last."""
    temporary = path.with_suffix(".json.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(asdict(sent), file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Hold the sender's lock if it is free; the kernel lets go of it when the process ends, however it ends."""
    with path.open("a") as file:
        yield _flock(file.fileno())


def _flock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # Some shared file systems have no locks. Two senders there cost time, not truth: points sent twice are one.
        return True
    return True
