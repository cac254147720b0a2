"""Layers measured while training: the training is the same to the bit, differences are against the first time."""

import numpy as np
import pytest

from tools.layers.document_groups import GROUPS
from tools.pretrain.layer_probe import layer_metrics


def overrides(world):
    return "layers.every=1024", f"layers.probe=['{world / 'web'}', 'code={world / 'code'}']", "layers.windows=8"


@pytest.fixture(scope="module")
def watched(tmp_path_factory, world, straight):
    place = type(straight)(tmp_path_factory.mktemp("watched"), world)
    return place.pretrain(*overrides(world))


def test_training_is_the_same_to_the_bit(watched, straight):
    assert watched.metric("loss") == straight.metric("loss")
    assert watched.metric("validation") == straight.metric("validation")


def test_layers_are_logged_from_the_start_to_the_end(watched):
    distance = watched.metric("layers/distance/layer_1")
    assert list(distance) == [0, 4, 8, 12, 16]
    change = watched.metric("layers/distance_change/layer_1")
    assert change == pytest.approx({step: value - distance[0] for step, value in distance.items()}, abs=1e-12)
    assert change[0] == 0
    for step, value in change.items():
        low, high = (watched.metric(f"layers/distance_{end}/layer_1")[step] for end in ("low", "high"))
        assert low <= value <= high


def test_the_numbers_are_those_of_the_command(watched, alone, world, monkeypatch, capsys, tmp_path):
    import json

    from tools.cli import main

    last = watched.folder / "run" / "checkpoints" / "step_00000016"
    data = ["--data", f"{world / 'web'}", "--data", f"code={world / 'code'}", "--windows", "8"]
    monkeypatch.setattr("sys.argv", ["annealmix", "layers", str(last), *data, "--out", str(tmp_path / "r"), "--json"])
    with pytest.raises(SystemExit):
        main()
    layers = json.loads(capsys.readouterr().out)["models"][0]["layers"]
    for number, layer in enumerate(layers):
        logged = watched.metric(f"layers/distance/layer_{number}")[16]
        assert layer["layer"]["distance"]["mean"] == pytest.approx(logged, rel=1e-6)


def test_a_resumed_run_goes_on_against_the_same_first_time(watched, as_it_stood, world):
    place = as_it_stood(watched, 8).pretrain(*overrides(world), resume=True)
    for name in ("distance", "distance_change", "distance_low"):
        assert place.metric(f"layers/{name}/layer_0") == pytest.approx(
            watched.metric(f"layers/{name}/layer_0"), rel=1e-6
        )


def test_another_probe_is_refused_before_a_step_is_taken(watched, as_it_stood, world):
    place = as_it_stood(watched, 8)
    finished = place.annealmix("pretrain", place.recipe(*overrides(world), "layers.windows=3"), "--resume")
    assert finished.status == 2
    assert "layers_first.npz: got sums of other windows; expected the windows of layers.probe" in finished.errors


def test_a_change_that_all_documents_share_has_a_narrow_interval():
    rng = np.random.default_rng(0)
    first = np.zeros((GROUPS, 2, 6))
    first[:50, :, 0], first[:50, :, 1] = 10, rng.gamma(2, 1, (50, 2))
    now = first.copy()
    now[:50, :, 1] += 10 * 0.01
    metrics = layer_metrics(now, first, np.zeros(GROUPS, int))
    ends = [metrics[f"layers/distance_{name}/layer_1"] for name in ("low", "change", "high")]
    assert ends == pytest.approx([0.01] * 3)


def test_a_probe_is_needed(workplace):
    finished = workplace.annealmix("plan", workplace.recipe("layers.every=1024"))
    assert finished.status == 2
    assert "layers.probe: got none; expected a token source to measure on" in finished.errors
