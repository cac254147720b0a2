"""A folder that a command fills: written aside and named when it is whole, never at the cost of what others wrote."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..durable import sync
from ..errors import UserError


@dataclass(frozen=True)
class Earlier:
    """What tells the folder of an earlier call, which may be replaced: no file but these, and ``keys`` in one of them.

    ``what`` names such a folder in messages.
    """

    what: str
    files: frozenset[str]
    marker: str
    keys: frozenset[str]

    def others_in(self, folder: Path) -> list[str]:
        """Names of what a call didn't write; all of them where the marker isn't one."""
        names = sorted(path.name for path in folder.iterdir())
        if not self._is_marked(folder):
            return names
        return [name for name in names if name not in self.files or not (folder / name).is_file()]

    def _is_marked(self, folder: Path) -> bool:
        try:
            return self.keys <= set(json.loads((folder / self.marker).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError):
            return False


def check_folder(out: Path, *, earlier: Earlier | None = None, models: Sequence[Path] = ()) -> Path:
    """The folder, all links followed, where it may be written; UserError otherwise, before anything is read.

    It has to be new, empty, or an ``earlier`` one, in a place that can be written in, and apart from the ``models``.
    """
    whole = out.resolve()
    for model in models:
        _check_apart(out, whole, model)
    if whole.is_dir():
        others = earlier.others_in(whole) if earlier else sorted(path.name for path in whole.iterdir())
        if others:
            raise _not_new(out, f"{others[0]} in it", earlier)
    elif whole.exists():
        raise _not_new(out, "a file", earlier)
    above = next(place for place in whole.parents if place.exists())
    if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
        raise UserError(f"--out {out}", got=f"no right to write in {above}", expected="a place for a new folder")
    return whole


def _not_new(out: Path, got: str, earlier: Earlier | None) -> UserError:
    expected = f"a new folder, or {earlier.what}'s" if earlier else "a new folder"
    return UserError(f"--out {out}", got=got, expected=expected)


def _check_apart(out: Path, whole: Path, model: Path) -> None:
    """A folder beside the checkpoints of a run is apart from it; one among them would be pruned with them."""
    read = model.resolve()
    kept = read / "checkpoints" if (read / "checkpoints").is_dir() else read
    kept = kept.parent if kept.parent.name == "checkpoints" else kept
    if whole in (read, kept) or whole in read.parents or kept in whole.parents:
        how = "the model itself" if whole == read else f"around {model}" if whole in read.parents else f"inside {kept}"
        raise UserError(f"--out {out}", got=how, expected="a folder apart from the model that is read")


def write_folder(out: Path, write: Callable[[Path], None], *, earlier: Earlier | None = None) -> None:
    """Let ``write`` fill a folder aside, and give it its name when it is whole.

    Raises UserError where something else stands there, or it can't be written; nothing is left half-written, whatever
    interrupts it.
    """
    whole = check_folder(out, earlier=earlier)
    try:
        whole.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{whole.name}.", dir=whole.parent))
    except OSError as error:
        raise _unwritable(out, error) from error
    try:
        _fill(aside / "new", write)
        if check_folder(out, earlier=earlier).is_dir():  # looked at anew: writing may have taken long
            whole.rename(aside / "old")
        (aside / "new").rename(whole)
        sync(whole.parent)
    except OSError as error:
        raise _unwritable(out, error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _fill(folder: Path, write: Callable[[Path], None]) -> None:
    folder.mkdir()
    write(folder)
    for path in _whole_tree(folder):
        sync(path)


def _whole_tree(folder: Path) -> Iterator[Path]:
    yield from folder.rglob("*")
    yield folder


def _unwritable(out: Path, error: OSError) -> UserError:
    return UserError(f"--out {out}", got=error.strerror or str(error), expected="room and rights")
