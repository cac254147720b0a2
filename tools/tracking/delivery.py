"""What each kind of line does at the tracker.

delivery = Delivery(uri, journal=path, warn=print)
sent = delivery.deliver(batch, sent=sent)      # raises TrackerAwayError or RunGoneError, and then nothing is noted
"""

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .batches import NewPoints, send_halving
from .records import Line
from .sent import Sent

if TYPE_CHECKING:
    from .mlflow_client import TrackingServer

Item = TypeVar("Item")


class Delivery:
    """Hands batches to the tracker; connects when the first one needs it."""

    def __init__(self, uri: str, *, journal: Path, last_step: int, warn: Callable[[str], None]) -> None:
        self._uri = uri
        self._journal = journal
        self._warn = warn
        self._points = NewPoints(journal, last_step=last_step)

    @cached_property
    def _server(self) -> "TrackingServer":
        # Imported here: this costs seconds, and a sync with nothing to send needs none of it.
        _quiet_mlflow()
        from .mlflow_client import TrackingServer

        return TrackingServer(self._uri)

    def deliver(self, batch: list[Line], *, sent: Sent) -> Sent:
        """What is sent once the batch is; lines before the first run, and lines that can't be read, are passed over."""
        line = batch[0]
        if line.kind == "begin":
            return self._begin(line, sent)
        if line.kind == "close":
            return replace(sent, closed=True)
        if sent.run_id is None:
            return sent
        if line.kind == "metrics":
            return self._metrics(batch, sent, sent.run_id)
        if line.kind == "end":
            self._server.end_run(sent.run_id, status=line.record["status"], end_ms=line.record["time_ms"])
            return replace(sent, session_pid=None)
        self._describe(line.kind, line.record, sent.run_id)
        return sent

    def end_killed(self, sent: Sent, *, end_ms: int) -> Sent:
        """Mark the run of a trainer that ended without a word."""
        if sent.run_id is not None:
            self._server.end_run(sent.run_id, status="KILLED", end_ms=end_ms)
        return replace(sent, session_pid=None)

    def _begin(self, line: Line, sent: Sent) -> Sent:
        record = line.record
        if record["resume"] and sent.run_id is not None:
            self._server.reopen_run(sent.run_id)
            return replace(sent, session_pid=record["pid"], closed=False)
        replaces = sent.replaces if sent.run_id is None else None
        experiment_id, run_id = self._server.create_run(
            record["name"],
            experiment=record["experiment"],
            start_ms=record["time_ms"],
            key=f"{record['time_ms']}-{record['pid']}",
            tags={"annealmix.replaces_run": replaces} if replaces else {},
        )
        self._points = NewPoints(self._journal, last_step=-1)
        return Sent(
            offset=line.start,
            run_offset=line.start,
            run_id=run_id,
            experiment_id=experiment_id,
            tracking_uri=self._uri,
            session_pid=record["pid"],
            replaces=replaces,
        )

    def _metrics(self, batch: list[Line], sent: Sent, run_id: str) -> Sent:
        points = self._points.pick(batch, sent=sent)
        self._send(lambda some: self._server.log_points(run_id, some), points)
        return replace(sent, last_step=max(sent.last_step, *(line.record["step"] for line in batch)))

    def _describe(self, kind: str, record: dict[str, Any], run_id: str) -> None:
        server = self._server
        if kind == "params":
            self._send(lambda some: server.log_params(run_id, dict(some)), list(record["values"].items()))
        elif kind == "tags":
            self._send(lambda some: server.log_tags(run_id, dict(some)), list(record["values"].items()))
        elif kind == "dataset":
            about = {key: record[key] for key in ("name", "digest", "source", "profile", "context")}
            self._send(lambda some: server.log_dataset(run_id, **some[0]), [about])
        elif kind == "artifact":
            folder = record["artifact_dir"]
            self._send(lambda some: server.log_artifact(run_id, some[0], artifact_dir=folder), [Path(record["path"])])

    def _send(self, send: Callable[[list[Item]], None], items: list[Item]) -> None:
        for refusal in send_halving(send, items):
            self._warn(f"not taken by the tracker, and passed over: {refusal}")


def _quiet_mlflow() -> None:
    """Before mlflow is imported: no chatter, no telemetry, and short waits, for the sender has its own patience."""
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    logging.getLogger("urllib3").setLevel(logging.ERROR)
