"""Pictures: a file is written, of the size asked, whatever the run has or has not."""

import struct

import pytest

from tools.plots import Picture, draw

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
