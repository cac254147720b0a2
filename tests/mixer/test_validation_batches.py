"""Held-out rows, each read once by one rank."""

from typing import Any

import pytest

from mixer.errors import DataError
from mixer.loader import validation_batches
from mixer.rows import Source
from mixer.source import CountedSource

LAYOUT: dict[str, Any] = {"micro_batch_size": 2, "data_parallel_rank": 0, "data_parallel_size": 1}
NO_ROWS = CountedSource("web", 801, 8)


@pytest.mark.parametrize(
    ("name", "ranks", "micro", "most"), [("web", 1, 4, None), ("sft", 2, 1, None), ("web", 2, 2, 3)]
)
def test_validation_reads_each_held_out_row_once(
    sources: dict[str, Source], name: str, ranks: int, micro: int, most: int | None
) -> None:
    source = sources[name]
    layout = {"micro_batch_size": micro, "data_parallel_size": ranks, "max_rows": most}
    shares = [list(validation_batches(source, data_parallel_rank=rank, **layout)) for rank in range(ranks)]  # type: ignore[arg-type]
    assert len({len(share) for share in shares}) == 1
    counted = [
        int(batch.rows[k]) for share in shares for batch in share for k in range(micro) if batch.loss_mask[k].any()
    ]
    assert sorted(counted) == list(range(min(source.num_validation_rows, most or 10**9)))


def test_a_source_without_held_out_rows_has_no_validation() -> None:
    assert list(validation_batches(NO_ROWS, **LAYOUT)) == []


@pytest.mark.parametrize("wrong", [{"micro_batch_size": 0}, {"data_parallel_rank": 1}, {"data_parallel_size": 0}])
def test_a_layout_that_cannot_be_is_one_clear_line(wrong: dict[str, int]) -> None:
    with pytest.raises(DataError, match=r"^layout of the loader: rank"):
        next(validation_batches(NO_ROWS, **{**LAYOUT, **wrong}))
