"""The comparison of schedules in examples/: its arms are what they say, its error bars right."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from annealmix.recipe.load import load_recipe
from annealmix.recipe.resolve import resolve

EXAMPLES = Path(__file__).parents[2] / "examples"
QUICKSTART = EXAMPLES.parent / "configs" / "quickstart.yaml"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("compare_schedules", EXAMPLES / "compare_schedules.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def planned(example, arm):
    phases = f"phases=[{example.WARMUP}, {example.ARMS[arm]}]"
    sources = "sources={code: {tokens: 10M}, prose: {tokens: 10M}}"
    recipe = load_recipe(QUICKSTART, [sources, phases, "tokenizer=null", "vocab_size=4096"])
    return resolve(recipe, where="example")


def test_all_arms_have_one_length_one_warmup_one_mixture_and_end_at_zero(example):
    plans = [planned(example, arm) for arm in example.ARMS]
    assert {plan.total_tokens for plan in plans} == {600_064}
    assert {plan.schedule.value(29_952) for plan in plans} == {2e-3}
    assert {plan.schedule.value(plan.total_tokens) for plan in plans} == {0.0}
    assert len({str(plan.mixture.locate(np.arange(0, 2000, 97))) for plan in plans}) == 1


def test_the_table_has_standard_errors_and_paired_intervals(example):
    lines = example.table({"wsd": [1.0, 2.0, 3.0], "waves": [1.1, 2.2, 3.3]}).splitlines()
    assert lines[2] == "| wsd | 2.0000 ± 0.5774 |  | 1.0000, 2.0000, 3.0000 |"
    # differences 0.1, 0.2, 0.3: mean 0.2, standard error 0.1 / sqrt(3), Student's t of 2 degrees 4.3027
    assert lines[3] == "| waves | 2.2000 ± 0.6351 | +0.2000 (-0.0484 to +0.4484) | 1.1000, 2.2000, 3.3000 |"
