"""README and docs stay true: command lines parse, recipes load, links lead somewhere, tables match the code."""

import ast
import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import get_args

import pytest
import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from schedulers.shapes import SHAPES
from tools.cli import app, main
from tools.plan.tables import plan_json
from tools.recipe.batches import Doubling, LinearSteps
from tools.recipe.curves import CyclesSpec, SegmentSpec, WavesSpec
from tools.recipe.load import parse_recipe
from tools.recipe.named_schedules import BY_NAME
from tools.recipe.resolve import resolve
from tools.recipe.schema import LrMultipliers, Model, PhaseSpec, Recipe
from tools.recipe.source_spec import FromMegatron, SourceSpec
from tools.recipe.yaml_file import parse_yaml

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
RECIPES = ROOT / "docs" / "recipes.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]

# Section of docs/recipes.md -> the part of the schema that its table lists.
SECTIONS = {
    "Recipe": Recipe,
    "`model`": Model,
    "`sources.NAME`": SourceSpec,
    "`from_megatron`": FromMegatron,
    "`phases[]`": PhaseSpec,
    "`phases[].learning_rate`": SegmentSpec,
    "`phases[].learning_rate` of waves": WavesSpec,
    "`phases[].learning_rate` of cycles": CyclesSpec,
    "`optimizer.lr_multipliers`": LrMultipliers,
    **{
        f"`{name}`": type(field.default)
        for name, field in Recipe.model_fields.items()
        if isinstance(field.default, BaseModel)
    },
}
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)]+)\)")
FILE = re.compile(r"`((?:tools|mixer|schedulers|configs|docs|tests)/[\w./-]+)`")


def blocks(page, language):
    """Fenced blocks of a language."""
    return [text for name, text in BLOCK.findall(page.read_text()) if name == language]


def words_of(line):
    """The arguments after ``annealmix`` in a line of shell, or None where it runs something else."""
    words = shlex.split(line, comments=True)
    if "annealmix" not in words:
        return None
    at = words.index("annealmix")
    return words[at + 1 :] if at == 0 or words[at - 1] == "-m" else None


def commands_in(page):
    """Every annealmix command line of a page's shell blocks."""
    lines = [line for text in blocks(page, "bash") for line in text.replace("\\\n", " ").splitlines()]
    return [words for words in map(words_of, lines) if words is not None]


def leaves(group=None, path=()):
    """Path -> command, for each command of the command line."""
    group = group or typer.main.get_command(app)
    found = {}
    for name, command in group.commands.items():
        inner = getattr(command, "commands", None)
        found |= leaves(command, (*path, name)) if inner else {(*path, name): command}
    return found


LEAVES = leaves()
NAMES = [" ".join(path) for path in LEAVES]


def parse(words):
    """Parse a command line as the front door would, without running it."""
    path = next((path for path in LEAVES if tuple(words[: len(path)]) == path), None)
    assert path, f"no such command: annealmix {' '.join(words)}"
    LEAVES[path].make_context(" ".join(path), list(words[len(path) :]))


def complete_recipe():
    """The complete recipe of docs/recipes.md, parsed."""
    documents = [parse_yaml(text, "docs/recipes.md") for text in blocks(RECIPES, "yaml")]
    return next(document for document in documents if "name" in document)


