"""A recipe's curves are, segment for segment, those that the library builds; and what can't be one is one line."""

from pathlib import Path

import pytest

from schedulers.batch_ramps import Coupled, doubling, linear_steps
from schedulers.builders import (
    constant,
    cosine,
    half_cosine,
    linear_to_zero,
    multi_cosine,
    multi_step,
    power_schedule,
    triangular,
    wsd,
    wsd_s,
)
from schedulers.waves import lengths, warm_waves_stable_decay
from tools.recipe.load import load_recipe, parse_recipe
from tools.recipe.named_schedules import BY_NAME
from tools.recipe.numbers import parse_length
from tools.recipe.resolve import resolve

TOTAL = 16 * 640  # windows of 16 tokens, batches of 4: 64 tokens a step


def phases(*curves, key="learning_rate", tokens=(1600, 4800, 1920, 1920)):
    """Four phases of 16 x 640 tokens in all; each with what it says of a curve, or nothing."""
    named = [f"{key}: {curve}" if curve else "" for curve in curves]
    rest = "mixture: {web: 1}" + (", learning_rate: 1e-2" if key != "learning_rate" else "")
    parts = [
        f"{{name: p{index}, tokens: {length}, {', '.join(filter(None, (curve, rest if not index else '')))}}}"
        for index, (curve, length) in enumerate(zip(named, tokens, strict=True))
    ]
    return f"phases=[{', '.join(parts)}]"


def by_name(schedule):
    return ("phases=[{name: all, tokens: 10240, mixture: {web: 1}}]", f"learning_rate={schedule}")


WARMUP, STABLE, DECAY = "{from: 1e-5, to: 1e-2}", "constant", "{to: 0, shape: 1-sqrt}"
AROUND = {"warmup_tokens": 1600, "stable_tokens": 1920, "decay_tokens": 1920, "initial": 1e-5}


@pytest.mark.parametrize(
    ("waves", "wanted"),
    [
        ("{waves: 3, trough: 1e-3, to: 5e-3}", {"wave_tokens": lengths(4800, 3)}),
        ("{waves: 3, trough: 1e-3, to: 5e-3, growth: 1.5}", {"wave_tokens": lengths(4800, 3, growth=1.5)}),
        ("{waves: [800, 1000, 3K], trough: 1e-3, to: 5e-3}", {"wave_tokens": (800, 1000, 3000)}),
        ("{waves: [100 samples, 50 steps], trough: 1e-3, to: 5e-3}", {"wave_tokens": (1600, 3200)}),
        ("{waves: 2, trough: 1e-3, to: 5e-3, crests: equal}", {"wave_tokens": (2400, 2400), "crests": "equal"}),
    ],
)
def test_waves_in_a_phase_are_those_of_the_builder(tiny_plan, waves, wanted):
    plan = tiny_plan(phases(WARMUP, waves, STABLE, DECAY))
    assert plan.schedule == warm_waves_stable_decay(1e-2, stable=5e-3, trough=1e-3, **AROUND, **wanted)


def test_waves_that_rise_first_begin_at_the_value_before(tiny_plan):
    plan = tiny_plan(phases("{from: 1e-5, to: 1e-3}", "{waves: 3, crest: 1e-2, to: 5e-3}", STABLE, DECAY))
    wanted = warm_waves_stable_decay(
        1e-2, stable=5e-3, trough=1e-3, wave_tokens=lengths(4800, 3), kind="rising", **AROUND
    )
    assert plan.schedule == wanted
    assert plan.schedule.jumps() == ()


def test_waves_fill_the_later_phases_that_state_nothing(tiny_plan):
    plan = tiny_plan(phases(WARMUP, "{waves: 3, trough: 1e-3, to: 5e-3}", None, DECAY))
    assert plan.schedule.joints[-2] == 1600 + 4800 + 1920
    assert [b - a for a, b in zip(plan.schedule.joints[1:], plan.schedule.joints[2:-1], strict=False)] == [1120] * 6


def test_stated_waves_give_way_to_the_snapping_of_the_phase(tiny_plan):
    """1,607 tokens are 100 windows of 16; the last wave is 7 tokens shorter than it was stated."""
    waves = "{waves: [600, 1007], trough: 1e-3, to: 5e-3}"
    plan = tiny_plan(phases(WARMUP, waves, STABLE, DECAY, tokens=(1600, 1607, 1920, 1920)))
    assert plan.schedule.joints[3:6] == (2200, 2700, 3200)


