"""Going on: which checkpoint to take, and what of the recipe may have changed since."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch.distributed as dist

from mixer.history import History
from schedulers.batch_size import BatchSizeRamp, Steps
from schedulers.schedule import Schedule

from ..errors import UserError
from ..recipe.planned import Plan
from ..runtime.processes import Layout
from .checkpoint_store import CheckpointStore
from .state import RunState

Found = tuple[Path, RunState]

# Parts of the names of model fields that say how the same numbers are computed, not which.
_FREE_TO_CHANGE = ("recompute", "fusion", "pipeline", "distribute_saved_activations", "tp_comm")


def find_checkpoint(
    store: CheckpointStore, *, resume: bool, layout: Layout, warn: Callable[[str], None]
) -> Found | None:
    """The checkpoint to go on from, chosen by rank 0 for all; None for a fresh start.

    Raises UserError where there are checkpoints and nobody asked to resume, or where all of them are damaged.
    """
    answer: list[Any] = [None]
    if layout.is_first:
        answer = [_choose(store, resume=resume, warn=warn)]
    dist.broadcast_object_list(answer, src=0)
    if isinstance(answer[0], UserError):
        raise answer[0]
    found: Found | None = answer[0]
    return found


def _choose(store: CheckpointStore, *, resume: bool, warn: Callable[[str], None]) -> Found | UserError | None:
    try:
        store.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        got = f"{error.strerror or error}"
        return UserError(str(store.folder), got=got, expected="a folder to write in", fix="name another run_dir")
    folders = store.folders()
    if not folders:
        return None
    if not resume:
        return UserError(
            str(store.folder),
            got=f"{len(folders)} checkpoints of an earlier run",
            fix="go on with --resume, or give the new run another name or run_dir",
        )
    found = store.newest_valid(warn)
    return found or UserError(
        str(store.folder), got="only damaged checkpoints", fix="restore one, or start again in another run_dir"
    )


def continued_plan(plan: Plan, state: RunState) -> Plan:
    """The plan of a running run: its past as it was, its future as the recipe says now.

    Raises UserError that names the first field of the past or of the model that was changed, and both values.
    """
    _check_model(plan, state)
    where = "resume"
    schedule = Schedule.from_dict(state.schedule)
    difference = schedule.first_difference(plan.schedule, before_tokens=state.consumed_tokens)
    if difference:
        field, saved, wanted = difference
        raise UserError(
            f"{where}: learning_rate {field}",
            got=f"{wanted}",
            expected=f"{saved}, as the checkpoint at {state.consumed_tokens:,} tokens has it: the past is fixed",
            fix="change only what lies ahead",
        )
    history = History.from_json(state.history).continue_with(plan.history, at_sample=state.consumed_samples)
    return replace(plan, history=history, batches=_continued_batches(plan, state, history.num_samples))


def _check_model(plan: Plan, state: RunState) -> None:
    wanted = model_identity(plan)
    for name in sorted({*wanted, *state.model}):
        if wanted.get(name) != state.model.get(name):
            raise UserError(
                f"resume: model.{name}",
                got=str(wanted.get(name)),
                expected=f"{state.model.get(name)}, as in the checkpoint",
                fix="a checkpoint goes on with the model it was made with",
            )


def model_identity(plan: Plan) -> dict[str, Any]:
    """What must be the same in every part of a run: the vocabulary and the fields that change the mathematics."""
    fields = plan.recipe.model.model_dump(mode="json")
    kept = {name: value for name, value in fields.items() if not any(part in name for part in _FREE_TO_CHANGE)}
    return {**kept, "vocab_size": plan.vocab_size}


def _continued_batches(plan: Plan, state: RunState, total_samples: int) -> Steps:
    """Steps done as they were done, steps ahead by the recipe's ramp."""
    consumed = state.consumed_tokens
    wanted = BatchSizeRamp(plan.recipe.global_batch_size)
    past = [(start, size) for start, size in state.batch_size if start < consumed]
    ahead = [(start, size) for start, size in wanted.entries if start > consumed]
    entries = [*past, (consumed, wanted.at(consumed)), *ahead]
    return Steps(
        BatchSizeRamp(tuple((start, size) for start, size in entries)),
        sequence_length=plan.recipe.sequence_length,
        total_samples=total_samples,
    )
