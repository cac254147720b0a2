"""What a source gives: rows as the model reads them, and the questions that the loader and the ledger ask."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

from .apportion import Ints
from .errors import DataError
from .generations import Generation, Window
from .holdout import Holdout
from .token_store import TokenStore
from .windows import Windows

Loss = Literal["all", "assistant"]


class Source(Protocol):
    """What the loader and the ledger ask of a source. Rows are training rows unless ``validation`` says otherwise.

    Rows are numbered once and for all: data that grew keeps the old rows under their old numbers, with new ones after.
    """

    @property
    def name(self) -> str:
        """Name in the recipe and the history."""

    @property
    def sequence_length(self) -> int:
        """Positions of a row, padding included."""

    @property
    def loss(self) -> Loss:
        """Which tokens are predicted."""

    @property
    def plain(self) -> bool:
        """Whether ``fill`` writes tokens and labels only: each row is one segment, supervised from end to end."""

    @property
    def num_rows(self) -> int:
        """Training rows, one epoch."""

    @property
    def num_validation_rows(self) -> int:
        """Held-out rows."""

    @property
    def row_supervised(self) -> Ints | None:
        """Supervised positions of each training row; None where every position of every row is."""

    @property
    def row_filled(self) -> Ints | None:
        """Positions of each training row that are not padding; None where no row has any padding."""

    @property
    def mean_loss_tokens(self) -> float:
        """Mean of supervised positions per training row, by which ``unit: loss_tokens`` divides a weight."""

    def fill(
        self, rows: Ints, out: Windows, at: Ints, *, offsets: Ints | None = None, validation: bool = False
    ) -> None:
        """Write ``rows`` into rows ``at`` of ``out``, which ``Windows.empty`` made, or ``Windows.text`` if ``plain``.

        Text is written with ``out.put``. Several threads may call this at once, for rows apart.

        ``offsets`` (one a row, 0 unless told, below sequence_length) moves each window by so many tokens.
        """

    def documents(self, row: int, *, offset: int = 0, validation: bool = False) -> list[int]:
        """Numbers of the documents that a row is made of, its window moved by ``offset`` tokens."""

    def rows_of_document(self, document: int) -> Ints:
        """Training rows that hold, at some offset, a token of a document, as an input or a label; in order."""

    def generations(self) -> tuple[Generation, ...]:
        """States of the data that a source's history goes through, oldest first, the one as it lies on disk last."""


def check_rows(name: str, num_rows: int, num_tokens: int, sequence_length: int) -> None:
    """Raise DataError where a source has not one training row."""
    if num_rows < 1:
        need = f"a window takes {sequence_length + 1:,} outside the held-out documents"
        raise DataError(f"source {name}: {num_tokens:,} tokens make no training row; {need}. Give it more data")


@dataclass(frozen=True, eq=False)
class StoredRows(ABC):
    """What sources over a token store have in common: the count of their rows, and what a history keeps of them."""

    name: str
    tokens: TokenStore
    sequence_length: int
    holdout: Holdout

    def __post_init__(self) -> None:
        check_rows(self.name, self.num_rows, self.tokens.num_tokens, self.sequence_length)

    @property
    @abstractmethod
    def windows(self) -> Window:
        """How rows are cut from documents."""

    @property
    @abstractmethod
    def num_rows(self) -> int:
        """Training rows."""

    @abstractmethod
    def num_rows_of(self, num_tokens: int) -> int:
        """Training rows of the first ``num_tokens`` tokens: those with the lowest numbers."""

    @abstractmethod
    def fingerprint(self, num_tokens: int) -> str:
        """What stands for the first ``num_tokens`` tokens and for all that decides how rows are made of them."""

    def generation(self, num_tokens: int) -> Generation:
        """The source as it was when it had so many tokens."""
        rows = self.num_rows_of(num_tokens)
        return Generation(0, rows, self.fingerprint(num_tokens), self.holdout.runs, self.windows, num_tokens)

    def generations(self) -> tuple[Generation, ...]:
        """One: the data as it lies on disk now."""
        return (self._generation,)

    @cached_property
    def _generation(self) -> Generation:
        return self.generation(self.tokens.num_tokens)
