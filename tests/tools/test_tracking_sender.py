"""The journal's way to MLflow, with a real sqlite tracker and real processes."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tools.errors import UserError
from tools.tracking import __main__ as program
from tools.tracking.journal import Journal
from tools.tracking.sender import SyncResult, sync
from tools.tracking.sent import TrackingFolder, load_sent, try_lock

ROOT = Path(program.__file__).parents[2]
AWAY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def empty_tracker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An sqlite tracker with its tables made, which takes seconds."""
    path = tmp_path_factory.mktemp("tracker") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def uri(tmp_path: Path, empty_tracker: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    shutil.copy(empty_tracker, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def new_journal(tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Journal]:
    """Begins a run in tmp_path/run whose journal is sent by hand."""
    monkeypatch.setattr(Journal, "_start_sender", lambda self: None)

    def begin(*, tracking_uri: str = uri, resume: bool = False) -> Journal:
        journal = Journal(tmp_path / "run")
        journal.begin("first", experiment="exp", tracking_uri=tracking_uri, resume=resume)
        return journal

    return begin


def runs(uri: str) -> list[Run]:
    """All runs of the experiment, the oldest first."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("exp")
    if experiment is None:
        return []
    return list(client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"]))


def history(uri: str, run_id: str, key: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in MlflowClient(uri).get_metric_history(run_id, key)]


def log_steps(journal: Journal, *steps: int, speed: float = 1.0) -> None:
    for step in steps:
        journal.metrics({"loss": 10.0 - step, "speed": speed}, step=step, tokens=8 * step)


def send(tmp_path: Path, **options: Any) -> SyncResult:
    return sync(tmp_path / "run", **options)


def run_id_of(result: SyncResult) -> str:
    assert result.run_id is not None
    return result.run_id


def test_everything_lands(tmp_path: Path, uri: str, new_journal: Callable[..., Journal]) -> None:
    (tmp_path / "plan.json").write_text("{}")
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "lr.svg").write_text("<svg/>")
    journal = new_journal()
    journal.params({"model": {"num_layers": 2}, "long": "x" * 7000, **{f"p{i}": i for i in range(250)}})
    journal.tags({"world_size": 2})
    journal.dataset("web", digest="a" * 64, source="data/web", profile={"tokens": 5}, context="training")
    journal.dataset("web-held-out", digest="b", source="data/web", profile={}, context="validation")
    journal.metrics({"loss": 2.5, "loss/web:v2": float("nan"), "top": float("inf")}, step=3, tokens=24)
    journal.artifact(tmp_path / "plan.json")
    journal.artifact(tmp_path / "plots", artifact_dir="report")
    journal.end("FINISHED")
    journal.close(0.0)
    assert send(tmp_path) == SyncResult(sent=10, left=0, run_id=runs(uri)[0].info.run_id, warning=None)

    (run,) = runs(uri)
    assert (run.info.run_name, run.info.status) == ("first", "FINISHED")
    assert len(run.data.params) == 252
    assert (run.data.params["model.num_layers"], run.data.params["long"]) == ("2", "x" * 6000)
    assert run.data.tags["world_size"] == "2"
    inputs = {entry.dataset.name: entry for entry in run.inputs.dataset_inputs}
    assert sorted(inputs) == ["web", "web-held-out"]
    assert inputs["web"].dataset.digest == "a" * 36
    assert json.loads(inputs["web"].dataset.profile) == {"tokens": 5}
    assert [(tag.key, tag.value) for tag in inputs["web-held-out"].tags] == [("mlflow.data.context", "validation")]
    assert history(uri, run.info.run_id, "loss") == [(3, 2.5)]
    assert history(uri, run.info.run_id, "tokens") == [(3, 24.0)]
    assert math.isnan(history(uri, run.info.run_id, "loss/web_v2")[0][1])
    # An sqlite tracker keeps infinity as the largest float.
    assert history(uri, run.info.run_id, "top")[0][1] >= sys.float_info.max
    artifacts = tmp_path / "mlartifacts" / run.info.run_id / "artifacts"
    found = sorted(str(path.relative_to(artifacts)) for path in artifacts.rglob("*") if path.is_file())
    assert found == ["plan.json", "report/plots/lr.svg"]
    written_ms = json.loads(TrackingFolder.of(tmp_path / "run").journal.read_text().splitlines()[5])["time_ms"]
    assert MlflowClient(uri).get_metric_history(run.info.run_id, "loss")[0].timestamp == written_ms
    assert send(tmp_path).sent == 0


def test_a_resumed_run_goes_on_in_the_same_mlflow_run(
    tmp_path: Path, uri: str, new_journal: Callable[..., Journal]
) -> None:
    journal = new_journal()
    journal.params({"lr": 1, "seed": 7})
    journal.dataset("web", digest="d", source="s", profile={}, context="training")
    log_steps(journal, 1, 2, 3)
    journal.end("KILLED")
    journal.close(0.0)
    run_id = run_id_of(send(tmp_path))
    assert MlflowClient(uri).get_run(run_id).info.status == "KILLED"

    journal = new_journal(resume=True)
    journal.params({"lr": 2, "seed": 7, "new": 1})
    journal.dataset("web", digest="d", source="s", profile={}, context="training")
    log_steps(journal, 2, 3, 4, speed=9.0)
    assert send(tmp_path).run_id == run_id

    (run,) = runs(uri)
    assert run.info.status == "RUNNING"
    assert run.data.params == {"lr": "1", "seed": "7", "new": "1"}
    assert {key: value for key, value in run.data.tags.items() if key.startswith("recipe")} == {
        "recipe_changed.lr": "2"
    }
    assert len(run.inputs.dataset_inputs) == 1
    assert history(uri, run_id, "loss") == [(1, 9.0), (2, 8.0), (3, 7.0), (4, 6.0)]
    assert history(uri, run_id, "tokens") == [(1, 8.0), (2, 16.0), (3, 24.0), (4, 32.0)]
    assert sorted(history(uri, run_id, "speed")) == [(1, 1.0), (2, 1.0), (2, 9.0), (3, 1.0), (3, 9.0), (4, 9.0)]


def test_a_setting_that_changed_and_went_back_says_so(
    tmp_path: Path, uri: str, new_journal: Callable[..., Journal]
) -> None:
    for lr in (1, 2, 1):
        new_journal(resume=True).params({"lr": lr, "seed": 7})
        send(tmp_path)
    (run,) = runs(uri)
    assert run.data.params == {"lr": "1", "seed": "7"}
    assert {key: value for key, value in run.data.tags.items() if key.startswith("recipe")} == {
        "recipe_changed.lr": "1"
    }


def test_a_run_begun_anew_is_another_run(tmp_path: Path, uri: str, new_journal: Callable[..., Journal]) -> None:
    log_steps(new_journal(), 1, 2)
    first = run_id_of(send(tmp_path))
    log_steps(new_journal(), 1)
    second = run_id_of(send(tmp_path))
    assert [run.info.run_id for run in runs(uri)] == [first, second]
    assert history(uri, second, "loss") == [(1, 9.0)]


def test_a_deleted_run_is_made_again_whole(tmp_path: Path, uri: str, new_journal: Callable[..., Journal]) -> None:
    log_steps(new_journal(), 1, 2)
    first = run_id_of(send(tmp_path))
    MlflowClient(uri).delete_run(first)
    log_steps(new_journal(resume=True), 3)
    second = run_id_of(send(tmp_path))
    assert second != first
    assert MlflowClient(uri).get_run(second).data.tags["annealmix.replaces_run"] == first
    assert history(uri, second, "loss") == [(1, 9.0), (2, 8.0), (3, 7.0)]


def test_a_run_deleted_while_it_is_sent_is_made_again(
    tmp_path: Path, uri: str, new_journal: Callable[..., Journal]
) -> None:
    journal = new_journal()
    log_steps(journal, 1)
    first = run_id_of(send(tmp_path))
    MlflowClient(uri).delete_run(first)
    log_steps(journal, 2)
    assert history(uri, run_id_of(send(tmp_path)), "loss") == [(1, 9.0), (2, 8.0)]


@pytest.mark.parametrize("lost", ["all", "offset"])
def test_what_was_sent_and_not_noted_is_not_doubled(
    tmp_path: Path, uri: str, new_journal: Callable[..., Journal], lost: str
) -> None:
    log_steps(new_journal(), *range(1, 50))
    run_id = run_id_of(send(tmp_path))
    folder = TrackingFolder.of(tmp_path / "run")
    if lost == "all":
        folder.sent.unlink()
    else:
        stored = json.loads(folder.sent.read_text())
        folder.sent.write_text(json.dumps({**stored, "offset": 10**9}))
    assert send(tmp_path).run_id == run_id
    assert history(uri, run_id, "loss") == [(step, 10.0 - step) for step in range(1, 50)]


def test_a_tracker_that_is_away_warns_once_and_gets_all_later(
    tmp_path: Path, uri: str, new_journal: Callable[..., Journal], capfd: pytest.CaptureFixture[str]
) -> None:
    log_steps(new_journal(tracking_uri=AWAY), 1, 2)
    result = send(tmp_path)
    assert (result.sent, result.left, result.run_id) == (0, 3, None)
    assert "127.0.0.1" in str(result.warning)
    error = capfd.readouterr().err
    assert error.startswith("warning: tracking: ")
    assert error.count("\n") == 1

    assert send(tmp_path, tracking_uri=uri).left == 0
    (run,) = runs(uri)
    assert history(uri, run.info.run_id, "loss") == [(1, 9.0), (2, 8.0)]


def test_points_of_a_failed_call_are_sent_again(
    tmp_path: Path, uri: str, new_journal: Callable[..., Journal], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = new_journal()
    log_steps(journal, 1)
    run_id = run_id_of(send(tmp_path))
    log_steps(journal, 2, 3)
    log_batch = MlflowClient.log_batch
    failures = iter([OSError("connection reset"), ConnectionError("refused")])

    def flaky(self: MlflowClient, *args: Any, **options: Any) -> Any:
        for error in failures:
            raise error
        return log_batch(self, *args, **options)

    monkeypatch.setattr(MlflowClient, "log_batch", flaky)
    journal.close(0.0)
    assert send(tmp_path, follow=True).left == 0
    assert history(uri, run_id, "loss") == [(1, 9.0), (2, 8.0), (3, 7.0)]


def test_a_refused_record_stops_nothing(
    tmp_path: Path, uri: str, new_journal: Callable[..., Journal], capfd: pytest.CaptureFixture[str]
) -> None:
    journal = new_journal()
    journal.artifact(tmp_path / "never-written.json")
    log_steps(journal, 2)
    result = send(tmp_path)
    assert result.left == 0
    assert "never-written.json is no longer there" in capfd.readouterr().err
    assert history(uri, run_id_of(result), "loss") == [(2, 8.0)]


def test_a_torn_last_line_waits_and_the_rest_is_sent(
    tmp_path: Path, uri: str, new_journal: Callable[..., Journal]
) -> None:
    journal = new_journal()
    log_steps(journal, 1)
    path = TrackingFolder.of(tmp_path / "run").journal
    path.write_bytes(path.read_bytes() + b'{"kind":"metrics","time_')
    assert send(tmp_path).left == 0
    log_steps(new_journal(resume=True), 2)
    assert history(uri, run_id_of(send(tmp_path)), "loss") == [(1, 9.0), (2, 8.0)]


def test_one_sender_at_a_time(tmp_path: Path, new_journal: Callable[..., Journal]) -> None:
    log_steps(new_journal(), 1)
    with try_lock(TrackingFolder.of(tmp_path / "run").lock):
        result = send(tmp_path)
    assert (result.sent, result.left) == (0, 2)
    assert "another sender" in str(result.warning)


def test_a_following_sender_waits_for_the_one_before_it(tmp_path: Path, new_journal: Callable[..., Journal]) -> None:
    journal = new_journal()
    log_steps(journal, 1)
    journal.close(0.0)
    with ExitStack() as held:
        held.enter_context(try_lock(TrackingFolder.of(tmp_path / "run").lock))
        Timer(0.7, held.pop_all().close).start()
        result = send(tmp_path, follow=True)
    assert (result.sent, result.left, result.warning) == (3, 0, None)


def test_sync_needs_a_journal_and_a_tracker(tmp_path: Path, uri: str, new_journal: Callable[..., Journal]) -> None:
    with pytest.raises(UserError, match="the journal of a run"):
        sync(tmp_path / "nothing")
    log_steps(new_journal(tracking_uri="journal"), 1)
    with pytest.raises(UserError, match="a tracking URI"):
        send(tmp_path)
    assert send(tmp_path, tracking_uri=uri).left == 0


def test_the_program_by_hand(
    tmp_path: Path, uri: str, new_journal: Callable[..., Journal], capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.main([str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    log_steps(new_journal(tracking_uri=AWAY), 1)
    assert program.main([str(tmp_path / "run")]) == 1
    assert program.main([str(tmp_path / "run"), "--tracking-uri", uri]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"2 records sent to run {runs(uri)[0].info.run_id}, 0 left"


def test_a_trainer_starts_its_sender_and_close_waits_for_it(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    journal = Journal("run")
    journal.begin("first", experiment="exp", tracking_uri=None, resume=False)
    log_steps(journal, *range(1, 2001))
    journal.end("FINISHED")
    assert journal.close(30.0) is True
    (run,) = runs(uri)
    assert run.info.status == "FINISHED"
    assert len(history(uri, run.info.run_id, "loss")) == 2000
    where = journal.where()
    assert where is not None
    assert where["run_id"] == run.info.run_id
    assert where["view"] == f"mlflow ui --backend-store-uri {uri}"


def test_a_trainer_whose_tracker_is_away_trains_on(
    tmp_path: Path, uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = Journal(tmp_path / "run")
    start_s = time.perf_counter()
    journal.begin("first", experiment="exp", tracking_uri=AWAY, resume=False)
    log_steps(journal, 1, 2)
    journal.end("FINISHED")
    assert time.perf_counter() - start_s < 1.0
    assert journal.close(6.0) is False
    assert capsys.readouterr().err.count("warning: tracking: ") == 1
    result = send(tmp_path, tracking_uri=uri)
    assert (result.sent, result.left) == (5, 0)
    assert history(uri, run_id_of(result), "loss") == [(1, 9.0), (2, 8.0)]


def test_the_sender_of_a_killed_trainer_drains_and_exits(tmp_path: Path, uri: str) -> None:
    trainer = f"""
        import time
        from tools.tracking.journal import Journal
        journal = Journal({str(tmp_path / "run")!r})
        journal.begin("first", experiment="exp", tracking_uri={uri!r}, resume=False)
        print(journal._sender.pid, flush=True)
        for step in range(500):
            journal.metrics({{"loss": 1.0}}, step=step, tokens=step)
        print("logged", flush=True)
        time.sleep(60)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(trainer)], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    sender_pid = int(process.stdout.readline())
    assert process.stdout.readline() == b"logged\n"
    os.kill(process.pid, signal.SIGKILL)
    # Nothing of the sender holds the pipe of whoever reads the trainer.
    assert process.communicate(timeout=1.0)[0] == b""
    deadline_s = time.monotonic() + 30
    while _alive(sender_pid) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert not _alive(sender_pid)
    folder = TrackingFolder.of(tmp_path / "run")
    sent = load_sent(folder.sent)
    assert (sent.offset, sent.session_pid) == (folder.journal.stat().st_size, None)
    (run,) = runs(uri)
    assert run.info.status == "KILLED"
    assert len(history(uri, run.info.run_id, "loss")) == 500


def _alive(pid: int) -> bool:
    try:
        # An orphan that nobody reaps stays as a zombie.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
