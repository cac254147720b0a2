"""What a plan allows and its author probably didn't mean, a line each with what to do."""

from collections.abc import Iterator

from .numbers import format_tokens
from .planned import Plan
from .schema import Recipe

_EPOCHS_NEARLY_FREE = 4.0


def lint(plan: Plan) -> tuple[str, ...]:
    """What is allowed and probably not meant, a line each with what to do."""
    return (*_weight_warnings(plan.recipe), *_schedule_warnings(plan), *_repetition_warnings(plan))


def _weight_warnings(recipe: Recipe) -> Iterator[str]:
    for index, phase in enumerate(recipe.phases):
        total = sum(phase.mixture.values()) if phase.mixture else 1.0
        if abs(total - 1) > 1e-9:
            yield f"phases[{index}].mixture: weights sum to {total:.10g}; they are normalised to 1"


def _schedule_warnings(plan: Plan) -> Iterator[str]:
    schedule, length = plan.schedule, plan.recipe.sequence_length
    if schedule.value(0) == 0:
        yield "phases[0].learning_rate: the first step has a learning rate of 0 and learns nothing; start above 0"
    for jump in schedule.jumps():
        yield f"learning_rate: jumps from {jump.left:g} to {jump.right:g} at {format_tokens(jump.tokens)} tokens"
    last_step = plan.batches.first_sample(plan.batches.num_steps - 1) * length
    target, reached = schedule.segments[-1].last_value, schedule.value(last_step)
    if target > 0 and reached > 2 * target:
        yield f"learning_rate: the last step runs at {reached:g}, not at {target:g}; the decay ends after it"
    if plan.batches.leftover_samples:
        left = plan.batches.leftover_samples
        yield f"global_batch_size: the last {left} windows ({format_tokens(left * length)} tokens) fill no batch"


def _repetition_warnings(plan: Plan) -> Iterator[str]:
    """Beyond four epochs a repeated token is worth less than 0.83 of a new one (arXiv 2305.16264)."""
    for name in plan.recipe.sources:
        epochs = max(phase.sources[name].epochs_so_far if name in phase.sources else 0.0 for phase in plan.phases)
        if epochs > _EPOCHS_NEARLY_FREE:
            yield f"sources.{name}: read {epochs:.1f} times; after 4 epochs repeated tokens are worth less"
