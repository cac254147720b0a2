"""What changes, in words: a running run that decays from here, goes on for longer, is rewound; two recipes."""

import json
import re

import pytest

from tools.errors import UserError
from tools.plan.changes import changes_beside, changes_since
from tools.plan.command import show_plan
from tools.pretrain.state import RunState
from tools.recipe.continued import continued_plan, model_identity, row_settings
from tools.recipe.yaml_file import write_yaml

# Windows of 16 tokens, steps of 4: warmup to 1,600, stable to 6,400, decay to 9,600 tokens.
PHASES = (
    "phases=[{name: warmup, tokens: 1600, learning_rate: {from: 1e-4, to: 1e-2}, mixture: {web: 1}},"
    " {name: stable, tokens: 4800, learning_rate: constant},"
    " {name: decay, tokens: 3200, learning_rate: {to: 1e-3, shape: 1-sqrt}}]"
)
COSINE = ("phases.1.learning_rate={to: 1e-3, shape: cosine}", "phases.2.learning_rate=null")
WAVES = (
    "phases=[{name: warmup, tokens: 1600, learning_rate: {from: 1e-4, to: 1e-2}, mixture: {web: 1}},"
    " {name: waves, tokens: 3200, learning_rate: {waves: 2, trough: 2e-3, to: 1e-2}},"
    " {name: stable, tokens: 1600, learning_rate: constant},"
    " {name: decay, tokens: 3200, learning_rate: {to: 1e-3, shape: 1-sqrt}}]"
)


def state_of(plan, consumed_tokens):
    samples = consumed_tokens // 16
    return RunState(
        step=samples // 4,
        consumed_samples=samples,
        consumed_tokens=consumed_tokens,
        history=json.loads(json.dumps(plan.history.to_json())),
        hyperparameters=json.loads(json.dumps(plan.hyperparameters.to_dict())),
        batch_size=[list(entry) for entry in plan.batches.ramp.entries],
        model=model_identity(plan.recipe, plan.vocab_size),
        sources=json.loads(json.dumps(row_settings(plan.recipe))),
    )


@pytest.fixture
def went_on(tiny_plan, tiny_recipe):
    """The changes of a recipe that goes on from a checkpoint of another."""

    def plan(before, after, at=3200):
        state = state_of(tiny_plan(PHASES, *before), at)
        return changes_since(state, continued_plan(tiny_recipe(PHASES, *after), state, where="recipe.yaml"))

    return plan


def test_decay_from_here_by_the_tokens_that_plan_names(went_on):
    same = went_on((), ())
    assert same.nothing
    assert same.place == "in phase stable, which ends here with phases.1.tokens=1600"
    here = went_on((), ("phases.1.tokens=1600",))
    assert here.notes == (
        "phase stable: was 1.6K to 6.4K, now 1.6K to 3.2K",
        "phase decay: was 6.4K to 9.6K, now 3.2K to 6.4K",
        "learning rate: from 3.2K tokens on: decay starts 3.2K earlier, schedule ends 3.2K earlier",
    )
    assert here.place == "where phase decay begins"


def test_a_curve_under_way_is_cut_by_the_keys_that_plan_names(went_on):
    """A cosine over the rest of the run, cut at 3,200 tokens to decay from there; stretched it must not be."""
    place = went_on(COSINE, COSINE).place
    assert place == "in phase stable, which ends here with phases.1.tokens=1600 and phases.1.learning_rate.over=8000"
    keys = re.findall(r"phases\S+=\d+", place)
    found = went_on(COSINE, (*COSINE[:1], *keys, "phases.2.learning_rate={to: 0, shape: 1-sqrt}"))
    assert found.notes[-1] == (
        "learning rate: from 3.2K tokens on: decay cosine -> cosine cut at 3.2K then 1-sqrt, floor 1e-3 -> 0, "
        "schedule ends 3.2K earlier"
    )
    with pytest.raises(UserError, match=r"end: got \d+; expected \d+, as the checkpoint at 3,200 tokens has it"):
        went_on(COSINE, (*COSINE, "phases.2.tokens=6400"))


def test_a_longer_horizon_and_another_floor(went_on):
    longer = went_on((), ("phases.1.tokens=8000", "phases.2.learning_rate.to=0"))
    assert longer.notes[-1] == (
        "learning rate: from 6.4K tokens on: decay starts 3.2K later, floor 1e-3 -> 0, schedule ends 3.2K later"
    )


def test_rewound_from_the_end_and_decayed_longer(went_on):
    """The checkpoint before the decay is always kept: from there all of it is ahead."""
    rewound = went_on((), ("phases.2.tokens=6400",), at=6400)
    assert rewound.notes[-1] == "learning rate: from 6.4K tokens on: schedule ends 3.2K later"
    again = went_on((), ("phases.2.learning_rate={to: 0, shape: linear}",), at=6400)
    assert again.notes == ("learning rate: from 6.4K tokens on: decay 1-sqrt -> linear, floor 1e-3 -> 0",)


