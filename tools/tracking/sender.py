"""Carries a journal to MLflow: beside the trainer while it runs, by hand for what was left.

    result = sync(run_dir)                                   # send what is left, and return
    result = sync(run_dir, follow=True, parent_pid=1234)     # until the trainer closes the journal, or is gone

Every call is one that can be repeated, and `sent.json` is written after it, so the sender may die at any moment.
"""

import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import UserError
from .batches import next_batch
from .delivery import Delivery
from .errors import RunGoneError, TrackerAwayError
from .records import last_begin, read_lines
from .sent import WARNING_PREFIX, Sent, TrackingFolder, load_sent, save_sent, try_lock
from .uri import JOURNAL_ONLY, absolute_uri, without_password

_POLL_S = 0.5
_MAX_BACK_OFF_S = 10.0


@dataclass(frozen=True)
class SyncResult:
    """What one `sync` did: records sent and left, the MLflow run, and why something was left, if it was."""

    sent: int
    left: int
    run_id: str | None
    warning: str | None


def sync(
    run_dir: Path | str,
    *,
    follow: bool = False,
    parent_pid: int | None = None,
    tracking_uri: str | None = None,
    drain_s: float = 30.0,
) -> SyncResult:
    """Send what the journal of a run holds and the tracker does not.

    Args:
        run_dir: the run's directory, with tracking/journal.jsonl in it.
        follow: stay, and send what is appended, until the journal is closed or the parent is gone.
        parent_pid: the process that started this one, the trainer.
        tracking_uri: send to another tracker than the one the run was begun with; the whole run is sent there.
        drain_s: how long to go on trying where the tracker is away and the parent is gone.

    Raises:
        UserError: there is no journal, or it names no tracker and neither does `tracking_uri`.
    """
    folder = TrackingFolder.of(run_dir)
    uri = _target(folder, tracking_uri)
    parent = _Parent(parent_pid if follow else None)
    while True:
        with try_lock(folder.lock) as locked:
            if locked:
                return _Sender(folder, uri).run(follow=follow, parent=parent, drain_s=drain_s)
        if not follow or parent.gone_s() > 0:
            return _leave_to_other(folder)
        # The sender of the trainer before this one is still draining.
        time.sleep(_POLL_S)


def _leave_to_other(folder: TrackingFolder) -> SyncResult:
    sent = load_sent(folder.sent)
    warning = f"another sender is at work on {folder.path.parent}"
    _warn(warning)
    return SyncResult(0, _count_left(folder, sent), sent.run_id, warning)


def _target(folder: TrackingFolder, tracking_uri: str | None) -> str:
    begin = last_begin(folder.journal)
    if begin is None:
        raise UserError(str(folder.journal), got="no run", expected="the journal of a run that was begun")
    known = None if begin["tracking_uri"] == JOURNAL_ONLY else begin["tracking_uri"]
    uri = tracking_uri or known or os.environ.get("MLFLOW_TRACKING_URI")
    if uri is None:
        raise UserError(str(folder.journal), got="a run that only keeps its journal", expected="a tracking URI")
    return absolute_uri(uri, Path.cwd())


def _count_left(folder: TrackingFolder, sent: Sent) -> int:
    return sum(1 for _ in read_lines(folder.journal, start=sent.offset))


class _Parent:
    """The process that started this one; a dead one hands us to another parent at once, even as a zombie."""

    def __init__(self, pid: int | None) -> None:
        self.pid = pid
        self._gone_at_s: float | None = None

    def gone_s(self) -> float:
        """For how many seconds we have known that it is gone; 0 while it lives, or where there is none."""
        if self._gone_at_s is None:
            if self.pid is None or os.getppid() == self.pid:
                return 0.0
            self._gone_at_s = time.monotonic() - 1e-3
        return time.monotonic() - self._gone_at_s

    def wait(self, seconds: float) -> None:
        """Sleep, but not through its end."""
        until_s = time.monotonic() + seconds
        was_gone = self.gone_s() > 0
        while time.monotonic() < until_s and (was_gone or self.gone_s() == 0):
            time.sleep(0.1)


