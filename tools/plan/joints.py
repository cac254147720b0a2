"""The values of a plan at every joint: where a phase, a segment of a curve, a batch size or a mixture begins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schedulers.batch_ramps import Coupled
from schedulers.schedule import Schedule
from schedulers.words import format_value

from ..recipe.planned import Plan
from ..recipe.shares import shares_of, stretch_at
from .grouped import grouped

Curve = Schedule | Coupled
Sides = tuple[float, float]  # before a joint, and from it on; the same where nothing jumps


@dataclass(frozen=True)
class Joint:
    """One place on the clock. ``step`` is the first step that begins there or after it, and takes these values."""

    tokens: int
    step: int
    phase: str
    batch_size: int
    curves: Mapping[str, Sides]
    mixture: Mapping[str, Sides]


def curves(plan: Plan) -> dict[str, Curve]:
    """Every curve of a plan under its key in the recipe, the learning rate first."""
    return {"learning_rate": plan.learning_rate, **plan.curves_beside}


def joints(plan: Plan) -> list[Joint]:
    """Every joint of the run in order, its start and its end among them."""
    return [_joint(plan, tokens) for tokens in _places(plan)]


def _places(plan: Plan) -> list[int]:
    length, stretches = plan.recipe.sequence_length, plan.mixture.cursors.stretches
    samples = {0, plan.total_samples, *(phase.start_sample for phase in plan.phases)}
    for before, stretch in zip((None, *stretches), stretches, strict=False):
        if stretch.begins_a_mixture(before):
            samples.add(stretch.start_sample)
    found = {sample * length for sample in samples}
    found |= {tokens for tokens, _ in plan.batches.ramp.entries}
    found |= {tokens for curve in curves(plan).values() for tokens in curve.joints}
    return sorted(tokens for tokens in found if tokens <= plan.total_tokens)


def _joint(plan: Plan, tokens: int) -> Joint:
    step = first_step_from(plan, tokens)
    sample = min(tokens // plan.recipe.sequence_length, plan.total_samples - 1)
    return Joint(
        tokens=tokens,
        step=step,
        phase=plan.phase_at(sample).name if tokens < plan.total_tokens else "end",
        batch_size=plan.batches.batch_size(min(step, plan.batches.num_steps - 1)),
        curves={name: _sides(curve, tokens) for name, curve in curves(plan).items()},
        mixture=_shares(plan, tokens),
    )


def first_step_from(plan: Plan, tokens: int) -> int:
    """The first step that begins at a token or after it; the number of steps where none does."""
    sample, steps = -(-tokens // plan.recipe.sequence_length), plan.batches
    if sample >= steps.first_sample(steps.num_steps):
        return steps.num_steps
    step = steps.step_of_sample(sample)
    return step + (steps.first_sample(step) < sample)


def _sides(curve: Curve, tokens: int) -> Sides:
    jumps = {jump.tokens: jump.left for jump in curve.jumps()}
    here = curve.value(tokens)
    return jumps.get(tokens, here), here


def _shares(plan: Plan, tokens: int) -> dict[str, Sides]:
    """Shares asked for on both sides, of the sources that have one; those before the start are those at it."""
    sample, mixture = tokens // plan.recipe.sequence_length, plan.mixture
    before = shares_of(mixture, stretch_at(mixture, sample, ending=True), sample, plan.divisors)
    if 0 < sample < plan.total_samples:
        here = shares_of(mixture, stretch_at(mixture, sample), sample, plan.divisors)
    else:
        here = before
    return {name: (before.get(name, 0.0), here.get(name, 0.0)) for name in mixture.names if name in {**before, **here}}


def table(plan: Plan, most_sources: int = 8) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the joints as text; sources that are many are grouped, the largest stand alone."""
    found = joints(plan)
    named, others = grouped(plan, most_sources)
    head = ["tokens", "step", "phase", *(name.replace("_", " ") for name in curves(plan)), "batch size", *named]
    rows = [
        [
            f"{joint.tokens:,}",
            f"{joint.step:,}",
            joint.phase,
            *(_both(*sides, "") for sides in joint.curves.values()),
            f"{joint.batch_size:,}",
            *(_both(*joint.mixture.get(name, (0.0, 0.0)), ".4f") for name in named),
            *([_both(*_sum(joint, others), ".4f")] if others else []),
        ]
        for joint in found
    ]
    return [*head, *([f"{len(others)} others"] if others else [])], rows


def _sum(joint: Joint, names: Sequence[str]) -> Sides:
    both = [joint.mixture.get(name, (0.0, 0.0)) for name in names]
    return sum(before for before, _ in both), sum(here for _, here in both)


def _both(before: float, here: float, form: str) -> str:
    was, now = (f"{value:{form}}" if form else format_value(value) for value in (before, here))
    return now if was == now else f"{was} -> {now}"


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of text, each as wide as its widest cell; numbers stand to the right."""
    lines = [head, *rows]
    pads = [
        f"{'<' if name == 'phase' else '>'}{max(len(line[column]) for line in lines)}"
        for column, name in enumerate(head)
    ]
    return "\n".join("  ".join(map(format, line, pads)).rstrip() for line in lines)
