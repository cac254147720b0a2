"""What `plan` warns of in a recipe: a line each, where and what to do; nothing for the recipes in configs/."""

from pathlib import Path

import pytest

from tools.recipe.load import load_recipe
from tools.recipe.resolve import resolve

# Windows of 16 tokens, batches of 4 windows: 9,600 tokens are 150 steps.
SOURCES = "sources={web: {tokens: 160001}, code: {tokens: 1601}}"
WARMUP = "{name: warmup, tokens: 1600, learning_rate: {from: 1e-4, to: 1e-2}, mixture: {web: 1}}"
STABLE = "{name: stable, tokens: 4800, learning_rate: constant, mixture: {web: 0.9, code: 0.1}}"
DECAY = "{name: decay, tokens: 3200, learning_rate: {to: 1e-3, shape: 1-sqrt}}"
ALL = "{name: all, tokens: 9600, mixture: {web: 0.9, code: 0.1}}"
WAVE = "{name: down, tokens: 1600, learning_rate: {to: 2e-3, shape: cosine}}, {name: up, tokens: 1600, learning_rate: "

RECIPES = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


def phases(*texts):
    return f"phases=[{', '.join(texts)}]"


def warnings(tiny_plan, *overrides):
    return list(tiny_plan(SOURCES, *overrides).warnings)


def test_nothing_to_warn_about(tiny_plan):
    assert tiny_plan().warnings == ()
    assert warnings(tiny_plan, phases(WARMUP, STABLE, DECAY), "phases.2.tokens=9600") == []


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_schedules_of_the_recipes_that_ship_are_as_they_are_meant(path):
    recipe = load_recipe(path)
    counts = [f"sources.{name}={{tokens: 4M}}" for name, spec in recipe.sources.items() if spec.path]
    vocabulary = ["tokenizer=null", "vocab_size=4096"] if recipe.tokenizer else []
    plan = resolve(load_recipe(path, [*counts, *vocabulary]), where=str(path))
    assert [line for line in plan.warnings if "learning_rate" in line or "global_batch_size" in line] == []


# Each finding of schedulers/lint.py, from YAML: other words there are tested in tests/schedulers/test_lint.py.
@pytest.mark.parametrize(
    ("overrides", "warning"),
    [
        (
            [phases(WARMUP, STABLE, DECAY), "phases.0.learning_rate={to: 1e-2}"],
            "phases[0].learning_rate: the first step runs at 0 and learns nothing; warm up from a value above 0",
        ),
        (
            [phases(WARMUP, STABLE, DECAY), "phases.2.learning_rate={from: 5e-3, to: 1e-3, shape: 1-sqrt}"],
            "phases[2].learning_rate: at 6.4K tokens from 0.01 to 5e-3: a jump; "
            "begin with 0.01, or leave it if it is meant",
        ),
        (
            [phases(WARMUP, WAVE + "{to: 8e-3, shape: cosine}}", STABLE, DECAY), "phases.3.learning_rate=7e-3"],
            "phases[3].learning_rate: at 4.8K tokens from 8e-3 to 7e-3: a wave ends off the level after it; "
            "end it at 7e-3",
        ),
        (
            [phases(WARMUP, STABLE, DECAY), "phases.2.learning_rate={to: 2e-2}"],
            "phases[2].learning_rate: the last change goes up to 0.02: a floor above the peak, 0.01; lower it",
        ),
        (
            [phases(WARMUP), "phases.0.tokens=9600"],
            "phases[0].learning_rate: the warmup ends at 9.6K tokens, the run at 9.6K; shorten it",
        ),
        (
            [phases(WARMUP, STABLE), "sources.code={tokens: 1601, max_epochs: 0.1, exhausted: stop}",
             "phases.0.tokens=4800", "phases.0.mixture={code: 1, web: 3}"],
            "phases[0].learning_rate: the warmup ends at 4.8K tokens, the run at 640; shorten it",
        ),
        (
            [phases(WARMUP, STABLE, DECAY), "sources.code={tokens: 1601, max_epochs: 0.4, exhausted: stop}"],
            "phases[2].learning_rate: the decay ends at 9.6K tokens, after the run's 8.06K, "
            "which stops at 3.51e-3; end it with the run",
        ),
        (
            [phases(WARMUP, STABLE, DECAY), "phases.2.learning_rate={to: 1e-3, shape: half_life, half_life: 3200}"],
            "phases[2].learning_rate: the half_life decay stops at 5e-3 and never reaches 1e-3; "
            "give it more tokens, or a shape that arrives",
        ),
        (
            [phases(WARMUP, STABLE, DECAY), "phases.2.learning_rate={to: 1e-6}"],
            "phases[2].learning_rate: the last step begins at 9.54K tokens and runs at 2.0098e-4, not at 1e-6; "
            "end the decay 64 tokens earlier",
        ),
        (
            [phases(WARMUP, STABLE, DECAY), "global_batch_size=64", "phases.2.learning_rate=constant"],
            "global_batch_size: the last 24 windows (384 tokens) fill no batch; train so much less, or 640 tokens more",
        ),
        (
            [phases(WARMUP, STABLE, DECAY), "global_batch_size=[[0, 2], [96, 8]]", "phases.2.learning_rate=constant",
             "phases.2.tokens=3072"],
            "global_batch_size: the ramp shifts the end: the last 2 windows (32 tokens) fill no batch; "
            "train so much less, or 96 tokens more",
        ),
        (
            [phases(WARMUP, STABLE, DECAY), "phases.2.weight_decay={from: 0.05, to: 0.01}"],
            "phases[2].weight_decay: at 6.4K tokens from 0.1 to 0.05: a jump; "
            "begin with 0.1, or leave it if it is meant",
        ),
        (
            [phases(WARMUP, STABLE, DECAY), "phases.1.adam_beta2={to: 0.5, shape: half_life, half_life: 16K}"],
            "phases[1].adam_beta2: the half_life decay stops at 0.672 and never reaches 0.5; "
            "give it more tokens, or a shape that arrives",
        ),
        (
            [phases(WARMUP, STABLE, DECAY), "phases.2.clip_grad={to: 0}"],
            "phases[2].clip_grad: 0 at 9.6K tokens, where it bounds nothing; keep a curve above 0",
        ),
        (
            [phases(WARMUP, STABLE, DECAY), "phases.0.mixture={web: 3, code: 1}"],
            "phases[0].mixture: weights sum to 4; they are normalised to 1",
        ),
        (
            [phases(WARMUP, STABLE, DECAY), "phases.2.tokens=64K"],
            "sources.code: read 4.3 times; after 4 epochs repeated tokens are worth less",
        ),
    ],
)  # fmt: skip
def test_one_line_each_with_its_place_and_fix(tiny_plan, overrides, warning):
    assert warning in warnings(tiny_plan, *overrides)


