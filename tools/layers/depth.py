"""``annealmix depth``: a new model of the layers of another, some dropped or repeated, and what that does to the loss.

What is predicted is the distance that a layer has in the old model; what is measured is its distance in the new one,
where it meets other inputs. The loss is paired, on the same text before and after.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..recipe.yaml_file import write_yaml
from .ablate import loss_rise
from .findings import Estimate, Pass, loss_sums
from .folder import check_folder, write_folder
from .hf_model import config_by_layer
from .layered import LayeredModel, memory_end_told
from .measure import measure, strata_of
from .opening import Options, newest, open_model, probe_for, told_of
from .order import MERGEKIT, PLAN, Array, check_length, dropped, mergekit, parse_run, quietest_run, repeated
from .probe import Probe
from .progress import windows_bar
from .report import plain
from .uncertainty import ratio

Writer = Callable[[Path], None]  # of the model, into a folder


@dataclass(frozen=True)
class Change:
    """What is asked: ``drop`` a run (A:B, or how many, the quietest), or ``repeat`` one (A:B)."""

    drop: str | None
    repeat: str | None
    force: bool = False


@dataclass(frozen=True)
class Effect:
    """The new model's order, and each layer's distance where it stood and where it stands."""

    order: list[int]
    before: float
    after: float
    rise: Estimate
    predicted: list[float]
    measured: list[float]


def run(path: Path, change: Change, options: Options) -> Effect:
    """Make the model, measure it, and write it with depth.json; nothing is written after an error."""
    from ..runtime.processes import prepare

    prepare()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("depth", got="several processes", expected="one")
    check_folder(options.out, models=[path])
    path = newest(path, options)
    num_layers, _ = told_of(path, options)
    order = order_asked(change, num_layers)
    with memory_end_told(), windows_bar() as bar:
        old = open_model(path, options)
        probe = replace(probe_for(old, options), on_read=bar.read)
        bar.begin(old.name, 2 * probe.num_windows)
        found = Pass.of(measure(old, probe, micro_batch=options.micro_batch), probe.group_sources)
        order = order or dropped(num_layers, *quietest_run(_angles(found), int(change.drop or 0)))
        new, write = _made(path, old, order, options)
        effect = _effect(old, new, found, probe, order, options)
        write_folder(options.out, lambda folder: _write(folder, write, effect, path, old))
    return effect


def order_asked(change: Change, num_layers: int) -> list[int] | None:
    """The order that a change asks for; None where the quietest run is yet to be found."""
    if (change.drop is None) == (change.repeat is None):
        got = "neither" if change.drop is None else "both"
        raise UserError("depth", got=f"{got} of --drop and --repeat", expected="one of them")
    if change.repeat is not None:
        return repeated(num_layers, *parse_run("--repeat", change.repeat, num_layers, force=change.force))
    assert change.drop is not None
    if change.drop.isdecimal():
        check_length(int(change.drop), num_layers)
        return None
    return dropped(num_layers, *parse_run("--drop", change.drop, num_layers, force=change.force))


def _angles(found: Pass) -> Array:
    return ratio(found.pairs[2], found.pairs[0])


def _made(path: Path, old: LayeredModel, order: list[int], options: Options) -> tuple[LayeredModel, Writer]:
    """The new model, and what writes it into a folder."""
    from .hf_model import is_folder_of_hf, reordered
    from .own_model import reordered_own

    return reordered(path, old, order) if is_folder_of_hf(path) else reordered_own(path, old, order, options)


def _effect(
    old: LayeredModel, new: LayeredModel, found: Pass, probe: Probe, order: list[int], options: Options
) -> Effect:
    changed = Pass.of(measure(new, probe, micro_batch=options.micro_batch), probe.group_sources)
    strata = strata_of(old, probe)
    (with_all, tokens), (without, _) = loss_sums(found, strata), loss_sums(changed, strata)
    rise = loss_rise(found.bootstrap(seed=options.seed), _columns(with_all, tokens), [_columns(without, tokens)])
    distance = ratio(found.parts[:, :, 0, 1].sum(0), found.parts[:, :, 0, 0].sum(0))
    measured = ratio(changed.parts[:, :, 0, 1].sum(0), changed.parts[:, :, 0, 0].sum(0))
    before, after = (float(losses.sum() / tokens.sum()) for losses in (with_all, without))
    return Effect(order, before, after, rise, distance[order].tolist(), measured.tolist())


def _columns(losses: Array, tokens: Array) -> Array:
    return np.stack([losses, tokens], 1)


def _write(folder: Path, write: Writer, effect: Effect, path: Path, old: LayeredModel) -> None:
    write(folder)
    (folder / PLAN).write_text(json.dumps(to_json(effect), indent=1, allow_nan=False) + "\n")
    if old.run is None and not config_by_layer(path):  # mergekit reads Hugging Face's models, and changes no lists
        recipe = mergekit(effect.order, str(path.resolve()), str(old.dtype).removeprefix("torch."))
        (folder / MERGEKIT).write_text(write_yaml(recipe))


def to_json(effect: Effect) -> dict[str, Any]:
    """The effect as plain values."""
    rows = zip(effect.order, effect.predicted, effect.measured, strict=True)
    layers = [
        {"number": number, "source": source, "predicted_distance": predicted, "measured_distance": measured}
        for number, (source, predicted, measured) in enumerate(rows)
    ]
    rise = {name: getattr(effect.rise, name)[0] for name in ("mean", "low", "high")}
    loss = {"loss_before": effect.before, "loss_after": effect.after, "loss_rise": rise}
    values: dict[str, Any] = plain({"order": effect.order, **loss, "layers": layers})
    return values


def summary(effect: Effect, out: Path) -> str:
    """What the command prints."""
    rows = zip(effect.order, effect.predicted, effect.measured, strict=True)
    lines = [f"{'layer':>6}{'source':>8}{'predicted':>12}{'measured':>12}"]
    lines += [f"{number:>6}{source:>8}{p:>12.3g}{m:>12.3g}" for number, (source, p, m) in enumerate(rows)]
    low, high = effect.rise.low[0], effect.rise.high[0]
    ends = "interval not known" if np.isnan(low) else f"{low:+.4f} to {high:+.4f}"
    rise = f"{effect.rise.mean[0]:+.4f}, {ends}"
    return "\n".join([*lines, f"loss {effect.before:.4f} before, {effect.after:.4f} after ({rise})", str(out)])
