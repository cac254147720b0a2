"""A recipe that would change what was read is refused in its own words: key, both values in its units, what to do."""

import pytest

from tools.errors import UserError
from tools.recipe.continued import continued_plan
from tools.recipe.load import load_recipe
from tools.recipe.resolve import resolve
from tools.recipe.source_spec import SourceSpec

from .test_recipe_continued import edited, planned, state_of

EVEN = "phases.1.mixture={web: 1, code: 1}"
RAMP = EVEN, "phases.1.mixture_ramp=linear"
SKIP = "skip_samples=[[20, 30]]"


def refusal(place, before, *overrides, at):
    with pytest.raises(UserError) as error:
        edited(place, before, *overrides, at=at)
    assert str(error.value).startswith("recipe.yaml: ")
    return str(error.value).removeprefix("recipe.yaml: ")


@pytest.mark.parametrize(
    ("began", "now", "at", "message"),
    [
        ((), ("phases.0.mixture={web: 1}",), 64, "phases[0].mixture.code: got 0; expected 1"),
        ((), ("phases.0.tokens=2K",), 64, "phases[0].tokens: got 2,000; expected 1,024"),
        ((), ("phases.1.tokens=512",), 64, "phases[1].tokens: got 512; expected at least 1,024"),
        (RAMP, (EVEN, "phases.1.mixture_ramp=cosine"), 100, "phases[1].mixture_ramp: got cosine; expected linear"),
        (RAMP, (EVEN,), 100, "phases[1].mixture_ramp: got none; expected linear"),
        ((EVEN,), (), 100, "phases[1].mixture.web: got 2, that of phases[0]; expected 1"),
        ((SKIP,), (), 64, "skip_samples: got none; expected [20, 30]"),
        ((), (SKIP,), 64, "skip_samples: got [20, 30]; expected none"),
        ((), ("unit=loss_tokens",), 120, "unit: got loss_tokens; expected tokens"),
        (("unit=loss_tokens",), (), 120, "unit: got tokens; expected loss_tokens"),
        (
            ("unit=loss_tokens", "phases.0.mixture={web: 2, sft: 1}"),
            ("unit=loss_tokens", "phases.0.mixture={web: 2, sft: 3}"),
            64,
            "phases[0].mixture.sft: got 3; expected 1",
        ),
    ],
)
def test_a_change_of_the_past_is_told_as_the_recipe_has_it(workplace, began, now, at, message):
    so_far = {64: "2.05K", 100: "3.2K", 120: "3.84K"}[at]
    told = f"{message}, as in the {so_far} tokens that the run has read; put it back, or begin a new run"
    assert refusal(workplace, planned(workplace, *began), *now, at=at) == told


def test_phases_that_are_gone_and_counts_that_shrank_are_told(workplace):
    recipe = load_recipe(workplace.recipe())

    def told(changes, before):
        with pytest.raises(UserError) as error:
            continued_plan(recipe.model_copy(update=changes), state_of(before, 100), where="recipe.yaml")
        return str(error.value)

    fewer = told({"phases": recipe.phases[:2]}, resolve(recipe, where=""))
    assert "phases: got 2 that begin before 3,200 tokens; expected 3 that begin before 3,200 tokens" in fewer
    counted, shrunk = ({"sources": {**recipe.sources, "web": SourceSpec(tokens=tokens)}} for tokens in (20_000, 10_000))
    message = told(shrunk, resolve(recipe.model_copy(update=counted), where=""))
    assert "sources.web.tokens: got 10,000; expected at least 20,000, as in the 3.2K tokens" in message