def test_linear_waves_are_triangles(tiny_plan):
    waves = "{waves: 2, crest: 1e-2, to: 1e-3, crests: equal, shape: linear}"
    plan = tiny_plan(phases("1e-3", waves, STABLE, DECAY))
    wanted = triangular(1e-3, 1e-2, half_cycle_tokens=1200, num_cycles=2)
    ours = [plan.schedule.value(1600 + n) for n in range(0, 4800, 50)]
    assert ours == pytest.approx([wanted.value(n) for n in range(0, 4800, 50)], rel=1e-15)


@pytest.mark.parametrize("restart", [0, 200])
def test_cycles_in_a_phase_are_those_of_the_builder(tiny_plan, restart):
    cycles = f"{{cycles: 3, to: 1e-4, growth: 2, crest_factor: 0.5, rewarmup: {restart}}}"
    plan = tiny_plan(phases(WARMUP, cycles, None, None))
    options = {"floor": 1e-4, "crest_factor": 0.5, "rewarmup_tokens": restart, "initial": 1e-5}
    wanted = multi_cosine(1e-2, warmup_tokens=1600, cycle_tokens=lengths(8640, 3, growth=2), **options)
    assert plan.schedule == wanted


def test_a_clock_of_its_own_for_the_inverse_root(tiny_plan):
    plan = tiny_plan(phases("{from: 1e-2, to: 0, shape: inverse_sqrt, timescale: 100 samples}", None, None, None))
    assert plan.schedule.value(3 * 1600) == 1e-2 / 2


