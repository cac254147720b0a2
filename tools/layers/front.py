"""The commands ``layers`` and ``depth`` as the front door takes them; torch is imported when they run."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..options import AsJson, Overrides

_LAYERS_EXAMPLE = "Example: `annealmix layers runs/quickstart --data data/python/code --out layers`"
_DEPTH_EXAMPLE = "Example: `annealmix depth models/llama --repeat 12:28 --data text=data/web --out models/deeper`"


def add_commands(app: typer.Typer) -> None:
    """Give the front door these commands."""
    app.command(epilog=_LAYERS_EXAMPLE)(layers)
    app.command(epilog=_DEPTH_EXAMPLE)(depth)


class AblatedPart(StrEnum):
    """What can be left out of a model; typer takes no list of literals."""

    LAYER = "layer"
    ATTENTION = "attention"
    MLP = "mlp"


def layers(
    models: Annotated[
        list[Path],
        typer.Argument(help="Checkpoints, runs (all their checkpoints) or Hugging Face folders.", show_default=False),
    ],
    data: Annotated[list[str], typer.Option(metavar="[NAME=]PATH", help="A token source; may be repeated.")],
    out: Annotated[Path, typer.Option(help="Folder for the report.")],
    recipe: Annotated[Path | None, typer.Option(help="Recipe of a checkpoint that is not in a run of its own.")] = None,
    overrides: Overrides = [],  # noqa: B006
    windows: Annotated[int, typer.Option(min=1, help="Windows of each source.")] = 64,
    sequence_length: Annotated[
        int | None, typer.Option(min=2, help="Tokens of a window; the model's own by default.")
    ] = None,
    micro_batch: Annotated[
        int, typer.Option(min=1, help="Windows at a time; changes numbers by rounding at most.")
    ] = 4,
    redundant: Annotated[int | None, typer.Option(min=1, help="k of the k most redundant; a quarter of them.")] = None,
    ablate: Annotated[
        list[AblatedPart], typer.Option(help="Measure the loss without each **layer**, **attention** or **mlp**.")
    ] = [],  # noqa: B006
    ablate_span: Annotated[
        list[str], typer.Option(metavar="A:B", help="Measure the loss without layers A up to B; may be repeated.")
    ] = [],  # noqa: B006
    any_tokenizer: Annotated[bool, typer.Option("--any-tokenizer", help="Take text of another tokenizer.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Draws the documents of the bootstrap.")] = 0,
    as_json: AsJson = False,
) -> None:
    """How far each layer's output still differs from its input, on given text, with intervals."""
    from ..runtime.allocator import keep_freed_memory
    from .command import run, summary
    from .opening import Options
    from .report import to_json

    options = Options(
        data=data,
        out=out,
        recipe=recipe,
        overrides=tuple(overrides),
        windows=windows,
        sequence_length=sequence_length,
        micro_batch=micro_batch,
        redundant=redundant,
        ablate=tuple(part.value for part in ablate),
        ablate_spans=tuple(ablate_span),
        any_tokenizer=any_tokenizer,
        seed=seed,
    )
    keep_freed_memory()
    if report := run(models, options):
        print(json.dumps(to_json(report)) if as_json else summary(report, out))


def depth(
    model: Annotated[Path, typer.Argument(help="A checkpoint or a Hugging Face folder.", show_default=False)],
    data: Annotated[list[str], typer.Option(metavar="[NAME=]PATH", help="A token source; may be repeated.")],
    out: Annotated[Path, typer.Option(help="Folder for the new model.")],
    drop: Annotated[
        str | None, typer.Option(metavar="A:B|N", help="Leave out layers A up to B, or the quietest run of N.")
    ] = None,
    repeat: Annotated[str | None, typer.Option(metavar="A:B", help="Have layers A up to B twice.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Take the first and the last layer too.")] = False,
    recipe: Annotated[Path | None, typer.Option(help="Recipe of a checkpoint that is not in a run of its own.")] = None,
    overrides: Overrides = [],  # noqa: B006
    windows: Annotated[int, typer.Option(min=1, help="Windows of each source.")] = 64,
    sequence_length: Annotated[
        int | None, typer.Option(min=2, help="Tokens of a window; the model's own by default.")
    ] = None,
    micro_batch: Annotated[
        int, typer.Option(min=1, help="Windows at a time; changes numbers by rounding at most.")
    ] = 4,
    any_tokenizer: Annotated[bool, typer.Option("--any-tokenizer", help="Take text of another tokenizer.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a shallower or deeper model of the same layers, and say what it does to the loss."""
    from ..runtime.allocator import keep_freed_memory
    from .depth import Change, run, summary, to_json
    from .opening import Options

    options = Options(
        data=data,
        out=out,
        recipe=recipe,
        overrides=tuple(overrides),
        windows=windows,
        sequence_length=sequence_length,
        micro_batch=micro_batch,
        any_tokenizer=any_tokenizer,
    )
    keep_freed_memory()
    effect = run(model, Change(drop, repeat, force), options)
    print(json.dumps(to_json(effect)) if as_json else summary(effect, out))
