"""A decay without training: weights for merging checkpoints of the stable part (WSM, arXiv 2507.17634)."""

from collections.abc import Sequence
from itertools import pairwise

from .errors import ScheduleError
from .schedule import Schedule


def merge_weights(decay: Schedule, checkpoint_tokens: Sequence[int]) -> tuple[float, ...]:
    """How much of each checkpoint to take, in order, so that their sum is what the decay would have left.

    Between checkpoints i-1 and i a decay scales the updates by w_i, its mean there over its value at the first
    checkpoint. Adding the updates up again gives c_0 = 1 - w_1, c_i = w_i - w_{i+1}, and w_k for the last; their sum
    is 1. It is exact as far as the updates would have been the same: a preview, best for short decays.

    Args:
        decay: A schedule that falls, or stays, between the first and the last checkpoint.
        checkpoint_tokens: Where they were saved, at least two, increasing.

    Raises:
        ScheduleError: Fewer than two checkpoints, not increasing, a rate of 0 at the first, or one that rises.

    >>> from schedulers.builders import linear_to_zero
    >>> merge_weights(linear_to_zero(1.0, warmup_tokens=0, total_tokens=400), [0, 100, 200, 300, 400])
    (0.125, 0.25, 0.25, 0.25, 0.125)
    """
    _check_checkpoints(checkpoint_tokens)
    peak = decay.value(checkpoint_tokens[0])
    if peak <= 0:
        raise ScheduleError(
            f"merge: the rate is {peak:g} at the first checkpoint, {checkpoint_tokens[0]}; expected above 0"
        )
    scales = [decay.integral(start, end) / (end - start) / peak for start, end in pairwise(checkpoint_tokens)]
    weights = tuple(left - right for left, right in pairwise((1.0, *scales, 0.0)))
    if min(weights) < -1e-12:
        raise ScheduleError("merge: the rate rises between two checkpoints; expected a decay")
    return weights


def _check_checkpoints(tokens: Sequence[int]) -> None:
    if len(tokens) < 2 or any(left >= right for left, right in pairwise(tokens)):
        raise ScheduleError(f"merge: checkpoints at {list(tokens)} tokens; expected at least two, increasing")
