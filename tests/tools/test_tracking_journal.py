"""What the trainer sees of tracking: fast, never raising, and whole lines whatever happens."""

import ast
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tools.tracking import journal as journal_module
from tools.tracking.journal import Journal, NullJournal, Tracker
from tools.tracking.sent import Sent, TrackingFolder, save_sent


def written(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in TrackingFolder.of(run_dir).journal.read_bytes().splitlines()]


def begin(run_dir: Path, *, tracking_uri: str | None = "journal", resume: bool = False) -> Journal:
    journal = Journal(run_dir)
    journal.begin("run", experiment="exp", tracking_uri=tracking_uri, resume=resume)
    return journal


def test_every_method_is_one_line(tmp_path: Path) -> None:
    journal = begin(tmp_path)
    journal.params({"model": {"num_layers": 2}})
    journal.tags({"world_size": 2})
    journal.dataset("web", digest="d", source="data/web", profile={"tokens": 5}, context="training")
    journal.metrics({"loss": 1.5, "bad": float("nan"), "worse": float("inf")}, step=3, tokens=24)
    journal.artifact(tmp_path / "plan.json", artifact_dir="plan")
    journal.end("FINISHED")
    assert journal.close(0.0) is False
    lines = written(tmp_path)
    assert [line.pop("kind") for line in lines] == [
        *("begin", "params", "tags", "dataset", "metrics", "artifact", "end", "close")
    ]
    now_ms = time.time() * 1000
    assert all(now_ms - 60_000 < line.pop("time_ms") <= now_ms for line in lines)
    assert lines[1:] == [
        {"values": {"model.num_layers": "2"}},
        {"values": {"world_size": "2"}},
        {"name": "web", "digest": "d", "source": "data/web", "profile": {"tokens": 5}, "context": "training"},
        {"step": 3, "tokens": 24, "values": {"loss": 1.5, "bad": "NaN", "worse": "Infinity"}},
        {"path": str(tmp_path / "plan.json"), "artifact_dir": "plan"},
        {"status": "FINISHED"},
        {},
    ]


@pytest.mark.parametrize("torn", [b'{"kind":"metr', b'{"kind":"close","time_ms":1}', b"\0"])
def test_a_torn_last_line_is_ended_when_the_journal_is_opened_again(tmp_path: Path, torn: bytes) -> None:
    begin(tmp_path).close(0.0)
    path = TrackingFolder.of(tmp_path).journal
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    begin(tmp_path, resume=True)
    assert path.read_bytes().startswith(whole + torn + b'\n{"kind":"begin"')


def test_an_untorn_journal_gets_no_empty_line(tmp_path: Path) -> None:
    begin(tmp_path).close(0.0)
    begin(tmp_path, resume=True).close(0.0)
    assert [line["kind"] for line in written(tmp_path)] == ["begin", "close", "begin", "close"]


def test_appending_is_fast(tmp_path: Path) -> None:
    journal = begin(tmp_path)
    values = {f"metric_{i}": 0.123456789 * i for i in range(20)}
    start_s = time.perf_counter()
    for step in range(10_000):
        journal.metrics(values, step=step, tokens=step * 8192)
    assert time.perf_counter() - start_s < 1.0


def test_a_full_disk_warns_once_and_raises_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = begin(tmp_path)

    class FullDisk:
        closed = False

        def write(self, line: bytes) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal, "_file", FullDisk())
    for step in range(3):
        journal.metrics({"loss": 1.0}, step=step, tokens=step)
    error = capsys.readouterr().err
    assert error.count("warning: tracking:") == 1
    assert "No space left on device" in error


def test_the_tracker_is_the_one_given_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Journal, "_start_sender", lambda self: None)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    begin(tmp_path, tracking_uri=None)
    monkeypatch.chdir("/")
    begin(tmp_path, tracking_uri=None, resume=True)
    begin(tmp_path, tracking_uri=None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracker:5000")
    begin(tmp_path, tracking_uri=None, resume=True)
    begin(tmp_path, tracking_uri="sqlite:///mine.db", resume=True)
    assert [line["tracking_uri"] for line in written(tmp_path)] == [
        f"sqlite:///{tmp_path}/mlflow.db",
        f"sqlite:///{tmp_path}/mlflow.db",
        "sqlite:////mlflow.db",
        "http://tracker:5000",
        "sqlite:////mine.db",
    ]


def test_where_tells_of_the_run_once_it_is_known(tmp_path: Path) -> None:
    journal = begin(tmp_path)
    assert journal.where() is None
    sent = Sent(run_id="ab", experiment_id="1", tracking_uri="http://me:secret@tracker")
    save_sent(TrackingFolder.of(tmp_path).sent, sent)
    assert journal.where() == {
        "run_id": "ab",
        "experiment_id": "1",
        "tracking_uri": "http://tracker",
        "view": "http://tracker/#/experiments/1/runs/ab",
    }


def test_close_waits_no_longer_than_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = begin(tmp_path)
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    monkeypatch.setattr(journal, "_sender", sleeper)
    start_s = time.perf_counter()
    assert journal.close(0.2) is False
    assert time.perf_counter() - start_s < 2.0
    assert sleeper.poll() is not None
    assert journal.close(0.2) is False


def test_the_null_journal_takes_everything(tmp_path: Path) -> None:
    tracker: Tracker = NullJournal()
    tracker.begin("run", experiment="exp", tracking_uri=None, resume=True)
    tracker.metrics({"loss": 1.0}, step=1, tokens=1)
    tracker.end("FINISHED")
    assert tracker.where() is None
    assert tracker.close(0.0)
    other: Tracker = Journal(tmp_path)
    assert {name for name in vars(Tracker) if not name.startswith("_")} <= set(dir(other)) & set(dir(tracker))


def test_the_trainer_imports_no_mlflow() -> None:
    code = "import sys, tools.tracking.journal, tools.tracking.sender; print('mlflow' in sys.modules)"
    root = Path(journal_module.__file__).parents[2]
    answer = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_mlflow_is_imported_in_one_file() -> None:
    folder = Path(journal_module.__file__).parent

    def imports_mlflow(path: Path) -> bool:
        nodes = ast.walk(ast.parse(path.read_text()))
        names = [
            node.module or "" if isinstance(node, ast.ImportFrom) and not node.level else alias.name
            for node in nodes
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        ]
        return any(name.split(".")[0] == "mlflow" for name in names)

    assert [path.name for path in sorted(folder.glob("*.py")) if imports_mlflow(path)] == ["mlflow_client.py"]
