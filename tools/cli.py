"""The one front door: every command of annealmix, and the one place where errors become a line and an exit status.

Commands import what they need when they run, so that ``plan``, ``trace`` and ``--help`` don't wait for torch.
"""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from mixer.errors import DataError
from schedulers.errors import ScheduleError

from .errors import UserError
from .layers.front import add_commands
from .options import AsJson, Overrides

app = typer.Typer(
    name="annealmix",
    help="What a language model reads during pretraining, and how fast it learns from it: one recipe, one clock.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
prepare = typer.Typer(no_args_is_help=True, help="Make token files (.bin/.idx) and their manifest from text.")
track = typer.Typer(no_args_is_help=True, help="Send what a run logged to MLflow.")
bench = typer.Typer(no_args_is_help=True, help="Measure annealmix on this machine, beside a baseline.")
app.add_typer(prepare, name="prepare")
app.add_typer(track, name="track")
app.add_typer(bench, name="bench")
add_commands(app)


RecipePath = Annotated[Path, typer.Argument(help="The recipe, a YAML file.", show_default=False)]
OnError = Annotated[
    Literal["stop", "skip"], typer.Option(help="What a bad record does: **stop**, or **skip** (and count it).")
]
Inputs = Annotated[list[str], typer.Option("--input", help="A file, a glob, a folder or hub:NAME; may be repeated.")]
TokenizerPath = Annotated[Path, typer.Option(help="A tokenizer.json.")]
Workers = Annotated[int, typer.Option(help="Processes that tokenize; 0 takes one a core.")]


@app.command(epilog="Example: `annealmix plan configs/quickstart.yaml --plot plan.png`")
def plan(
    recipe: RecipePath,
    overrides: Overrides = [],  # noqa: B006 (typer copies it)
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Draw it all on one token axis: a .png, an .svg, or an .html to read values in."
        ),
    ] = None,
    table: Annotated[bool, typer.Option("--table", help="Print every value at every joint.")] = False,
    resume_from: Annotated[
        Path | None,
        typer.Option(help="A checkpoint, or a run folder for its newest: plan on from there, and say what changes."),
    ] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="RECIPE", help="Another recipe: say what is different from it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a recipe and show the whole run before paying for it."""
    from .plan.command import show_plan

    show_plan(recipe, overrides, plot=plot, as_json=as_json, table=table, resume_from=resume_from, against=against)


@app.command(epilog="Example: `torchrun --nproc-per-node 8 -m annealmix pretrain configs/quickstart.yaml --resume`")
def pretrain(
    recipe: RecipePath,
    overrides: Overrides = [],  # noqa: B006
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest valid checkpoint, if any.")] = False,
) -> None:
    """Train a recipe on megatron-core; on one CPU as it is, on GPUs and nodes through torchrun."""
    from .pretrain.command import run

    run(recipe, overrides, resume=resume)


