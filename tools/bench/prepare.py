"""How fast `annealmix prepare text` is beside bare `tokenizers.Tokenizer.encode_batch`, same text, same cores.

    bench_prepare()     {"bare_mb_per_s": 6.0, "prepare_mb_per_s": 5.7, "ratio": 0.95, ...}

The rate of prepare counts all it does for a document: reading JSONL, parsing, encoding, duplicates, spool, shuffle,
writing, digests. It is taken between two sizes; what a run costs once (processes, imports) is reported beside it.
"""

import contextlib
import io
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ..prepare.python_corpus import train_tokenizer
from ..prepare.python_packages import standard_library
from ..prepare.text import prepare_text
from ..prepare.workers import available_cores

DOCUMENT_CHARS = 4000
DOCUMENTS_PER_BATCH = 1000


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Megabytes of UTF-8 text per second, and the seconds that a run costs whatever its size."""

    text_mb: float
    cores: int
    bare_mb_per_s: float
    prepare_mb_per_s: float
    ratio: float
    start_s: float


def bench_prepare(*, text_bytes: int = 24_000_000, vocab_size: int = 8192) -> dict[str, float | int]:
    """Measure both rates on the standard library's source cut into documents; takes about half a minute.

    >>> bench_prepare()["ratio"] >= 0.8  # doctest: +SKIP
    True
    """
    documents = list(_documents(text_bytes))
    small = documents[: len(documents) // 8]
    with TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer = folder / "tokenizer.json"
        train_tokenizer(iter(documents[::16]), vocab_size=vocab_size, path=tokenizer)
        bare_s = _seconds(lambda: _encode_bare(documents, tokenizer))
        few, all_ = (
            _write_lines(folder / name, texts) for name, texts in (("few.jsonl", small), ("all.jsonl", documents))
        )
        _prepare(few, tokenizer)  # the imports of this process are paid here
        small_s = _seconds(lambda: _prepare(few, tokenizer))
        large_s = _seconds(lambda: _prepare(all_, tokenizer))
    return asdict(_rates(documents, small, bare_s=bare_s, small_s=small_s, large_s=large_s))


def _rates(documents: list[str], small: list[str], *, bare_s: float, small_s: float, large_s: float) -> Rates:
    large_mb, small_mb = (sum(len(text.encode()) for text in texts) / 1e6 for texts in (documents, small))
    bare, prepare = large_mb / bare_s, (large_mb - small_mb) / (large_s - small_s)
    return Rates(
        text_mb=round(large_mb, 1),
        cores=available_cores(),
        bare_mb_per_s=round(bare, 2),
        prepare_mb_per_s=round(prepare, 2),
        ratio=round(prepare / bare, 3),
        start_s=round(small_s - small_mb / prepare, 2),
    )


def _documents(text_bytes: int) -> Iterator[str]:
    # Round after round over the same files, cut elsewhere each time: no two documents are equal.
    shift = 0
    while text_bytes > 0:
        for _, path in standard_library():
            text = path.read_text(errors="replace")
            for start in range(shift, len(text), DOCUMENT_CHARS):
                document = text[start : start + DOCUMENT_CHARS]
                text_bytes -= len(document.encode())
                yield document
                if text_bytes <= 0:
                    return
        shift += 997


def _encode_bare(documents: list[str], tokenizer: Path) -> None:
    from tokenizers import Tokenizer

    bare = Tokenizer.from_file(str(tokenizer))
    for start in range(0, len(documents), DOCUMENTS_PER_BATCH):
        bare.encode_batch(documents[start : start + DOCUMENTS_PER_BATCH])


def _write_lines(path: Path, documents: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))
    return path


def _prepare(lines: Path, tokenizer: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        prepare_text([str(lines)], tokenizer=tokenizer, out=lines.parent / "out" / "documents")


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
