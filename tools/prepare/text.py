"""`annealmix prepare text`: one document per record, its text in one field.

{"text": "a b"}   ->   encode("a b") + [end token]
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np

from .pipeline import Options, prepare_source
from .records import BadRecord, Chunk, Record, read_records, text_of
from .spool import Packed
from .vocabulary import END_OF_DOCUMENT, PADDING, Vocabulary, read_vocabulary


@dataclass(frozen=True, kw_only=True)
class TextEncoder:
    """Encodes the text in one field of each record and closes it with the end token."""

    vocabulary: Vocabulary
    field: str
    end: int
    padding: int | None
    kind: str = "text"

    @property
    def fields(self) -> tuple[str, ...]:
        """The one column read from tables."""
        return (self.field,)

    @property
    def special_tokens(self) -> dict[str, int | None]:
        """Ids for the manifest."""
        return {"eod": self.end, "pad": self.padding}

    def __call__(self, chunk: Chunk) -> Packed:
        """Encode one chunk; empty texts and fields that hold no text are bad records."""
        texts, bad = read_records(chunk, self._read)
        encoded = self.vocabulary.encode(texts)
        lengths = np.array([len(ids) + 1 for ids in encoded], dtype=np.int64)
        tokens = np.full(lengths.sum(), self.end, dtype=self.vocabulary.dtype)
        for stop, ids in zip(np.cumsum(lengths).tolist(), encoded, strict=True):
            tokens[stop - 1 - len(ids) : stop - 1] = ids
        digests = [blake2b(text.encode(), digest_size=16).digest() for text in texts]
        return Packed(tokens=tokens, lengths=lengths, digests=digests, bad=bad)

    def _read(self, record: Record) -> str:
        if self.field not in record:
            raise BadRecord(got=f"fields {', '.join(sorted(record)) or 'none'}", expected=f"a field {self.field!r}")
        text = text_of(record[self.field], name=f"field {self.field!r}")
        if not text:
            raise BadRecord(got=f"an empty field {self.field!r}", expected="text")
        return text


def text_encoder(
    tokenizer: Path, *, field: str = "text", end_token: str = END_OF_DOCUMENT, padding_token: str = PADDING
) -> TextEncoder:
    """Look up the end token, which must be there, and the padding token, which need not."""
    vocabulary = read_vocabulary(tokenizer)
    end, padding = vocabulary.special(end_token), vocabulary.find(padding_token)
    return TextEncoder(vocabulary=vocabulary, field=field, end=end, padding=padding)


def prepare_text(
    inputs: Sequence[str],
    *,
    tokenizer: Path,
    out: Path,
    field: str = "text",
    end_token: str = END_OF_DOCUMENT,
    padding_token: str = PADDING,
    workers: int = 0,
    on_error: str = "stop",
    seed: int = 1234,
    shuffle: bool = True,
    dedup: bool = True,
) -> None:
    """Prepare text for pretraining: `out.bin`, `out.idx`, the manifest `out.json`, and the tokenizer beside them.

    `inputs`: globs of JSONL (plain, .gz, .zst) or parquet, folders saved by `datasets`, `hub:NAME[:CONFIG]@SPLIT`.
    Exact duplicates are dropped after the first, documents are shuffled by seed; the files are the same for any number
    of workers. Raises UserError: input, tokenizer or its end token missing, a bad record (unless `on_error="skip"`).

    >>> prepare_text(["corpus/*.jsonl"], tokenizer=Path("tokenizer.json"), out=Path("data/mine/web"))  # doctest: +SKIP
    web: 1,204 documents, 881,270 tokens; left out: 3 duplicates, 0 bad records
    """
    encoder = text_encoder(tokenizer, field=field, end_token=end_token, padding_token=padding_token)
    provenance = f"annealmix prepare text, field {field!r} of {' '.join(inputs)}"
    options = Options(workers=workers, on_error=on_error, seed=seed, shuffle=shuffle, dedup=dedup)
    prepare_source(inputs, encoder=encoder, out=out, options=options, provenance=provenance)
