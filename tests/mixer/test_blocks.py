"""Memory is used again, and never while somebody can still see it."""

import weakref

import numpy as np
import pytest
import torch

from mixer.blocks import Blocks
from mixer.windows import Bytes, Windows, fresh_bytes

SIZE = 8 * 2 * 5  # of two rows of four tokens and a label more


class Counted:
    """Allocates, and counts how often."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, num_bytes: int) -> Bytes:
        self.sizes.append(num_bytes)
        return fresh_bytes(num_bytes)


def test_a_dropped_block_is_used_again() -> None:
    allocate = Counted()
    blocks = Blocks(allocate=allocate)
    for _ in range(5):
        blocks.take(100)
        blocks.take(60)
    assert allocate.sizes == [100]


def test_a_block_is_kept_by_every_array_and_tensor_made_from_it() -> None:
    blocks = Blocks()
    keepers = [
        lambda rows: rows.tokens[1:],
        lambda rows: rows.labels[:1].T,
        lambda rows: torch.from_numpy(rows.labels[0]),
        lambda rows: memoryview(rows.joined),
        lambda rows: rows.joined.view(np.uint64).reshape(-1)[3:],
    ]
    kept = []
    for number, keep in enumerate(keepers):
        rows = Windows.text(2, 4, allocate=blocks.take)
        rows.put(np.arange(2), np.full((2, 5), number))
        kept.append(keep(rows))
        del rows
    Windows.text(2, 4, allocate=blocks.take).put(np.arange(2), np.full((2, 5), 99))
    assert [np.unique(np.asarray(array)).tolist() for array in kept] == [[0], [1], [2], [3], [4]]


def test_memory_that_is_a_part_of_another_array_is_kept_too() -> None:
    blocks = Blocks(allocate=lambda num_bytes: fresh_bytes(num_bytes + 64)[64:])
    kept = blocks.take(8)[:4]
    kept[:] = 7
    blocks.take(8)[:] = 0
    assert kept.tolist() == [7, 7, 7, 7]


def test_holding_much_costs_memory_and_no_data() -> None:
    blocks = Blocks(unused_takes=2)
    held = [blocks.take(8) for _ in range(6)]
    for number, block in enumerate(held):
        block[:] = number
    blocks.take(8)[:] = 9
    assert [int(block[0]) for block in held] == [0, 1, 2, 3, 4, 5]


def test_as_many_blocks_as_are_held_at_once_come_back() -> None:
    allocate = Counted()
    blocks = Blocks(allocate=allocate)
    for _ in range(30):
        held = [blocks.take(8) for _ in range(7)]
        del held
    assert len(allocate.sizes) == 7


def test_the_block_given_out_last_is_used_first() -> None:
    blocks = Blocks()
    places = []
    for _ in range(2):
        pair = [blocks.take(8) for _ in range(2)]
        places.append([block.ctypes.data for block in pair])
        del pair
    assert places[1] == places[0][::-1]


def test_a_block_that_is_let_go_is_freed_with_its_last_array() -> None:
    blocks = Blocks(unused_takes=1)
    small = blocks.take(8)
    block = weakref.ref(small.base)
    blocks.take(1000)
    assert block() is not None
    del small
    assert block() is None


def test_larger_blocks_take_the_place_of_smaller_ones() -> None:
    """A batch-size ramp: what is too small now is let go, and in the end all blocks are large."""
    allocate = Counted()
    blocks = Blocks(allocate=allocate, unused_takes=4)
    for size in (10, 20, 30):
        for _ in range(4):
            pair = blocks.take(size), blocks.take(size)
            del pair
    assert allocate.sizes == [10, 10, 20, 20, 30, 30]
    assert [block.nbytes for block in blocks._blocks] == [30, 30]


@pytest.mark.parametrize("contiguous", [False, True])
def test_rows_from_used_memory_are_as_rows_from_fresh_memory(contiguous: bool) -> None:
    def dirty(num_bytes: int) -> Bytes:
        return np.full(num_bytes, 0xAB, np.uint8)

    windows = np.arange(15).reshape(3, 5)
    for allocate in (fresh_bytes, dirty):
        rows = Windows.text(3, 4, contiguous=contiguous, allocate=allocate)
        rows.put(np.array([2, 0, 1]), windows)
        assert rows.tokens.tolist() == windows[[1, 2, 0], :-1].tolist()
        assert rows.labels.tolist() == windows[[1, 2, 0], 1:].tolist()
        assert (rows.loss_mask == 1).all()
        assert (rows.position_ids == np.arange(4)).all()
        assert not rows.segments.any()
        assert rows.tokens.flags.c_contiguous is contiguous
    any_kind = Windows.empty(3, 4, allocate=dirty)
    assert (any_kind.loss_mask == 1).all()
    assert (any_kind.position_ids == np.arange(4)).all()
    assert not any_kind.segments.any()
    assert any_kind.segments.flags.writeable


def test_what_rows_share_can_not_be_written() -> None:
    rows = Windows.text(2, 4)
    for shared in (rows.loss_mask, rows.position_ids, rows.segments):
        with pytest.raises(ValueError, match="read-only"):
            shared[0, 0] = 7
    own = Windows.text(2, 4, contiguous=True)
    own.loss_mask[0, 0], own.position_ids[0, 0] = 0, 7
    assert Windows.text(2, 4, contiguous=True).position_ids[0, 0] == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_the_largest_id_is_seen_in_any_type(dtype: type) -> None:
    for order in ([0, 1, 2], [2, 0, 1], [0, 2, 1]):
        rows = Windows.text(3, 2)
        rows.put(np.array(order), np.array([[1, 2, 3], [4, 5, 90], [6, 7, 8]], dtype))
        assert rows.tokens[order].tolist() == [[1, 2], [4, 5], [6, 7]]
        assert rows.largest_id() == 90
    if np.issubdtype(dtype, np.signedinteger):
        rows = Windows.text(3, 2)
        rows.put(np.arange(3), np.array([[1, 2, 3], [4, -5, 6], [7, 8, 9]], dtype))
        assert rows.largest_id() > 2**30


def test_the_largest_id_is_seen_in_rows_that_were_not_put() -> None:
    rows = Windows.empty(2, 2)
    rows.put(np.array([1]), np.array([[1, 2, 3]]))
    rows.tokens[0], rows.labels[0] = [4, 5], [5, 90]
    assert rows.largest_id() == 90


@pytest.mark.parametrize("order", [[0, 2, 1, 3], [3, 2, 1, 0], [1, 2, 3, 0], [0, 1, 2, 3]])
def test_rows_may_be_put_in_any_order(order: list[int]) -> None:
    windows = np.arange(12).reshape(4, 3)
    rows = Windows.text(4, 2)
    rows.put(np.array(order), windows)
    assert rows.tokens[order].tolist() == windows[:, :-1].tolist()
