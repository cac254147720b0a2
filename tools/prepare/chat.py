"""`annealmix prepare chat`: one conversation per document, with a loss mask beside the tokens.

    {"prompt": "hi", "completion": "yes"}   or   {"messages": [{"role": "user", "content": "hi"}, ...]}

    <|user|> \\n h i <|end|> \\n <|assistant|> \\n y e s <|end|> \\n <|endoftext|>
       0      0 0 0    0    0       0        0 1 1 1    1    0       1

mask[i] says whether token i is a target of the loss: what an assistant says, the <|end|> that closes it, and the end of
the document. Contents are encoded one by one, so mask and tokens agree exactly at their edges.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np

from ..errors import UserError
from .pipeline import Options, prepare_source
from .records import BadRecord, Chunk, Record, read_records, text_of
from .spool import Packed
from .vocabulary import END_OF_DOCUMENT, PADDING, Vocabulary, read_vocabulary

ROLES = ("system", "user", "assistant")
END_OF_TURN = "<|end|>"
Turn = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class ChatEncoder:
    """Renders conversations as tokens and mask."""

    vocabulary: Vocabulary
    roles: Mapping[str, int]
    newline: Sequence[int]
    end_of_turn: int
    end: int
    padding: int
    kind: str = "chat"
    fields: tuple[str, ...] = ("messages", "prompt", "completion")

    @property
    def special_tokens(self) -> dict[str, int | None]:
        """Ids for the manifest."""
        return {"eod": self.end, "pad": self.padding}

    def __call__(self, chunk: Chunk) -> Packed:
        """Encode one chunk."""
        conversations, bad = read_records(chunk, read_turns)
        encoded = iter(self.vocabulary.encode([content for turns in conversations for _, content in turns]))
        rendered = [self.render([(role, next(encoded)) for role, _ in turns]) for turns in conversations]
        return Packed(
            tokens=np.array([token for tokens, _ in rendered for token in tokens], dtype=self.vocabulary.dtype),
            mask=np.array([bit for _, mask in rendered for bit in mask], dtype=np.uint8),
            lengths=np.array([len(tokens) for tokens, _ in rendered], dtype=np.int64),
            digests=[blake2b(json.dumps(turns).encode(), digest_size=16).digest() for turns in conversations],
            bad=bad,
        )

    def render(self, turns: Sequence[tuple[str, Sequence[int]]]) -> tuple[list[int], list[int]]:
        """Return tokens and mask of one conversation, given each turn's role and encoded content."""
        tokens: list[int] = []
        mask: list[int] = []
        for role, content in turns:
            target = int(role == "assistant")
            for part, bit in (
                ([self.roles[role], *self.newline], 0),
                ([*content, self.end_of_turn], target),
                (self.newline, 0),
            ):
                tokens.extend(part)
                mask.extend([bit] * len(part))
        return [*tokens, self.end], [*mask, 1]


def read_turns(record: Record) -> list[Turn]:
    """Return (role, content) of each message; BadRecord for other shapes, and where no assistant says anything.

    >>> read_turns({"prompt": "hi", "completion": "yes"})
    [('user', 'hi'), ('assistant', 'yes')]
    """
    turns = list(_messages(record) if record.get("messages") is not None else _prompt_and_completion(record))
    if not any(role == "assistant" and content for role, content in turns):
        raise BadRecord(got="no word of an assistant", expected="at least one assistant message")
    return turns


def _messages(record: Record) -> Iterator[Turn]:
    messages = record["messages"]
    if not isinstance(messages, list) or not all(isinstance(message, Mapping) for message in messages):
        raise BadRecord(got="messages of another shape", expected='[{"role": ..., "content": ...}, ...]')
    for number, message in enumerate(messages):
        role = message.get("role")
        if role not in ROLES:
            raise BadRecord(got=f"messages[{number}].role {role!r}", expected=f"one of {', '.join(ROLES)}")
        yield role, text_of(message.get("content"), name=f"messages[{number}].content")


def _prompt_and_completion(record: Record) -> Iterator[Turn]:
    if record.get("prompt") is None or record.get("completion") is None:
        got = f"fields {', '.join(sorted(record)) or 'none'}"
        raise BadRecord(got=got, expected="messages, or prompt and completion")
    yield "user", text_of(record["prompt"], name="prompt")
    yield "assistant", text_of(record["completion"], name="completion")


def chat_encoder(tokenizer: Path, *, end_token: str = END_OF_DOCUMENT, padding_token: str = PADDING) -> ChatEncoder:
    """Look up all that the template needs; UserError if the tokenizer lacks a token, or pads with its end token."""
    vocabulary = read_vocabulary(tokenizer)
    encoder = ChatEncoder(
        vocabulary=vocabulary,
        roles={role: vocabulary.special(f"<|{role}|>") for role in ROLES},
        newline=tuple(vocabulary.encode(["\n"])[0]),
        end_of_turn=vocabulary.special(END_OF_TURN),
        end=vocabulary.special(end_token),
        padding=vocabulary.special(padding_token),
    )
    if encoder.padding == encoder.end:
        got = f"{end_token} as padding and as end"
        raise UserError(str(tokenizer), got=got, expected="two tokens", fix="a mask cannot tell the two apart")
    return encoder


def prepare_chat(
    inputs: Sequence[str],
    *,
    tokenizer: Path,
    out: Path,
    end_token: str = END_OF_DOCUMENT,
    padding_token: str = PADDING,
    workers: int = 0,
    on_error: str = "stop",
    seed: int = 1234,
    shuffle: bool = True,
    dedup: bool = True,
) -> None:
    """Prepare conversations for fine-tuning: as `prepare_text`, plus `out.mask.bin` and `out.mask.idx`.

    Raises UserError as `prepare_text` does; a conversation in which no assistant speaks is a bad record.

    >>> prepare_chat(["chat.jsonl"], tokenizer=Path("tokenizer.json"), out=Path("data/mine/sft"))  # doctest: +SKIP
    sft: 300 documents, 61,022 tokens (40,114 supervised); left out: 0 duplicates, 0 bad records
    """
    encoder = chat_encoder(tokenizer, end_token=end_token, padding_token=padding_token)
    provenance = f"annealmix prepare chat, {' '.join(inputs)}"
    options = Options(workers=workers, on_error=on_error, seed=seed, shuffle=shuffle, dedup=dedup)
    prepare_source(inputs, encoder=encoder, out=out, options=options, provenance=provenance)
