"""Modules taken apart: no docstring left in the code, each piece in one place."""

import ast
import sysconfig
from pathlib import Path

import pytest

from tools.prepare.python_packages import LEFT_OUT, modules_under, needed_packages, sections, standard_library
from tools.prepare.python_source import cut_docstrings, read_module, read_modules

MODULE = '''"""About shapes."""

import math


class Shape:
    """Any shape."""

    def area(self, unit: str = "m"):
        """Return the area in a unit.

        Parameters
        ----------
        unit : str

        Examples
        --------
        >>> Shape().area()
        0
        >>> for unit in "mk":
        ...     Shape().area(unit)
        0
        0
        """
        return 0

    def _hidden(self):
        """Say nothing."""
'''


def cut(source: str) -> str:
    return cut_docstrings(source, ast.parse(source))


def test_module_is_taken_apart() -> None:
    found = read_module("geometry.shapes", MODULE)
    assert found.prose == [("geometry.shapes", "About shapes."), ("geometry.shapes.Shape", "Any shape.")]
    assert found.code == (
        'import math\n\n\nclass Shape:\n    def area(self, unit: str = "m"):\n        return 0\n\n'
        "    def _hidden(self):\n        pass\n"
    )
    (turns,) = found.conversations
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user", "assistant"]
    assert "`area(self, unit: str='m')`" in turns[0]["content"]
    assert "`geometry.shapes.Shape`" in turns[0]["content"]
    assert turns[1]["content"] == "Return the area in a unit."
    assert turns[3]["content"] == '>>> Shape().area()\n0\n>>> for unit in "mk":\n...     Shape().area(unit)\n0\n0'


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('def f(): "Doc."\n', "def f(): pass\n"),
        ('def f():\n    "Doc."; return 1\n', "def f():\n    pass; return 1\n"),
        ('def f():\n    "Doc."\n    "More."\n', "def f():\n    pass\n"),
        ('def f():\n    "Doc."\n    "More."\n    return 1\n', "def f():\n    return 1\n"),
        ('"Doc."\n', ""),
        ('x = 1\n"No docstring."\n', 'x = 1\n"No docstring."\n'),
        ('def f():\n    """\u00e9"""; return "\u00e9"\n', 'def f():\n    pass; return "\u00e9"\n'),
        ("def f():\n    f'no {1} docstring'\n", "def f():\n    f'no {1} docstring'\n"),
    ],
)
def test_docstrings_are_cut(source: str, expected: str) -> None:
    assert cut(source) == expected


def test_code_of_the_library_stays_whole_but_for_its_docstrings() -> None:
    files = [(name, path) for name, path in standard_library() if name in ("json.decoder", "textwrap", "dataclasses")]
    for (_, path), found in zip(files, read_modules(files), strict=True):
        before, after = ast.parse(path.read_text()), ast.parse(found.code)
        for node in ast.walk(before):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
                del node.body[0]
                node.body = node.body or ([] if isinstance(node, ast.Module) else [ast.Pass()])
        assert ast.dump(before) == ast.dump(after)


def test_what_is_no_python_gives_nothing(tmp_path: Path) -> None:
    (tmp_path / "latin.py").write_bytes(b"x = '\xff'\n")
    (tmp_path / "old.py").write_text("print 'x'\n")
    for found in read_modules([("latin", tmp_path / "latin.py"), ("old", tmp_path / "old.py")]):
        assert (found.code, found.prose, found.conversations) == ("", [], [])


def test_coding_cookie_is_honoured(tmp_path: Path) -> None:
    (tmp_path / "latin.py").write_bytes(b"# coding: latin-1\nx = '\xe9'\n")
    assert "x = '\u00e9'" in read_modules([("latin", tmp_path / "latin.py")])[0].code


def test_modules_are_named_and_sorted(tmp_path: Path) -> None:
    for name in ("b/__init__.py", "b/c.py", "a.py", "tests/t.py", "b/_vendor/v.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert [name for name, _ in modules_under(tmp_path, prefix="p")] == ["p.a", "p.b", "p.b.c"]


def test_standard_library_holds_no_tests_and_no_files_of_the_machine() -> None:
    names = [name for name, _ in standard_library()]
    assert len(names) > 300
    assert names == list(dict.fromkeys(names))
    assert {"json.decoder", "asyncio", "textwrap"} <= set(names)
    assert not any(LEFT_OUT.intersection(name.split(".")) or name.startswith("_sysconfigdata") for name in names)
    root = sysconfig.get_path("stdlib")
    assert not any(root in found.code for found in read_modules([*standard_library()][:100]))


def test_packages_are_those_needed_and_no_others() -> None:
    names = list(needed_packages())
    assert {"numpy", "torch", "datasets", "pandas"} <= set(names)
    assert names == sorted(names)
    assert not {"ruff", "mypy", "pytest", "hypothesis"}.intersection(names)


def test_sections() -> None:
    text = "intro\n\nTitle\n=====\n\nbody\n\n## Next\nmore\n\n====\n"
    assert sections(text) == [("", "intro"), ("Title\n=====", "body"), ("## Next", "more\n\n====")]