class _Sender:
    """One pass over a journal, with the lock held."""

    def __init__(self, folder: TrackingFolder, uri: str) -> None:
        self._folder = folder
        self._uri = uri
        self._sent = _where_to_start(load_sent(folder.sent), uri=uri, journal_bytes=folder.journal.stat().st_size)
        self._delivery = self._new_delivery()
        self._num_sent = 0
        self._warning: str | None = None

    def run(self, *, follow: bool, parent: _Parent, drain_s: float) -> SyncResult:
        """Send batch after batch until there is no reason to go on."""
        back_off_s = _POLL_S
        while True:
            # Looked at before reading, so that what the parent wrote last is read after it is known to be gone.
            gone_s = parent.gone_s()
            try:
                moved = self._send_next() or (gone_s > 0 and self._tell_of_death(parent))
                back_off_s = _POLL_S
            except TrackerAwayError as error:
                self._warn_away(error)
                if not follow or gone_s > drain_s:
                    break
                parent.wait(back_off_s)
                back_off_s = min(2 * back_off_s, _MAX_BACK_OFF_S)
                continue
            if not moved:
                if not follow or gone_s > 0 or self._sent.closed:
                    break
                time.sleep(_POLL_S)
        return SyncResult(self._num_sent, _count_left(self._folder, self._sent), self._sent.run_id, self._warning)

    def _send_next(self) -> bool:
        """Send the next batch and note it; False where the journal holds no more."""
        batch = next_batch(read_lines(self._folder.journal, start=self._sent.offset))
        if not batch:
            return False
        try:
            after = self._delivery.deliver(batch, sent=self._sent)
        except RunGoneError:
            self._sent = _from_the_start(self._sent)
            return True
        except TrackerAwayError:
            # It holds points as sent that were not.
            self._delivery = self._new_delivery()
            raise
        self._note(replace(after, offset=batch[-1].end))
        self._num_sent += len(batch)
        return True

    def _tell_of_death(self, parent: _Parent) -> bool:
        """End the run whose trainer is gone without having ended it; whether there was one."""
        if self._sent.session_pid is None or self._sent.session_pid != parent.pid:
            return False
        with suppress(RunGoneError):
            self._delivery.end_killed(self._sent, end_ms=time.time_ns() // 1_000_000)
        self._note(replace(self._sent, session_pid=None))
        return True

    def _note(self, sent: Sent) -> None:
        self._sent = sent
        save_sent(self._folder.sent, sent)

    def _new_delivery(self) -> Delivery:
        return Delivery(self._uri, journal=self._folder.journal, last_step=self._sent.last_step, warn=_warn)

    def _warn_away(self, error: TrackerAwayError) -> None:
        if self._warning is None:
            run_dir = self._folder.path.parent
            self._warning = (
                f"{without_password(self._uri)} takes nothing now ({error}); what was not sent is kept in "
                f"{self._folder.journal} and sent when it is back, or by hand: annealmix track sync {run_dir}"
            )
            _warn(self._warning)


def _where_to_start(sent: Sent, *, uri: str, journal_bytes: int) -> Sent:
    if sent.run_id is not None and sent.tracking_uri != uri:
        return _from_the_start(sent)
    if sent.offset > journal_bytes:
        # The machine fell and took lines along that were sent; sending the run's lines again doubles nothing.
        return replace(sent, offset=sent.run_offset, last_step=-1)
    return sent


def _from_the_start(sent: Sent) -> Sent:
    """Send the run again from its first line, to a new run that says whose place it takes."""
    return Sent(offset=sent.run_offset, run_offset=sent.run_offset, replaces=sent.run_id)


def _warn(message: str) -> None:
    print(f"{WARNING_PREFIX}{message}", file=sys.stderr, flush=True)
