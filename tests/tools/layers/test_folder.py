"""A folder that is written: whole or not at all, and never at the cost of what somebody else wrote."""

import errno
import json
import os

import pytest

from tools.errors import UserError
from tools.layers.folder import check_folder, write_folder
from tools.layers.report import EARLIER

REPORT = json.dumps({"version": 1, "probe": {}, "models": []})


def fill(folder):
    (folder / "report.json").write_text(REPORT)


@pytest.mark.parametrize(
    "files",
    [
        {"report.json": REPORT, "thesis.tex": ""},
        {"report.json": REPORT, "checkpoints": None},
        {"report.json": REPORT, "report.html": None},
        {"report.json": "{}", "report.html": ""},
        {"report.json": "not json"},
        {"report.html": ""},
        {"plan.json": REPORT, "recipe.yaml": ""},
    ],
)
def test_nothing_but_an_earlier_report_makes_way(tmp_path, files):
    """A run has a plan.json, and other programs write a report.json too."""
    for name, content in files.items():
        (tmp_path / name).write_text(content) if content is not None else (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=r"got .* in it; expected a new folder, or an earlier report's$"):
        write_folder(tmp_path, fill, earlier=EARLIER)
    assert {path.name for path in tmp_path.iterdir()} == set(files)


def test_an_earlier_report_makes_way_for_a_report_alone(tmp_path):
    out = tmp_path / "out"
    for _ in range(2):
        write_folder(out, fill, earlier=EARLIER)
    with pytest.raises(UserError, match=r"got report.json in it; expected a new folder$"):
        write_folder(out, fill)


def test_what_comes_in_while_the_new_one_is_written_stays(tmp_path):
    out = tmp_path / "out"
    write_folder(out, fill, earlier=EARLIER)
    with pytest.raises(UserError, match=r"got notes.txt in it"):
        write_folder(out, lambda folder: (out / "notes.txt").touch(), earlier=EARLIER)
    assert {path.name for path in out.iterdir()} == {"report.json", "notes.txt"}


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "got No space left on device; expected room and rights"),
        (UserError("a checkpoint"), "a checkpoint"),
        (KeyboardInterrupt("asked"), "asked"),
    ],
)
def test_what_is_interrupted_leaves_all_as_it_was(tmp_path, error, message):
    (tmp_path / "out.unfinished").mkdir()
    out = tmp_path / "out"
    write_folder(out, fill, earlier=EARLIER)

    def stop(folder):
        (folder / "report.json").write_text("new")
        raise error

    with pytest.raises((UserError, KeyboardInterrupt), match=message):
        write_folder(out, stop, earlier=EARLIER)
    assert {path.name for path in tmp_path.iterdir()} == {"out", "out.unfinished"}
    assert (out / "report.json").read_text() == REPORT


@pytest.mark.parametrize("place", ["model", "model/inside", "."])
def test_a_folder_at_inside_or_around_a_model_is_refused(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "link").symlink_to("model")
    with pytest.raises(UserError, match=r"got (the model itself|inside .*|around .*); expected a folder apart"):
        check_folder(tmp_path / place, models=[tmp_path / "link"])


@pytest.mark.parametrize("model", ["run", "run/checkpoints", "run/checkpoints/step_00000001"])
def test_a_folder_may_stand_beside_the_checkpoints_of_a_run_and_not_among_them(tmp_path, model):
    (tmp_path / "run" / "checkpoints" / "step_00000001").mkdir(parents=True)
    check_folder(tmp_path / "run" / "layers", models=[tmp_path / model])
    with pytest.raises(UserError, match=r"got (inside .*|around .*); expected a folder apart"):
        check_folder(tmp_path / "run" / "checkpoints" / "step_00000002", models=[tmp_path / model])


@pytest.mark.parametrize(
    ("place", "got"), [("file", "a file"), ("file/below", "no right to write in"), ("locked/new", "no right to write")]
)
def test_a_place_that_cannot_be_written_is_told_before_anything_is_read(tmp_path, monkeypatch, place, got):
    (tmp_path / "file").touch()
    (tmp_path / "locked").mkdir()
    allowed = os.access  # who runs the tests may be allowed everything
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path / "locked" and allowed(path, mode))
    with pytest.raises(UserError, match=f"got {got}"):
        check_folder(tmp_path / place)
