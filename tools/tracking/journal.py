"""What the trainer calls: one appended line a call, and a sender beside it that does the rest. Imports no mlflow.

tracker = Journal(run_dir) if rank == 0 else NullJournal()
tracker.begin("quickstart", experiment="annealmix", tracking_uri=None, resume=False)
tracker.params(recipe)
tracker.metrics({"loss": 8.51, "lr": 3e-4}, step=1, tokens=8192)
tracker.end("FINISHED")
if not tracker.close(timeout_s=30):
    print("not everything was sent; the rest is kept")
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from .records import encode, flatten, last_begin, storable
from .sent import WARNING_PREFIX, TrackingFolder, load_sent
from .uri import JOURNAL_ONLY, choose_uri, how_to_view, without_password

Status = Literal["FINISHED", "FAILED", "KILLED"]

_RELAY_EVERY_S = 5.0


class Tracker(Protocol):
    """Where a training run says what it is and how it goes; no method waits for a network, `close` apart."""

    def begin(self, name: str, *, experiment: str, tracking_uri: str | None, resume: bool) -> None:
        """Start a run, or go on in the one of this run directory."""

    def params(self, values: Mapping[str, Any]) -> None:
        """What was set before the run; nested values become dotted keys."""

    def tags(self, values: Mapping[str, Any]) -> None:
        """What describes the run; a later value takes the earlier one's place."""

    def dataset(self, name: str, *, digest: str, source: str, profile: Mapping[str, Any], context: str) -> None:
        """A source the run reads, in the `context` of training or validation."""

    def metrics(self, values: Mapping[str, float], *, step: int, tokens: int) -> None:
        """Numbers at a training step, and the tokens consumed before it."""

    def artifact(self, path: Path | str, *, artifact_dir: str | None = None) -> None:
        """A file or folder to be copied to the tracker; it must stay in place until it is sent."""

    def end(self, status: Status) -> None:
        """How the run ended; it can be begun again with resume."""

    def close(self, timeout_s: float) -> bool:
        """Wait at most `timeout_s` for the sender; whether everything was sent."""

    def where(self) -> dict[str, str] | None:
        """run_id, experiment_id, tracking_uri and view (an address or a command); None before the run is known."""


class NullJournal:
    """The tracker of every rank but 0: takes everything, keeps nothing.

    >>> NullJournal().close(timeout_s=1.0)
    True
    """

    def begin(self, name: str, *, experiment: str, tracking_uri: str | None, resume: bool) -> None:
        """Nothing."""

    def params(self, values: Mapping[str, Any]) -> None:
        """Nothing."""

    def tags(self, values: Mapping[str, Any]) -> None:
        """Nothing."""

    def dataset(self, name: str, *, digest: str, source: str, profile: Mapping[str, Any], context: str) -> None:
        """Nothing."""

    def metrics(self, values: Mapping[str, float], *, step: int, tokens: int) -> None:
        """Nothing."""

    def artifact(self, path: Path | str, *, artifact_dir: str | None = None) -> None:
        """Nothing."""

    def end(self, status: Status) -> None:
        """Nothing."""

    def close(self, timeout_s: float) -> bool:
        """Nothing was kept, so everything was sent."""
        return True

    def where(self) -> dict[str, str] | None:
        """Nowhere."""
        return None


