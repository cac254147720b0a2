"""A running run, edited: a source that grew, a ramp, new weights, a document put out of bounds; then resumed."""

import json
import shutil
import zlib

import numpy as np

from mixer.ledger import Ledger
from mixer.windows import Windows
from tools.recipe.continued import continued
from tools.recipe.load import load_recipe
from tools.recipe.resolve import resolve

AT = 64  # samples consumed by step 8, in the middle of `stable`
EDITS = (
    "phases.1.mixture={web: 1, code: 1}",  # new weights for what is left of the running phase
    "phases.2.tokens=8192",  # 256 samples more or less: web is read more than once
    "phases.2.mixture={web: 6, sft: 1}",
    "phases.2.mixture_ramp=linear",
    "sources.web.grown=append",
    "checkpoints.every=2048",
)


def digests(plan, first, end):
    """Of every sample, what the run's record adds up: a checksum of its tokens."""
    located = plan.mixture.locate(np.arange(first, end))
    out = Windows.empty(end - first, plan.recipe.sequence_length)
    for k, name in enumerate(plan.mixture.names):
        (at,) = np.nonzero(located.source == k)
        if at.size:
            plan.sources[name].fill(located.row[at], out, at, offsets=located.offset[at])
    return [zlib.crc32(row.astype(np.int64).tobytes()) for row in out.tokens]


def rows_of(plan, name, end):
    located = plan.mixture.locate(np.arange(end))
    return located.row[located.source == plan.mixture.names.index(name)].tolist()


def test_an_edited_run_reads_what_its_plan_says(straight, as_it_stood, grow):
    place = as_it_stood(straight, 8)
    data = place.folder / "data"
    shutil.copytree(straight.data, data)
    place = type(place)(place.folder, data)
    before = resolve(load_recipe(place.recipe()), where="")
    grow(data / "web", seed=9, count=40)
    document = before.sources["web"].documents(rows_of(before, "web", 128)[60])[0]
    edits = (*EDITS, f"skip_documents={{web: [{document}]}}")
    plan = continued(place.recipe(*edits), [], place.folder / "run")
    place.pretrain(*edits, resume=True)

    expected = digests(plan, 0, plan.batches.first_sample(plan.batches.num_steps))
    for step, read in place.reads().items():
        first, end = read["first_sample"], read["first_sample"] + read["size"]
        assert first == plan.batches.first_sample(step)
        assert sum(expected[first:end]) == read["digest"], step
    assert len(place.reads()) == plan.batches.num_steps == 42

    skipped = set(plan.sources["web"].rows_of_document(document).tolist())
    web, rows_before = rows_of(plan, "web", 340), rows_of(before, "web", AT)
    assert web[: len(rows_before)] == rows_before
    assert not skipped & set(web[len(rows_before) :])
    assert len(set(web)) == len(web), "no row of web twice before all were read"
    for name in ("code", "sft"):
        drawn = plan.mixture.counts(plan.total_samples)[name]
        order = plan.mixture.rows(np.full(drawn, plan.mixture.names.index(name)), np.arange(drawn)).row
        assert rows_of(plan, name, plan.total_samples) == order.tolist(), "every draw in its turn"
    entries = Ledger(plan.mixture, plan.sources).at(plan.total_samples)
    assert {name: entry.samples for name, entry in entries.items()} == {
        name: len(rows_of(plan, name, plan.total_samples)) for name in plan.mixture.names
    }

    printed = place.annealmix("plan", place.recipe(*edits), "--resume-from", place.folder / "run", "--json")
    found, written = json.loads(printed.output), json.loads((place.folder / "run" / "plan.json").read_text())
    assert found["phases"] == written["phases"]
    assert found["changes"]["notes"] == []
