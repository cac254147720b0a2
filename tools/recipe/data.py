"""The sources of a recipe, opened: data on disk, counts without data, and what an earlier run has left unread."""

from pathlib import Path
from typing import Any

from mixer.errors import DataError
from mixer.rows import Source
from mixer.source import CountedSource, open_source

from ..errors import UserError
from .from_run import unread_part
from .past import Past
from .schema import Recipe
from .source_spec import SourceSpec
from .vocabulary import check_tokenizer


def open_sources(recipe: Recipe, tokenizer_digest: str | None, where: str, past: Past | None) -> dict[str, Source]:
    """Every source of the recipe by name; what a running run has read of one decides how its rows are numbered."""
    sources = {name: _open(name, spec, recipe, where, past) for name, spec in recipe.sources.items()}
    for name, spec in recipe.sources.items():
        for path in spec.path or () if tokenizer_digest else ():
            check_tokenizer(f"{where}: sources.{name}.path", path, tokenizer_digest or "")
    return sources


def holdout_share(spec: SourceSpec, recipe: Recipe) -> float:
    """The part of a source that is kept for validation: its own, or the recipe's for all."""
    return recipe.validation.holdout if spec.holdout is None else spec.holdout


def window_options(spec: SourceSpec) -> dict[str, Any]:
    """How windows are made of a source's text: options of ``open_source``."""
    return {name: getattr(spec, name) for name in ("column", "loss", "windows", "attention", "overlong", "pad")}


def _open(name: str, spec: SourceSpec, recipe: Recipe, where: str, past: Past | None) -> Source:
    try:
        if spec.path is None:
            return _counted(name, spec, recipe)
        return unread_part(name, spec, recipe, past) or _whole(name, spec, spec.path, recipe, past)
    except DataError as error:
        raise UserError(f"{where}: sources.{name}", fix=str(error)) from None


def _counted(name: str, spec: SourceSpec, recipe: Recipe) -> Source:
    assert spec.tokens is not None, "the schema asks for one of them"
    return CountedSource(name, spec.tokens, recipe.sequence_length, spec.mean_loss_tokens, spec.loss)


def _whole(name: str, spec: SourceSpec, path: tuple[Path, ...], recipe: Recipe, past: Past | None) -> Source:
    return open_source(
        path,
        name=name,
        sequence_length=recipe.sequence_length,
        **window_options(spec),
        epoch_offset=spec.epoch_offset,
        holdout_share=holdout_share(spec, recipe),
        holdout_runs=spec.holdout_runs,
        history=past.begun(name) if past else None,
    )
