"""Ramps and caps as a recipe states them: what is read, what is refused, what the plan says."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixer.ledger import Ledger
from tools.errors import UserError
from tools.plan.picture import mixture_curves
from tools.recipe.feasible import with_share
from tools.recipe.load import load_recipe
from tools.recipe.resolve import resolve

# Windows of 16 tokens: web has 1,000 of them, code 100, books 50. Phases of 100, 200 and 100 windows.
SOURCES = "sources={web: {tokens: 16001}, code: {tokens: 1601}, books: {tokens: 801}}"
PHASES = (
    "phases=[{name: first, tokens: 1600, learning_rate: 1e-2, mixture: {web: 0.75, code: 0.25}},"
    " {name: turn, tokens: 3200, mixture: {web: 0.25, code: 0.25, books: 0.5}, mixture_ramp: linear},"
    " {name: last, tokens: 1600}]"
)


def caps(name, **spec):
    return [f"sources.{name}.{key}={value}" for key, value in spec.items()]


def refused(tiny_plan, *overrides):
    with pytest.raises(UserError) as error:
        tiny_plan(SOURCES, PHASES, *overrides)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("phases.0.mixture_ramp=linear", "phases[0].mixture_ramp: got linear; expected none in the first phase"),
        ("phases.2.mixture_ramp=linear", "phases[2].mixture: got none; expected a mixture beside mixture_ramp"),
        ("phases.1.mixture_ramp=sine", "phases[1].mixture_ramp: got sine; expected 'linear' or 'cosine'"),
        ("sources.web.max_epochs=0", "sources.web.max_epochs: got 0; expected greater than 0"),
        ("sources.web.exhausted=stop", "sources.web.max_epochs: got none; expected max_epochs beside it"),
        (
            "sources.web.redistribute_to=[code]",
            "sources.web.redistribute_to: got code; expected sources with exhausted",
        ),
        ("sources.web.path=x", "sources.web: got both; expected either path"),
        (
            "skip_documents={wbe: [1]}",
            "skip_documents.wbe: got wbe; expected a source of the recipe; the nearest is web",
        ),
        ("skip_documents={web: [1]}", "skip_documents.web: got 1; expected a source with data on disk"),
        ("skip_documents={web: [-1]}", "skip_documents.web[0]: got -1; expected a whole number"),
        ("sources.web.epoch_offset=2", "sources.web.epoch_offset: got 2; expected a valid boolean"),
        ("model.layernorm_epsilon=abc", "model.layernorm_epsilon: got abc; expected a number"),
        ("model.num_moe_experts=2.5", "model.num_moe_experts: got 2.5; expected a whole number"),
        ("model.qk_layernorm=1", "model.qk_layernorm: got 1; expected true or false"),
    ],
)
def test_each_mistake_is_one_line_with_its_place(tiny_plan, override, message):
    assert message in refused(tiny_plan, override)


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("[]", "sources.code.redistribute_to: got none; expected sources with exhausted: redistribute"),
        ("[code]", "sources.code.redistribute_to: got code; expected other sources"),
        ("[wbe]", "sources.code.redistribute_to: got wbe; expected a source of the recipe; the nearest is web"),
    ],
)
def test_where_a_share_goes_must_be_known(tiny_plan, to, message):
    assert message in refused(tiny_plan, *caps("code", max_epochs=1, exhausted="redistribute", redistribute_to=to))


def test_a_ramp_reads_the_mean_of_both_mixtures(tiny_plan):
    plan = tiny_plan(SOURCES, PHASES)
    turn, last = plan.phases[1].sources, plan.phases[2].sources
    assert {name: use.samples for name, use in turn.items()} == {"web": 100, "code": 50, "books": 50}
    assert {name: (use.start_share, use.end_share) for name, use in turn.items()} == {
        "web": (0.75, 0.25),
        "code": (0.25, 0.25),
        "books": (0.0, 0.5),
    }
    assert {name: use.samples for name, use in last.items()} == {"web": 25, "code": 25, "books": 50}
    assert plan.phases[2].sources["books"].start_share == 0.5


def test_no_count_is_further_from_the_integral_of_its_share_than_the_plan_says(tiny_plan):
    plan = tiny_plan(SOURCES, PHASES, "phases.1.mixture_ramp=cosine")
    sources = plan.mixture.locate(np.arange(400)).source
    u = (np.arange(200) + 0.5) / 200
    part = np.concatenate([np.zeros(100), (1 - np.cos(np.pi * u)) / 2, np.ones(100)])
    for k, (before, after) in enumerate([(0.75, 0.25), (0.25, 0.25), (0.0, 0.5)]):
        asked = np.cumsum(before * (1 - part) + after * part)
        assert np.abs(np.cumsum(sources == k) - asked).max() <= plan.bound_samples + 1e-3
    assert plan.bound_samples < 2 * 1.68 + 3.87


def test_ramps_are_in_weights_per_window(tiny_plan):
    """Books have half as many loss tokens a window, so an equal share of loss takes twice the windows."""
    unit = ["unit=loss_tokens", "sources.books.mean_loss_tokens=8"]
    plan = tiny_plan(SOURCES, PHASES, *unit, "phases.1.mixture={books: 1, web: 1}", "phases.1.tokens=32K")
    use = plan.phases[1].sources
    assert (use["books"].end_share, use["web"].end_share) == pytest.approx((0.5, 0.5))
    assert (use["web"].start_share, use["code"].start_share, use["code"].end_share) == (0.75, 0.25, 0.0)
    assert use["books"].samples == pytest.approx(2000 * (2 / 3) / 2, abs=2)
    assert plan.phases[2].sources["books"].samples == pytest.approx(2 / 3 * 100, abs=2)


def test_weights_in_loss_tokens_are_shares_of_supervised_tokens(workplace):
    """Of conversations on disk, whose rows predict only what the assistant says."""
    recipe = workplace.recipe("unit=loss_tokens", "phases.2.tokens=256K", "phases.2.mixture={web: 3, sft: 1}")
    plan = resolve(load_recipe(recipe), where="")
    sft, last = plan.sources["sft"], plan.phases[2]
    assert plan.divisors == {"web": 32.0, "code": 32.0, "sft": sft.row_supervised.mean()}
    assert plan.divisors["sft"] < 24
    expected = np.array([3 / 32, 1 / plan.divisors["sft"]]) / (3 / 32 + 1 / plan.divisors["sft"]) * 8000
    assert [last.sources[name].samples for name in ("web", "sft")] == pytest.approx(expected, abs=1)
    account = Ledger(plan.mixture, plan.sources)
    begin, end = (account.at(sample) for sample in (last.start_sample, last.end_sample))
    read = {name: end[name].supervised_tokens - begin[name].supervised_tokens for name in ("web", "sft")}
    assert read["sft"] / sum(read.values()) == pytest.approx(0.25, abs=1e-3)


def test_a_ramp_is_a_slope_in_the_picture(tiny_plan):
    tokens, shares = mixture_curves(tiny_plan(SOURCES, PHASES))
    at = dict(zip(tokens, shares["web"], strict=True))
    assert (at[0], at[1600], at[1600 + 1600], at[4800], at[6400]) == (0.75, 0.75, 0.5, 0.25, 0.25)


def test_a_cap_that_can_not_hold_names_phase_epochs_and_the_largest_share(tiny_plan):
    message = refused(tiny_plan, *caps("books", max_epochs=1.5))
    assert "sources.books.max_epochs: got 2 epochs by the end of phases[2] (last); expected at most 1.5" in message
    assert "the largest share of books that fits in phases[1].mixture is 0.37" in message


RAMPS = st.sampled_from(["null", "linear", "cosine"])


@settings(max_examples=30, deadline=None)
@given(limit=st.integers(5, 199), web=st.floats(0.01, 10), books=st.floats(1, 10), ramp=RAMPS)
def test_the_largest_share_fits_and_a_little_more_does_not(tiny_plan, limit, web, books, ramp):
    mixture = f"phases.1.mixture={{web: {web}, books: {books}}}"
    overrides = [SOURCES, PHASES, mixture, f"phases.1.mixture_ramp={ramp}", *caps("books", max_epochs=limit / 100)]
    try:
        tiny_plan(*overrides)
    except UserError as error:
        share = float(str(error).rpartition(" ")[2])
    else:
        return
    recipe = tiny_plan(*overrides[:-1]).recipe
    spec = recipe.sources["books"].model_copy(update={"max_epochs": limit / 100})
    capped = recipe.model_copy(update={"sources": {**recipe.sources, "books": spec}})
    plan = resolve(with_share(capped, 1, "books", share), where="")
    assert plan.mixture.counts(400)["books"] <= limit // 2
    with pytest.raises(UserError):
        resolve(with_share(capped, 1, "books", share + 0.02), where="")


def test_a_phase_that_reads_nothing_else_has_no_share_that_fits(tiny_plan):
    message = refused(
        tiny_plan, "phases.1.mixture={books: 1}", "phases.1.mixture_ramp=null", *caps("books", max_epochs=1)
    )
    assert "phases[1] reads nothing else: make it shorter, or add sources" in message


def test_a_ramp_from_too_large_a_share_has_none_that_fits_at_its_end(tiny_plan):
    message = refused(
        tiny_plan, "phases.0.mixture={code: 1, books: 1}", "phases.0.tokens=160", *caps("books", max_epochs=0.2)
    )
    assert "phases[1] ramps from so large a share that none fits at its end; lower it in the phase before" in message


def test_at_the_cap_and_not_beyond_is_allowed_and_near_it_is_said(tiny_plan):
    plan = tiny_plan(SOURCES, PHASES, *caps("books", max_epochs=2))
    assert plan.phases[2].sources["books"].epochs_so_far == 2.0
    assert "sources.books: 100% of its 2 epochs are read; 0 tokens are left" in plan.warnings


def test_stop_ends_the_run_where_the_source_is_used_up(tiny_plan):
    plan = tiny_plan(SOURCES, PHASES, *caps("books", max_epochs=1, exhausted="stop"))
    whole = tiny_plan(SOURCES, PHASES)
    books = np.flatnonzero(whole.mixture.locate(np.arange(400)).source == 2)
    assert plan.total_samples == books[50]
    assert [phase.end_sample for phase in plan.phases] == [100, 300, books[50]]
    assert plan.batches.num_steps == books[50] // 4
    left = (400 - int(books[50])) * 16
    assert any(
        line.startswith("sources.books: used up at") and f"{left / 1000:.3g}K tokens are left out" in line
        for line in plan.warnings
    )


def test_stop_in_an_early_phase_leaves_later_ones_out(tiny_plan):
    plan = tiny_plan(SOURCES, PHASES, *caps("code", max_epochs=0.1, exhausted="stop"))
    assert [phase.name for phase in plan.phases] == ["first"]
    assert plan.mixture.counts(plan.total_samples)["code"] == 10


def test_redistribute_gives_the_share_to_others(tiny_plan):
    given = caps("books", max_epochs=1.2, exhausted="redistribute", redistribute_to="[code]")
    plan = tiny_plan(SOURCES, PHASES, *given)
    assert plan.mixture.counts(400) == {"web": 200, "code": 140, "books": 60}
    assert plan.phases[2].sources["books"].end_share == 0
    assert plan.phases[2].sources["code"].end_share == pytest.approx(0.75)
    assert any(
        line.startswith("sources.books: used up at 5.1") and line.endswith("its share goes to code")
        for line in plan.warnings
    )


def test_redistribute_to_a_source_that_errors_is_found(tiny_plan):
    given = caps("books", max_epochs=1.2, exhausted="redistribute", redistribute_to="[code]")
    assert "sources.code.max_epochs: got 1.4 epochs" in refused(tiny_plan, *given, *caps("code", max_epochs=1.1))


def test_where_nobody_can_take_the_share_the_recipe_is_refused(tiny_plan):
    given = caps("books", max_epochs=1, exhausted="redistribute", redistribute_to="[code]")
    back = caps("code", max_epochs=0.5, exhausted="redistribute", redistribute_to="[books]")
    told = "tiny.yaml: at sample 265, source books reaches its cap of 50 draws, and all that its share goes to"
    assert refused(tiny_plan, *given, *back).startswith(told)


def test_a_source_that_is_never_read_is_named(tiny_plan):
    plan = tiny_plan(SOURCES, "sources.spare={tokens: 16001}", PHASES)
    assert "sources.spare: never read; no phase gives it a weight" in plan.warnings


def test_the_midtraining_of_olmo_2_fits_its_caps():
    """Tokens of the 50B mix (arXiv 2501.00656, table 13) less what the ramp's first 10B leave to the mixture before."""
    path = Path(__file__).parents[2] / "configs" / "olmo2-7b-midtraining.yaml"
    plan = resolve(load_recipe(path), where="")
    turn, anneal = plan.phases[2:]
    assert (turn.start_sample, plan.schedule.value(turn.start_tokens)) == (928_646 * 1024, 6.15e-5)
    for name, share in {"dclm-best": 0.4719, "flan": 0.166, "pes2o": 0.0585, "wiki": 0.0711, "math": 0.208}.items():
        use = turn.sources[name]
        before = use.start_share
        assert (use.end_share, use.tokens) == (
            pytest.approx(share, abs=1e-4),
            pytest.approx(10e9 * (share + before) / 2, abs=4096 * plan.bound_samples),
        )
    assert anneal.sources["stack-exchange"].epochs_so_far == pytest.approx(0.8, abs=1e-5)
    assert anneal.sources["math"].epochs_so_far < 1
    assert [line for line in plan.warnings if "used up" in line] == [
        "sources.stack-exchange: used up at 3.94T tokens; its share goes to dclm-best, pes2o"
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "skip_samples=[[5, 5]]",
            "skip_samples[0]: samples 5 to 5; expected start before end, inside",
        ),
        (
            "global_batch_size=[[5, 8]]",
            "global_batch_size: batch-size ramp ((5, 8),); expected its first",
        ),
        ("sources.web.pad=96", "sources.web.pad: got 96; expected an id below the vocabulary's size, 96"),
    ],
)
def test_mistakes_found_in_planning_name_the_recipe_and_its_key(tiny_plan, override, message):
    assert refused(tiny_plan, override).startswith(f"tiny.yaml: {message}")
