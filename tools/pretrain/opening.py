"""The beginning of a run on paper: what is written into its folder and told to the tracker before the first step."""

import importlib.metadata
import json
import platform
import subprocess

from ..plan.picture import draw_plan
from ..plan.tables import plan_json
from ..recipe.planned import Plan
from ..recipe.yaml_file import write_yaml
from ..runtime.processes import Layout
from ..tracking.journal import Journal, NullJournal, Tracker
from .resume import Found


def open_tracker(plan: Plan, layout: Layout, found: Found | None) -> Tracker:
    """Write down what the run is, begin tracking, and say it there; the ranks but 0 get a tracker that is silent.

    Raises UserError on every rank, and nothing is written, where layers can't be compared with their first measurement.
    """
    if found and found[1].step and plan.recipe.layers.every:
        from .layer_probe import check_first  # megatron-core, which warns as it is loaded

        check_first(plan.recipe)
    if not layout.is_first:
        return NullJournal()
    recipe, run_dir = plan.recipe, plan.recipe.output_folder
    written = recipe.model_dump(mode="json", by_alias=True, exclude_none=True)
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "recipe.yaml").write_text(write_yaml(written))
    (run_dir / "plan.json").write_text(json.dumps(plan_json(plan), indent=1))
    draw_plan(plan, run_dir / "plan.png")
    tracking = recipe.tracking
    tracker = Journal(run_dir)
    tracker.begin(recipe.name, experiment=tracking.experiment, tracking_uri=tracking.uri, resume=found is not None)
    tracker.params(written)
    tracker.tags({"git_revision": _git_revision(), "world_size": layout.world, **versions()})
    _track_datasets(plan, tracker)
    for name in ("recipe.yaml", "plan.json", "plan.png"):
        tracker.artifact(run_dir / name)
    return tracker


def _track_datasets(plan: Plan, tracker: Tracker) -> None:
    for name, source in plan.sources.items():
        generation = source.generations()[-1]
        spec = plan.recipe.sources[name]
        tracker.dataset(
            name,
            digest=generation.fingerprint[:32],
            source=", ".join(map(str, spec.path)) if spec.path else f"{spec.tokens} tokens",
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


def versions() -> dict[str, str]:
    """What the run is made with."""
    packages = {name: _version(name) for name in ("torch", "megatron-core", "numpy")}
    return {"python": platform.python_version(), **packages}


def _version(package: str) -> str:
    """The installed version, or that it isn't known: a container may bring Megatron as a folder on the path."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
