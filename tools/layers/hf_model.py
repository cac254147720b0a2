"""Hugging Face models from a local folder: safetensors only, and none of the code that comes with them."""

import copy
import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..errors import UserError
from ..runtime.place import Place
from .families import family_of, known_family
from .layered import MEMORY_ERRORS, LayeredModel, OnLogits, check_model
from .order import MERGEKIT, PLAN, reordered_config
from .probe import ProbeBatch
from .token_kinds import NO_KINDS, TokenKinds

_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".index.json")  # endings
_WRITTEN_ANEW = ("config.json", "README.md", PLAN, MERGEKIT)  # what tells of the model that these layers come from


def is_folder_of_hf(path: Path) -> bool:
    """Whether a path is a folder with a model's configuration."""
    return (path / "config.json").is_file()


def load_config(path: Path) -> Any:
    """The configuration in a folder; UserError where there is none, or it is of weights that can't be read."""
    where, expected = f"{path}/config.json", "the configuration of a model"
    try:
        told = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(where, got=str(error), expected=expected) from error
    if not isinstance(told, dict):
        raise UserError(where, got=f"a {type(told).__name__}", expected=expected)
    known_family(told.get("model_type"), str(path))
    if quantized := told.get("quantization_config"):
        method = quantized.get("quant_method", "unknown") if isinstance(quantized, dict) else "unknown"
        raise UserError(where, got=f"weights quantized by {method}", expected="plain weights", fix="dequantize first")
    return _read(path, _transformers(path).AutoConfig, f"{expected} that transformers takes")


def load_module(path: Path) -> Any:
    """The model with its language-model head, in the dtype that it is stored in; UserError where it can't be read."""
    config = load_config(path)
    options = {"config": config, "dtype": "auto", "use_safetensors": True}
    told = {"output_loading_info": True, "ignore_mismatched_sizes": True}  # so that it tells of them, to be refused
    reader = _transformers(path).AutoModelForCausalLM
    module, found = _read(path, reader, "its weights in whole .safetensors files", **options, **told)
    _refuse_other_weights(path, family_of(config, str(path)).layers, found)
    return module


def _transformers(path: Path) -> Any:
    try:
        import transformers
    except ImportError:
        fix = "pip install 'annealmix[huggingface]'"
        raise UserError(str(path), got="a Hugging Face model", expected="transformers installed", fix=fix) from None
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def _read(path: Path, reader: Any, expected: str, **options: Any) -> Any:
    try:
        return reader.from_pretrained(str(path), local_files_only=True, trust_remote_code=False, **options)
    except MEMORY_ERRORS:
        raise
    except Exception as error:  # a stranger's folder can raise anything
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UserError(
            str(path), got=": ".join([type(error).__name__, *lines[:2]])[:300], expected=expected
        ) from error


def _refuse_other_weights(path: Path, layers: str, found: dict[str, Any]) -> None:
    """Raise UserError where the files aren't the weights of this model: transformers would go on with random ones.

    Weights beside the layers that the model has no use for may stand there, those of a vision tower for example.
    """
    more = [name for name in found["unexpected_keys"] if name.startswith(f"{layers}.")]
    shapes = [f"{name} of {list(ours)}, not {list(theirs)}" for name, ours, theirs in found["mismatched_keys"]]
    for what, names in (("no", found["missing_keys"]), ("", shapes), ("also", more)):
        for name in sorted(names)[:1]:
            raise UserError(
                str(path), got=f"{what} {name}".strip(), expected="the weights that its config.json tells of"
            )


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


def told_of(path: Path) -> tuple[int, str | None]:
    """Number of layers, and the digest of the tokenizer where there is one, without the weights."""
    return load_config(path).num_hidden_layers, TokenKinds.read(path / "tokenizer.json").digest


def open_hf(path: Path) -> LayeredModel:
    """Open a folder, and check it."""
    kinds = TokenKinds.read(path / "tokenizer.json")
    return layered(load_module(path), name=path.resolve().name, kinds=kinds, where=str(path))


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
            context_length=config.max_position_embeddings,
        )
    )


def reordered(path: Path, old: LayeredModel, order: Sequence[int]) -> tuple[LayeredModel, Callable[[Path], None]]:
    """A model of the layers of an open one, in another order, and what writes it.

    The layers are taken out of the old model, which is none any more; only a second use of one is a copy.
    """
    module = old.module
    _reorder(module, family_of(module.config, str(path)).layers, order)
    kinds = TokenKinds(old.special, old.delimiters)
    new = layered(module, name=old.name, kinds=kinds, where=str(path))

    def write(folder: Path) -> None:
        _save(module, folder)
        for file in path.iterdir():
            if file.is_file() and file.name not in _WRITTEN_ANEW and not file.name.endswith(_WEIGHTS):
                shutil.copy(file, folder / file.name)
        module.to("meta")  # lets the weights go, before they are read again
        load_module(folder)  # refuses what would not open as it was measured

    return new, write


def _save(module: Any, folder: Path) -> None:
    try:
        module.save_pretrained(folder)
    except (OSError, *MEMORY_ERRORS):
        raise
    except Exception as error:  # a full disk is an error of safetensors' own kind
        raise OSError(str(error)) from error


def config_by_layer(path: Path) -> bool:
    """Whether the configuration says something of single layers, which tools that know nothing of it leave as it is."""
    config = load_config(path)
    num_layers = config.num_hidden_layers
    return bool(reordered_config(config.to_dict(), num_layers, range(num_layers)))


def _reorder(module: Any, place: str, order: Sequence[int]) -> None:
    """Put the layers at ``place`` in another order, in place, with what they are told by number."""
    parent, _, last = place.rpartition(".")
    layers = module.get_submodule(place)
    told = reordered_config(module.config.to_dict(), len(layers), order)
    first_use = [order.index(number) == at for at, number in enumerate(order)]
    new = [
        layers[number] if first else copy.deepcopy(layers[number])
        for number, first in zip(order, first_use, strict=True)
    ]
    setattr(module.get_submodule(parent), last, torch.nn.ModuleList(new))
    for number, layer in enumerate(new):
        for part in (part for part in layer.modules() if hasattr(part, "layer_idx")):
            part.layer_idx = number
    module.config.update({**told, "num_hidden_layers": len(new)})


def _forward(module: Any, device: torch.device, batches: Sequence[ProbeBatch], on_logits: OnLogits) -> None:
    """Run micro-batches; transformers keeps segments apart, in each layer's own window, where positions begin anew."""
    for number, batch in enumerate(batches):
        tokens = torch.from_numpy(batch.tokens).to(device)
        apart = {} if batch.segments is None else {"position_ids": torch.tensor(batch.position_ids, device=device)}
        if on_logits is None:
            module.base_model(input_ids=tokens, use_cache=False, **apart)
        else:
            on_logits(number, module(input_ids=tokens, use_cache=False, **apart).logits)
