"""``annealmix layers`` from end to end on a run of ours and a Hugging Face model, in this process."""

import base64
import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

transformers = pytest.importorskip("transformers")

NAME = re.compile(r"`([^`]+)`")


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    config = transformers.LlamaConfig(
        vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=32, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


class Page(HTMLParser):
    """Sources of images and everything that would be loaded."""

    def __init__(self):
        super().__init__()
        self.images, self.loaded = [], []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.images += [found["src"]] if tag == "img" else []
        self.loaded += [value for name, value in attributes if name in ("src", "href") and "data:" not in value]


def keys_of(value, path=""):
    """Dotted names of all that stands in a report; lists as [], the parts and measures of a layer under one name."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        yield from keys_of(value[0], f"{path}[]")
    elif isinstance(value, dict) and set(value) == {"mean", "low", "high"}:
        yield path
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from keys_of(inner, _named(f"{path}.{key}".lstrip("."), key))
    else:
        yield path


def _named(path, key):
    path = path.replace(".attention", ".layer").replace(".mlp", ".layer")
    return path.removesuffix(key) + "P" if key in ("5", "50", "95") else path


def described():
    """Keys in the table of docs/layers.md."""
    page = (Path(__file__).parents[3] / "docs" / "layers.md").read_text()
    section = page.partition("## `report.json`")[2].partition("\n## ")[0]
    return {name for line in section.splitlines() if line.startswith("|") for name in NAME.findall(line.split("|")[1])}


def test_a_run_and_its_report(straight, alone, annealmix, tmp_path):
    data = [option for name in ("web", "code") for option in ("--data", straight.data / name)]
    out = tmp_path / "report"
    wanted = (straight.folder / "run", *data, "--out", out, "--windows", 8, "--ablate", "layer")
    status, output, errors = annealmix("layers", *wanted)
    assert (status, errors) == (0, "")
    assert output.splitlines()[-1] == str(out / "report.html")
    report = json.loads((out / "report.json").read_text())
    assert report["probe"]["tokens"] == 2 * 8 * 32
    assert [model["consumed_tokens"] for model in report["models"]] == [1024, 2048, 2560, 3072, 4096]
    last = report["models"][-1]
    assert [layer["number"] for layer in last["layers"]] == [0, 1]
    assert all(
        named["low"] <= named["mean"] <= named["high"] for layer in last["layers"] for named in layer["layer"].values()
    )
    assert {row["family"] for row in last["strata"]} == {"source", "loss", "entropy", "position", "class"}
    assert sum(row["tokens"] for row in last["strata"] if row["family"] == "loss") == 512
    assert last["ablations"][0]["part"] == "layer"
    assert report["trajectory"]["tokens"] == [1024, 2048, 2560, 3072, 4096]
    assert report["trajectory"]["verdict"] in ("still moving", "saturated", "cannot tell")
    assert described() == set(keys_of(report))
    with (out / "layers.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5 * 2
    assert float(rows[-1]["layer_distance"]) == last["layers"][-1]["layer"]["distance"]["mean"]
    page = Page()
    page.feed((out / "report.html").read_text())
    assert page.loaded == []
    drawn = {base64.b64encode(path.read_bytes()).decode() for path in out.glob("*.png")}
    assert {image.partition("base64,")[2] for image in page.images} == drawn
    assert len(drawn) >= 9


def test_the_loss_of_a_checkpoint_is_that_of_its_run(straight, alone, annealmix, tmp_path):
    """The held-out loss that training logged is of other rows; that of the same order must come out."""
    folder = straight.folder / "run" / "checkpoints" / "step_00000016"
    status, output, _ = annealmix(
        "layers", folder, "--data", straight.data / "web", "--out", tmp_path / "r", "--windows", 64, "--json"
    )
    assert status == 0
    logged = straight.metric("validation/web")[16]
    assert json.loads(output)["models"][0]["loss"]["mean"] == pytest.approx(logged, rel=0.1)


def test_a_hugging_face_folder_beside_a_run_of_ours(straight, alone, llama, annealmix, tmp_path):
    ours = straight.folder / "run" / "checkpoints" / "step_00000016"
    out = tmp_path / "both"
    status, output, _ = annealmix(
        "layers", llama, ours, "--data", f"text={straight.data / 'web'}", "--out", out, "--windows", 4, "--json"
    )
    assert status == 0
    report = json.loads(output)
    assert [(m["name"], m["num_layers"]) for m in report["models"]] == [("tiny-llama", 3), ("run/step_00000016", 2)]
    assert report["trajectory"] is None
    assert (out / "models.png").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["nowhere"],
            "nowhere: got no such folder; expected a checkpoint, a run's folder with checkpoints, or a folder",
        ),
        (["{llama}", "--data", "{web}", "--sequence-length", "100000"], "make no training row"),
        (["{llama}", "--data", "a={web}", "--data", "a={web}"], "--data: got a twice; expected NAME=PATH"),
        (["{llama}", "--data", "{web}", "--out", "{full}"], "got precious in it; expected a new folder, or an earlier"),
        (["{llama}", "{llama}", "--data", "{web}"], "tiny-llama twice; expected each model once"),
        (["{llama}", "--data", "{web}", "--set", "seed=2"], "got --set; expected nothing of a recipe"),
        (
            ["{llama}", "--data", "{web}", "--ablate-span", "2:9"],
            "--ablate-span: got 2:9; expected A:B with 0 <= A < B <= 3",
        ),
    ],
)
def test_mistakes_are_one_clear_line_and_nothing_is_written(world, llama, annealmix, tmp_path, words, message):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").touch()
    places = {"llama": llama, "web": world / "web", "full": tmp_path / "full"}
    words = [word.format(**places) for word in words]
    words += [] if "--data" in words else ["--data", str(world / "web")]
    words += [] if "--out" in words else ["--out", str(tmp_path / "out")]
    status, _, errors = annealmix("layers", *words, "--windows", "2")
    assert status == 2
    assert message in errors
    assert errors.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_text_of_another_tokenizer_is_refused_unless_told(world, llama, annealmix, tmp_path):
    (llama / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 0}}}))
    for end in ("bin", "idx"):
        (tmp_path / f"text.{end}").write_bytes((world / f"web.{end}").read_bytes())
    from mixer.indexed import IndexedTokens

    counts = {"tokens": IndexedTokens.open(tmp_path / "text").num_tokens, "documents": 300, "supervised_tokens": 0}
    manifest = {"kind": "text", **counts, "tokenizer": {"sha256": "0" * 64}}
    (tmp_path / "text.json").write_text(json.dumps(manifest))
    words = ("layers", llama, "--data", tmp_path / "text", "--out", tmp_path / "out", "--windows", "2")
    status, _, errors = annealmix(*words)
    assert status == 2
    assert "written with tokenizer 000000000000; expected text of its tokenizer" in errors
    status, output, _ = annealmix(*words, "--any-tokenizer")
    assert status == 0
    assert "No intervals over text with fewer than 8 documents of a source: text (" in output
    (llama / "tokenizer.json").unlink()
