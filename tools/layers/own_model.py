"""Models on megatron-core: a checkpoint of a run of ours, or another distributed checkpoint with a recipe beside it."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..errors import UserError
from ..pretrain.checkpoint_store import CheckpointStore, check
from ..recipe.load import load_recipe
from ..recipe.schema import Recipe
from ..recipe.vocabulary import read_vocabulary
from ..recipe.yaml_file import write_yaml
from ..runtime import processes
from .families import own_anatomies
from .layered import LayeredModel, OnLogits, check_model
from .probe import ProbeBatch
from .token_kinds import NO_KINDS, TokenKinds


def checkpoints_in(path: Path) -> list[Path]:
    """Checkpoint folders at a path: itself, or the whole ones of a run, oldest first; none if it is neither."""
    if (path / ".metadata").is_file():
        return [path]
    inside = path / "checkpoints"
    folders = CheckpointStore(inside if inside.is_dir() else path).folders() if path.is_dir() else []
    return [folder for folder in folders if not check(folder, digests=False)[0]]


def open_own(folder: Path, recipe_path: Path | None = None, overrides: Sequence[str] = ()) -> LayeredModel:
    """Open a checkpoint; its run's recipe says what model it is of, unless another recipe is given.

    The layout is that of ``overrides``, one process if they say nothing, whatever the run had.
    """
    recipe = _recipe(folder, recipe_path, overrides)
    vocab_size, digest = read_vocabulary(recipe, str(folder))
    processes.start_once(recipe.parallelism)
    from ..runtime.checkpoint import load_module
    from ..runtime.model import model_for_reading

    module = model_for_reading(recipe, vocab_size)
    load_module(folder, module)
    _, state = check(folder, digests=False)
    kinds = TokenKinds.read(recipe.tokenizer)
    name = f"{folder.parent.parent.name}/{folder.name}"
    position = state.consumed_tokens if state else None
    return check_model(layered(module, recipe, name=name, kinds=kinds, position=position, tokenizer=digest))


def _recipe(folder: Path, recipe_path: Path | None, overrides: Sequence[str]) -> Recipe:
    path = recipe_path or folder.parent.parent / "recipe.yaml"
    if not path.is_file():
        expected = "the recipe of its model"
        raise UserError(str(folder), got="no recipe.yaml of its run", expected=expected, fix="name it with --recipe")
    return load_recipe(path, ["parallelism={}", *overrides])


def reordered_own(
    folder: Path, old: LayeredModel, order: Sequence[int], recipe_path: Path | None, overrides: Sequence[str]
) -> tuple[LayeredModel, Callable[[Path], None]]:
    """A model of the layers of an open one, in another order, and what writes it: a recipe, and a checkpoint beside it.

    What is written is opened as any checkpoint of a run; it has weights only.
    """
    from ..runtime.checkpoint import save_module
    from ..runtime.model import model_for_reading

    recipe = _recipe(folder, recipe_path, [*overrides, f"model.num_layers={len(order)}"])
    vocab_size, _ = read_vocabulary(recipe, str(folder))
    module = model_for_reading(recipe, vocab_size)
    state = dict(old.module.named_parameters())
    with torch.no_grad():
        for name, weight in getattr(module, "module", module).named_parameters():
            weight.copy_(state[_source_name(name, order)])

    def write(place: Path) -> None:
        checkpoint = place / "checkpoints" / "step_00000000"
        checkpoint.mkdir(parents=True)
        save_module(checkpoint, module)
        values = recipe.model_dump(mode="json", by_alias=True, exclude_none=True)
        (place / "recipe.yaml").write_text(write_yaml(values))

    return layered(module, recipe, name=old.name, kinds=TokenKinds.read(recipe.tokenizer)), write


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
    position: int | None = None,
    tokenizer: str | None = None,
) -> LayeredModel:
    """A model of this process, made ready to be read."""
    from ..runtime.place import ParallelPlace

    if recipe.parallelism.sequence_parallel:
        fix = "set it to false: the numbers are the same"
        raise UserError("parallelism.sequence_parallel", got="true", expected="whole windows on each rank", fix=fix)
    bare = module
    while hasattr(bare, "module"):  # wrapped for data parallelism, for bf16
        bare = bare.module
    place, layers = ParallelPlace(), bare.decoder.layers
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
        position=position,
        tokenizer=tokenizer,
    )


def _forward(module: Any, batches: Sequence[ProbeBatch], on_logits: OnLogits) -> None:
    from ..runtime.evaluation import Window, evaluate

    evaluate(module, [Window(batch.tokens, batch.position_ids, batch.segments) for batch in batches], on_logits)
