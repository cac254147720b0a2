"""What is installed: the standard library's modules, and the packages that annealmix needs, with their README texts.

Only what annealmix needs, and what that needs in turn: installing a linter beside it must not change the corpus.
"""

import re
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

ROOTS = (
    "datasets",
    "matplotlib",
    "megatron-core",
    "mlflow",
    "numpy",
    "psutil",
    "pydantic",
    "pyyaml",
    "rich",
    "tokenizers",
    "torch",
    "typer",
    "zstandard",
)
# Well documented ones among them, as (distribution, folder); their docstrings make prose and conversations.
DOCUMENTED = (
    ("datasets", "datasets"),
    ("matplotlib", "matplotlib"),
    ("numpy", "numpy"),
    ("pandas", "pandas"),
    ("pydantic", "pydantic"),
    ("scikit-learn", "sklearn"),
    ("sqlalchemy", "sqlalchemy"),
)
# Tests, vendored copies, tables of numbers, and the text of the reference, which is a source of its own.
LEFT_OUT = frozenset(
    (
        *("test", "tests", "testing", "idle_test", "_vendor", "externals", "site-packages", "dist-packages"),
        *("__pycache__", "encodings", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "turtledemo"),
    )
)
HEADING = re.compile(r"^(#{1,6} \S[^\n]*|\S[^\n]*\n[=\-~^\"*+]{4,}[ \t]*)$", re.MULTILINE)


def standard_library() -> Iterator[tuple[str, Path]]:
    """Yield name and path of each module of the standard library that is of use, sorted."""
    root = Path(sysconfig.get_path("stdlib"))
    for name, path in modules_under(root, prefix=""):
        # Interpreters also keep files of the machine here; the names that Python itself knows are the library.
        if name.partition(".")[0] in sys.stdlib_module_names:
            yield name, path


def modules_under(root: Path, *, prefix: str) -> Iterator[tuple[str, Path]]:
    """Yield name and path of each module below a folder, sorted, without tests and vendored copies."""
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if not LEFT_OUT.intersection(parts):
            yield ".".join([*([prefix] if prefix else []), *(part for part in parts if part != "__init__")]), path


def documented_modules(packages: dict[str, Distribution]) -> Iterator[tuple[str, Path]]:
    """Yield name and path of each module of the well documented packages that are installed."""
    for name, folder in DOCUMENTED:
        if name in packages:
            yield from modules_under(Path(str(packages[name].locate_file(folder))), prefix=folder)


def needed_packages() -> dict[str, Distribution]:
    """Return the installed packages that annealmix needs, directly or not, by normalised name, sorted."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(name, "") for name in ROOTS]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue
        for requirement in map(Requirement, found[name].requires or []):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                waiting += [(canonicalize_name(requirement.name), each) for each in ("", *requirement.extras)]
    return dict(sorted(found.items()))


def readme_sections(package: Distribution) -> list[tuple[str, str]]:
    """Return a package's README, cut at its headings: related packages share sections, and those are told by one."""
    about = package.metadata
    # One backport of importlib.metadata raises on a missing key, where the library itself answers None.
    text = about["Description"] if "Description" in about else ""  # noqa: SIM401 (it has no get)
    return sections((text or "").replace("\r\n", "\n"))


def sections(text: str) -> list[tuple[str, str]]:
    """Cut a text at each Markdown or underlined heading into (heading, body).

    >>> sections("Title\\n=====\\n\\nx\\n\\n# Next\\ny")
    [('Title\\n=====', 'x'), ('# Next', 'y')]
    """
    first, *rest = HEADING.split(text)
    found = [("", first), *zip(rest[::2], rest[1::2], strict=True)]
    return [(heading.rstrip(), body.strip()) for heading, body in found if heading or body.strip()]
