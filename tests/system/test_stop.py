"""A run that stops itself says what it read, and how to go on without it; the line it prints works."""

import json
import re


def stop(place, *overrides):
    finished = place.annealmix("pretrain", place.recipe(*overrides))
    assert finished.status == 2
    assert "Traceback" not in finished.errors
    return next(line for line in finished.errors.splitlines() if line.startswith("annealmix: "))


def test_a_spike_names_documents_and_the_way_on(workplace):
    """A learning rate that explodes after the first checkpoint; the printed line leaves those samples out."""
    explosion = ("phases.1.learning_rate={from: 30.0, to: 30.0, shape: constant}", "stop_on.window_steps=2")
    message = stop(workplace, *explosion, "stop_on.spike_nats=1")
    assert re.search(r"step \d+ \(samples [\d,]+ to [\d,]+\): got the loss is \d+\.\d+", message)
    assert "nats above the mean of the 2 steps before (the bound is 1)" in message
    assert "web: documents " in message
    assert "last good checkpoint: " in message
    first, end = map(int, re.search(r"skip_samples: \[\[(\d+), (\d+)\]\]", message).groups())
    listing = json.loads(next((workplace.folder / "run").glob("stopped_at_step_*.json")).read_text())
    assert listing["samples"] == [first, end]
    assert set(listing["documents"]) == {"web", "code"}

    without = f"skip_samples=[[{first}, {end}]]"
    workplace.pretrain(without, "phases.1.learning_rate=constant", resume=True)
    everything = ("--samples", "0:128", "--json")
    traced = workplace.annealmix("trace", workplace.recipe(without), *everything)
    plain = workplace.annealmix("trace", workplace.recipe(), *everything)
    skipped = {(row["source"], row["row"]) for row in json.loads(plain.output)[first:end]}
    assert skipped.isdisjoint((row["source"], row["row"]) for row in json.loads(traced.output))


def test_a_loss_that_is_no_number(workplace):
    """It stops, and the tracker is told that the run failed."""
    message = stop(workplace, "phases.0.learning_rate={from: 1e30, to: 1e30, shape: constant}")
    assert "the gradient norm nan" in message
    assert "last good checkpoint: none" in message
    journal = (workplace.folder / "run" / "tracking" / "journal.jsonl").read_text().splitlines()
    assert [json.loads(line)["status"] for line in journal if '"kind":"end"' in line] == ["FAILED"]
