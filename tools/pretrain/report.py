"""The end of a run: its picture, the two slopes, and where everything is."""

from pathlib import Path

from mixer.ledger import Ledger
from schedulers.words import format_tokens

from ..plan.picture import planned_curves
from ..recipe.planned import Plan
from ..tracking.records import read_lines
from ..tracking.sent import TrackingFolder
from .layer_summary import describe_layers
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


def findings(plan: Plan, run_dir: Path, consumed_samples: int) -> str:
    """What came of the run: what each source gave, held-out losses, slopes around the decay, how layers changed."""
    found = measured_curves(run_dir)
    slopes = _slopes(plan, found.get("validation"))
    layers = describe_layers(found, plan.recipe)
    return "\n".join([*account(plan, consumed_samples), *_losses(plan, found), *slopes, *layers])


def places(run_dir: Path, *, tracker: str, last_checkpoint: Path | None) -> str:
    """Where everything is."""
    named = [
        ("picture", run_dir / "run.png"),
        ("report", run_dir / "report.txt"),
        ("checkpoints", run_dir / "checkpoints"),
        ("last one", last_checkpoint),
        ("journal", TrackingFolder.of(run_dir).journal),
        ("tracker", tracker),
    ]
    return "\n".join(f"{name:<12} {place}" for name, place in named if place)


def account(plan: Plan, consumed_samples: int) -> list[str]:
    """The ledger as a table: what each source gave, and its part of the learning rate's integral.

    ``worth`` is what its tokens are worth in tokens read once (mixer/ledger.py). The last column weighs each token with
    the learning rate it was read at: data that comes late in a decay is read at small steps, and weighs less.
    """
    ledger = Ledger(plan.mixture, plan.sources)
    exposure = ledger.exposure(consumed_samples, plan.learning_rate.integral)
    total = sum(exposure.values()) or 1.0
    lines = [
        f"{'source':<12}{'windows':>9}{'tokens':>9}{'supervised':>12}{'epochs':>8}{'worth':>8}{'of the learning':>17}"
    ]
    for name, entry in ledger.at(consumed_samples).items():
        supervised = "unknown" if entry.supervised_tokens is None else format_tokens(entry.supervised_tokens)
        counts = f"{entry.samples:>9,}{format_tokens(entry.tokens):>9}{supervised:>12}{entry.epochs:>8.2f}"
        worth = format_tokens(round(entry.effective_tokens))
        lines.append(f"{name:<12}{counts}{worth:>8}{exposure[name] / total:>17.1%}")
    return [*lines, ""]


def _losses(plan: Plan, found: dict[str, Curve]) -> list[str]:
    final = [
        f"{name} {found[f'validation/{name}'][1][-1]:.4f}"
        for name in plan.recipe.sources
        if f"validation/{name}" in found
    ]
    return [f"held-out loss at {format_tokens(plan.total_tokens)} tokens:  " + "   ".join(final)] if final else []


def _slopes(plan: Plan, curve: Curve | None) -> list[str]:
    starts = plan.decay_starts
    if not (curve and starts):
        return []
    slopes = decay_slopes(curve, starts[-1], int(curve[0][-1]))
    return [describe_slopes(slopes, data_changed=_mixture_changes_from(plan, slopes.before_tokens))] if slopes else []


def _mixture_changes_from(plan: Plan, tokens: int) -> bool:
    """Whether shares at the end of any phase that ends later are not those of its beginning, or of the phase before."""
    shares = [
        [{name: getattr(use, end) for name, use in phase.sources.items()} for end in ("start_share", "end_share")]
        for phase in plan.phases
        if phase.end_tokens > tokens
    ]
    return any(found != shares[0][0] for both in shares for found in both)
