"""What a command is asked to open: models by their paths, what is known of them before, and the text for them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mixer.manifest import Manifest

from ..errors import UserError
from .ablate import Part
from .hf_model import is_folder_of_hf
from .layered import LayeredModel
from .order import parse_run
from .probe import Probe, open_probe


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    data: list[str]
    out: Path
    recipe: Path | None = None
    overrides: tuple[str, ...] = ()
    windows: int = 64
    sequence_length: int | None = None
    micro_batch: int = 4
    redundant: int | None = None
    ablate: tuple[Part, ...] = ()
    ablate_spans: tuple[str, ...] = ()
    any_tokenizer: bool = False
    seed: int = 0


def paths_of(models: Sequence[Path], options: Options) -> list[Path]:
    """Folders of Hugging Face models as they are, runs as their checkpoints, oldest first.

    Raises UserError where there is no model, one comes twice, or options don't fit one, before any is opened.
    """
    if (options.recipe or options.overrides) and all(map(is_folder_of_hf, models)):
        got = "--recipe" if options.recipe else "--set"
        raise UserError(str(models[0]), got=got, expected="nothing of a recipe: a folder of Hugging Face's has none")
    paths = list(_each_checkpoint(models))
    places = [path.resolve() for path in paths]
    if twice := [path for path, place in zip(paths, places, strict=True) if places.count(place) > 1]:
        raise UserError("MODELS", got=f"{twice[0]} twice", expected="each model once")
    for path in paths:
        check_options(path, options)
    return paths


def _each_checkpoint(models: Sequence[Path]) -> Iterator[Path]:
    from .own_model import checkpoints_in

    for path in models:
        found = [path] if is_folder_of_hf(path) else checkpoints_in(path)
        if not found:
            expected = "a checkpoint, a run's folder with checkpoints, or a folder with a config.json"
            raise UserError(str(path), got="none" if path.exists() else "no such folder", expected=expected)
        yield from found


def newest(path: Path, options: Options) -> Path:
    """One model at a path: of a run the last checkpoint."""
    from .own_model import checkpoints_in

    found = [] if is_folder_of_hf(path) else checkpoints_in(path)
    return paths_of(found[-1:] or [path], options)[-1]


def check_options(path: Path, options: Options) -> None:
    """Raise UserError where spans or text don't fit a model that isn't opened yet."""
    num_layers, tokenizer = told_of(path, options)
    for span in options.ablate_spans:
        parse_run("--ablate-span", span, num_layers, force=True)
    for text in options.data:
        _check_text(path, text.rpartition("=")[2], tokenizer, options)


def told_of(path: Path, options: Options) -> tuple[int, str | None]:
    """Number of layers, and the digest of the tokenizer where that is known, without opening the model."""
    from .hf_model import told_of as told_of_hf
    from .own_model import told_of as told_of_own

    return told_of_hf(path) if is_folder_of_hf(path) else told_of_own(path, options.recipe, options.overrides)


def _check_text(path: Path, text: str, tokenizer: str | None, options: Options) -> None:
    """Refuse text of another tokenizer, where both are known."""
    manifest = Manifest.read(text)
    known = manifest.tokenizer_sha256 if manifest else None
    if known and tokenizer and known != tokenizer and not options.any_tokenizer:
        got = f"{text}, written with tokenizer {known[:12]}"
        fix = "prepare the text with it, or say --any-tokenizer where the two are the same in other words"
        raise UserError(str(path), got=got, expected=f"text of its tokenizer {tokenizer[:12]}", fix=fix)


def open_model(path: Path, options: Options) -> LayeredModel:
    """Open one model of either kind."""
    from .hf_model import open_hf
    from .own_model import open_own

    return open_hf(path) if is_folder_of_hf(path) else open_own(path, options.recipe, options.overrides)


def probe_for(model: LayeredModel, options: Options) -> Probe:
    """The probe, made for the first model: its window length, its special tokens, rows as its run makes them."""
    length = options.sequence_length or model.sequence_length
    check_length(model, length)
    return open_probe(
        options.data, sequence_length=length, windows=options.windows, special=model.special, rows=model.rows
    )


def check_length(model: LayeredModel, length: int) -> None:
    """Raise UserError where a model has no positions for windows of so many tokens."""
    if model.longest is not None and length > model.longest:
        expected = f"at most {model.longest}, for which {model.name} has learned positions"
        raise UserError("--sequence-length", got=str(length), expected=expected)
