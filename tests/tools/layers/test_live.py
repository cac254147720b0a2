"""Layers measured while training: the training is the same to the bit, differences are against the first time."""

import numpy as np
import pytest

from tools.errors import UserError
from tools.layers.document_groups import GROUPS
from tools.layers.measures import MEASURES
from tools.pretrain.layer_probe import check_first, layer_metrics
from tools.recipe.load import load_recipe


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
    places = {measure: ("layer", measure) for measure in MEASURES}
    places |= {f"{part}_distance": (part, "distance") for part in ("attention", "mlp")}
    assert len(places) == 7
    for number, layer in enumerate(layers):
        for name, (part, measure) in places.items():
            logged = watched.metric(f"layers/{name}/layer_{number}")[16]
            assert layer[part][measure]["mean"] == pytest.approx(logged, rel=1e-6)


def test_a_resumed_run_goes_on_against_the_same_first_time(watched, as_it_stood, world):
    place = as_it_stood(watched, 8).pretrain(*overrides(world), resume=True)
    for name in ("distance", "distance_change", "distance_low"):
        assert place.metric(f"layers/{name}/layer_0") == pytest.approx(
            watched.metric(f"layers/{name}/layer_0"), rel=1e-6
        )


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(place, *overrides, resume=True):
    """The one line of a run that isn't begun, which leaves the run's folder as it was."""
    before = content(place.folder / "run")
    finished = place.annealmix("pretrain", place.recipe(*overrides), *(["--resume"] if resume else []))
    assert finished.status == 2
    assert content(place.folder / "run") == before
    (line,) = [line for line in finished.errors.splitlines() if line.startswith("annealmix: ")]
    return line


def test_another_probe_is_refused_before_anything_is_written(watched, as_it_stood, world):
    line = refused(as_it_stood(watched, 8), *overrides(world), "layers.windows=3")
    assert "layers_first.npz: got sums of other windows; expected the windows of layers.probe" in line


@pytest.mark.parametrize(
    ("content", "got"), [(b"PK\x03\x04 and no more", "BadZipFile: File is not a zip file"), (b"", "EOFError: ")]
)
def test_a_damaged_first_measurement_is_refused(workplace, world, content, got):
    recipe = load_recipe(workplace.recipe(*overrides(world)))
    check_first(recipe)
    recipe.output_folder.mkdir()
    (recipe.output_folder / "layers_first.npz").write_bytes(content)
    with pytest.raises(UserError, match=f"layers_first.npz: got {got}.*; expected the first measurement of this run's"):
        check_first(recipe)


def test_a_run_whose_probe_is_missing_leaves_no_folder(workplace):
    line = refused(workplace, "layers.every=1024", "layers.probe=[nope]", resume=False)
    assert "layers.probe[0]: nope.idx" in line
    assert not (workplace.folder / "run").exists()


def test_the_report_says_where_the_layers_stand(watched, world):
    """Which of the two changed most, by the journal's own numbers, and the command for more."""
    ends = {
        name: [watched.metric(f"layers/distance_{name}/layer_{number}")[16] for number in (0, 1)]
        for name in ("change", "low", "high")
    }
    most, least = sorted((0, 1), key=lambda number: -abs(ends["change"][number]))
    told = [
        f"layer {n} {ends['change'][n]:+.4f} (95% {ends['low'][n]:+.4f} to {ends['high'][n]:+.4f})"
        for n in (most, least)
    ]
    run = watched.folder / "run"
    assert (run / "report.txt").read_text().splitlines()[-2:] == [
        f"1 - cos of layers, change from 0 to 4.1K tokens:  most {told[0]}   least {told[1]}",
        f"full report of the layers:  annealmix layers {run} --data {world / 'web'} --data code={world / 'code'}"
        f" --out {run / 'layers'}",
    ]


def test_a_change_that_all_documents_share_has_a_narrow_interval():
    rng = np.random.default_rng(0)
    first = np.zeros((GROUPS, 2, 6))
    first[:50, :, 0], first[:50, :, 1] = 10, rng.gamma(2, 1, (50, 2))
    now = np.repeat(first[:, :, None], 3, 2)
    now[:50, :, 0, 1] += 10 * 0.01
    metrics = layer_metrics(now, first, np.zeros(GROUPS, int))
    ends = [metrics[f"layers/distance_{name}/layer_1"] for name in ("low", "change", "high")]
    assert ends == pytest.approx([0.01] * 3)


def test_a_layer_that_no_token_has_a_direction_in_has_no_values():
    first = np.zeros((GROUPS, 2, 6))
    first[:9, 0] = 1
    metrics = layer_metrics(np.repeat(first[:, :, None], 3, 2), first, np.zeros(GROUPS, int))
    assert {name.partition("/layer_")[2] for name in metrics} == {"0"}
    assert len(metrics) == 10


def test_a_probe_is_needed(workplace):
    finished = workplace.annealmix("plan", workplace.recipe("layers.every=1024"))
    assert finished.status == 2
    assert "layers.probe: got none; expected a token source to measure on" in finished.errors
