"""``plan``: exact numbers on a recipe of counts, the form of --json, and what it may not import."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tools.errors import UserError
from tools.plan.command import show_plan
from tools.plan.joints import aligned, joints, table
from tools.plan.picture import planned_curves
from tools.plan.tables import learning_rate_at_joints, plan_json, print_plan
from tools.recipe.yaml_file import write_yaml

REPOSITORY = Path(__file__).parents[2]
# Windows of 16 tokens: web has 1,000 of them (16,001 tokens), code 100. The rate jumps where decay begins.
SOURCES = "sources={web: {tokens: 16001}, code: {tokens: 1601}}"
PHASES = (
    "phases=[{name: warmup, tokens: 1600, learning_rate: {from: 0, to: 1e-2}, mixture: {web: 1}},"
    " {name: stable, tokens: 4800, learning_rate: constant, mixture: {web: 0.75, code: 0.25}},"
    " {name: decay, tokens: 3200, learning_rate: {from: 5e-3, to: 1e-3}}]"
)


@pytest.fixture(scope="module")
def plan(tiny_plan):
    return tiny_plan(SOURCES, PHASES)


def test_json_has_exactly_the_keys_of_its_description(plan):
    found = json.loads(json.dumps(plan_json(plan)))
    assert list(found) == ["phases", "bound_samples", "learning_rate", "warnings"]
    for phase in found["phases"]:
        assert list(phase) == ["name", "start_tokens", "end_tokens", "start_sample", "end_sample", "sources"]
        for use in phase["sources"].values():
            assert list(use) == ["start_share", "end_share", "samples", "tokens", "epochs", "epochs_so_far"]


def test_numbers_of_each_phase(plan):
    edges = [(phase["name"], phase["start_sample"], phase["end_sample"]) for phase in plan_json(plan)["phases"]]
    assert edges == [("warmup", 0, 100), ("stable", 100, 400), ("decay", 400, 600)]
    for phase in plan_json(plan)["phases"]:
        assert (phase["start_tokens"], phase["end_tokens"]) == (phase["start_sample"] * 16, phase["end_sample"] * 16)
    keys = ("start_share", "end_share", "samples", "tokens", "epochs", "epochs_so_far")
    uses = [
        {name: tuple(use[key] for key in keys) for name, use in phase["sources"].items()}
        for phase in plan_json(plan)["phases"]
    ]
    assert uses == [
        {"web": (1.0, 1.0, 100, 1600, 0.1, 0.1)},
        {"web": (0.75, 0.75, 225, 3600, 0.225, 0.325), "code": (0.25, 0.25, 75, 1200, 0.75, 0.75)},
        {"web": (0.75, 0.75, 150, 2400, pytest.approx(0.15), 0.475), "code": (0.25, 0.25, 50, 800, 0.5, 1.25)},
    ]


def test_a_jump_stands_twice_with_the_value_before_it_first(plan):
    joints = [[0, 0.0], [1600, 1e-2], [6400, 1e-2], [6400, 5e-3], [9600, 1e-3]]
    assert learning_rate_at_joints(plan) == joints
    assert plan_json(plan)["learning_rate"] == joints


def test_curves_for_a_picture_show_both_sides_of_a_joint(plan):
    curves = planned_curves(plan)
    at = dict(zip(*curves["learning_rate"], strict=True))
    assert (at[6399], at[6400], at[9600]) == (1e-2, 5e-3, 1e-3)
    tokens, shares = curves["mixture"]
    assert tokens == [0, 1600, 1600, 9600]  # stable and decay have one mixture
    assert shares == {"web": [1.0, 1.0, 0.75, 0.75], "code": [0.0, 0.0, 0.25, 0.25]}
    assert curves["joints"] == [("warmup", 0), ("stable", 1600), ("decay", 6400)]


def test_joints_have_both_sides_of_every_curve(tiny_plan):
    plan = tiny_plan(
        SOURCES,
        PHASES,
        "global_batch_size=[[0, 4], [4000, 8]]",
        "phases.2.weight_decay={to: 0.02}",
        "phases.2.mixture={web: 1}",
        "phases.2.mixture_ramp=linear",
    )
    found = joints(plan)
    assert [(j.tokens, j.step, j.phase, j.batch_size) for j in found] == [
        (0, 0, "warmup", 4),
        (1600, 25, "stable", 4),
        (4000, 63, "stable", 8),  # the 63rd step begins at 4032, the first at or after 4000
        (6400, 82, "decay", 8),  # the 81st begins at 6336
        (9600, 106, "end", 8),  # the last 8 windows fill no batch
    ]
    assert [j.curves["learning_rate"] for j in found] == [(0, 0), (1e-2,) * 2, (1e-2,) * 2, (1e-2, 5e-3), (1e-3,) * 2]
    assert [j.curves["weight_decay"] for j in found] == [(0.1, 0.1)] * 4 + [(0.02, 0.02)]
    assert [j.mixture["web"] for j in found] == [(1, 1), (1, 0.75), (0.75, 0.75), (0.75, 0.75), (1, 1)]
    assert [j.mixture.get("code", (0, 0)) for j in found] == [(0, 0), (0, 0.25), (0.25, 0.25), (0.25, 0.25), (0, 0)]


def test_the_table_is_aligned_and_groups_sources(plan):
    lines = aligned(*table(plan)).splitlines()
    assert lines == [
        "tokens  step  phase   learning rate  batch size               web              code",
        "     0     0  warmup              0           4            1.0000            0.0000",
        " 1,600    25  stable           0.01           4  1.0000 -> 0.7500  0.0000 -> 0.2500",
        " 6,400   100  decay    0.01 -> 5e-3           4            0.7500            0.2500",
        " 9,600   150  end              1e-3           4            0.7500            0.2500",
    ]
    head, rows = table(plan, most_sources=1)
    assert head[-1] == "2 others"
    assert [row[-1] for row in rows] == ["1.0000"] * 4


def test_a_coupled_learning_rate_jumps_where_the_batch_does(tiny_plan):
    ramp = "global_batch_size=[[0, 4], [3200, 16]]"
    plan = tiny_plan(SOURCES, PHASES, ramp, "coupling={rule: sqrt, reference: 16}")
    (at_ramp,) = [joint for joint in joints(plan) if joint.tokens == 3200]
    assert at_ramp.curves["learning_rate"] == (5e-3, 1e-2)
    assert [3200, 5e-3] in learning_rate_at_joints(plan)
    assert planned_curves(plan)["batch_size"] == ([0, 3200, 3200, 9600], [4, 4, 16, 16])


def test_a_source_without_weight_is_not_a_source_of_the_phase(tiny_plan):
    plan = tiny_plan(SOURCES, PHASES, "phases.1.mixture={web: 1, code: 0}")
    assert [list(phase.sources) for phase in plan.phases] == [["web"]] * 3


@pytest.fixture
def recipe_file(tmp_path, tiny_recipe):
    path = tmp_path / "r.yaml"
    recipe = tiny_recipe(SOURCES, PHASES)
    path.write_text(write_yaml(recipe.model_dump(mode="json", by_alias=True, exclude_none=True)))
    return path


def test_the_commands_print_what_the_functions_say(recipe_file, plan, capsys):
    show_plan(recipe_file, [], plot=None, as_json=True)
    assert json.loads(capsys.readouterr().out) == plan_json(plan)


def test_table_goes_into_json_too(recipe_file, plan, capsys):
    show_plan(recipe_file, [], plot=None, as_json=True, table=True)
    found = json.loads(capsys.readouterr().out)["joints"]
    assert [joint["tokens"] for joint in found] == [0, 1600, 6400, 9600]
    assert found[2]["curves"] == {"learning_rate": [1e-2, 5e-3]}
    assert list(found[0]) == ["tokens", "step", "phase", "batch_size", "curves", "mixture"]
    show_plan(recipe_file, [], plot=None, as_json=False, table=True)
    assert aligned(*table(plan)) in capsys.readouterr().out


def test_a_picture_of_another_kind_is_refused_before_anything_is_printed(recipe_file, tmp_path, capsys):
    with pytest.raises(UserError, match=r"--plot: got .*plan.pdf; expected a name that ends in .png, .svg or .html"):
        show_plan(recipe_file, [], plot=tmp_path / "plan.pdf", as_json=True)
    assert capsys.readouterr().out == ""


def test_the_tables_show_the_same_numbers(recipe_file, capsys):
    show_plan(recipe_file, [], plot=None, as_json=False)
    printed = capsys.readouterr().out
    for words in ("9.6K tokens in 150 steps", "225", "0.7500", "1.25", "linear to 0.01", "warning:"):
        assert words in printed


# A frontier-sized recipe: 300 sources that stand for 15T tokens, three phases, one of them a new mixture.
LARGE = """
import resource, sys
from pathlib import Path
from tools.plan.command import show_plan

