"""Models on megatron-core: a checkpoint of a run of ours, or another distributed checkpoint with a recipe beside it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..errors import UserError
from ..pretrain.checkpoint_store import CheckpointStore, check
from ..pretrain.state import first_state
from ..recipe.from_run import real_prefix
from ..recipe.load import load_recipe
from ..recipe.schema import Recipe
from ..recipe.vocabulary import read_vocabulary
from ..recipe.yaml_file import write_yaml
from ..runtime import processes
from .families import own_anatomies
from .layered import LayeredModel, OnLogits, check_model
from .order import reordered_model
from .probe import ProbeBatch, RowOptions, holds_conversations
from .token_kinds import NO_KINDS, TokenKinds

if TYPE_CHECKING:
    from .opening import Options


_ROW_OPTIONS = ("column", "loss", "windows", "attention", "overlong", "pad")


def checkpoints_in(path: Path) -> list[Path]:
    """Checkpoint folders at a path: itself, or the whole ones of a run, oldest first; none if it is neither.

    A run is one of ours, or a folder of Megatron-LM's ``iter_N``. Raises UserError where none of ours is whole.
    """
    if (path / ".metadata").is_file():
        return [path]
    inside = path / "checkpoints"
    folders = CheckpointStore(inside if inside.is_dir() else path).folders() if path.is_dir() else []
    complaints = [check(folder, digests=False)[0] for folder in folders]
    if folders and all(complaints):
        raise UserError(str(folders[-1]), got=complaints[-1], expected="a whole checkpoint")
    ours = [folder for folder, complaint in zip(folders, complaints, strict=True) if not complaint]
    return ours or sorted(folder for folder in path.glob("iter_*") if (folder / ".metadata").is_file())


def told_of(folder: Path, recipe_path: Path | None, overrides: Sequence[str]) -> tuple[int, str | None]:
    """Number of layers, and the digest of the tokenizer where there is one, without the weights."""
    recipe = _recipe(folder, recipe_path, overrides)
    return recipe.model.num_layers, read_vocabulary(recipe, str(folder))[1]


def open_own(folder: Path, recipe_path: Path | None = None, overrides: Sequence[str] = ()) -> LayeredModel:
    """Open a checkpoint; its run's recipe says what model it is of, unless another recipe is given.

    The layout is that of ``overrides``, one process if they say nothing, whatever the run had.
    """
    recipe = _recipe(folder, recipe_path, overrides)
    vocab_size, _ = read_vocabulary(recipe, str(folder))
    processes.start_once(recipe.parallelism)
    from ..runtime.checkpoint import load_module
    from ..runtime.model import model_for_reading

    module = model_for_reading(recipe, vocab_size)
    common = load_module(folder, module)
    _, state = check(folder, digests=False)
    kinds = TokenKinds.read(recipe.tokenizer)
    whole = folder.resolve()
    run = whole.parent.parent if whole.parent.name == "checkpoints" else whole.parent
    position = state.consumed_tokens if state else _megatrons_position(common)
    found = layered(module, recipe, name=f"{run.name}/{whole.name}", kinds=kinds)
    return check_model(replace(found, run=run, position=position))


def _megatrons_position(common: dict[str, Any]) -> int | None:
    """Tokens consumed, where Megatron-LM's arguments stand beside the weights."""
    args = common.get("args")
    samples, length = (getattr(args, name, None) for name in ("consumed_train_samples", "seq_length"))
    return samples * length if isinstance(samples, int) and isinstance(length, int) else None


def _recipe(folder: Path, recipe_path: Path | None, overrides: Sequence[str], *, in_one: bool = True) -> Recipe:
    """The recipe of a checkpoint's model, ``in_one`` process unless ``overrides`` say another layout."""
    path = recipe_path or folder.parent.parent / "recipe.yaml"
    if not path.is_file():
        expected = "the recipe of its model"
        raise UserError(str(folder), got="no recipe.yaml of its run", expected=expected, fix="name it with --recipe")
    return load_recipe(path, [*(["parallelism={}"] if in_one else []), *overrides])


