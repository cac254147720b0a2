"""What ``trace`` says is what training reads, step by step, checked against the files themselves."""

import json
import zlib

import numpy as np

from mixer.holdout import Holdout
from mixer.indexed import IndexedTokens
from tools.recipe.load import load_recipe
from tools.recipe.resolve import resolve
from tools.trace.command import trace
from tools.trace.selection import Selection

LENGTH = 32


def test_trace_names_exactly_the_windows_that_training_read(straight):
    """Windows of text are cut here again, from the .bin, the .idx and the holdout; their digests are the run's."""
    plan = plan_of(straight)
    for read in list(straight.reads().values())[:10]:  # before the decay there is text alone
        rows, _ = trace(plan, Selection(step=read["step"]))
        assert [row["sample"] for row in rows] == list(range(read["first_sample"], read["first_sample"] + read["size"]))
        assert sum(digest(straight, plan, row) for row in rows) == read["digest"]


def test_the_command_from_a_checkpoint_says_what_the_run_read(straight):
    """Asked for a step with and without the checkpoint of a later one, and back from a document to that step."""
    ask = ("trace", straight.recipe(), "--step", 7, "--json")
    fresh, resumed = straight.annealmix(*ask), straight.annealmix(*ask, "--resume-from", straight.folder / "run")
    rows = json.loads(fresh.output)
    assert rows == json.loads(resumed.output)
    assert " ".join(map(str, window(straight, plan_of(straight), rows[0])[:12])) == rows[0]["text"]
    document = f"{rows[0]['source']}:{rows[0]['documents'][0]}"
    found, _ = trace(plan_of(straight), Selection(document=document))
    assert rows[0]["sample"] in [row["sample"] for row in found]


def plan_of(place):
    return resolve(load_recipe(place.recipe()), where="")


def digest(place, plan, row):
    return zlib.crc32(window(place, plan, row).astype(np.int64).tobytes())


def window(place, plan, row):
    tokens = IndexedTokens.open(place.data / row["source"])
    holdout = Holdout(plan.history.sources[row["source"]].generations[0].holdout)
    start = holdout.training_rows(num_tokens=tokens.num_tokens, window_tokens=LENGTH).starts([row["row"]])[0]
    return np.fromfile(place.data / f"{row['source']}.bin", np.uint16)[start : start + LENGTH]


def test_each_draw_follows_the_one_before(straight):
    """Over the run, every source's draws are 0, 1, 2, ... in order of sample."""
    draws: dict[str, list[int]] = {}
    for row in trace(plan_of(straight), Selection(samples="0:128"), with_text=False)[0]:
        draws.setdefault(row["source"], []).append(row["draw"])
    assert {name: numbers == list(range(len(numbers))) for name, numbers in draws.items()} == dict.fromkeys(draws, True)
    assert {name: len(numbers) for name, numbers in draws.items()} == {"web": 78, "code": 39, "sft": 11}
