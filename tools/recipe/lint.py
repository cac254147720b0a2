"""What a plan allows and its author probably didn't mean, a line each with what to do."""

from collections.abc import Iterator
from pathlib import Path

from mixer.epochs import allowed_draws
from mixer.manifest import Manifest
from schedulers.lint import Finding
from schedulers.lint import lint as lint_schedule
from schedulers.words import format_tokens

from .caps import capped
from .edges import sample_edges
from .from_run import prefixes_without_source, real_prefix
from .planned import Plan
from .schema import Recipe

_EPOCHS_NEARLY_FREE = 4.0
_CAP_IS_CLOSE = 0.9


def lint(plan: Plan) -> tuple[str, ...]:
    """What is allowed and probably not meant, a line each with what to do."""
    return (
        *_weight_warnings(plan.recipe),
        *_schedule_warnings(plan),
        *_source_warnings(plan.recipe),
        *_reading_warnings(plan),
        *_cap_warnings(plan),
    )


def _weight_warnings(recipe: Recipe) -> Iterator[str]:
    for index, phase in enumerate(recipe.phases):
        total = sum(phase.mixture.values()) if phase.mixture else 1.0
        if abs(total - 1) > 1e-9:
            yield f"phases[{index}].mixture: weights sum to {total:.10g}; they are normalised to 1"


def _schedule_warnings(plan: Plan) -> Iterator[str]:
    """What `schedulers.lint` finds, each with its place in the recipe."""
    for finding in lint_schedule(plan.schedule, plan.batches):
        if not (finding.is_jump and _is_asked_for(plan, finding)):
            yield f"{_place(plan, finding)}: {finding.text}"


def _is_asked_for(plan: Plan, jump: Finding) -> bool:
    """Whether a jump lies inside what one key lays: cycles restart with one, and so do named schedules of steps."""
    assert jump.segment is not None, "a jump is where a segment begins"
    begins = plan.schedule.segments[jump.segment].start_tokens
    return begins not in {sample * plan.recipe.sequence_length for sample in _stating(plan).values()}


def _place(plan: Plan, finding: Finding) -> str:
    """The key that a finding is about: of a segment, in the phase that stated it."""
    if finding.segment is None:
        return {"learning_rate": "learning_rate", "batch_size": "global_batch_size"}[finding.about]
    begins = plan.schedule.segments[finding.segment].start_tokens
    stating = [i for i, sample in _stating(plan).items() if sample * plan.recipe.sequence_length <= begins]
    return f"phases[{stating[-1]}].learning_rate" if stating else "learning_rate"


def _stating(plan: Plan) -> dict[int, int]:
    """The phases that state a learning rate, and the sample where each begins."""
    edges = enumerate(sample_edges(plan.recipe)[:-1])
    return {index: sample for index, sample in edges if plan.recipe.phases[index].learning_rate is not None}


def _source_warnings(recipe: Recipe) -> Iterator[str]:
    """Data named twice or not at all, and a holdout that may not be like the rest."""
    owners: dict[str, str] = {}
    for name, path in ((name, path) for name, spec in recipe.sources.items() for path in spec.path or ()):
        if (owner := owners.setdefault(real_prefix(path), name)) != name:
            yield f"sources.{name}: {path} is read by {owner} already; its documents are drawn and held out twice"
    for name, spec in recipe.sources.items():
        if spec.holdout_runs == 1 and spec.path and not all(map(_is_shuffled, spec.path)):
            yield f"sources.{name}.holdout_runs: one run of documents that were not shuffled when written; take 16"
    for prefix in prefixes_without_source(recipe):
        yield f"from_megatron.blend: {prefix} is no source of this recipe; what that run left of it is not read"


def _is_shuffled(path: Path) -> bool:
    manifest = Manifest.read(path)
    return manifest is not None and manifest.shuffled


def _reading_warnings(plan: Plan) -> Iterator[str]:
    """Beyond four epochs a repeated token is worth less than 0.83 of a new one (arXiv 2305.16264)."""
    epochs = plan.epochs(plan.total_samples)
    for name in plan.recipe.sources:
        if not epochs[name]:
            yield f"sources.{name}: never read; no phase gives it a weight"
        if epochs[name] > _EPOCHS_NEARLY_FREE:
            yield f"sources.{name}: read {epochs[name]:.1f} times; after 4 epochs repeated tokens are worth less"


def _cap_warnings(plan: Plan) -> Iterator[str]:
    """Where a cap acts, or is about to."""
    counts, length = plan.mixture.counts(plan.total_samples), plan.recipe.sequence_length
    lost = (sample_edges(plan.recipe)[-1] - plan.total_samples) * length
    for name, spec, limit in capped(plan.recipe):
        draws = allowed_draws(plan.history.sources[name], limit)
        used_up = counts[name] >= draws
        if spec.exhausted == "error" and counts[name] >= _CAP_IS_CLOSE * draws:
            left = format_tokens((draws - counts[name]) * length)
            yield f"sources.{name}: {counts[name] / draws:.0%} of its {limit:g} epochs are read; {left} tokens are left"
        if spec.exhausted == "stop" and used_up and lost:
            at, left = format_tokens(plan.total_tokens), format_tokens(lost)
            yield f"sources.{name}: used up at {at} tokens, where the run stops; {left} tokens are left out"
        if spec.exhausted == "redistribute" and used_up:
            at, to = _last_read(plan, name), ", ".join(spec.redistribute_to)
            yield f"sources.{name}: used up {at}; its share goes to {to}"


def _last_read(plan: Plan, name: str) -> str:
    """Where the source's last window ends."""
    end = plan.mixture.read_by(name)
    return f"at {format_tokens(end * plan.recipe.sequence_length)} tokens" if end else "from the start"
