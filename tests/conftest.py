"""A small world for whole programs: two sources of text, one of conversations, and a recipe that uses them all.

Tokens follow a noisy rule, so there is something to learn; files are written by megatron-core's own builder. Programs
run as a user runs them, in processes of their own.
"""

import copy
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from tools.recipe.load import apply_override
from tools.recipe.yaml_file import write_yaml

VOCABULARY = 96
RECIPE = {
    "name": "tiny",
    "seed": 7,
    "sequence_length": 32,
    "model": {
        "num_layers": 2,
        "hidden_size": 32,
        "num_attention_heads": 4,
        "num_query_groups": 2,
        "ffn_hidden_size": 64,
    },
    "vocab_size": VOCABULARY,
    "global_batch_size": 8,
    "micro_batch_size": 2,
    "sources": {
        "web": {"path": "web", "holdout": 0.05},
        "code": {"path": "code", "holdout": 0.05},
        "sft": {"path": "sft", "holdout": 0.05, "loss": "assistant"},
    },
    "phases": [
        {
            "name": "warmup",
            "tokens": 1024,
            "learning_rate": {"from": 1e-4, "to": 1e-2},
            "mixture": {"web": 2, "code": 1},
        },
        {"name": "stable", "tokens": 1664, "learning_rate": "constant"},
        {"name": "decay", "tokens": 1408, "learning_rate": {"to": 1e-4}, "mixture": {"web": 2, "code": 1, "sft": 1}},
    ],
    "validation": {"every": 1024, "windows": 4},
    "checkpoints": {"every": 1024, "keep_last": 9},
    "tracking": {"uri": "journal"},
}  # 4,096 tokens: 16 steps of 256


def write_tokens(prefix: Path, documents: list[np.ndarray], dtype: type = np.uint16) -> None:
    """One sequence a document, through megatron-core's builder."""
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

    builder = IndexedDatasetBuilder(f"{prefix}.bin", dtype=dtype)
    for document in documents:
        builder.add_document(torch.from_numpy(document.astype(np.int64)), [len(document)])
    builder.finalize(f"{prefix}.idx")


def make_documents(seed: int, count: int, mean_length: int) -> list[np.ndarray]:
    """Walks around the vocabulary in steps of 1 to 3, whose direction depends on the seed; 0 ends each."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(mean_length // 2, mean_length * 3 // 2, count)
    steps = [rng.integers(1, 4, length) * (1 if seed % 2 else -1) for length in lengths]
    return [np.append(2 + walk.cumsum() % (VOCABULARY - 2), 0) for walk in steps]


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """The folder with the three sources."""
    folder = tmp_path_factory.mktemp("world")
    write_tokens(folder / "web", make_documents(1, 300, 60))
    write_tokens(folder / "code", make_documents(2, 150, 60))
    chats = make_documents(3, 200, 20)
    write_tokens(folder / "sft", chats)
    write_tokens(folder / "sft.mask", [np.arange(len(chat)) >= len(chat) // 2 for chat in chats], np.uint8)
    sizes = {"documents": len(chats), "tokens": sum(map(len, chats))}
    manifest = {"kind": "chat", **sizes, "supervised_tokens": 0, "special_tokens": {"eod": 0, "pad": 1}}
    (folder / "sft.json").write_text(json.dumps(manifest))
    return folder


def append_documents(prefix: Path, documents: list[np.ndarray]) -> None:
    """Give a file more documents at its end; what stands there is moved aside, for whoever has it mapped."""
    from mixer.indexed import IndexedTokens

    old = IndexedTokens.open(prefix)
    known = np.split(np.fromfile(f"{prefix}.bin", np.uint16), np.cumsum(old.lengths)[:-1])
    write_tokens(prefix.with_suffix(".more"), [*known, *documents])
    for suffix in (".bin", ".idx"):
        os.replace(f"{prefix}.more{suffix}", f"{prefix}{suffix}")


@pytest.fixture(scope="session")
def grow():
    """Append to a source: ``grow(prefix, seed=9, count=50)``."""
    return lambda prefix, *, seed, count: append_documents(prefix, make_documents(seed, count, 60))


@dataclass(frozen=True)
class Finished:
    """A program that ended."""

    status: int
    output: str
    errors: str


@dataclass(frozen=True)
class Workplace:
    """A folder with a recipe over the world's data, and ways to run programs in it."""

    folder: Path
    data: Path

    def recipe(self, *overrides: str, name: str = "recipe.yaml") -> Path:
        """Write the recipe with overrides; the run goes into ``run`` unless it says otherwise."""
        document = copy.deepcopy(RECIPE)
        for source in document["sources"].values():
            source["path"] = str(self.data / source["path"])
        document["run_dir"] = str(self.folder / "run")
        for override in overrides:
            apply_override(document, override)
        path = self.folder / name
        path.write_text(write_yaml(document))
        return path

    def annealmix(self, *arguments: object, processes: int = 1, **options) -> Finished:
        """Run a command to its end; with several processes, through torchrun."""
        with self.start(*arguments, processes=processes, **options) as program:
            output, errors = program.communicate(timeout=240)
        return Finished(program.returncode, output, errors)

    def start(self, *arguments: object, processes: int = 1, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a command and leave it running."""
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        launch = [*torchrun, "-m", "annealmix"] if processes > 1 else ["-m", "annealmix"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", **(env or {})}
        return subprocess.Popen(
            [sys.executable, *launch, *map(str, arguments)],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def pretrain(self, *overrides: str, processes: int = 1, resume: bool = False) -> "Workplace":
        """Train to the end, which must succeed."""
        arguments = ["pretrain", self.recipe(*overrides), *(["--resume"] if resume else [])]
        finished = self.annealmix(*arguments, processes=processes)
        assert finished.status == 0, finished.errors[-4000:]
        return self

    def metric(self, name: str, run: str = "run") -> dict[int, float]:
        """A metric of the run by step, from its journal; a step taken twice counts as the later one."""
        lines = (self.folder / run / "tracking" / "journal.jsonl").read_text().splitlines()
        records = [record for record in map(json.loads, lines) if record["kind"] == "metrics"]
        return {record["step"]: float(record["values"][name]) for record in records if name in record["values"]}

    def reads(self, run: str = "run") -> dict[int, dict[str, int]]:
        """What each step read, by step; a step taken twice counts as the later one."""
        lines = (self.folder / run / "reads.jsonl").read_text().splitlines()
        return {record["step"]: record for record in map(json.loads, lines)}


@pytest.fixture
def workplace(tmp_path, world):
    """A fresh folder over the shared data."""
    return Workplace(tmp_path, world)


@pytest.fixture(scope="session")
def straight(tmp_path_factory, world):
    """A run of one process, start to end, that others are compared with."""
    return Workplace(tmp_path_factory.mktemp("straight"), world).pretrain()


def resumed_from(run: Workplace, folder: Path, step: int) -> Workplace:
    """A copy of a run as it stood after a step: its checkpoints up to there."""
    shutil.copytree(run.folder, folder, dirs_exist_ok=True)
    for checkpoint in (folder / "run" / "checkpoints").iterdir():
        if int(checkpoint.name.removeprefix("step_")) > step:
            shutil.rmtree(checkpoint)
    return Workplace(folder, run.data)


@pytest.fixture
def as_it_stood(tmp_path):
    """Take a finished run back to a step, in a folder of this test's own."""
    return lambda run, step: resumed_from(run, tmp_path / "again", step)
