"""The layers of the model under way, on a fixed text: measured again and again, told against the first time.

The first measurement stays in the run's folder, as sums by document group, so that a resumed run goes on comparing
with it and differences are paired: the same tokens, before and after.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UserError
from ..layers.findings import Pass
from ..layers.measure import measure
from ..layers.own_model import layered
from ..layers.probe import open_probe
from ..layers.token_kinds import TokenKinds
from ..layers.uncertainty import Bootstrap, ratio
from ..recipe.schema import Recipe
from ..runtime.engine import Engine
from ..runtime.processes import Layout

Array = npt.NDArray[np.float64]

_COLUMNS = {"distance": 1, "update_ratio": 3}  # of LayerSums.parts, after the count


class LayerProbe:
    """Measures on the windows of ``layers.probe``; every process of the run calls it.

    With ``begin``, or where the run's folder holds no first measurement, the next one is the first. Raises UserError
    where that folder's is of another probe.
    """

    def __init__(self, recipe: Recipe, engine: Engine, layout: Layout, *, begin: bool) -> None:
        self._first = recipe.output_folder / "layers_first.npz"
        self._micro_batch = recipe.micro_batch_size
        self._is_first = layout.is_first
        kinds = TokenKinds.read(recipe.tokenizer)
        self._model = layered(engine.model, recipe, name="layers", kinds=kinds)
        section = recipe.layers
        self._probe = open_probe(
            section.probe,
            sequence_length=recipe.sequence_length,
            windows=section.windows,
            special=kinds.special,
            rows=self._model.rows,
        )
        self._sums_then = None if begin or not self._first.is_file() else self._read()

    def metrics(self) -> dict[str, float]:
        """Each layer's measures, and how its distance differs from the first time, with a 95 % interval."""
        module = self._model.module
        module.eval()
        sums = measure(
            self._model,
            self._probe,
            micro_batch=self._micro_batch,
            with_parts=False,
            with_strata=False,
            with_pairs=False,
        )
        module.train()
        now = Pass.of(sums, self._probe.group_sources).parts[:, :, 0]
        if self._sums_then is None:
            self._sums_then = now
            if self._is_first:
                _write(self._first, sums=now, probe=np.array(self._probe.digest))
        return layer_metrics(now, self._sums_then, self._probe.group_sources)

    def _read(self) -> Array:
        with np.load(self._first, allow_pickle=False) as file:
            sums: Array = file["sums"]
            probe = str(file["probe"])
        if probe != self._probe.digest:
            expected = "the windows of layers.probe as it is now"
            fix = "put layers.probe back; or remove this file, and differences begin anew"
            raise UserError(str(self._first), got="sums of other windows", expected=expected, fix=fix)
        return sums


def _write(path: Path, **arrays: npt.NDArray[Any]) -> None:
    """Under another name first, so that a file that stands there is whole."""
    aside = path.with_name(f"{path.stem}.unfinished.npz")
    np.savez(aside, **arrays)  # type: ignore[arg-type]  # numpy's stubs take a keyword of theirs for one of these
    os.replace(aside, path)


def layer_metrics(now: Array, first: Array, group_sources: npt.NDArray[np.int64]) -> dict[str, float]:
    """Of sums (groups, layers, 1 + measures) now and the first time: names ``layers/MEASURE/layer_N`` to values."""
    counts = now[:, :, 0]
    metrics = {
        f"layers/{name}/layer_{layer}": float(value)
        for name, column in _COLUMNS.items()
        for layer, value in enumerate(ratio(now[:, :, column].sum(0), counts.sum(0)))
    }
    change = now[:, :, 1] - first[:, :, 1]
    bootstrap = Bootstrap.of(counts.max(1), group_sources)
    low, high = bootstrap.interval(bootstrap.means(change, counts))
    for name, values in (("change", ratio(change.sum(0), counts.sum(0))), ("low", low), ("high", high)):
        named = {f"layers/distance_{name}/layer_{layer}": float(value) for layer, value in enumerate(values)}
        metrics |= {key: value for key, value in named.items() if np.isfinite(value)}
    return metrics
