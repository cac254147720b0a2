"""Decay from here, as docs/recipes.md shows it: a checkpoint of another run, and the keys that `plan` names."""

import re
import shutil

from tools.plan.changes import changes_since
from tools.recipe.continued import continued_plan, read_state
from tools.recipe.load import load_recipe


def test_a_branch_decays_from_a_checkpoint_of_another_run(straight, workplace):
    trunk = straight.folder / "run" / "checkpoints" / "step_00000008"  # in the middle of `stable`
    checkpoint = workplace.folder / "branch" / "checkpoints" / trunk.name
    shutil.copytree(trunk, checkpoint)
    branch = f"run_dir={workplace.folder / 'branch'}"
    state = read_state(checkpoint, print)

    def planned(*edits):
        return continued_plan(load_recipe(workplace.recipe(branch, *edits)), state, where="")

    keys = re.findall(r"phases\S+=\d+", changes_since(state, planned()).place)
    assert keys == ["phases.1.tokens=1024"]
    edits = (*keys, "phases.2.tokens=1024")
    plan = planned(*edits)
    words = "learning rate: from 2.05K tokens on: decay starts 640 earlier, schedule ends 1.02K earlier"
    assert words in changes_since(state, plan).notes
    workplace.pretrain(branch, *edits, resume=True)
    rates = workplace.metric("learning_rate", run="branch")
    assert list(rates.values()) == [plan.schedule.value(tokens) for tokens in (2048, 2304, 2560, 2816)]
    assert rates[min(rates)] == straight.metric("learning_rate")[min(rates)] == 1e-2
