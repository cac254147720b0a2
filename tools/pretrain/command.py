"""``annealmix pretrain``: put a run together, train it, say what came of it."""

import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ..plan import draw_plan, plan_json
from ..recipe.load import load_recipe
from ..recipe.numbers import format_tokens
from ..recipe.resolve import Plan, check_batches, resolve
from ..recipe.yaml_file import write_yaml
from ..runtime import processes
from ..runtime.processes import Layout
from ..tracking.journal import Journal, NullJournal, Tracker
from .checkpoint_store import CheckpointStore
from .progress import Display, LiveLine, Silent
from .report import draw_run, report
from .resume import Found, continued_plan, find_checkpoint, model_identity
from .state import RunState
from .watch import LeaveRequest

_DRAIN_S = 60.0


class Left(SystemExit):
    """The run was asked to leave and did, with everything saved."""


def run(recipe_path: Path, overrides: Sequence[str], *, resume: bool) -> None:
    """Train a recipe from its start, or on from its newest valid checkpoint; every rank of a launch calls this."""
    plan = resolve(load_recipe(recipe_path, overrides), where=str(recipe_path))
    leave = LeaveRequest()
    leave.listen()
    layout = processes.start(plan.recipe.parallelism)
    try:
        check_batches(plan.recipe, plan.batches, data_parallel_size=layout.data, where=str(recipe_path))
        _run(plan, layout, leave, resume=resume)
    finally:
        processes.stop()


def _run(plan: Plan, layout: Layout, leave: LeaveRequest, *, resume: bool) -> None:
    run_dir = plan.recipe.output_folder
    store = CheckpointStore(run_dir / "checkpoints")
    display = _display(plan, layout)
    found = find_checkpoint(store, resume=resume, layout=layout, warn=display.say)
    plan = continued_plan(plan, found[1]) if found else plan
    tracker = _open_tracker(plan, layout, found)
    status = "FAILED"
    try:
        state = _train(plan, layout, leave, found, store, tracker, display)
        status = "KILLED" if leave.asked else "FINISHED"
    finally:
        display.close()
        _close(plan, layout, tracker, status)
    _say_goodbye(plan, layout, leave, store, state, tracker)
    if leave.signal is not None:
        raise Left(128 + leave.signal)


def _train(
    plan: Plan,
    layout: Layout,
    leave: LeaveRequest,
    found: Found | None,
    store: CheckpointStore,
    tracker: Tracker,
    display: Display,
) -> RunState:
    """Build the model, load it if there is something to go on from, and run the loop."""
    from ..runtime.checkpoint import load_weights
    from ..runtime.engine import Engine
    from ..runtime.model import build_model
    from ..runtime.optimizer import build_optimizer
    from .recorder import Recorder
    from .trainer import Trainer

    state = found[1] if found else first_state(plan)
    state = _with_plan(state, plan)
    if state.step == plan.batches.num_steps:
        return state
    processes.seed_everything(plan.recipe.seed)
    model = build_model(plan.recipe, plan.vocab_size)
    peak = max(max(segment.start_value, segment.last_value) for segment in plan.schedule.segments)
    optimizer = build_optimizer(plan.recipe, model, peak)
    if found:
        load_weights(found[0], model, optimizer)
        display.say(f"going on from {found[0]}, {format_tokens(state.consumed_tokens)} tokens")
    reads = plan.recipe.output_folder / "reads.jsonl" if layout.is_first else None
    trainer = Trainer(
        plan,
        Engine(plan.recipe, model, optimizer),
        state,
        layout=layout,
        store=store,
        recorder=Recorder(plan, tracker, display, reads),
        display=display,
        leave=leave,
    )
    return trainer.run()


def first_state(plan: Plan) -> RunState:
    """A run before its first step."""
    return RunState(step=0, consumed_samples=0, consumed_tokens=0, history={}, schedule={}, batch_size=[], model={})


