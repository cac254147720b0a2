"""What a source gives: rows as the model reads them, and the questions that the loader and the ledger ask."""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from .apportion import Ints
from .errors import DataError
from .history import Generation

Loss = Literal["all", "assistant"]
PADDING = -1  # segment number of positions that hold no token


@dataclass(frozen=True, eq=False)
class Windows:
    """Rows as the model reads them, each array (rows, sequence_length)."""

    tokens: Ints
    labels: Ints
    loss_mask: npt.NDArray[np.float32]
    position_ids: Ints
    segments: npt.NDArray[np.int32]  # 0, 1, 2, ... along a row, PADDING after the last

    @classmethod
    def empty(cls, num_rows: int, sequence_length: int) -> "Windows":
        """Rows whose tokens and labels are still to be written, and the rest as it is for text."""
        shape = num_rows, sequence_length
        return cls(
            tokens=np.empty(shape, np.int64),
            labels=np.empty(shape, np.int64),
            loss_mask=np.ones(shape, np.float32),
            position_ids=np.tile(np.arange(sequence_length), (num_rows, 1)),
            segments=np.zeros(shape, np.int32),
        )


class Source(Protocol):
    """What the loader and the ledger ask of a source. Rows are training rows unless ``validation`` says otherwise."""

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

    def fill(self, rows: Ints, out: Windows, at: Ints, *, validation: bool = False) -> None:
        """Write ``rows`` into rows ``at`` of ``out``, which is as ``Windows.empty`` made it."""

    def documents(self, row: int, *, validation: bool = False) -> list[int]:
        """Numbers of the documents that a row is made of."""

    def generation(self) -> Generation:
        """This state of the data, as a source's history begins with it."""


def check_rows(name: str, num_rows: int, num_tokens: int, sequence_length: int) -> None:
    """Raise DataError where a source has not one training row."""
    if num_rows < 1:
        need = f"a window takes {sequence_length + 1:,} outside the held-out documents"
        raise DataError(f"source {name}: {num_tokens:,} tokens make no training row; {need}. Give it more data")
