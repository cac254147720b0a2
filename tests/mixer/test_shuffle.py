import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mixer.shuffle import ROUNDS, _Network, key_of, permute, unpermute

AROUND_POWERS = sorted({2**k + d for k in range(1, 41) for d in (-1, 0, 1)})


def key(epoch: int = 0) -> tuple[int, ...]:
    return key_of(1234, "web", generation=0, epoch=epoch)


def test_every_size_up_to_3000_is_a_bijection() -> None:
    for first in range(1, 3001, 500):  # sizes at a time, so that memory stays small
        sizes = np.arange(first, first + 500)
        size, index = np.repeat(sizes, sizes), np.concatenate([np.arange(size) for size in sizes])
        image = permute(index, size, key())
        seen = np.zeros(len(index), bool)
        seen[np.repeat(np.cumsum(sizes) - sizes, sizes) + image] = True
        assert image.min() >= 0
        assert (image < size).all()
        assert seen.all()
        assert np.array_equal(unpermute(image, size, key()), index)


@pytest.mark.parametrize("size", [2**k + d for k in range(1, 21) for d in (-1, 0, 1)])
def test_sizes_around_powers_of_two_are_bijections(size: int) -> None:
    assert np.array_equal(np.sort(permute(np.arange(size), size, key())), np.arange(size))


def test_sizes_up_to_2_to_the_40_stay_inside_and_invert() -> None:
    """At the edges and on random rows."""
    rng = np.random.default_rng(0)
    for size in AROUND_POWERS:
        edges = [place for place in (0, 1, size // 2, size - 2, size - 1) if 0 <= place < size]
        index = np.unique([*edges, *rng.integers(0, size, 300).tolist()])
        image = permute(index, size, key())
        assert image.min() >= 0
        assert image.max() < size
        assert len(np.unique(image)) == len(index)
        assert np.array_equal(unpermute(image, size, key()), index)


@given(st.integers(32, 2**62))
@example(2**40 + 1)
@example(2**62)
def test_few_numbers_of_the_network_lie_outside(size: int) -> None:
    """So no size is much slower than a power of two."""
    network = _Network.of(np.array([size]), np.zeros((ROUNDS, 1), np.uint64))
    assert 0 <= (int(network.high_size[0]) << int(network.low_bits[0])) - size < 2 * math.sqrt(size)


@given(st.integers(1, 2**62), st.data())
@example(2**62, None)
@settings(deadline=None)
def test_any_size_inverts(size: int, data: st.DataObject | None) -> None:
    index = data.draw(st.integers(0, size - 1)) if data else size - 1
    assert unpermute(permute(index, size, key()), size, key()) == index


def test_lanes_of_different_sizes_and_keys_answer_as_if_alone() -> None:
    sizes, keys = np.array([5, 1000, 2**33 + 1]), np.array([key(0), key(1), key(2)], np.uint64)
    alone = [int(permute(4, int(size), tuple(lane.tolist()))) for size, lane in zip(sizes, keys, strict=True)]
    assert permute(np.array([4, 4, 4]), sizes, keys).tolist() == alone


def test_the_order_is_pinned() -> None:
    assert permute(np.arange(10), 10, key()).tolist() == [9, 2, 4, 8, 7, 6, 3, 1, 0, 5]
    assert permute(0, 2**40 + 1, key()).item() == 664295189014


def test_every_order_of_a_few_rows_is_about_equally_likely() -> None:
    num_keys, size = 6000, 4
    keys = np.array([key_of(seed, "web", generation=0, epoch=0) for seed in range(num_keys)], np.uint64)
    orders = permute(np.tile(np.arange(size), (num_keys, 1)), size, keys[:, None, :])
    counts = [int((orders == order).all(axis=1).sum()) for order in itertools.permutations(range(size))]
    expected = num_keys / math.factorial(size)
    chi_squared = sum((count - expected) ** 2 / expected for count in counts)
    assert chi_squared < 49.7  # 23 degrees of freedom, one in a thousand


def test_neighbours_are_strangers() -> None:
    image = permute(np.arange(100_000), 100_000, key()).astype(np.float64)
    assert abs(np.corrcoef(image[:-1], image[1:])[0, 1]) < 0.015
    assert abs(np.corrcoef(np.arange(100_000), image)[0, 1]) < 0.015
    assert (np.abs(np.diff(image)) == 1).sum() < 12  # 2 are expected


def test_rows_end_far_from_where_they_began() -> None:
    """Mean displacement of a random order of n rows is (n^2 - 1) / 3n, and one row stays in place on average."""
    for size in (1000, 1023, 1024, 1025, 65_537):
        index = np.arange(size)
        keys = np.array([key(epoch) for epoch in range(20)], np.uint64)
        images = permute(np.tile(index, (20, 1)), size, keys[:, None, :])
        assert abs(np.abs(images - index).mean() * 3 * size / (size**2 - 1) - 1) < 0.02
        assert (images == index).sum() < 38  # 20 are expected


def test_orders_of_other_epochs_generations_and_names_have_nothing_in_common() -> None:
    size, index = 10_000, np.arange(10_000)
    keys = [
        key_of(1234, name, generation=generation, epoch=epoch)
        for name, generation, epoch in itertools.product(("web", "code"), (0, 1), (0, 1))
    ]
    images = [permute(index, size, words) for words in keys]
    for one, other in itertools.combinations(images, 2):
        assert (one == other).sum() < 10  # 1 is expected
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.05
        neighbours = np.argsort(one)[np.flatnonzero(np.abs(np.diff(other[np.argsort(one)])) == 1)]
        assert len(neighbours) < 14  # 2 are expected


def test_keys_tell_seed_source_generation_and_epoch_apart() -> None:
    keys = {
        key_of(seed, name, generation=generation, epoch=epoch)
        for seed, name, generation, epoch in itertools.product((0, 1), ("web", "web2"), (0, 1), (0, 1))
    }
    assert len(keys) == 16
    assert all(len(words) == ROUNDS for words in keys)


def test_an_index_outside_is_our_own_bug() -> None:
    for index in (-1, 10):
        with pytest.raises(AssertionError, match="outside"):
            permute(index, 10, key())