show_plan(Path(sys.argv[1]), [], plot=None, as_json=True)
loaded = [name for name in ("torch", "megatron", "matplotlib", "datasets", "mlflow") if name in sys.modules]
usage = resource.getrusage(resource.RUSAGE_SELF)
print(loaded, file=sys.stderr)
print(usage.ru_utime + usage.ru_stime, file=sys.stderr)
"""


@pytest.fixture(scope="module")
def large_recipe(tmp_path_factory, tiny_recipe):
    names = [f"source-{number}" for number in range(300)]
    late = {name: 1 + number % 5 for number, name in enumerate(names)}
    phases = [
        {
            "name": "warmup",
            "tokens": "10B",
            "learning_rate": {"from": 1e-6, "to": 3e-4},
            "mixture": dict.fromkeys(names, 1),
        },
        {"name": "stable", "tokens": "12T", "learning_rate": "constant"},
        {"name": "decay", "tokens": "2.99T", "learning_rate": {"to": 3e-5, "shape": "cosine"}, "mixture": late},
    ]
    document = tiny_recipe().model_dump(mode="json", by_alias=True, exclude_none=True)
    document |= {"sequence_length": 4096, "global_batch_size": 4096, "phases": phases}
    document["sources"] = {name: {"tokens": 10**9 * (1 + number)} for number, name in enumerate(names)}
    path = tmp_path_factory.mktemp("large") / "large.yaml"
    path.write_text(write_yaml(document))
    return path


def test_a_large_recipe_takes_no_framework_and_no_time(large_recipe):
    """The time is the processor's, start of Python included, so that a busy machine doesn't fail the test."""
    finished = subprocess.run(
        [sys.executable, "-c", LARGE, str(large_recipe)], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    loaded, seconds = finished.stderr.splitlines()[-2:]
    assert loaded == "[]"
    assert float(seconds) < 2.0
    assert len(json.loads(finished.stdout)["phases"]) == 3


def test_the_left_side_of_a_jump_is_called_one(tiny_plan, capsys):
    restarts = "phases.0.learning_rate={cycles: 2, from: 1, to: 0}"
    print_plan(tiny_plan(restarts), Console(soft_wrap=True))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["512", "0", "a", "jump"] in lines
    assert ["512", "1", "cosine", "to", "0"] in lines
