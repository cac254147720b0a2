"""``annealmix pretrain``: put a run together, train it, say what came of it."""

import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist

from schedulers.words import format_tokens

from ..recipe.continued import continued_plan, model_identity, row_settings
from ..recipe.load import load_recipe
from ..recipe.planned import Plan
from ..recipe.resolve import check_batches, resolve
from ..runtime import processes
from ..runtime.flops import flops_per_token, peak_flops
from ..runtime.processes import Layout
from ..tracking.uri import JOURNAL_ONLY
from .checkpoint_store import CheckpointStore
from .opening import open_tracker, versions
from .progress import Display, LiveLine, Silent
from .report import draw_run, findings, places
from .resume import Found, find_checkpoint, make_folder
from .state import RunState, first_state
from .surroundings import Surroundings
from .watch import LeaveRequest

_DRAIN_S = 60.0
_HURRIED_DRAIN_S = 10.0  # torchrun kills what is still there 30 s after another process failed or was stopped


def run(recipe_path: Path, overrides: Sequence[str], *, resume: bool) -> None:
    """Train a recipe from its start, or on from its newest valid checkpoint; every rank of a launch calls this."""
    recipe, where = load_recipe(recipe_path, overrides), str(recipe_path)
    leave = LeaveRequest()
    leave.listen()
    layout = processes.start(recipe.parallelism)
    store = CheckpointStore(recipe.output_folder / "checkpoints")
    found = find_checkpoint(store, resume=resume, layout=layout, warn=_warn)
    plan = continued_plan(recipe, found[1], where=where) if found else resolve(recipe, where=where)
    check_batches(recipe, plan.batches, data_parallel_size=layout.data, where=where)
    make_folder(store, layout)
    display = _display(plan, layout)
    state = _run(plan, found, Surroundings(layout, leave, store, display, open_tracker(plan, layout, found)))
    processes.stop()  # not after an error: the other ranks may still wait in these groups
    if state.step < plan.batches.num_steps:
        raise SystemExit(128 + leave.number)


def _run(plan: Plan, found: Found | None, around: Surroundings) -> RunState:
    """Train, write the report, close the books."""
    status = "FAILED"
    try:
        state = _train(plan, found, around)
        status = "FINISHED" if state.step == plan.batches.num_steps else "KILLED"
        _write_report(plan, state, around)
        if status == "KILLED" and around.layout.is_first:
            print(_where_it_stands(state, around), flush=True)
    finally:
        around.display.close()
        _close_books(plan, status, around)
    dist.barrier()  # all leave together: torchrun stops the others when one is gone
    if status == "FINISHED" and around.layout.is_first:
        print(_last_words(plan, state, around))
    return state


def _train(plan: Plan, found: Found | None, around: Surroundings) -> RunState:
    """Build the model, load it if there is something to go on from, and run the loop."""
    from ..runtime.checkpoint import load_weights
    from ..runtime.engine import Engine
    from ..runtime.model import build_model
    from ..runtime.optimizer import build_optimizer
    from .trainer import Trainer

    state = _with_plan(found[1] if found else first_state(), plan)
    if state.step == plan.batches.num_steps:
        return state
    processes.refuse_packed_pipeline(plan.recipe, plan.sources)
    processes.seed_everything(plan.recipe.seed)
    model = build_model(plan.recipe, plan.vocab_size)
    if found and state.step == 0:  # weights to begin with; the optimizer takes its own copy of them
        load_weights(found[0], model, None)
    optimizer = build_optimizer(plan.recipe, model, plan.hyperparameters.at(state.consumed_tokens).learning_rate)
    if found and state.step:
        load_weights(found[0], model, optimizer)
    if found:
        around.display.say(f"going on from {found[0]}, {format_tokens(state.consumed_tokens)} tokens")
    return Trainer(plan, Engine(plan.recipe, model, optimizer), state, around).run()


def _with_plan(state: RunState, plan: Plan) -> RunState:
    """The state with the plan it goes on by, which its checkpoints carry."""
    return replace(
        state,
        history=plan.history.to_json(),
        hyperparameters=plan.hyperparameters.to_dict(),
        batch_size=[list(entry) for entry in plan.batches.ramp.entries],
        model=model_identity(plan.recipe, plan.vocab_size),
        sources={**state.sources, **row_settings(plan.recipe)},
        versions=versions(),
    )


def _warn(line: str) -> None:
    sys.stderr.write(f"annealmix: {line}\n")


def _display(plan: Plan, layout: Layout) -> Display:
    """Rank 0 shows the run; the others are silent."""
    if not layout.is_first:
        return Silent()
    recipe = plan.recipe
    peak = peak_flops(torch.cuda.get_device_name()) if torch.cuda.is_available() else None
    flops = flops_per_token(recipe.model, recipe.sequence_length, plan.vocab_size)
    return LiveLine(plan.total_tokens, utilisation=flops / (peak * layout.world) if peak else None)


def _write_report(plan: Plan, state: RunState, around: Surroundings) -> None:
    if around.layout.is_first:
        path = plan.recipe.output_folder / "report.txt"
        path.write_text(findings(plan, path.parent, state.consumed_samples) + "\n")
        around.tracker.artifact(path)


def _close_books(plan: Plan, status: str, around: Surroundings) -> None:
    """Draw the run, end it at the tracker, and give the sender a while to catch up."""
    if not around.layout.is_first:
        return
    run_dir = plan.recipe.output_folder
    draw_run(plan, run_dir, run_dir / "run.png")
    around.tracker.artifact(run_dir / "run.png")
    around.tracker.end(status)  # type: ignore[arg-type]
    drain_s = _DRAIN_S if status == "FINISHED" else _HURRIED_DRAIN_S
    if not around.tracker.close(drain_s) and plan.recipe.tracking.uri != JOURNAL_ONLY:
        print(f"tracking: the journal holds what was not sent; annealmix track sync {run_dir} sends it")


def _where_it_stands(state: RunState, around: Surroundings) -> str:
    """What a run that was asked to leave says."""
    asked, tokens = signal.Signals(around.leave.number).name, format_tokens(state.consumed_tokens)
    return f"{asked}: saved {around.store.path(state.step)} at {tokens} tokens; go on with --resume"


def _last_words(plan: Plan, state: RunState, around: Surroundings) -> str:
    """The report of a finished run, and where everything is."""
    run_dir, last = plan.recipe.output_folder, around.store.path(state.step)
    where = around.tracker.where()
    tracker = where["view"] if where else ""
    return (run_dir / "report.txt").read_text() + "\n" + places(run_dir, tracker=tracker, last_checkpoint=last)
