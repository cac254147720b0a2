"""Hugging Face models from a local folder: safetensors only, and none of the code that comes with them."""

import copy
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..errors import UserError
from ..runtime.place import Place
from .families import family_of
from .layered import LayeredModel, OnLogits, check_model
from .order import reordered_lists
from .probe import ProbeBatch
from .token_kinds import NO_KINDS, TokenKinds

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json")


def is_folder_of_hf(path: Path) -> bool:
    """Whether a path is a folder with a model's configuration."""
    return (path / "config.json").is_file()


def load_module(path: Path) -> Any:
    """The model with its language-model head, in the dtype that it is stored in; UserError where it can't be read."""
    try:
        import transformers
    except ImportError:
        fix = "pip install transformers"
        raise UserError(str(path), got="a Hugging Face model", expected="transformers installed", fix=fix) from None
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    config = _read(path, transformers.AutoConfig)
    family_of(config, str(path))
    return _read(path, transformers.AutoModelForCausalLM, config=config, dtype="auto", use_safetensors=True)


def random_llama(hidden_size: int, num_layers: int, vocab_size: int) -> Any:
    """A Llama of random weights, heads of 64 dimensions, to measure the time of."""
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        intermediate_size=hidden_size * 8 // 3,
        num_hidden_layers=num_layers,
        num_attention_heads=max(1, hidden_size // 64),
    )
    return transformers.LlamaForCausalLM(config)


def _read(path: Path, reader: Any, **options: Any) -> Any:
    try:
        return reader.from_pretrained(str(path), local_files_only=True, trust_remote_code=False, **options)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(str(path), got=lines[0][:200], expected="a model's config.json and .safetensors") from error


def open_hf(path: Path) -> LayeredModel:
    """Open a folder, and check it."""
    return layered(load_module(path), name=path.name, kinds=TokenKinds.read(path / "tokenizer.json"), where=str(path))


def layered(module: Any, *, name: str, kinds: TokenKinds = NO_KINDS, where: str = "model") -> LayeredModel:
    """A model with a language-model head, made ready to be read."""
    config, device = module.config, torch.device("cuda" if torch.cuda.is_available() else "cpu")
    family = family_of(config, where)
    module = module.to(device).eval().requires_grad_(False)
    ids = (config.bos_token_id, config.eos_token_id, config.pad_token_id)
    special = {number for value in ids for number in (value if isinstance(value, list) else [value])} - {None}
    return check_model(
        LayeredModel(
            name=name,
            num_layers=config.num_hidden_layers,
            hidden_size=config.hidden_size,
            vocab_size=module.get_input_embeddings().num_embeddings,
            sequence_length=min(config.max_position_embeddings, 2048),
            dtype=module.dtype,
            device=device,
            anatomies=tuple(family.anatomies(module)),
            first_layer=0,
            sequence_first=False,
            norm=family.norm,
            place=Place(),
            forward=partial(_forward, module, device),
            module=module,
            special=kinds.special | frozenset(special),
            delimiters=kinds.delimiters,
            tokenizer=kinds.digest,
        )
    )


def reordered(path: Path, order: Sequence[int]) -> tuple[LayeredModel, Callable[[Path], None]]:
    """A model of the layers of the one in a folder, in another order, and what writes it; repeated ones are copies."""
    module = load_module(path)
    _reorder(module, family_of(module.config, str(path)).layers, order)

    def write(folder: Path) -> None:
        module.save_pretrained(folder)
        for name in _TOKENIZER_FILES:
            if (path / name).is_file():
                shutil.copy(path / name, folder / name)

    return layered(module, name=path.name, kinds=TokenKinds.read(path / "tokenizer.json"), where=str(path)), write


def _reorder(module: Any, place: str, order: Sequence[int]) -> None:
    """Put the layers at ``place`` in another order, in place, with what it is told by number."""
    parent, _, last = place.rpartition(".")
    layers = module.get_submodule(place)
    new = [copy.deepcopy(layers[number]) for number in order]
    setattr(module.get_submodule(parent), last, torch.nn.ModuleList(new))
    for number, layer in enumerate(new):
        for part in (part for part in layer.modules() if hasattr(part, "layer_idx")):
            part.layer_idx = number
    lists = reordered_lists(module.config.to_dict(), len(layers), order)
    module.config.update({**lists, "num_hidden_layers": len(new)})


def _forward(module: Any, device: torch.device, batches: Sequence[ProbeBatch], on_logits: OnLogits) -> None:
    for number, batch in enumerate(batches):
        tokens = torch.from_numpy(batch.tokens).to(device)
        apart = {} if batch.segments is None else _apart(batch, module.dtype, device)
        if on_logits is None:
            module.base_model(input_ids=tokens, use_cache=False, **apart)
        else:
            on_logits(number, module(input_ids=tokens, use_cache=False, **apart).logits)


def _apart(batch: ProbeBatch, dtype: torch.dtype, device: torch.device) -> dict[str, torch.Tensor]:
    """What keeps the segments of a window apart: positions, and what is added to the attention scores."""
    segments = torch.from_numpy(batch.segments).to(device)
    length = segments.shape[1]
    allowed = segments[:, :, None] == segments[:, None, :]
    allowed &= torch.ones(length, length, dtype=torch.bool, device=device).tril()
    scores = torch.zeros(allowed.shape, dtype=dtype, device=device).masked_fill(~allowed, torch.finfo(dtype).min)
    return {"attention_mask": scores[:, None], "position_ids": torch.from_numpy(batch.position_ids).to(device)}