@app.command(epilog="Example: `annealmix trace configs/quickstart.yaml --samples 0:1000 --json`")
def trace(
    recipe: RecipePath,
    samples: Annotated[str | None, typer.Option(metavar="A:B", help="Samples from A up to but without B.")] = None,
    step: Annotated[int | None, typer.Option(help="The global batch of a step, from 0.")] = None,
    document: Annotated[str | None, typer.Option(metavar="SOURCE:N", help="All samples that read a document.")] = None,
    rank: Annotated[int | None, typer.Option(help="With --step: what this data-parallel rank reads of it.")] = None,
    data_parallel_size: Annotated[int | None, typer.Option(help="With --rank: how many ranks there are.")] = None,
    text: Annotated[bool, typer.Option(help="Show how the row begins.")] = True,
    resume_from: Annotated[
        Path | None, typer.Option(metavar="CHECKPOINT", help="Trace the run that goes on from there.")
    ] = None,
    overrides: Overrides = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Say what each sample reads (source, epoch, row, documents, text), or which samples read a document."""
    from .trace.command import show_trace
    from .trace.selection import Selection

    selection = Selection(
        samples=samples, step=step, document=document, rank=rank, data_parallel_size=data_parallel_size
    )
    show_trace(recipe, overrides, selection, with_text=text, resume_from=resume_from, as_json=as_json)


@app.command(epilog="Example: `annealmix check data/python --sequence-length 256`")
def check(
    data: Annotated[
        list[Path],
        typer.Argument(help="Names before .bin and .idx, .arrow or .parquet files, or folders.", show_default=False),
    ],
    vocab_size: Annotated[int | None, typer.Option(min=1, help="Ids must be below it.")] = None,
    tokenizer: Annotated[Path | None, typer.Option(help="A tokenizer.json; ids must be in it.")] = None,
    sequence_length: Annotated[int | None, typer.Option(min=1, help="Say how many rows this makes.")] = None,
    column: Annotated[str, typer.Option(help="The column of token ids, in tables.")] = "input_ids",
    as_json: AsJson = False,
) -> None:
    """Read all of some data and say what is wrong with it: files, index, token ids, mask; exit status 1 if anything."""
    from .check.command import show_check
    from .check.data import Asked

    if not show_check(data, Asked(column, vocab_size, sequence_length), tokenizer=tokenizer, as_json=as_json):
        raise typer.Exit(1)


@prepare.command("python-corpus", epilog="Example: `annealmix prepare python-corpus --out data/python`")
def prepare_python_corpus(
    out: Annotated[Path, typer.Option(help="Folder for the four sources and the tokenizer.")],
    seed: Annotated[int, typer.Option(help="Shuffles the documents.")] = 1234,
    vocab_size: Annotated[int, typer.Option(help="Entries of the BPE vocabulary.")] = 4096,
    limit_bytes: Annotated[int | None, typer.Option(help="Text per source at most; all of it by default.")] = None,
) -> None:
    """Make a real corpus from the Python installation itself: code, prose, reference and SFT conversations."""
    from .prepare.python_corpus import prepare_python_corpus as make

    make(out, seed=seed, vocab_size=vocab_size, limit_bytes=limit_bytes)


@prepare.command(
    "text", epilog="Example: `annealmix prepare text --input 'corpus/*.jsonl.zst' --tokenizer t.json --out data/web`"
)
def prepare_text(
    inputs: Inputs,
    tokenizer: TokenizerPath,
    out: Annotated[Path, typer.Option(help="Name of the files to write, without .bin and .idx.")],
    field: Annotated[str, typer.Option(help="The key or column that holds the text.")] = "text",
    workers: Workers = 0,
    on_error: OnError = "stop",
    seed: Annotated[int, typer.Option(help="Shuffles the documents.")] = 1234,
    shuffle: Annotated[bool, typer.Option(help="Shuffle the documents when writing.")] = True,
    dedup: Annotated[bool, typer.Option(help="Leave out exact duplicates.")] = True,
) -> None:
    """Tokenize JSONL (.gz, .zst), parquet or a Hugging Face dataset (a folder, or hub:NAME@SPLIT)."""
    from .prepare.text import prepare_text as make

    make(
        inputs,
        field=field,
        tokenizer=tokenizer,
        out=out,
        workers=workers,
        on_error=on_error,
        seed=seed,
        shuffle=shuffle,
        dedup=dedup,
    )


@prepare.command(
    "chat", epilog="Example: `annealmix prepare chat --input chats.jsonl --tokenizer t.json --out data/sft`"
)
def prepare_chat(
    inputs: Inputs,
    tokenizer: TokenizerPath,
    out: Annotated[Path, typer.Option(help="Name of the files to write, without .bin and .idx.")],
    workers: Workers = 0,
    on_error: OnError = "stop",
    seed: Annotated[int, typer.Option(help="Shuffles the conversations.")] = 1234,
    shuffle: Annotated[bool, typer.Option(help="Shuffle the conversations when writing.")] = True,
    dedup: Annotated[bool, typer.Option(help="Leave out exact duplicates.")] = True,
) -> None:
    """Tokenize conversations (`messages`, or `prompt` and `completion`) with the chat template and a loss mask."""
    from .prepare.chat import prepare_chat as make

    make(
        inputs,
        tokenizer=tokenizer,
        out=out,
        workers=workers,
        on_error=on_error,
        seed=seed,
        shuffle=shuffle,
        dedup=dedup,
    )


@track.command("sync", epilog="Example: `annealmix track sync runs/quickstart --tracking-uri http://tracker:5000`")
def track_sync(
    run_dir: Annotated[Path, typer.Argument(help="The folder of the run.")],
    tracking_uri: Annotated[str | None, typer.Option(help="Where to, if not where the run was to go.")] = None,
) -> None:
    """Send what a run's journal holds and the tracker doesn't have yet; exit status 1 if something is left."""
    from .tracking.sender import sync

    result = sync(run_dir, tracking_uri=tracking_uri)
    print(f"{result.sent:,} records sent, {result.left:,} left; run {result.run_id or 'unknown'}")
    if result.left:
        raise typer.Exit(1)


@bench.command("train", epilog="Example: `annealmix bench train configs/quickstart.yaml --steps 60`")
def bench_train(
    recipe: RecipePath,
    overrides: Overrides = [],  # noqa: B006
    steps: Annotated[int, typer.Option(help="Steps to measure.")] = 60,
    beside: Annotated[
        list[str], typer.Option(metavar="KEY=VALUE", help="Compare with the recipe so changed instead; repeatable.")
    ] = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """A training step of ours beside a bare megatron-core loop of the same model, or beside a changed recipe."""
    from .runtime.processes import prepare as prepare_process

    prepare_process()
    if beside:
        from .bench.beside import bench_beside
        from .bench.beside import show as show_beside

        compared = bench_beside(recipe, overrides, beside, steps=steps)
        print(json.dumps(asdict(compared)) if as_json else show_beside(compared, beside))
        return
    from .bench.train import bench_train as measure
    from .bench.train import show

    result = measure(recipe, overrides, steps=steps)
    print(json.dumps(asdict(result)) if as_json else show(result))


@bench.command("prepare", epilog="Example: `annealmix bench prepare`")
def bench_prepare(as_json: AsJson = False) -> None:
    """Tokenizing with `prepare text` beside bare `tokenizers.encode_batch` on the same text and cores."""
    from .bench.prepare import bench_prepare as measure

    result = measure()
    if as_json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:<18} {value:,.3f}" if isinstance(value, float) else f"{name:<18} {value}")


@bench.command("mixer", epilog="Example: `annealmix bench mixer`")
def bench_mixer(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds whose medians are taken.")] = 15,
    as_json: AsJson = False,
) -> None:
    """Start-up, memory and time a sample of the mixer at 15T tokens, beside megatron-core's blend index."""
    from .bench.mixer import show_bench

    show_bench(rounds=rounds, as_json=as_json)


@bench.command("loader", epilog="Example: `annealmix bench loader --rounds 5`")
def bench_loader(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds that medians are taken over.")] = 5,
    gigabytes: Annotated[float, typer.Option(min=0.01, help="Tokens written to measure on.")] = 0.25,
    windows: Annotated[int, typer.Option(min=10_000, help="Windows read to watch memory.")] = 1_000_000,
    as_json: AsJson = False,
) -> None:
    """Tokens that the loader delivers, beside numpy's own gather, megatron-core and other loaders."""
    from .bench.loader import show_bench

    show_bench(rounds=rounds, gigabytes=gigabytes, windows=windows, as_json=as_json)


@bench.command("schedulers", epilog="Example: `annealmix bench schedulers`")
def bench_schedulers(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds whose medians are taken.")] = 9,
    as_json: AsJson = False,
) -> None:
    """Time of a value of a 12-segment schedule, alone and ten million at once, beside numpy's cosine."""
    from .bench.schedulers import show_bench

    show_bench(rounds=rounds, as_json=as_json)


@bench.command("layers", epilog="Example: `annealmix bench layers --hidden-size 512`")
def bench_layers(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; six or more give intervals.")] = 40,
    hidden_size: Annotated[int, typer.Option(min=64, help="Width of the model, a multiple of 64.")] = 256,
    sequence_length: Annotated[int, typer.Option(min=2, help="Tokens of each of the four windows of a pass.")] = 256,
    as_json: AsJson = False,
) -> None:
    """The layer analyzer beside a plain forward pass and `output_hidden_states`: time and memory."""
    from .bench.layers import show_bench

    show_bench(rounds=rounds, hidden_size=hidden_size, sequence_length=sequence_length, as_json=as_json)


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and exit status 2."""
    rank = os.environ.get("LOCAL_RANK", "0")
    try:
        app()
    except (UserError, ScheduleError) as error:
        if rank == "0":  # the same on every process: one line a node is enough
            _complain(str(error))
    except DataError as error:  # may be met by one process alone
        _complain(str(error) if rank == "0" else f"rank {os.environ.get('RANK')}: {error}")
    except OSError as error:
        if error.filename is None:
            raise
        _complain(f"{error.filename}: {error.strerror}")
    else:
        return
    sys.exit(2)


def _complain(message: str) -> None:
    sys.stderr.write(f"annealmix: {message}\n")
