"""The one file that imports mlflow: the few calls a run needs, each safe to repeat.

    server = TrackingServer("sqlite:////work/mlflow.db")
    experiment_id, run_id = server.create_run("quickstart", experiment="annealmix", start_ms=0, key="1-2", tags={})
    server.log_points(run_id, [Point("loss", 8.51, step=1, time_ms=0)])
    server.end_run(run_id, status="FINISHED", end_ms=9)

Importing it takes seconds and opening an sqlite file for the first time some more, so only the sender does.
"""

import json
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from .batches import MAX_POINTS, Point
from .errors import RecordRefusedError, RunGoneError, TrackerAwayError
from .uri import artifact_location

_MAX_KEY_CHARS = 250
_MAX_PARAM_CHARS = 6000
_MAX_TAG_CHARS = 8000
_MAX_DIGEST_CHARS = 36
_MAX_PAIRS = 100
_JOURNAL_TAG = "annealmix.journal"
_CHANGED_PREFIX = "recipe_changed."


class TrackingServer:
    """MLflow behind a URI: a server, or an sqlite file.

    Every call raises TrackerAwayError where it may be tried again, RunGoneError where the run is no more, and
    RecordRefusedError where this record will never be taken.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        with self._answering():
            self._client = MlflowClient(tracking_uri=uri)

    def create_run(
        self, name: str, *, experiment: str, start_ms: int, key: str, tags: Mapping[str, str]
    ) -> tuple[str, str]:
        """The (experiment id, run id) of a new run, or of the one already made for this `key`."""
        with self._answering():
            experiment_id = self._experiment_id(experiment)
            found = self._client.search_runs([experiment_id], f"tags.`{_JOURNAL_TAG}` = '{key}'", max_results=1)
            if found:
                return experiment_id, str(found[0].info.run_id)
            run = self._client.create_run(experiment_id, start_ms, {_JOURNAL_TAG: key, **tags}, run_name=name)
            return experiment_id, str(run.info.run_id)

    def reopen_run(self, run_id: str) -> None:
        """Mark the run as running again."""
        with self._answering(run_id):
            if not self._is_active(run_id):
                raise RunGoneError(run_id)
            self._client.update_run(run_id, status="RUNNING")

    def end_run(self, run_id: str, *, status: str, end_ms: int) -> None:
        """Mark the run as FINISHED, FAILED or KILLED."""
        with self._answering(run_id):
            self._client.set_terminated(run_id, status, end_ms)

    def log_points(self, run_id: str, points: Sequence[Point]) -> None:
        """Send metric points, 1000 a call; a point that is there already is not doubled."""
        metrics = [Metric(_safe_key(point.key), point.value, point.time_ms, point.step) for point in points]
        with self._answering(run_id):
            for start in range(0, len(metrics), MAX_POINTS):
                self._client.log_batch(run_id, metrics=metrics[start : start + MAX_POINTS])

    def log_params(self, run_id: str, values: Mapping[str, str]) -> None:
        """Set params, 100 a call; one that stands with another value is kept, and a tag tells the new value."""
        wanted = {_safe_key(key): value[:_MAX_PARAM_CHARS] for key, value in values.items()}
        with self._answering(run_id):
            data = self._client.get_run(run_id).data
            params = [Param(key, value) for key, value in wanted.items() if key not in data.params]
            changed = _changed(wanted, params=data.params, tags=data.tags)
            for start in range(0, len(params), _MAX_PAIRS):
                self._client.log_batch(run_id, params=params[start : start + _MAX_PAIRS])
        self.log_tags(run_id, changed)

    def log_tags(self, run_id: str, values: Mapping[str, str]) -> None:
        """Set tags, 100 a call; a later value takes the earlier one's place."""
        tags = [RunTag(_safe_key(key), value[:_MAX_TAG_CHARS]) for key, value in values.items()]
        with self._answering(run_id):
            for start in range(0, len(tags), _MAX_PAIRS):
                self._client.log_batch(run_id, tags=tags[start : start + _MAX_PAIRS])

    def log_dataset(
        self, run_id: str, *, name: str, digest: str, source: str, profile: Mapping[str, Any], context: str
    ) -> None:
        """Add a dataset to the run's inputs; one that is there already is not doubled."""
        dataset = Dataset(
            name=name,
            digest=digest[:_MAX_DIGEST_CHARS],
            source_type="local",
            source=json.dumps({"uri": source}),
            profile=json.dumps(dict(profile)),
        )
        with self._answering(run_id):
            self._client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", context)])])

    def log_artifact(self, run_id: str, path: Path, *, artifact_dir: str | None) -> None:
        """Copy a file or folder to the run's artifacts."""
        if not path.exists():
            raise RecordRefusedError(f"the artifact {path} is no longer there")
        with self._answering(run_id):
            self._client.log_artifact(run_id, str(path), artifact_dir)

    def _experiment_id(self, name: str) -> str:
        experiment = self._client.get_experiment_by_name(name)
        if experiment is not None:
            return str(experiment.experiment_id)
        try:
            return str(self._client.create_experiment(name, artifact_location(self._uri)))
        except MlflowException:
            # Another run's sender may have made it since we asked; if not, its own error is the one to tell.
            experiment = self._client.get_experiment_by_name(name)
            if experiment is None:
                raise
            return str(experiment.experiment_id)

    def _is_active(self, run_id: str) -> bool:
        try:
            return bool(self._client.get_run(run_id).info.lifecycle_stage == "active")
        except MlflowException as error:
            if error.get_http_status_code() == 404:
                return False
            raise

    @contextmanager
    def _answering(self, run_id: str | None = None) -> Iterator[None]:
        """Sort what goes wrong inside; without a run to ask about, everything may be tried again."""
        try:
            yield
        except (RunGoneError, RecordRefusedError):
            raise
        except MlflowException as error:
            if run_id is not None and error.get_http_status_code() in (400, 404):
                with self._answering():
                    active = self._is_active(run_id)
                raise (RecordRefusedError(_first_line(error)) if active else RunGoneError(run_id)) from error
            raise TrackerAwayError(_first_line(error)) from error
        except Exception as error:
            raise TrackerAwayError(f"{type(error).__name__}: {_first_line(error)}") from error


def _changed(wanted: Mapping[str, str], *, params: Mapping[str, str], tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that tell how the recipe differs from the params; also where it once did, and now doesn't again."""
    named = {key: _safe_key(_CHANGED_PREFIX + key) for key in wanted if key in params}
    return {tag: wanted[key] for key, tag in named.items() if params[key] != wanted[key] or tag in tags}


def _safe_key(key: str) -> str:
    """The key in the letters that every MLflow server takes.

    >>> _safe_key("loss/web:v2"), _safe_key("../a//b"), _safe_key("share {code}")
    ('loss/web_v2', 'a/b', 'share _code_')
    """
    plain = posixpath.normpath(re.sub(r"[^/\w.\- ]", "_", key))
    return re.sub(r"^(\.*/)+", "", plain)[:_MAX_KEY_CHARS] or "_"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