def test_jumps_that_a_key_asks_for_are_no_finding(tiny_plan):
    cycles = "phases.1.learning_rate={cycles: 3, to: 1e-3}"
    assert warnings(tiny_plan, phases(WARMUP, STABLE), cycles, "phases.1.tokens=19200") == []
    one = phases("{name: all, tokens: 9600, mixture: {web: 1}}")
    steps = "learning_rate={schedule: multi_step, peak: 1e-2, initial: 1e-4, warmup: 1600, drops: [[80%, 0.5]]}"
    assert [line for line in warnings(tiny_plan, one, steps) if "learning_rate" in line] == []


def test_a_schedule_of_the_whole_run_is_named_by_its_key(tiny_plan):
    whole = "learning_rate={schedule: wsd, peak: 1e-2, warmup: 1600, decay: 3200}"
    found = warnings(tiny_plan, phases("{name: all, tokens: 9600, mixture: {web: 1, code: 0.1}}"), whole)
    assert found[0].startswith("phases[0].mixture")
    assert found[1].startswith("learning_rate: the first step runs at 0")


@pytest.mark.parametrize(
    ("named", "reached"),
    [
        ("wsd, decay: 0", "0.01"),
        ("wsd_s, periods: 2, decay: 0%", "0.01"),
        ("waves, waves: 2, over: 50%, trough: 1e-3, stable: 5e-3, decay: 0", "5e-3"),
        ("power_schedule, coefficient: 0.1, decay: 0", "9.31e-4"),
    ],
)
def test_a_schedule_named_for_a_decay_that_never_comes(tiny_plan, named, reached):
    whole = f"learning_rate={{peak: 1e-2, warmup: 1600, initial: 1e-4, schedule: {named}}}"
    line = f"learning_rate.decay: 0 tokens: the rate stops at {reached} and never falls to 0; give it a length"
    assert warnings(tiny_plan, phases(ALL), whole)[0] == line


def test_no_decay_to_the_level_where_the_rate_is_already(tiny_plan):
    whole = "learning_rate={schedule: wsd, peak: 1e-2, warmup: 1600, initial: 1e-4, decay: 0, floor: 1e-2}"
    assert warnings(tiny_plan, phases(ALL), whole) == []


def test_curves_beside_may_step_from_number_to_number_and_cycle(tiny_plan):
    stepped = ("phases.0.clip_grad=0.5", "phases.1.clip_grad=1", "phases.2.weight_decay={cycles: 2, to: 0.01}")
    assert warnings(tiny_plan, phases(WARMUP, STABLE, DECAY), "phases.2.tokens=9600", *stepped) == []