def _with_plan(state: RunState, plan: Plan) -> RunState:
    """The state with the plan it goes on by, which its checkpoints carry."""
    from dataclasses import replace

    return replace(
        state,
        history=plan.history.to_json(),
        schedule=plan.schedule.to_dict(),
        batch_size=[list(entry) for entry in plan.batches.ramp.entries],
        model=model_identity(plan),
        versions=versions(),
    )


def versions() -> dict[str, str]:
    """What the run is made with."""
    packages = {name: importlib.metadata.version(name) for name in ("torch", "megatron-core", "numpy")}
    return {"python": platform.python_version(), **packages}


def _display(plan: Plan, layout: Layout) -> Display:
    """Rank 0 shows the run; the others are silent."""
    import torch

    from ..runtime.flops import flops_per_token, peak_flops
    from ..runtime.model import padded_vocabulary

    if not layout.is_first:
        return Silent()
    peak = peak_flops(torch.cuda.get_device_name()) if torch.cuda.is_available() else None
    recipe = plan.recipe
    flops = flops_per_token(recipe.model, recipe.sequence_length, padded_vocabulary(plan.vocab_size))
    utilisation = flops / (peak * layout.world) if peak else None
    return LiveLine(plan.total_tokens, utilisation=utilisation)


def _open_tracker(plan: Plan, layout: Layout, found: Found | None) -> Tracker:
    """Begin tracking and write down what the run is: the resolved recipe, the plan, the picture of both."""
    recipe, run_dir = plan.recipe, plan.recipe.output_folder
    if not (layout.is_first and recipe.tracking.enabled):
        return NullJournal()
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "recipe.yaml").write_text(write_yaml(recipe.model_dump(mode="json", by_alias=True, exclude_none=True)))
    (run_dir / "plan.json").write_text(json.dumps(plan_json(plan), indent=1))
    draw_plan(plan, run_dir / "plan.png")
    tracker = Journal(run_dir)
    tracker.begin(
        recipe.name,
        experiment=recipe.tracking.experiment,
        tracking_uri=recipe.tracking.uri,
        resume=found is not None,
    )
    tracker.params(recipe.model_dump(mode="json", by_alias=True, exclude_none=True))
    tracker.tags({"git_revision": _git_revision(), "world_size": layout.world, **versions()})
    _track_datasets(plan, tracker)
    for name in ("recipe.yaml", "plan.json", "plan.png"):
        tracker.artifact(run_dir / name)
    return tracker


def _track_datasets(plan: Plan, tracker: Tracker) -> None:
    for name, source in plan.sources.items():
        generation = source.generation()
        spec = plan.recipe.sources[name]
        tracker.dataset(
            name,
            digest=generation.fingerprint[:32],
            source=str(spec.path or f"{spec.tokens} tokens"),
            profile={"rows": source.num_rows, "held_out_rows": source.num_validation_rows, "loss": source.loss},
            context="training",
        )


def _git_revision() -> str:
    """The revision of the working directory, with a mark where it has changes; empty outside git."""
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _close(plan: Plan, layout: Layout, tracker: Tracker, status: str) -> None:
    """Draw the run, end it at the tracker, and give the sender a while to catch up."""
    if layout.is_first and plan.recipe.tracking.enabled:
        picture = plan.recipe.output_folder / "run.png"
        draw_run(plan, plan.recipe.output_folder, picture)
        tracker.artifact(picture)
    tracker.end(status)  # type: ignore[arg-type]
    if not tracker.close(_DRAIN_S):
        folder = plan.recipe.output_folder
        print(f"tracking: the journal holds what was not sent; annealmix track sync {folder} sends it")


def _say_goodbye(
    plan: Plan, layout: Layout, leave: LeaveRequest, store: CheckpointStore, state: RunState, tracker: Tracker
) -> None:
    if not layout.is_first:
        return
    folders = store.folders()
    last = folders[-1] if folders else None
    if leave.signal is not None:
        print(
            f"{leave.signal.name}: saved {last} at {format_tokens(state.consumed_tokens)} tokens; go on with --resume"
        )
        return
    where = tracker.where()
    print(report(plan, plan.recipe.output_folder, tracker=where["view"] if where else "", last_checkpoint=last))