def test_a_second_warmup_after_the_end(went_on):
    more = (
        ", {name: again, tokens: 800, learning_rate: {to: 5e-3}},"
        " {name: last, tokens: 1600, learning_rate: {to: 0, shape: linear}}]"
    )
    found = went_on((), (PHASES.removesuffix("]") + more,), at=9600)
    assert found.notes == (
        "phase again: new, 9.6K to 10.4K",
        "phase last: new, 10.4K to 12K",
        "learning rate: from 9.6K tokens on: warms up again at 9.6K over 800 to 5e-3 (linear), "
        "decays at 10.4K over 1.6K to 0 (linear), schedule ends 2.4K later",
    )


def test_batch_sizes_and_curves_beside_the_learning_rate(went_on):
    found = went_on(
        ("optimizer.weight_decay=0.1",),
        ("global_batch_size=[[0, 4], [6400, 8]]", "phases.2.weight_decay={to: 0.01}"),
    )
    assert found.notes == (
        "weight decay: from 6.4K tokens on: decays at 6.4K over 3.2K to 0.01 (linear)",
        "batch size: from 6.4K tokens on: 4 -> 8",
    )


def test_a_ramp_that_only_moves_with_its_phase_is_the_same(tiny_plan):
    ramp = "phases.2.mixture={web: 1, code: 1}", "phases.2.mixture_ramp=linear"
    sources = "sources={web: {tokens: 100K}, code: {tokens: 100K}}"
    old = tiny_plan(PHASES, sources, *ramp)
    notes = changes_beside(old, tiny_plan(PHASES, sources, *ramp, "phases.1.tokens=8000")).notes
    assert [note.partition(":")[0] for note in notes] == ["phase stable", "phase decay", "learning rate"]
    cosine = tiny_plan(PHASES, sources, ramp[0], "phases.2.mixture_ramp=cosine")
    assert changes_beside(old, cosine).notes == ("phase decay: other ramp",)


@pytest.mark.parametrize(
    ("overrides", "notes"),
    [
        ([], ()),
        (["seed=8"], ()),
        (["phases.0.learning_rate.to=2e-2"], ("learning rate: from 0 tokens on: peak 0.01 -> 0.02",)),
        (
            [WAVES],
            (
                "phase waves: new, 1.6K to 4.8K",
                "phase stable: was 1.6K to 6.4K, now 4.8K to 6.4K",
                "learning rate: from 1.6K tokens on: 2 waves from 1.6K to 4.8K between 2e-3 and 0.01, then 0.01",
            ),
        ),
        (["phases.2.mixture={web: 1, code: 1}"], ("phase decay: other weights",)),
        (
            ["coupling={rule: sqrt, reference: 8}"],
            ("learning rate: coupling to the batch size none -> sqrt at 8",),
        ),
    ],
)
def test_two_recipes_beside_each_other(tiny_plan, overrides, notes):
    sources = "sources={web: {tokens: 100K}, code: {tokens: 100K}}"
    found = changes_beside(tiny_plan(PHASES, sources), tiny_plan(PHASES, sources, *overrides))
    assert found.notes == notes
    assert (found.place, found.consumed_tokens) == ("", 0)


def test_a_recipe_with_other_windows_has_its_own_edges(tiny_plan):
    """Edges in samples are tokens by the windows of each recipe."""
    assert changes_beside(tiny_plan(PHASES, "sequence_length=32"), tiny_plan(PHASES)).notes == ()


def test_a_curve_that_became_a_number_does_not_end_earlier(tiny_plan):
    old = tiny_plan(PHASES, "phases.2.weight_decay={to: 0.01}")
    assert changes_beside(old, tiny_plan(PHASES)).notes == ("weight decay: from 6.4K tokens on: no decay",)


def test_the_command_compares_recipes(tmp_path, tiny_recipe, capsys):
    paths = tmp_path / "old.yaml", tmp_path / "new.yaml"
    for path, edits in zip(paths, ((), ("phases.1.tokens=8000",)), strict=True):
        recipe = tiny_recipe(PHASES, *edits)
        path.write_text(write_yaml(recipe.model_dump(mode="json", by_alias=True, exclude_none=True)))
    show_plan(paths[1], [], plot=tmp_path / "x.html", as_json=False, against=paths[0])
    words = "learning rate: from 6.4K tokens on: decay starts 3.2K later, schedule ends 3.2K later"
    assert words in capsys.readouterr().out
    assert words in (tmp_path / "x.html").read_text()
    show_plan(paths[0], [], plot=None, as_json=True, against=paths[0])
    assert json.loads(capsys.readouterr().out)["changes"]["notes"] == []
    with pytest.raises(UserError, match="--resume-from: got --against as well"):
        show_plan(paths[0], [], plot=None, as_json=True, against=paths[0], resume_from=tmp_path)
