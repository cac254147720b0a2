"""What a plan allows and its author probably didn't mean, a line each with what to do."""

from collections.abc import Iterator
from pathlib import Path

from mixer.epochs import allowed_draws
from mixer.manifest import Manifest
from schedulers.lint import Finding, lint_beside
from schedulers.lint import lint as lint_schedule
from schedulers.schedule import Schedule
from schedulers.words import format_tokens, format_value

from .caps import capped
from .edges import sample_edges
from .from_run import prefixes_without_source, real_prefix
from .laid_curves import clock_of
from .named_schedules import PowerSchedule, Waves, Wsd, WsdS
from .planned import Plan
from .schema import Recipe

_EPOCHS_NEARLY_FREE = 4.0
_CAP_IS_CLOSE = 0.9


def lint(plan: Plan) -> tuple[str, ...]:
    """What is allowed and probably not meant, a line each with what to do."""
    return (
        *_weight_warnings(plan.recipe),
        *_missing_decay_warnings(plan),
        *_schedule_warnings(plan),
        *_no_bound_warnings(plan),
        *_source_warnings(plan.recipe),
        *_reading_warnings(plan),
        *_cap_warnings(plan),
    )


def _weight_warnings(recipe: Recipe) -> Iterator[str]:
    for index, phase in enumerate(recipe.phases):
        total = sum(phase.mixture.values()) if phase.mixture else 1.0
        if abs(total - 1) > 1e-9:
            yield f"phases[{index}].mixture: weights sum to {total:.10g}; they are normalised to 1"


def _missing_decay_warnings(plan: Plan) -> Iterator[str]:
    """A schedule that is named for its decay and was given none."""
    named, reached = plan.recipe.learning_rate, plan.schedule.segments[-1].last_value
    if not isinstance(named, Wsd | WsdS | Waves | PowerSchedule) or reached <= named.floor:
        return
    if not named.decay.tokens(clock_of(plan.recipe, plan.batches.ramp)):
        never = f"the rate stops at {format_value(reached, 3)} and never falls to {format_value(named.floor)}"
        yield f"learning_rate.decay: 0 tokens: {never}; give it a length"


def _schedule_warnings(plan: Plan) -> Iterator[str]:
    """What `schedulers.lint` finds, each with its place in the recipe."""
    yield from _placed(plan, "learning_rate", plan.schedule, lint_schedule(plan.schedule, plan.batches))
    for key, curve in plan.curves_beside.items():
        yield from _placed(plan, key, curve, lint_beside(curve, plan.batches))


def _placed(plan: Plan, key: str, curve: Schedule, findings: list[Finding]) -> Iterator[str]:
    for finding in findings:
        if finding.segment is None:
            yield f"global_batch_size: {finding.text}"
        else:
            begins = curve.segments[finding.segment].start_tokens
            if not (finding.is_jump and _is_asked_for(plan, key, begins)):
                yield f"{_place(plan, key, begins)}: {finding.text}"


def _is_asked_for(plan: Plan, key: str, begins_tokens: int) -> bool:
    """Whether a jump lies inside what one key lays: cycles restart with one, and so do named schedules of steps."""
    return begins_tokens not in _stating(plan, key).values()


def _place(plan: Plan, key: str, begins_tokens: int) -> str:
    """The key that the segment from there on is stated with: in a phase, or at the top of the recipe."""
    stating = [index for index, tokens in _stating(plan, key).items() if tokens <= begins_tokens]
    return f"phases[{stating[-1]}].{key}" if stating else key


def _stating(plan: Plan, key: str) -> dict[int, int]:
    """The phases that state a curve, and the token where each begins."""
    edges, length = enumerate(sample_edges(plan.recipe)[:-1]), plan.recipe.sequence_length
    return {index: sample * length for index, sample in edges if getattr(plan.recipe.phases[index], key) is not None}


def _no_bound_warnings(plan: Plan) -> Iterator[str]:
    """A bound of the gradient that runs into 0, where there is none: next to it, it lets nearly nothing through."""
    curve = plan.curves_beside.get("clip_grad")
    for segment in curve.segments if curve else ():
        if not segment.is_flat and 0.0 in (segment.start_value, segment.last_value):
            zero = segment.start_tokens if segment.start_value == 0.0 else segment.end_tokens
            place = _place(plan, "clip_grad", segment.start_tokens)
            yield f"{place}: 0 at {format_tokens(zero)} tokens, where it bounds nothing; keep a curve above 0"
            return


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