class Journal:
    """The tracker of rank 0: appends to RUN_DIR/tracking/journal.jsonl, from where a sender carries it on.

    Appending survives a SIGKILL of the trainer, and never raises: where the disk is full, the line is lost with one
    warning and training goes on.
    """

    def __init__(self, run_dir: Path | str) -> None:
        self._folder = TrackingFolder.of(run_dir)
        self._folder.path.mkdir(parents=True, exist_ok=True)
        self._file = self._folder.journal.open("ab", buffering=0)
        self._torn = _last_byte(self._folder.journal) not in (b"", b"\n")
        self._sender: subprocess.Popen[bytes] | None = None
        self._log_position = 0
        self._relayed_at_s = time.monotonic()
        self._warned = False

    def begin(self, name: str, *, experiment: str, tracking_uri: str | None, resume: bool) -> None:
        """Start a run, or go on in the one of this run directory, and start the sender.

        The tracker is the first one given of `tracking_uri` (the recipe's), MLFLOW_TRACKING_URI, the resumed run's, and
        mlflow.db in the working directory. With "journal" there is no sender: `sync` sends by hand, from elsewhere.
        """
        before = last_begin(self._folder.journal) if resume else None
        uri = choose_uri(
            tracking_uri,
            environment=os.environ.get("MLFLOW_TRACKING_URI"),
            previous=before["tracking_uri"] if before else None,
            folder=Path.cwd(),
        )
        about = {"name": name, "experiment": experiment, "tracking_uri": uri, "resume": resume}
        self._append("begin", **about, pid=os.getpid())
        if uri != JOURNAL_ONLY:
            self._start_sender()

    def params(self, values: Mapping[str, Any]) -> None:
        """What was set before the run; nested values become dotted keys."""
        self._append("params", values=flatten(values))

    def tags(self, values: Mapping[str, Any]) -> None:
        """What describes the run; a later value takes the earlier one's place."""
        self._append("tags", values={key: str(value) for key, value in values.items()})

    def dataset(self, name: str, *, digest: str, source: str, profile: Mapping[str, Any], context: str) -> None:
        """A source the run reads, in the `context` of training or validation."""
        about = {"digest": digest, "source": source, "profile": dict(profile), "context": context}
        self._append("dataset", name=name, **about)

    def metrics(self, values: Mapping[str, float], *, step: int, tokens: int) -> None:
        """Numbers at a training step, and the tokens consumed before it."""
        stored = {key: storable(value) for key, value in values.items()}
        self._append("metrics", step=step, tokens=tokens, values=stored)
        if time.monotonic() - self._relayed_at_s > _RELAY_EVERY_S:
            self._relay_warnings()

    def artifact(self, path: Path | str, *, artifact_dir: str | None = None) -> None:
        """A file or folder to be copied to the tracker; it must stay in place until it is sent."""
        self._append("artifact", path=str(Path(path).resolve()), artifact_dir=artifact_dir)

    def end(self, status: Status) -> None:
        """How the run ended; it can be begun again with resume."""
        self._append("end", status=status)

    def close(self, timeout_s: float) -> bool:
        """Wait at most `timeout_s` for the sender, then stop it; whether everything was sent."""
        if not self._file.closed:
            self._append("close")
            self._file.close()
            self._stop_sender(timeout_s)
            self._relay_warnings()
        return load_sent(self._folder.sent).offset >= self._folder.journal.stat().st_size

    def where(self) -> dict[str, str] | None:
        """run_id, experiment_id, tracking_uri and view (an address or a command); None before the run is known."""
        sent = load_sent(self._folder.sent)
        if not (sent.run_id and sent.experiment_id and sent.tracking_uri):
            return None
        return {
            "run_id": sent.run_id,
            "experiment_id": sent.experiment_id,
            "tracking_uri": without_password(sent.tracking_uri),
            "view": how_to_view(sent.tracking_uri, experiment_id=sent.experiment_id, run_id=sent.run_id),
        }

    def _append(self, kind: str, **fields: Any) -> None:
        line = (b"\n" if self._torn else b"") + encode(kind, time_ms=time.time_ns() // 1_000_000, **fields)
        try:
            # One write a line, so that a killed trainer leaves whole lines.
            written = self._file.write(line)
            self._torn = written != len(line)
        except OSError as error:
            self._warn(f"a line of {self._folder.journal} is lost ({error}); training goes on")

    def _warn(self, message: str) -> None:
        if not self._warned:
            print(f"{WARNING_PREFIX}{message}", file=sys.stderr, flush=True)
        self._warned = True

    def _start_sender(self) -> None:
        package = (__package__ or "").split(".")[0]
        run_dir = str(self._folder.path.parent)
        command = [sys.executable, "-m", f"{package}.tracking", run_dir, "--follow", "--parent-pid", str(os.getpid())]
        try:
            with self._folder.sender_log.open("wb") as log:
                self._sender = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    # Not our own stderr: the sender outlives us, and would hold the pipe of whoever reads us.
                    stderr=log,
                    env={**os.environ, "PYTHONPATH": _import_path()},
                    # Ctrl-C goes to the trainer alone; the sender then drains.
                    start_new_session=True,
                )
        except OSError as error:
            self._warn(f"the sender did not start ({error}); records are kept in {self._folder.journal}")

    def _stop_sender(self, timeout_s: float) -> None:
        if self._sender is None:
            return
        try:
            self._sender.wait(timeout_s)
        except subprocess.TimeoutExpired:
            # Safe at any moment: what was sent and not yet noted is known to the tracker when it comes again.
            self._sender.kill()
            self._sender.wait()

    def _relay_warnings(self) -> None:
        """Print what the sender has to say since last time; a stat and a short read."""
        self._relayed_at_s = time.monotonic()
        if not self._folder.sender_log.exists():
            return
        with self._folder.sender_log.open(encoding="utf-8", errors="replace") as log:
            log.seek(self._log_position)
            for line in log:
                if line.startswith(WARNING_PREFIX):
                    print(line, end="", file=sys.stderr, flush=True)
            self._log_position = log.tell()


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        return file.read(1)


def _import_path() -> str:
    """Let the sender import this package from where we did, whatever the working directory is."""
    here = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH", "")]))
