"""The walls of the house, read from the source: who may import what, how long a file is, what is packaged."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
ROOMS = ("schedulers", "mixer", "tools")
FILES = sorted(path for room in ROOMS for path in (REPOSITORY / room).rglob("*.py"))
LONGEST_FILE = 400


def place(path):
    return path.relative_to(REPOSITORY).as_posix()


def imports(path):
    """(level, first part of the module's name) of each import statement, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, (node.module or "").partition(".")[0]


def imported(path):
    """Libraries that a file imports, its own package and the standard library left out."""
    return {name for level, name in imports(path) if level == 0} - sys.stdlib_module_names


def importers(library):
    return {place(path) for path in FILES if library in imported(path)}


def test_the_rooms_are_there():
    assert len(FILES) > 50
    assert {place(path).partition("/")[0] for path in FILES} == set(ROOMS)


def test_imports_are_seen_wherever_they_stand(tmp_path):
    path = tmp_path / "x.py"
    path.write_text("import a.b, json\ndef f():\n    from c.d import e\n    from . import g\n    from ..h import i\n")
    assert sorted(imports(path)) == [(0, "a"), (0, "c"), (0, "json"), (1, ""), (2, "h")]
    assert imported(path) == {"a", "c"}


@pytest.mark.parametrize("room", ["schedulers", "mixer"])
def test_the_pure_rooms_know_numpy_and_nobody_else(room):
    # DESIGN.md: behind an adapter stands the library it adapts to
    adapters = {
        "mixer/external_loader.py": {"torch"},
        "mixer/tables.py": {"datasets", "pyarrow"},
        "schedulers/torch_scheduler.py": {"torch"},
    }
    known = {place(path): {"numpy"} | adapters.get(place(path), set()) for path in FILES}
    strangers = {
        place(path): imported(path) - known[place(path)] for path in FILES if place(path).startswith(f"{room}/")
    }
    assert {name: libraries for name, libraries in strangers.items() if libraries} == {}


def test_tools_imports_its_own_modules_relatively():
    inside = {place(path): imported(path) for path in FILES if place(path).startswith("tools/")}
    assert {name for name, libraries in inside.items() if libraries & {"tools", "annealmix"}} == set()


def test_relative_imports_stay_inside_their_package():
    """A level that reaches above the room would be another package's module under the installed name."""
    reaching = [place(p) for p in FILES for level, _ in imports(p) if level > len(p.relative_to(REPOSITORY).parts) - 1]
    assert reaching == []


@pytest.mark.parametrize(
    ("library", "file"),
    [
        ("mlflow", "tools/tracking/mlflow_client.py"),
        ("yaml", "tools/recipe/yaml_file.py"),
        ("matplotlib", "tools/plots.py"),
        ("transformers", "tools/layers/hf_model.py"),
    ],
)
def test_a_library_behind_one_file(library, file):
    assert importers(library) == {file}


def test_megatron_stands_behind_the_runtime_and_the_writer():
    """The benchmarks call it too, as the peer that they measure."""
    outside = {name for name in importers("megatron") if not name.startswith(("tools/runtime/", "tools/bench/"))}
    assert outside == {"tools/prepare/writer.py"}


def test_no_file_is_named_after_a_library():
    libraries = {name for path in FILES for name in imported(path)} | {"megatron", "transformers"}
    own = {*ROOMS, "annealmix"}
    assert [place(path) for path in FILES if path.stem in libraries - own or path.parent.name in libraries - own] == []


def test_no_file_is_too_long():
    tests = sorted((REPOSITORY / "tests").rglob("*.py"))
    lengths = {place(path): len(path.read_text(encoding="utf-8").splitlines()) for path in [*FILES, *tests]}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE} == {}


def project():
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_packages_listed_are_the_folders_there_are():
    settings = project()["tool"]["setuptools"]
    folders = {place(path.parent) for path in FILES if path.name == "__init__.py"}
    named = {re.sub("^tools(?=/|$)", "annealmix", folder).replace("/", ".") for folder in folders}
    assert sorted(settings["packages"]) == sorted(named)
    assert settings["package-dir"] == {"annealmix": "tools", "mixer": "mixer", "schedulers": "schedulers"}


def test_every_folder_of_modules_is_a_package():
    folders = {path.parent for path in FILES}
    assert [place(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []


def dependency_names():
    return {re.match(r"[A-Za-z0-9_.-]+", line)[0].lower() for line in project()["project"]["dependencies"]}


def test_the_corpus_is_made_of_the_packages_that_are_needed():
    from tools.prepare.python_packages import ROOTS

    assert set(ROOTS) == dependency_names()


def test_every_library_imported_is_a_dependency():
    distributions = {"yaml": "pyyaml", "megatron": "megatron-core"}
    rooms = {"mixer", "schedulers"}
    comes_with = {"pydantic_core": "pydantic", "pyarrow": "datasets", "packaging": "datasets"}
    optional = {"transformer_engine", "streaming", "grain", "transformers"}  # the extras `bench` and `huggingface`
    found = {name for path in FILES for name in imported(path)} - rooms - optional
    names = {distributions.get(name, comes_with.get(name, name)) for name in found}
    assert names - dependency_names() == set()
