"""What another library's schedule becomes here: the curve, what comes with it, and what theirs gets wrong."""

from dataclasses import dataclass

from .batch_size import BatchSizeRamp
from .row import Row
from .schedule import Schedule


@dataclass(frozen=True)
class Converted:
    """A schedule taken over from another library.

    Args:
        learning_rate: Equal to theirs, value for value, up to where the notes say.
        notes: A line for each thing that theirs does and its user may not have meant, or that is different here.
        weight_decay: Where theirs has a schedule for it.
        batch_sizes: Where theirs says them.
        sequence_length: Tokens in a sample, where theirs says them.

    >>> from schedulers.builders import constant
    >>> Converted(constant(1.0)).notes
    ()
    """

    learning_rate: Schedule
    notes: tuple[str, ...] = ()
    weight_decay: Schedule | None = None
    batch_sizes: BatchSizeRamp | None = None
    sequence_length: int | None = None


def cosine_half_waves(row: Row, other_level: float, num_tokens: int, half_waves: int, *, parts: int) -> bool:
    """Half cosines between the row's value and another level, `parts` of which would fill the tokens.

    An edge that falls between two tokens is moved to the nearest.

    Returns:
        Whether every edge fell on a token.

    >>> row = Row(0, 1.0)
    >>> cosine_half_waves(row, 0.0, 300, 3, parts=3), row.schedule().joints
    (True, (0, 100, 200, 300))
    """
    start, levels = row.tokens, (other_level, row.value)
    for index in range(half_waves):
        edge = start + (2 * num_tokens * (index + 1) + parts) // (2 * parts)
        row.to(levels[index % 2], edge - row.tokens, "cosine")
    return num_tokens % parts == 0
