"""`annealmix prepare python-corpus`: a real corpus with no download, out of the Python installation itself.

    code        the standard library's source, docstrings cut out
    prose       docstrings of modules and classes; README texts of the packages that annealmix needs
    reference   the language reference that `help()` reads; the high-quality source
    sft         conversations made of the signatures, docstrings and examples of functions

A piece (a docstring, a section, a file) found twice is kept once, in the first of reference, prose, sft, code. For one
version of Python and one set of packages the files are the same, byte for byte.
"""

import json
import platform
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from . import python_packages as installed
from .chat import chat_encoder
from .pipeline import Options, build_source, summary
from .python_source import ModuleText, read_modules
from .text import text_encoder
from .vocabulary import END_OF_DOCUMENT, PADDING
from .workers import available_cores, ordered_map
from .writer import TOKENIZER_FILE, Manifest, partial_folder, publish, save_json, save_manifest

# Raise it when the documents made from the same installation change.
CORPUS_VERSION = 1
CORPUS_FILE = "corpus.json"
SPECIAL_TOKENS = (END_OF_DOCUMENT, PADDING, "<|user|>", "<|assistant|>", "<|system|>", "<|end|>")
SMALLEST_VOCABULARY = 256 + len(SPECIAL_TOKENS)
SHORTEST_PIECE = 40
MODULES_PER_TASK = 32


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """All that the corpus is made from."""

    version: int = CORPUS_VERSION
    python: str
    packages: list[str]
    seed: int
    vocab_size: int
    limit_bytes: int | None


@dataclass
class Collected:
    """Records by source, ready for `prepare`; `seen` holds digests of the pieces of all sources."""

    records: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    duplicates: dict[str, int] = field(default_factory=dict)
    seen: set[bytes] = field(default_factory=set)

    def is_new(self, source: str, piece: str) -> bool:
        """Tell whether a piece is met for the first time; count it if not."""
        digest = blake2b(piece.encode(), digest_size=16).digest()
        known = digest in self.seen
        self.seen.add(digest)
        self.duplicates[source] = self.duplicates.get(source, 0) + known
        return not known

    def add_texts(self, source: str, documents: Iterable[Sequence[tuple[str, str]]]) -> None:
        """Add documents given as pieces of (heading, text), without the pieces that are known already."""
        records = self.records.setdefault(source, [])
        for pieces in documents:
            long_enough = [piece for piece in pieces if len(piece[1]) >= SHORTEST_PIECE]
            fresh = [(heading, text) for heading, text in long_enough if self.is_new(source, text)]
            if fresh:
                records.append({"text": "\n\n".join(part for piece in fresh for part in piece if part)})

    def add_conversations(self, source: str, conversations: Iterable[list[dict[str, str]]]) -> None:
        """Add conversations, without those whose first answer is known already."""
        records = self.records.setdefault(source, [])
        records += [{"messages": turns} for turns in conversations if self.is_new(source, turns[1]["content"])]


def prepare_python_corpus(
    out: Path, *, seed: int = 1234, vocab_size: int = 4096, limit_bytes: int | None = None, workers: int = 0
) -> None:
    """Write the sources code, prose, reference and sft, each as `prepare` does, and their tokenizer into `out`.

    `limit_bytes` keeps at most that much text of each source, chosen by seed. Does nothing, and says so, where `out`
    already holds the corpus of the same installation and options. UserError if `vocab_size` is below 262.

    >>> prepare_python_corpus(Path("data/python"))  # doctest: +SKIP
    data/python: already made (Python 3.11.7, 80 packages, seed 1234)
    """
    if vocab_size < SMALLEST_VOCABULARY:
        expected = f"at least {SMALLEST_VOCABULARY}: all bytes and the special tokens"
        raise UserError("--vocab-size", got=str(vocab_size), expected=expected)
    packages = installed.needed_packages()
    fingerprint = Fingerprint(
        python=platform.python_version(),
        packages=[f"{name} {package.version}" for name, package in packages.items()],
        seed=seed,
        vocab_size=vocab_size,
        limit_bytes=limit_bytes,
    )
    origin = f"Python {fingerprint.python}, {len(packages)} packages, seed {seed}"
    if _is_made(out, fingerprint):
        print(f"{out}: already made ({origin})")
        return
    with partial_folder(out / "corpus") as folder:
        collected = _limited(collect(packages, workers=workers or available_cores()), limit_bytes, seed)
        manifests = _build(
            folder, collected, vocab_size=vocab_size, options=Options(workers=1, seed=seed), origin=origin
        )
        save_json(folder / CORPUS_FILE, {"fingerprint": asdict(fingerprint), "sources": sorted(collected.records)})
        publish(folder, out, last=[*(f"{manifest.name}.json" for manifest in manifests), CORPUS_FILE])
    print("\n".join(summary(manifest) for manifest in manifests))


