"""From a recipe to a plan: the recipe resolved against data, and nothing else. Imports neither torch nor megatron.

Phases are given in tokens and snapped to whole windows; everything downstream (learning rate, batch size, mixture) is
a pure function of where the clock stands.
"""

from dataclasses import replace

from schedulers.batch_size import Steps

from ..errors import UserError
from .data import open_sources
from .edges import check_edges
from .laid_curves import batch_ramp, hyperparameters
from .laid_out import lay_out
from .lint import lint
from .past import Past
from .planned import Plan
from .probe import check_probe
from .schema import Recipe
from .vocabulary import read_vocabulary


def resolve(recipe: Recipe, *, where: str, past: Past | None = None) -> Plan:
    """Open the data, snap the phases, and lay out learning rate, batches and mixture; ``where`` begins each error.

    With a ``past`` the mixture goes on from what a running run has read, and nothing of that changes.
    """
    vocab_size, tokenizer_digest = read_vocabulary(recipe, where)
    _check_pads(recipe, vocab_size, where)
    sources = open_sources(recipe, tokenizer_digest, where, past)
    check_probe(recipe, vocab_size, tokenizer_digest, where)
    check_edges(recipe, where)
    history = lay_out(recipe, sources, past, where)
    ramp = batch_ramp(recipe, where)
    batches = Steps(ramp, sequence_length=recipe.sequence_length, total_samples=history.num_samples)
    check_batches(recipe, batches, data_parallel_size=1, where=where)
    plan = Plan(recipe, hyperparameters(recipe, ramp, where), batches, history, sources, vocab_size)
    return replace(plan, warnings=lint(plan))


def _check_pads(recipe: Recipe, vocab_size: int, where: str) -> None:
    for name, spec in recipe.sources.items():
        if spec.pad is not None and spec.pad >= vocab_size:
            expected = f"an id below the vocabulary's size, {vocab_size:,}"
            raise UserError(f"{where}: sources.{name}.pad", got=str(spec.pad), expected=expected)


def check_batches(recipe: Recipe, batches: Steps, *, data_parallel_size: int, where: str) -> None:
    """Raise UserError unless every global batch is a whole number of micro-batches on every data-parallel rank."""
    unit, entries = recipe.micro_batch_size * data_parallel_size, batch_ramp(recipe, where).entries
    is_table = isinstance(recipe.global_batch_size, tuple) and len(entries) > 1
    for index, (_, size) in enumerate(entries):
        if size % unit:
            raise UserError(
                f"{where}: global_batch_size" + (f"[{index}][1]" if is_table else ""),
                got=str(size),
                expected=f"a multiple of micro_batch_size x data-parallel size = {recipe.micro_batch_size} x "
                f"{data_parallel_size} = {unit}",
            )
    if batches.num_steps == 0:
        raise UserError(
            f"{where}: phases",
            got=f"{batches.total_samples} windows in all",
            expected=f"at least one global batch of {entries[0][1]}",
        )
