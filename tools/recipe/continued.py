"""A running run's plan: its past as the checkpoint has it, its future as the recipe says now. Imports no torch.

    plan = continued(Path("recipe.yaml"), [], Path("runs/example"))     # or one of its checkpoint folders

``pretrain --resume``, ``plan --resume-from`` and ``trace --resume-from`` all go this way, so they agree.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mixer.history import History
from schedulers.batch_size import BatchSizeRamp, Steps

from ..errors import UserError
from ..pretrain.checkpoint_store import CheckpointStore, check
from ..pretrain.state import RunState
from .changed_past import plain
from .continued_curves import check_curves
from .data import holdout_share
from .lint import lint
from .load import load_recipe
from .past import Past
from .planned import Plan
from .resolve import resolve
from .schema import Recipe
from .vocabulary import read_vocabulary

# Parts of the names of model fields that say how the same numbers are computed, not which.
_FREE_TO_CHANGE = ("recompute", "fusion", "pipeline", "distribute_saved_activations", "tp_comm")
_ROW_SETTINGS = ("column", "loss", "windows", "attention", "overlong", "pad", "epoch_offset", "holdout_runs")


def continued(
    recipe_path: Path, overrides: Sequence[str], checkpoint: Path, *, warn: Callable[[str], None] = lambda line: None
) -> Plan:
    """The plan of a recipe that goes on from a checkpoint: one checkpoint folder, or a run folder for its newest.

    Raises UserError where there is no whole checkpoint, UserError or DataError where the recipe would change the past.
    """
    recipe = load_recipe(recipe_path, overrides)
    return continued_plan(recipe, read_state(checkpoint, warn), where=str(recipe_path))


def read_state(folder: Path, warn: Callable[[str], None]) -> RunState:
    """The run state in a checkpoint folder, or in the newest whole checkpoint of a run's folder."""
    if (folder / "run_state.json").is_file():
        complaint, state = check(folder)
        if state is None:
            raise UserError(str(folder), got=f"a damaged checkpoint: {complaint}", expected="a whole one")
        return state
    inside = folder / "checkpoints"
    found = CheckpointStore(inside if inside.is_dir() else folder).newest_valid(warn)
    if found is None:
        expected = "a checkpoint folder, or a run folder with a whole checkpoint in it"
        raise UserError(str(folder), got="no checkpoint" if folder.is_dir() else "no such folder", expected=expected)
    return found[1]


def continued_plan(recipe: Recipe, state: RunState, *, where: str) -> Plan:
    """The plan of a run that goes on from a state; one before the first step has no past.

    Raises UserError that names the first field of the model, of a source's rows or of the learning rate that would
    change the past, and both values; DataError for the history's own fields.
    """
    if state.step == 0:
        return resolve(recipe, where=where)
    past = Past(History.from_json(state.history), state.consumed_samples)
    _check_model(recipe, state, where)
    _check_window(recipe, past)
    _check_rows(recipe, state, past)
    plan = resolve(recipe, where=where, past=past)
    check_curves(plan.hyperparameters, state.curves, state.consumed_tokens)
    plan = plan.with_batches(_continued_batches(plan, state))
    return replace(plan, warnings=lint(plan))


def _check_model(recipe: Recipe, state: RunState, where: str) -> None:
    wanted = model_identity(recipe, read_vocabulary(recipe, where)[0])
    for name in sorted({*wanted, *state.model}):
        if wanted.get(name) != state.model.get(name):
            raise UserError(
                f"resume: model.{name}",
                got=plain(wanted.get(name)),
                expected=f"{plain(state.model.get(name))}, as in the checkpoint",
                fix="a checkpoint goes on with the model it was made with",
            )


def model_identity(recipe: Recipe, vocab_size: int) -> dict[str, Any]:
    """What must be the same in every part of a run: the vocabulary and the fields that change the mathematics."""
    fields = recipe.model.model_dump(mode="json")
    kept = {name: value for name, value in fields.items() if not any(part in name for part in _FREE_TO_CHANGE)}
    return {**kept, "vocab_size": vocab_size}


def _check_window(recipe: Recipe, past: Past) -> None:
    saved = past.history.sequence_length
    if past.at_sample and recipe.sequence_length != saved:
        expected = f"{saved}, as in the checkpoint"
        fix = "put it back, or begin a new run"
        raise UserError("resume: sequence_length", got=str(recipe.sequence_length), expected=expected, fix=fix)


def _check_rows(recipe: Recipe, state: RunState, past: Past) -> None:
    """Refuse a source that was read and would now have other rows: its row numbers would mean something else."""
    wanted = row_settings(recipe)
    for name in past.draws:
        for key, saved in state.sources.get(name, {}).items() if name in wanted else ():
            if wanted[name][key] != saved:
                raise UserError(
                    f"resume: sources.{name}.{key}",
                    got=plain(wanted[name][key]),
                    expected=f"{plain(saved)}, as in the checkpoint: rows of it were read",
                    fix="put it back, or name the data as another source",
                )


def row_settings(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """What the recipe says of how each source's rows are made."""
    return {
        name: {**{key: getattr(spec, key) for key in _ROW_SETTINGS}, "holdout": holdout_share(spec, recipe)}
        for name, spec in recipe.sources.items()
    }


def _continued_batches(plan: Plan, state: RunState) -> Steps:
    """Steps done as they were done, steps ahead by the recipe's ramp."""
    consumed = state.consumed_tokens
    wanted = plan.batches.ramp
    past = [(start, size) for start, size in state.batch_size if start < consumed]
    ahead = [(start, size) for start, size in wanted.entries if start > consumed]
    return Steps(
        BatchSizeRamp((*past, (consumed, wanted.at(consumed)), *ahead)),
        sequence_length=plan.recipe.sequence_length,
        total_samples=plan.total_samples,
    )
