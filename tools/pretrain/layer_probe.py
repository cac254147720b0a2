"""The layers of the model under way, on a fixed text: measured again and again, told against the first time.

The first measurement stays in the run's folder, as sums by document group, so that a resumed run goes on comparing
with it and differences are paired: the same tokens, before and after.
"""

import os
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from ..errors import UserError
from ..layers.findings import Pass
from ..layers.measure import measure
from ..layers.measures import MEASURES
from ..layers.own_model import layered, row_options
from ..layers.probe import Probe, open_probe
from ..layers.taps import PARTS
from ..layers.token_kinds import TokenKinds
from ..layers.uncertainty import Bootstrap, ratio
from ..recipe.schema import Recipe
from ..runtime.engine import Engine
from ..runtime.processes import Layout

Array = npt.NDArray[np.float64]

_MEASURED = {  # what is logged -> its part and its column in LayerSums.parts, after the count
    **{name: (0, 1 + column) for column, name in enumerate(MEASURES)},
    **{f"{PARTS[part]}_distance": (part, 1) for part in (1, 2)},
}


class LayerProbe:
    """Measures on the windows of ``layers.probe``; every process of the run calls it.

    With ``begin``, or where the run's folder holds no first measurement, the next one is the first. Raises UserError
    where that folder's is damaged or of another probe.
    """

    def __init__(self, recipe: Recipe, engine: Engine, layout: Layout, *, begin: bool) -> None:
        self._first = _first_of(recipe)
        self._micro_batch = recipe.micro_batch_size
        self._is_first = layout.is_first
        kinds = TokenKinds.read(recipe.tokenizer)
        self._model = layered(engine.model, recipe, name="layers", kinds=kinds)
        self._probe = _open(recipe, kinds)
        self._sums_then = None if begin else _read(self._first, self._probe)

    def metrics(self) -> dict[str, float]:
        """Each layer's measures, and how its distance differs from the first time, with a 95 % interval."""
        module = self._model.module
        module.eval()
        sums = measure(
            self._model,
            self._probe,
            micro_batch=self._micro_batch,
            with_strata=False,
            with_pairs=False,
        )
        module.train()
        now = Pass.of(sums, self._probe.group_sources).parts
        if self._sums_then is None:
            self._sums_then = now[:, :, 0]
            if self._is_first:
                _write(self._first, sums=self._sums_then, probe=np.array(self._probe.digest))
        return layer_metrics(now, self._sums_then, self._probe.group_sources)


def check_first(recipe: Recipe) -> None:
    """What a resumed run would find out when it is built: UserError where its first measurement can't be gone on from.

    Needs no model, so that it can be asked before anything is written.
    """
    _read(_first_of(recipe), _open(recipe, TokenKinds.read(recipe.tokenizer)))


def _first_of(recipe: Recipe) -> Path:
    return recipe.output_folder / "layers_first.npz"


def _open(recipe: Recipe, kinds: TokenKinds) -> Probe:
    section = recipe.layers
    return open_probe(
        section.probe,
        sequence_length=recipe.sequence_length,
        windows=section.windows,
        special=kinds.special,
        rows=row_options(recipe),
    )


def _read(path: Path, probe: Probe) -> Array | None:
    """The first measurement, of whole layers; None where there is none yet."""
    anew = "remove this file, and differences begin anew"
    try:
        with np.load(path, allow_pickle=False) as file:
            sums: Array = file["sums"]
            digest = str(file["probe"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, KeyError, BadZipFile) as error:
        got = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(str(path), got=got, expected="the first measurement of this run's layers", fix=anew) from error
    if digest != probe.digest:
        expected, fix = "the windows of layers.probe as it is now", f"put layers.probe back; or {anew}"
        raise UserError(str(path), got="sums of other windows", expected=expected, fix=fix)
    return sums


def _write(path: Path, **arrays: npt.NDArray[Any]) -> None:
    """Under another name first, so that a file that stands there is whole."""
    aside = path.with_name(f"{path.stem}.unfinished.npz")
    np.savez(aside, **arrays)  # type: ignore[arg-type]  # numpy's stubs take a keyword of theirs for one of these
    os.replace(aside, path)


def layer_metrics(now: Array, first: Array, group_sources: npt.NDArray[np.int64]) -> dict[str, float]:
    """Names ``layers/MEASURE/layer_N`` to values, those left out that no token gives.

    Of sums now, (groups, layers, PARTS, 1 + MEASURES), and of whole layers the first time, without the third axis.
    """
    told = {
        name: ratio(now[:, :, part, column].sum(0), now[:, :, part, 0].sum(0))
        for name, (part, column) in _MEASURED.items()
    }
    named = {**told, **_change(now[:, :, 0], first, group_sources)}
    return {
        f"layers/{name}/layer_{layer}": float(value)
        for name, values in named.items()
        for layer, value in enumerate(values)
        if np.isfinite(value)
    }


def _change(now: Array, first: Array, group_sources: npt.NDArray[np.int64]) -> dict[str, Array]:
    """How the distance of whole layers differs from the first time, token by token, and the ends of its interval."""
    counts, change = now[:, :, 0], now[:, :, 1] - first[:, :, 1]
    bootstrap = Bootstrap.of(counts.max(1), group_sources)
    low, high = bootstrap.interval(bootstrap.means(change, counts))
    mean = ratio(change.sum(0), counts.sum(0))
    return {"distance_change": mean, "distance_low": low, "distance_high": high}
