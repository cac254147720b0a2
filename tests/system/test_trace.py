"""What ``trace`` says is what training reads, step by step, checked against the files themselves."""

import json
import zlib

import numpy as np

from mixer.holdout import Holdout
from mixer.indexed import IndexedTokens
from tools.recipe.load import load_recipe
from tools.recipe.resolve import resolve

LENGTH = 32


def test_trace_names_exactly_the_windows_that_training_read(straight):
    """Windows of text are cut here again, from the .bin, the .idx and the holdout; their digests are the run's."""
    recipe = straight.recipe()
    finished = straight.annealmix("trace", recipe, "--samples", "0:128", "--json")
    rows = json.loads(finished.output)
    assert [row["sample"] for row in rows] == list(range(128))
    assert set(rows[0]) == {"sample", "source", "draw", "epoch", "row"}
    plan = resolve(load_recipe(recipe), where="")
    for read in list(straight.reads().values())[:10]:  # before the decay there is text alone
        samples = rows[read["first_sample"] : read["first_sample"] + read["size"]]
        assert sum(digest(straight, plan, row) for row in samples) == read["digest"]


def digest(place, plan, row):
    tokens = IndexedTokens.open(place.data / row["source"])
    holdout = Holdout(plan.history.sources[row["source"]].generations[0].holdout)
    start = holdout.training_rows(num_tokens=tokens.num_tokens, window_tokens=LENGTH).starts([row["row"]])[0]
    window = np.fromfile(place.data / f"{row['source']}.bin", np.uint16)[start : start + LENGTH]
    return zlib.crc32(window.astype(np.int64).tobytes())


def test_each_draw_follows_the_one_before(straight):
    """Over the run, every source's draws are 0, 1, 2, ... in order of sample."""
    finished = straight.annealmix("trace", straight.recipe(), "--samples", "0:128", "--json")
    draws: dict[str, list[int]] = {}
    for row in json.loads(finished.output):
        draws.setdefault(row["source"], []).append(row["draw"])
    assert {name: numbers == list(range(len(numbers))) for name, numbers in draws.items()} == dict.fromkeys(draws, True)
    assert {name: len(numbers) for name, numbers in draws.items()} == {"web": 78, "code": 39, "sft": 11}