def table(page, heading):
    """Rows of the first table under a heading, as lists of cells."""
    section = re.search(rf"^#+ {re.escape(heading)}$(.*?)(?=^#|\Z)", page.read_text(), re.MULTILINE | re.DOTALL)
    assert section, f"{page.name} has no heading {heading}"
    lines = [line for line in section[1].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def default_of(field):
    """A field's default as the tables spell it."""
    if field.default is PydanticUndefined:
        return "required"
    if isinstance(field.default, BaseModel):
        return "its defaults"
    if field.default is None or field.default == ():
        return "none"
    return f"`{field.default if isinstance(field.default, str) else json.dumps(field.default)}`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_command_lines_parse(page):
    """`parse` asserts that command and options exist; the next test shows it refuse."""
    for words in commands_in(page):
        parse(words)


def test_a_wrong_command_line_would_be_noticed():
    assert len(commands_in(RECIPES)) >= 3
    with pytest.raises(Exception, match="No such option"):
        parse(words_of("torchrun -m annealmix pretrain recipe.yaml --resum"))
    with pytest.raises(AssertionError, match="no such command"):
        parse(words_of("annealmix pretrian recipe.yaml"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_text_exist(page):
    for inline in re.findall(r"`annealmix ([a-z][^`]*)`", page.read_text()):
        words = tuple(inline.split())
        assert any(words[: len(path)] == path[: len(words)] for path in LEAVES), inline


@pytest.mark.parametrize("name", NAMES)
def test_every_command_is_named_and_shows_an_example(name):
    text = "\n".join(page.read_text() for page in PAGES)
    assert re.search(rf"annealmix {name}\b", text)
    example = LEAVES[tuple(name.split())].epilog
    assert example.startswith("Example: ")
    parse(words_of(example.removeprefix("Example: ").strip("`")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_named_files_exist(page):
    text = page.read_text()
    links = [link.partition("#")[0] for link in LINK.findall(text) if "://" not in link]
    assert [link for link in links if link and not (page.parent / link).exists()] == []
    assert [name for name in FILE.findall(text) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_anchors_lead_to_headings(page):
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    known = {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
    assert [link for link in LINK.findall(page.read_text()) if link.startswith("#") and link[1:] not in known] == []


def test_readme_links_every_page_and_names_make_targets_that_exist():
    text = README.read_text()
    assert [page.name for page in PAGES[1:] if f"docs/{page.name}" not in text] == []
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert [target for target in re.findall(r"`make (\w+)`", text) if target not in targets] == []


def test_recipes_load():
    whole = complete_recipe()
    texts = [text for page in PAGES for text in blocks(page, "yaml")]
    assert len(texts) >= 5
    for text in texts:  # a fragment stands for these keys of a whole recipe
        document = parse_yaml(text, "docs")
        parse_recipe(document if "name" in document else {**whole, **document}, "docs")


@pytest.mark.parametrize("heading", SECTIONS)
def test_tables_of_keys_match_the_schema(heading):
    fields = {field.alias or name: default_of(field) for name, field in SECTIONS[heading].model_fields.items()}
    assert {row[0].strip("`"): row[1] for row in table(RECIPES, heading)} == fields


def test_every_named_schedule_has_its_row():
    rows = {row[0].strip("`"): row[1:3] for row in table(RECIPES, "`learning_rate`")}
    assert list(rows) == list(BY_NAME)
    for name, (needs, takes) in rows.items():
        fields = {key: field for key, field in BY_NAME[name].model_fields.items() if key != "schedule"}
        assert set(re.findall(r"`(\w+)`", needs)) == {key for key, field in fields.items() if field.is_required()}
        defaults = {key: field.default for key, field in fields.items() if not field.is_required()}
        stated = {key: default or "None" for key, default in re.findall(r"`(\w+)` ?([^,]*)", takes)}
        assert stated == {key: str(default) for key, default in defaults.items()}, name


def test_batch_ramps_in_words_have_their_keys():
    rows = [set(re.findall(r"`(\w+)`", row[0])) for row in table(RECIPES, "Batch ramps")]
    sections = [{field.alias or key for key, field in form.model_fields.items()} for form in (LinearSteps, Doubling)]
    assert rows == sections


def test_every_shape_has_its_row():
    shapes = [row[0].strip("`") for row in table(RECIPES, "Learning rate")]
    assert shapes == list(SHAPES) == list(get_args(SegmentSpec.model_fields["shape"].annotation))


def test_keys_of_plan_json_are_described():
    described = set(re.findall(r"`([^`]+)`", "\n".join(row[0] for row in table(RECIPES, "`plan --json`"))))
    plan = plan_json(resolve(parse_recipe(complete_recipe(), "docs"), where="docs"))
    found = set(plan)
    for phase in plan["phases"]:
        found |= {f"phases[].{key}" for key in phase}
        found |= {f"phases[].sources.NAME.{key}" for use in phase["sources"].values() for key in use}
    assert described == found


def test_errors_are_printed_as_shown(tmp_path, monkeypatch, capsys):
    (tmp_path / "recipe.yaml").write_text(next(text for text in blocks(RECIPES, "yaml") if text.startswith("name:")))
    monkeypatch.chdir(tmp_path)
    lines = "".join(blocks(RECIPES, "console")).splitlines()
    assert len(lines) == 6
    for command, expected in zip(lines[::2], lines[1::2], strict=True):
        monkeypatch.setattr("sys.argv", shlex.split(command.removeprefix("$ ")))
        with pytest.raises(SystemExit) as left:
            main()
        assert (left.value.code, capsys.readouterr().err) == (2, f"{expected}\n")


def test_metrics_are_all_described():
    described = set(
        re.findall(r"`([^`]+)`", "\n".join(row[0] for row in table(ROOT / "docs" / "metrics.md", "Metrics")))
    )
    assert metric_names() | {"tokens"} == described


def metric_names():
    """Keys of dictionaries and subscripts that recorder.py and validation.py make metrics of, with names in place."""
    names = set()
    for file, functions in (("recorder.py", ("step", "source_metrics")), ("validation.py", ("losses",))):
        tree = ast.parse((ROOT / "tools" / "pretrain" / file).read_text())
        chosen = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name in functions]
        for node in (inner for function in chosen for inner in ast.walk(function)):
            keys = (
                node.keys if isinstance(node, ast.Dict) else [getattr(node, "slice", None), getattr(node, "key", None)]
            )
            names |= {name for key in keys if (name := _metric(key))}
    return names


def _metric(key):
    if isinstance(key, ast.Constant) and isinstance(key.value, str):
        return key.value
    if not isinstance(key, ast.JoinedStr):
        return None
    text = "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in key.values)
    return text.replace("/{}", "/SOURCE", 1).replace("epoch_{}", "epoch_N")


def test_words_are_in_order_and_only_once():
    words = re.findall(r"^\*\*(.+?)\*\*", (ROOT / "docs" / "words.md").read_text(), re.MULTILINE)
    assert words == sorted(set(words))


def test_the_container_line_installs_what_the_image_does_not_bring():
    line = next(
        line
        for line in (ROOT / "docs" / "parallel.md").read_text().splitlines()
        if line.startswith("pip install typer")
    )
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    needed = {re.split(r"[<>=]", text)[0] for text in project["dependencies"]}
    assert set(line.split()[2:]) == needed - {"torch", "megatron-core", "numpy"}
