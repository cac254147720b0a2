"""Pictures: a file is written, of the size asked, whatever the run has or has not."""

import struct

import numpy as np
import pytest

from tools.plots import Picture, draw, draw_matrix

PLANNED = {
    "learning_rate": ([0, 1000, 2000], [1e-5, 1e-3, 1e-5]),
    "mixture": ([0, 1000, 1000, 2000], {"web": [0.7, 0.7, 0.5, 0.4], "code": [0.3, 0.3, 0.5, 0.6]}),
    "joints": [("warmup", 0), ("decay", 1000)],
}
LOSS = ([100, 1100, 2000], [5.0, 4.0, 3.5])


def png_size(path):
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", content[16:24])


def drawn(path, **parts):
    draw(Picture(title="tiny", **{**PLANNED, **parts}), path)
    return path


def test_a_plan_is_two_panels(tmp_path):
    assert png_size(drawn(tmp_path / "plan.png")) == (1170, 546)  # 9 x 4.2 inches at 130 dots


def test_a_run_is_three_panels_in_a_folder_made_for_it(tmp_path):
    path = drawn(tmp_path / "new" / "run.png", loss=LOSS, validation={"web": LOSS, "code": LOSS})
    assert png_size(path) == (1170, 1010)  # 9 x 7.77 inches


@pytest.mark.parametrize(
    "parts",
    [
        {"loss": ([100], [5.0])},
        {"loss": LOSS, "validation": {"web": ([0], [4.0])}},
        {"loss": LOSS, "validation": {"web": ([0, 2000], [4.0, 4.0])}},
        {"mixture": ([0, 1000, 2000], {f"source-{n}": [0.05, 0.05, 0.05] for n in range(20)})},
        {"learning_rate": ([0, 2000], [0.0, 0.0])},
    ],
)
def test_odd_runs_are_drawn_without_a_warning(tmp_path, parts, recwarn):
    assert png_size(drawn(tmp_path / "run.png", **parts))[0] == 1170
    assert [str(warning.message) for warning in recwarn] == []


def test_svg_by_its_ending(tmp_path):
    text = drawn(tmp_path / "plan.svg").read_text()
    assert "<svg" in text


def test_no_figure_is_left_open(tmp_path):
    import matplotlib.pyplot as plt

    drawn(tmp_path / "plan.png")
    assert plt.get_fignums() == []


def spied(monkeypatch, name):
    """What a method of axes is called with, which it does all the same."""
    from matplotlib.axes import Axes

    calls, method = [], getattr(Axes, name)

    def call(axis, *given, **named):
        calls.append((given, named))
        return method(axis, *given, **named)

    monkeypatch.setattr(Axes, name, call)
    return calls


@pytest.mark.parametrize("beside_one", [True, False])
@pytest.mark.parametrize("values", [[[1.0, 1.001]], [[float("nan"), 3.0]], [[float("nan")] * 2]])
def test_a_heat_map_spans_a_least_range_and_shows_no_nan(tmp_path, monkeypatch, recwarn, values, beside_one):
    written, ranges = spied(monkeypatch, "text"), spied(monkeypatch, "imshow")
    names = {"rows": ["a"], "columns": ["0", "1"], "labels": ("x", "y", "z")}
    draw_matrix(np.array(values), tmp_path / "map.png", title="t", beside_one=beside_one, **names)
    assert all(words[2] != "nan" for words, _ in written)
    assert ranges[0][1]["vmax"] >= (1.2 if beside_one else 0.2)
    assert [str(warning.message) for warning in recwarn] == []