W = {"warmup_tokens": 1024, "initial": 1e-4}
NAMED = {
    "constant": (", warmup: 10%", constant(1e-2, warmup_tokens=1024)),
    "wsd": (
        ", warmup: 10%, initial: 1e-4, decay: 20 steps, floor: 1e-3, shape: power, exponent: 1.5",
        wsd(1e-2, **W, decay_tokens=1280, total_tokens=TOTAL, floor=1e-3, decay="power", exponent=1.5),
    ),
    "wsd_s": (
        ", periods: [30%, 70%], decay: 5%, shape: linear",
        wsd_s(1e-2, warmup_tokens=0, period_tokens=[3072, 7168], decay_tokens=512, decay="linear"),
    ),
    "cosine": (
        ", warmup: 64 samples, initial: 1e-4, floor: 1e-3",
        cosine(1e-2, **W, total_tokens=TOTAL, floor=1e-3),
    ),
    "half_cosine": (", warmup: 16 steps, initial: 1e-4", half_cosine(1e-2, **W, total_tokens=TOTAL)),
    "linear_to_zero": (", warmup: 1024, initial: 1e-4", linear_to_zero(1e-2, **W, total_tokens=TOTAL)),
    "multi_step": (
        ", drops: [[80%, 0.316], [90%, 0.1]]",
        multi_step(1e-2, warmup_tokens=0, total_tokens=TOTAL, drops=[(8192, 0.316), (9216, 0.1)]),
    ),
    "multi_cosine": (
        ", warmup: 1024, initial: 1e-4, cycles: 2, growth: 3, crest_factor: 0.5, rewarmup: 1%",
        multi_cosine(1e-2, **W, cycle_tokens=[2304, 6912], crest_factor=0.5, rewarmup_tokens=102),
    ),
    "power_schedule": (
        ", coefficient: 0.1, exponent: 0.5, warmup: 1%, decay: 10%",
        power_schedule(
            1e-2, coefficient=0.1, exponent=0.5, warmup_tokens=102, decay_tokens=1024, total_tokens=TOTAL
        ),
    ),
    "waves": (
        ", warmup: 1600, initial: 1e-5, waves: 3, over: 4800, trough: 1e-3, stable: 5e-3, kind: rising, decay: 1920",
        warm_waves_stable_decay(
            1e-2, stable=5e-3, trough=1e-3, wave_tokens=lengths(4800, 3), kind="rising", **AROUND
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_a_schedule_by_name_is_that_of_the_builder(tiny_plan, name):
    more, wanted = NAMED[name]
    schedule = tiny_plan(*by_name(f"{{schedule: {name}, peak: 1e-2{more}}}")).schedule
    if name == "constant":  # which ends with the run, and not after a token
        assert (schedule.joints[-1], schedule.first_difference(wanted, before_tokens=TOTAL)) == (TOTAL, None)
    else:
        assert schedule == wanted
        assert schedule.joints[-1] == TOTAL


def test_triangular_by_name(tiny_plan):
    schedule = tiny_plan(*by_name("{schedule: triangular, low: 1e-3, high: 1e-2, cycles: 4}")).schedule
    assert schedule == triangular(1e-3, 1e-2, half_cycle_tokens=1280, num_cycles=4)
    assert set(NAMED) | {"triangular"} == set(BY_NAME)


def test_waves_of_stated_lengths_by_name(tiny_plan):
    more = "waves: [1K, 2K], trough: 1e-3, stable: 5e-3, decay: 10%"
    joints = tiny_plan(*by_name(f"{{schedule: waves, peak: 1e-2, {more}}}")).schedule.joints
    assert joints == (0, 500, 1000, 2000, 3000, 9216, TOTAL)


def test_percent_of_a_run_are_exact():
    from schedulers.clock import Clock

    assert parse_length("0.1%").tokens(Clock(10**15)) == 10**12
    assert [str(parse_length(text)) for text in ("12.5%", "5K samples", "2e3 steps", "1.5B")] == [
        "12.5%", "5000 samples", "2000 steps", "1500000000",
    ]  # fmt: skip


def test_a_curve_beside_the_learning_rate_goes_on_from_the_number_of_the_optimizer(tiny_plan):
    plan = tiny_plan(phases(None, "{to: 0.02}", None, "0.3", key="weight_decay"), "optimizer.weight_decay=0.2")
    decay = plan.curves_beside["weight_decay"]
    assert [decay.value(tokens) for tokens in (0, 1600, 1600 + 3360, 8320 - 1, 8320, TOTAL)] == pytest.approx(
        [0.2, 0.2, 0.11, 0.02, 0.3, 0.3], rel=2e-3
    )
    assert plan.hyperparameters.at(8320).weight_decay == 0.3
    assert list(plan.curves_beside) == ["weight_decay"]
    assert (plan.hyperparameters.beta2, plan.hyperparameters.clip_grad) == (0.95, 1.0)


def test_each_curve_has_its_key(tiny_plan):
    plan = tiny_plan(phases("0.99", None, None, None, key="adam_beta2"), "phases.2.clip_grad={to: 0.25}")
    assert plan.hyperparameters.at(0) == (1e-2, 0.1, 0.99, 1.0)
    assert plan.hyperparameters.at(TOTAL) == (1e-2, 0.1, 0.99, 0.25)


def test_batch_ramps_in_words(tiny_plan):
    steps = tiny_plan(
        "global_batch_size={from: 4, to: 16, by: 4, over: 10%}", *by_name("{schedule: constant, peak: 1}")
    )
    assert steps.batches.ramp == linear_steps(4, 16, increment=4, ramp_tokens=1024)
    doubled = tiny_plan("global_batch_size={from: 4, double_at: [10 samples, 512]}")
    assert doubled.batches.ramp == doubling(4, (160, 512))


def test_a_coupled_learning_rate_jumps_with_the_batch(tiny_plan):
    ramp = "global_batch_size={from: 4, double_at: [512]}"
    plan = tiny_plan(ramp, "coupling={rule: sqrt, reference: 4}")
    assert plan.learning_rate == Coupled(plan.schedule, plan.batches.ramp, rule="sqrt", reference_batch_size=4)
    assert [plan.hyperparameters.at(tokens).learning_rate for tokens in (0, 511, 512)] == [1e-2, 1e-2, 1e-2 * 2**0.5]
    assert plan.learning_rate.jumps() == ((512, 1e-2, 1e-2 * 2**0.5),)
    assert tiny_plan(ramp, "coupling={rule: none}").learning_rate == plan.schedule


@pytest.mark.parametrize(
    "overrides",
    [
        (phases(WARMUP, "{waves: [1K, 3800], trough: 1e-3, to: 5e-3}", "{cycles: 2, to: 1e-3, rewarmup: 3%}", DECAY),),
        (*by_name("{schedule: wsd, peak: 1e-2, decay: 10%}"), "global_batch_size={from: 4, double_at: [9%]}"),
        ("optimizer.lr_multipliers={embedding: 10}", "coupling={rule: linear, reference: 8}"),
    ],
)
def test_a_recipe_written_out_is_the_same_recipe(tiny_recipe, overrides):
    recipe = tiny_recipe(*overrides)
    assert parse_recipe(recipe.model_dump(mode="json", by_alias=True, exclude_none=True), "again") == recipe


def test_the_recipe_of_twelve_segments_joins_without_a_jump():
    """All recipes in configs/ are planned in test_recipe_lint.py."""
    plan = resolve(load_recipe(Path(__file__).parents[2] / "configs" / "olmo2-1b-waves.yaml"), where="")
    assert (len(plan.schedule.segments), plan.schedule.jumps(), plan.warnings) == (12, (), ())
    assert plan.decay_starts == (plan.phases[3].start_tokens,)
    assert plan.hyperparameters.at(plan.total_tokens) == (0.0, 0.01, 0.95, 1.0)
    assert (plan.batches.leftover_samples, plan.batches.ramp.entries[1]) == (0, (8_388_608_000, 512))
