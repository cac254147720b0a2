"""How often a source may be read: decided when planning, so that no run is surprised by an empty source.

``error`` refuses the plan and says the largest share that would fit; ``stop`` ends the run where the source is used up;
``redistribute`` hands its share to other sources from there on (mixer/caps.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from mixer.epochs import allowed_draws, epochs_of
from mixer.generations import SourceHistory
from mixer.history import History
from mixer.mixture import Mixture
from mixer.spans import Cap

from ..errors import UserError
from .edges import mixtures, phase_edges
from .feasible import Trial
from .past import Past
from .schema import Recipe
from .source_spec import SourceSpec


def caps_of(recipe: Recipe, sources: Mapping[str, SourceHistory]) -> dict[str, Cap]:
    """The caps that the history itself applies: those that hand a share on."""
    return {
        name: Cap(allowed_draws(sources[name], epochs), spec.redistribute_to)
        for name, spec, epochs in capped(recipe)
        if spec.exhausted == "redistribute"
    }


def capped(recipe: Recipe) -> list[tuple[str, SourceSpec, float]]:
    """Name, spec and largest number of epochs of each source that states one."""
    return [(name, spec, spec.max_epochs) for name, spec in recipe.sources.items() if spec.max_epochs is not None]


def stopped_early(recipe: Recipe, history: History, at_least: int) -> History:
    """The history up to where the first source with ``exhausted: stop`` is used up; ``at_least`` was read already."""
    mixture = Mixture(history)
    ends = [
        mixture.exhausted_at(name, allowed_draws(history.sources[name], epochs))
        for name, spec, epochs in capped(recipe)
        if spec.exhausted == "stop"
    ]
    end = min((end for end in ends if end is not None), default=history.num_samples)
    return shortened(history, max(end, at_least, 1))


def shortened(history: History, num_samples: int) -> History:
    """The same run, ended earlier."""
    if num_samples >= history.num_samples:
        return history
    spans = [span for span in history.spans if span.start_sample < num_samples]
    spans[-1] = replace(spans[-1], end_sample=num_samples)
    skips = [skip for skip in history.skips if skip.end <= num_samples]
    return replace(history, spans=spans, skips=skips)


def check_caps(
    recipe: Recipe, history: History, history_of: Callable[[Recipe], History], past: Past | None, where: str
) -> None:
    """Raise UserError for the first source that would be read more often than it may, with the share that fits."""
    mixture = Mixture(history)
    counts = [mixture.counts(end) for end in phase_edges(recipe, history)[1:]]
    for name, spec, limit in capped(recipe):
        draws = allowed_draws(history.sources[name], limit)
        over = next((index for index, at_end in enumerate(counts) if at_end[name] > draws), None)
        if spec.exhausted == "error" and over is not None:
            got = f"{epochs_of(history.sources[name], counts[over][name]):.4g} epochs"
            raise UserError(
                f"{where}: sources.{name}.max_epochs",
                got=f"{got} by the end of phases[{over}] ({recipe.phases[over].name})",
                expected=f"at most {limit:g}",
                fix=_what_fits(recipe, history_of, past, name, over),
            )


def _what_fits(recipe: Recipe, history_of: Callable[[Recipe], History], past: Past | None, name: str, over: int) -> str:
    """A share that would fit, where there are other sources to take the rest and there is room for one."""
    history = history_of(recipe)
    first, last = _phases_of_mixture(recipe, over, history, past)
    if not any(weight for other, weight in mixtures(recipe)[first].items() if other != name):
        return f"phases[{first}] reads nothing else: make it shorter, or add sources to its mixture"
    share = Trial(recipe, history_of, name, first, last).largest_share()
    if share is not None:
        return f"the largest share of {name} that fits in phases[{first}].mixture is {share:.6f}"
    if past and past.draws.get(name, 0) > allowed_draws(history.sources[name], recipe.sources[name].max_epochs or 0.0):
        return "so much was read before the checkpoint; raise max_epochs, or choose stop or redistribute"
    return f"phases[{first}] ramps from so large a share that none fits at its end; lower it in the phase before"


def _phases_of_mixture(recipe: Recipe, phase: int, history: History, past: Past | None) -> tuple[int, int]:
    """First and last phase with the mixture in force in a phase, those that ended before the checkpoint left out."""
    ended = sum(edge <= past.at_sample for edge in phase_edges(recipe, history)[1:]) if past else 0
    stating = [index for index, spec in enumerate(recipe.phases) if spec.mixture is not None]
    first = max(index for index in stating if index <= phase)
    last = min((index for index in stating if index > phase), default=len(recipe.phases)) - 1
    return max(first, ended), last