def collect(packages: dict[str, Distribution], *, workers: int) -> Collected:
    """Read the installation; the four sources' records, duplicates removed within and across them."""
    library = _read(installed.standard_library(), workers=workers)
    documented = _read(installed.documented_modules(packages), workers=workers)
    modules = [*library, *documented]
    collected = Collected()
    collected.add_texts("reference", _topics())
    collected.add_texts("prose", [module.prose for module in modules])
    collected.add_texts("prose", [installed.readme_sections(package) for package in packages.values()])
    collected.add_conversations("sft", [turns for module in modules for turns in module.conversations])
    collected.add_texts("code", [[("", module.code)] for module in library])
    return collected


def train_tokenizer(texts: Iterator[str], *, vocab_size: int, path: Path) -> None:
    """Train a byte-level BPE tokenizer whose special tokens have the ids 0 to 5, in the order of SPECIAL_TOKENS."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(path))


def _build(folder: Path, collected: Collected, *, vocab_size: int, options: Options, origin: str) -> list[Manifest]:
    tokenizer = folder / TOKENIZER_FILE
    texts = (
        text for name in sorted(collected.records) for record in collected.records[name] for text in _texts(record)
    )
    train_tokenizer(texts, vocab_size=vocab_size, path=tokenizer)
    manifests = []
    for name, records in sorted(collected.records.items()):
        lines = folder / f"{name}.jsonl"
        lines.write_text("".join(json.dumps(record) + "\n" for record in records))
        encoder = chat_encoder(tokenizer) if name == "sft" else text_encoder(tokenizer)
        provenance = f"annealmix prepare python-corpus, {origin}"
        built = build_source([str(lines)], encoder=encoder, out=folder / name, options=options, provenance=provenance)
        manifests.append(replace(built, duplicates_removed=collected.duplicates.get(name, 0)))
        save_manifest(folder, manifests[-1])
        lines.unlink()
    return manifests


def _read(files: Iterable[tuple[str, Path]], *, workers: int) -> list[ModuleText]:
    every = list(files)
    batches = [every[start : start + MODULES_PER_TASK] for start in range(0, len(every), MODULES_PER_TASK)]
    with closing(ordered_map(read_modules, batches, workers=workers)) as answers:
        return [module for answer in answers for module in answer]


def _topics() -> Iterator[list[tuple[str, str]]]:
    # Data kept in a module of its own; importing it runs nothing.
    from pydoc_data.topics import topics

    for _, text in sorted(topics.items()):
        yield installed.sections(text)


def _limited(collected: Collected, limit_bytes: int | None, seed: int) -> Collected:
    if limit_bytes is not None:
        chosen = {name: _choose(records, limit_bytes, seed) for name, records in collected.records.items()}
        return replace(collected, records=chosen)
    return collected


def _choose(records: list[dict[str, Any]], limit_bytes: int, seed: int) -> list[dict[str, Any]]:
    chosen, left = [], limit_bytes
    for index in np.random.default_rng(seed).permutation(len(records)).tolist():
        size = sum(len(text.encode()) for text in _texts(records[index]))
        if size <= left:
            chosen.append(index)
            left -= size
    return [records[index] for index in sorted(chosen)]


def _texts(record: dict[str, Any]) -> list[str]:
    return [record["text"]] if "text" in record else [message["content"] for message in record["messages"]]


def _is_made(out: Path, fingerprint: Fingerprint) -> bool:
    try:
        corpus = json.loads((out / CORPUS_FILE).read_bytes())
        manifests = [json.loads((out / f"{name}.json").read_bytes()) for name in corpus["sources"]]
        files = [(name, entry["bytes"]) for manifest in manifests for name, entry in manifest["files"].items()]
        whole = all((out / name).stat().st_size == size for name, size in files)
        return whole and (out / TOKENIZER_FILE).is_file() and corpus["fingerprint"] == asdict(fingerprint)
    except (OSError, ValueError, KeyError, TypeError):
        return False
