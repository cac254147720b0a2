"""Mistakes that people make: one clear line, exit status 2, no traceback, nothing written."""

import json
import shutil

import numpy as np
import pytest

from tools.cli import main
from tools.pretrain.checkpoint_store import CheckpointStore
from tools.pretrain.state import RunState
from tools.recipe.continued import model_identity, row_settings
from tools.recipe.load import load_recipe
from tools.recipe.resolve import resolve


def front_door(monkeypatch, capsys, *arguments):
    """Run the command line in this process: (exit status, what stands on stderr)."""
    monkeypatch.setattr("sys.argv", ["annealmix", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code, capsys.readouterr().err


@pytest.fixture
def copied(workplace, world):
    """The workplace over a copy of the data, to be damaged."""
    shutil.copytree(world, workplace.folder / "data")
    return type(workplace)(workplace.folder, workplace.folder / "data")


@pytest.fixture
def checkpointed(copied):
    """A run of the recipe as it stood at sample 64 of 128: its state alone, sealed as a checkpoint is."""
    plan = resolve(load_recipe(copied.recipe()), where="")
    CheckpointStore(copied.folder / "run" / "checkpoints").write(
        state_at(plan, 64), lambda folder: None, is_first=True, barrier=lambda: None
    )
    return copied


def state_at(plan, consumed_samples):
    return RunState(
        step=consumed_samples // 8,
        consumed_samples=consumed_samples,
        consumed_tokens=consumed_samples * plan.recipe.sequence_length,
        history=plan.history.to_json(),
        hyperparameters=plan.hyperparameters.to_dict(),
        batch_size=[list(entry) for entry in plan.batches.ramp.entries],
        model=model_identity(plan.recipe, plan.vocab_size),
        sources=row_settings(plan.recipe),
    )


def truncate(path, keep):
    path.write_bytes(path.read_bytes()[:keep])


def patch(path, at, data):
    content = bytearray(path.read_bytes())
    content[at : at + len(data)] = data
    path.write_bytes(bytes(content))


def overwrite(at, data):
    """Damage web.idx: magic at 0, version at 9, dtype at 17, sequences at 18, lengths from 34 on, then offsets."""
    return lambda place: patch(place.data / "web.idx", at, data)


def foreign_tokenizer(place):
    """A tokenizer that is not the one the data says it was written with."""
    tokenizer = {"model": {"vocab": {str(i): i for i in range(96)}}, "added_tokens": []}
    (place.folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    manifest = json.loads((place.data / "sft.json").read_text())
    manifest["tokenizer"] = {"sha256": "0" * 64}
    (place.data / "sft.json").write_text(json.dumps(manifest))


MISTAKES = {
    "missing file": (lambda place: (place.data / "web.bin").unlink(), (), ["web.bin: No such file"]),
    "truncated index": (
        lambda place: truncate(place.data / "web.idx", 100),
        (),
        ["web.idx: 100 bytes, but its header says"],
    ),
    "no index at all": (
        lambda place: truncate(place.data / "web.idx", 5),
        (),
        ["web.idx: 5 bytes, shorter than a header"],
    ),
    "short tokens": (lambda place: truncate(place.data / "web.bin", 1000), (), ["web.bin: 1,000 bytes, but", "says"]),
    "other tokenizer": (
        foreign_tokenizer,
        ("tokenizer=tokenizer.json", "vocab_size=null"),
        ["sources.sft.path", "written with tokenizer 000000000000", "prepare the data again"],
    ),
    "unknown source": (
        lambda place: None,
        ("phases.0.mixture={wbe: 1}",),
        ["phases[0].mixture.wbe", "the nearest is web"],
    ),
    "less than a window": (
        lambda place: None,
        ("sequence_length=4096", "sources.code.holdout=0.49"),
        ["sources.code", "tokens make no training row"],
    ),
    "phase of nothing": (lambda place: None, ("phases.1.tokens=0",), ["phases[1].tokens: got 0; expected a positive"]),
    "phase below a window": (
        lambda place: None,
        ("phases.1.tokens=3",),
        ["phases[1].tokens", "3", "at least half a window"],
    ),
    "micro-batch": (lambda place: None, ("micro_batch_size=3",), ["global_batch_size: got 8; expected a multiple of"]),
    "no whole batch": (lambda place: None, ("global_batch_size=4096",), ["phases: got 128 windows in all; expected"]),
    "sizes of the model": (
        lambda place: None,
        ("model.num_attention_heads=5",),
        ["model.hidden_size: got 32; expected a multiple"],
    ),
    "text has no assistant": (
        lambda place: None,
        ("sources.web.loss=assistant",),
        ["sources.web", "text has no assistant"],
    ),
    "a negative weight": (
        lambda place: None,
        ("phases.0.mixture={web: -1, code: 2}",),
        ["phases[0].mixture.web: got -1.0; expected a weight of at least 0"],
    ),
    "weights of 0": (lambda place: None, ("phases.2.mixture={web: 0, sft: 0}",), ["phases[2].mixture: got only zeros"]),
    "a weight that is no number": (
        lambda place: None,
        ("phases.0.mixture={web: .nan}",),
        ["phases[0].mixture.web: got .nan; expected a finite number"],
    ),
    "unknown unit": (
        lambda place: None,
        ("unit=characters",),
        ["unit: got characters; expected 'tokens' or 'loss_tokens'"],
    ),
    "a cap that can't hold": (
        lambda place: None,
        ("sources.code.max_epochs=0.1",),
        ["sources.code.max_epochs: got 0.1", "expected at most 0.1; the largest share of code that fits in phases[0]"],
    ),
    "no loss tokens": (
        lambda place: None,
        ("sources.more={tokens: 9K, mean_loss_tokens: 0}", "unit=loss_tokens"),
        ["sources.more.mean_loss_tokens: got 0; expected greater than 0"],
    ),
    "another format": (overwrite(0, b"PARQUET"), (), ["web.idx: begins with b'PARQUET", "this is not a Megatron .idx"]),
    "another version": (overwrite(9, b"\2"), (), ["web.idx: version 2, expected 1"]),
    "unknown dtype": (overwrite(17, b"\7"), (), ["web.idx: dtype code 7, expected an integer type"]),
    "offset outside": (
        overwrite(34 + 4 * 300 + 8 * 17, (2**40).to_bytes(8, "little")),
        (),
        ["web: documents from 17 on do not begin one after the other", "`annealmix check` tells which"],
    ),
    "last offset outside": (
        overwrite(34 + 4 * 300 + 8 * 299, (2**40).to_bytes(8, "little")),
        (),
        ["web.bin: ", "web.idx says 1,099,511,6"],
    ),
    "a skip beyond the end": (lambda place: None, ("skip_samples=[[9, 900]]",), ["skip", "900"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_one_line_and_status_2(copied, monkeypatch, capsys, mistake):
    damage, overrides, expected = MISTAKES[mistake]
    damage(copied)
    monkeypatch.chdir(copied.folder)
    status, errors = front_door(monkeypatch, capsys, "plan", copied.recipe(*overrides))
    assert status == 2
    assert errors.startswith("annealmix: ")
    assert errors.count("\n") == 1
    assert [part for part in expected if part not in errors] == []


CHANGED_PASTS = {
    "weights": (
        lambda place: None,
        ("phases.0.mixture.code=2",),
        "phases[0].mixture.code: got 2; expected 1, as in the 2.05K",
    ),
    "seed": (lambda place: None, ("seed=8",), "seed: got 8; expected 7, as in the 2.05K tokens"),
    "tokens": (
        lambda place: patch(place.data / "web.bin", 200, b"\7\7"),
        (),
        "sources.web: source web: fingerprint is ",
    ),
}


@pytest.mark.parametrize("command", [("plan",), ("trace", "--samples", "64:70")])
@pytest.mark.parametrize("changed", CHANGED_PASTS)
def test_what_was_read_stays_as_it_was(monkeypatch, capsys, checkpointed, command, changed):
    """An edit of the past, and data that changed under the history."""
    change, overrides, expected = CHANGED_PASTS[changed]
    change(checkpointed)
    recipe = checkpointed.recipe(*overrides)
    arguments = (command[0], recipe, *command[1:], "--resume-from", checkpointed.folder / "run")
    status, errors = front_door(monkeypatch, capsys, *arguments)
    assert (status, errors.count("\n"), errors[:11]) == (2, 1, "annealmix: ")
    assert expected in errors


def test_a_run_does_not_go_on_with_changed_data(checkpointed):
    change, _, expected = CHANGED_PASTS["tokens"]
    change(checkpointed)
    finished = checkpointed.annealmix("pretrain", checkpointed.recipe(), "--resume")
    assert (finished.status, finished.errors.count("\n"), finished.output) == (2, 1, "")
    assert expected in finished.errors
    assert [path.name for path in (checkpointed.folder / "run").iterdir()] == ["checkpoints"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: x\n\tseed: 1\n", "recipe.yaml:2: got a tab; expected spaces"),
        ("name: x\nseed: 1\nname: y\n", "recipe.yaml:3: the key 'name' stands twice"),
        ("", "recipe.yaml: got NoneType; expected a mapping"),
    ],
)
def test_yaml_mistakes(tmp_path, monkeypatch, capsys, text, expected):
    (tmp_path / "recipe.yaml").write_text(text)
    status, errors = front_door(monkeypatch, capsys, "plan", tmp_path / "recipe.yaml")
    assert (status, errors.count("\n")) == (2, 1)
    assert expected in errors


def test_a_missing_recipe(tmp_path, monkeypatch, capsys):
    status, errors = front_door(monkeypatch, capsys, "trace", tmp_path / "no.yaml", "--samples", "0:1")
    assert (status, "got no such file" in errors) == (2, True)


def test_trace_outside_the_run(workplace, monkeypatch, capsys):
    status, errors = front_door(monkeypatch, capsys, "trace", workplace.recipe(), "--samples", "0:1000")
    assert (status, "samples of the run, which has 128" in errors) == (2, True)


def test_pretrain_refuses_before_it_writes(copied):
    """The real program, on two processes: layouts that can't be, and data that can't be read."""
    finished = copied.annealmix("pretrain", copied.recipe("parallelism.sequence_parallel=true"), processes=2)
    assert finished.status != 0
    assert "parallelism.sequence_parallel: got true; expected Transformer Engine" in finished.errors
    assert "Traceback" not in finished.errors.split("torch/distributed")[0]
    truncate(copied.data / "sft.mask.bin", 10)
    finished = copied.annealmix("pretrain", copied.recipe())
    assert finished.status == 2
    assert finished.errors.startswith("annealmix: ")
    assert not (copied.folder / "run").exists()


def test_what_megatron_refuses_to_build_is_one_line(workplace):
    recipe = workplace.recipe("parallelism.pipeline_model_parallel_size=2", "model.num_layers=3")
    finished = workplace.annealmix("pretrain", recipe, processes=2)
    (line,) = [line for line in finished.errors.splitlines() if line.startswith("annealmix: ")]
    assert "model: expected" in line
    assert "Traceback" not in finished.errors.split("torch/distributed")[0]


@pytest.mark.parametrize(
    "override",
    [
        "name=[/x]",
        "name=../x",
        "sources={}",
        "phases.0.tokens=1e9999999K",
        "phases.0.name=a b",
        "model.mtp_num_layers=1",
    ],
)
def test_odd_values(workplace, monkeypatch, capsys, override):
    status, errors = front_door(monkeypatch, capsys, "plan", workplace.recipe(override))
    assert (status, errors.count("\n"), errors[:11]) == (2, 1, "annealmix: ")


def test_a_run_folder_that_can_not_be(workplace):
    finished = workplace.annealmix("pretrain", workplace.recipe("run_dir=/proc/x"))
    assert finished.status == 2
    assert "expected a folder to write in" in finished.errors


def test_a_layout_that_does_not_divide(workplace):
    recipe = workplace.recipe("parallelism.tensor_model_parallel_size=3", "model.num_attention_heads=4")
    finished = workplace.annealmix("pretrain", recipe)
    assert finished.status == 2
    assert "1 processes for tensor x pipeline x context = 3" in finished.errors


def test_token_ids_beyond_the_vocabulary(copied):
    """Data of another vocabulary, with ids that the model has no rows for."""
    tokens = np.fromfile(copied.data / "web.bin", np.uint16)
    tokens[:] = 60_000
    tokens.tofile(copied.data / "web.bin")
    finished = copied.annealmix("pretrain", copied.recipe())
    assert finished.status == 2
    assert "source web: token id 60,000, but the model's vocabulary ends at 95" in finished.errors
    assert "Traceback" not in finished.errors
