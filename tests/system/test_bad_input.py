"""Mistakes that people make: one clear line, exit status 2, no traceback, nothing written."""

import json
import shutil

import numpy as np
import pytest

from tools.cli import main


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


def truncate(path, keep):
    path.write_bytes(path.read_bytes()[:keep])


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