def reordered_own(
    folder: Path, old: LayeredModel, order: Sequence[int], options: "Options"
) -> tuple[LayeredModel, Callable[[Path], None]]:
    """A model of the layers of an open one, in another order, and what writes it: a run that stands at its start.

    Its recipe is the old one's, and ``pretrain --resume`` goes on from its checkpoint, which has weights only.
    """
    from ..runtime.model import model_for_reading

    recipe = _reordered_recipe(_recipe(folder, options.recipe, options.overrides), order)
    vocab_size, _ = read_vocabulary(recipe, str(folder))
    module = model_for_reading(recipe, vocab_size)
    state = dict(old.module.named_parameters())
    with torch.no_grad():
        for name, weight in getattr(module, "module", module).named_parameters():
            weight.copy_(state[_source_name(name, order)])
    layout = _recipe(folder, options.recipe, options.overrides, in_one=False).parallelism
    written = recipe.model_copy(
        update={"name": options.out.resolve().name, "run_dir": options.out.resolve(), "parallelism": layout}
    )
    kinds = TokenKinds(old.special, old.delimiters)
    return layered(module, recipe, name=old.name, kinds=kinds), partial(_write_run, module, written)


def _reordered_recipe(recipe: Recipe, order: Sequence[int]) -> Recipe:
    told = {"num_layers": len(order), **reordered_model(recipe.model.model_dump(), order)}
    return recipe.model_copy(update={"model": recipe.model.model_copy(update=told)})


def _write_run(module: Any, recipe: Recipe, folder: Path) -> None:
    """A recipe, and a checkpoint before the first step that is never pruned."""
    from ..runtime.checkpoint import save_module

    store = CheckpointStore(folder / "checkpoints")
    start = replace(first_state(), before_decay=True)
    store.write(start, lambda place: save_module(place, module), is_first=True, barrier=lambda: None)
    values = recipe.model_dump(mode="json", by_alias=True, exclude_none=True)
    (folder / "recipe.yaml").write_text(write_yaml(values))


def _source_name(name: str, order: Sequence[int]) -> str:
    """The old name of a parameter of the new model.

    >>> _source_name("decoder.layers.2.mlp.linear_fc1.weight", [0, 1, 1])
    'decoder.layers.1.mlp.linear_fc1.weight'
    """
    prefix = "decoder.layers."
    number, _, rest = name.removeprefix(prefix).partition(".")
    return f"{prefix}{order[int(number)]}.{rest}" if name.startswith(prefix) else name


def layered(
    module: Any,
    recipe: Recipe,
    *,
    name: str,
    kinds: TokenKinds = NO_KINDS,
) -> LayeredModel:
    """A model of this process, made ready to be read."""
    from ..runtime.place import ParallelPlace

    bare = module
    while hasattr(bare, "module"):  # wrapped for data parallelism, for bf16
        bare = bare.module
    place = ParallelPlace(sequence_parallel=bare.config.sequence_parallel)
    layers = bare.decoder.layers
    place.vocabulary_start = place.tensor_rank * (bare.vocab_size // recipe.parallelism.tensor_model_parallel_size)
    return LayeredModel(
        name=name,
        num_layers=bare.config.num_layers,
        hidden_size=bare.config.hidden_size,
        vocab_size=bare.vocab_size,
        sequence_length=recipe.sequence_length,
        dtype=bare.config.params_dtype,
        device=processes.device(),
        anatomies=tuple(own_anatomies(layers)),
        first_layer=layers[0].layer_number - 1,
        sequence_first=True,
        norm="pre",
        place=place,
        forward=partial(_forward, module),
        module=bare,
        special=kinds.special,
        delimiters=kinds.delimiters,
        one_by_one=processes.has_transformer_engine(),
        context_length=recipe.sequence_length,
        longest=recipe.sequence_length if recipe.model.position_embedding_type == "learned_absolute" else None,
        rows=row_options(recipe),
    )


def row_options(recipe: Recipe) -> RowOptions:
    """How rows are made of each path of a recipe; of other text the one attention of all its text."""
    found = {
        real_prefix(path): {name: getattr(spec, name) for name in _ROW_OPTIONS}
        for spec in recipe.sources.values()
        for path in spec.path or ()
    }
    attentions = {
        spec.attention
        for spec in recipe.sources.values()
        if spec.windows in (None, "concatenated") and not any(map(holds_conversations, spec.path or ()))
    }
    return {"": {"attention": attentions.pop()} if len(attentions) == 1 else {}, **found}


def _forward(module: Any, batches: Sequence[ProbeBatch], on_logits: OnLogits) -> None:
    from ..runtime.evaluation import Window, evaluate

    evaluate(module, [Window(batch.tokens, batch.position_ids, batch.segments) for batch in batches], on_logits)
