"""The end of a run: its picture, the two slopes, and where everything is."""

from pathlib import Path

from ..plan import planned_curves
from ..recipe.numbers import format_tokens
from ..recipe.resolve import Plan
from ..tracking.records import read_lines
from ..tracking.sent import TrackingFolder
from .summary import Curve, curves, decay_slopes, describe_slopes


def measured_curves(run_dir: Path) -> dict[str, Curve]:
    """Every metric of the run over tokens, read from its own journal."""
    journal = TrackingFolder.of(run_dir).journal
    if not journal.exists():
        return {}
    return curves(line.record for line in read_lines(journal) if line.kind == "metrics")


def draw_run(plan: Plan, run_dir: Path, path: Path) -> None:
    """Learning rate, mixture and loss of the run on one token axis."""
    from ..plots import Picture, draw

    found = measured_curves(run_dir)
    validation = {name: found[f"validation/{name}"] for name in plan.recipe.sources if f"validation/{name}" in found}
    title = f"{plan.recipe.name}: {format_tokens(plan.total_tokens)} tokens"
    draw(Picture(title=title, loss=found.get("loss", ([], [])), validation=validation, **planned_curves(plan)), path)


def report(plan: Plan, run_dir: Path, *, tracker: str, last_checkpoint: Path | None) -> str:
    """What a person wants to know when the run is over."""
    found = measured_curves(run_dir)
    lines = [*_losses(plan, found), *_slopes(plan, found.get("validation"))]
    places = [
        ("picture", run_dir / "run.png"),
        ("checkpoints", run_dir / "checkpoints"),
        ("last one", last_checkpoint),
        ("journal", TrackingFolder.of(run_dir).journal),
        ("tracker", tracker),
    ]
    lines += [f"{name:<12} {place}" for name, place in places if place]
    return "\n".join(lines)


def _losses(plan: Plan, found: dict[str, Curve]) -> list[str]:
    final = [
        f"{name} {found[f'validation/{name}'][1][-1]:.4f}"
        for name in plan.recipe.sources
        if f"validation/{name}" in found
    ]
    return [f"held-out loss at {format_tokens(plan.total_tokens)} tokens:  " + "   ".join(final)] if final else []


def _slopes(plan: Plan, curve: Curve | None) -> list[str]:
    starts = plan.schedule.decay_starts()
    if not (curve and starts):
        return []
    slopes = decay_slopes(curve, starts[-1], int(curve[0][-1]))
    return [describe_slopes(slopes)] if slopes else []
