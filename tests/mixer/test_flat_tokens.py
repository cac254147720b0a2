import gc
import os
import resource
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixer.errors import DataError
from mixer.flat_tokens import FlatTokens, map_file

DTYPES = (np.uint16, np.int32, np.uint32, np.int64)

cut_anywhere = st.lists(st.tuples(st.integers(1, 12), st.sampled_from(DTYPES)), min_size=1, max_size=5)


def laid_end_to_end(parts: list[tuple[int, type]]) -> tuple[FlatTokens, np.ndarray]:
    flat = np.arange(100, 100 + sum(size for size, _ in parts))
    ends = np.cumsum([size for size, _ in parts])
    arrays = [flat[end - size : end].astype(dtype) for end, (size, dtype) in zip(ends, parts, strict=True)]
    return FlatTokens(arrays), flat


@given(cut_anywhere, st.data())
@settings(deadline=None, max_examples=200)
def test_arrays_read_as_one(parts: list[tuple[int, type]], data: st.DataObject) -> None:
    joined, flat = laid_end_to_end(parts)
    length = data.draw(st.integers(1, len(flat)))
    starts = np.array(data.draw(st.lists(st.integers(0, len(flat) - length), min_size=1, max_size=6)))
    assert joined.windows(starts, length).tolist() == [flat[start : start + length].tolist() for start in starts]
    lengths = np.array([data.draw(st.integers(0, len(flat) - start)) for start in starts.tolist()])
    expected = [flat[start : start + n] for start, n in zip(starts.tolist(), lengths.tolist(), strict=True)]
    assert joined.ranges(starts, lengths).tolist() == np.concatenate(expected).tolist()


def test_the_dtype_holds_every_token() -> None:
    top = FlatTokens([np.array([65_535], np.uint16), np.array([-1], np.int32), np.array([2**32 - 1], np.uint32)])
    assert top.windows(np.array([0]), 3).tolist() == [[65_535, -1, 2**32 - 1]]
    assert FlatTokens([np.array([1], np.uint16)] * 2).windows(np.array([0]), 2).dtype == np.uint16


def test_sums_of_ranges_up_to_either_end() -> None:
    ones = FlatTokens([np.array([1, 0, 1], np.uint8), np.array([1, 1], np.uint8)])
    assert ones.sums(np.array([0, 2, 3, 3]), np.array([2, 1, 0, 2])).tolist() == [1, 1, 0, 2]
    assert ones.sums(np.array([0, 4]), np.array([3, 1])).tolist() == [2, 1]
    assert ones.sums(np.array([5]), np.array([0])).tolist() == [0]


def test_a_mapped_file_is_read_only_and_goes_with_its_last_reader(tmp_path: Path) -> None:
    path = tmp_path / "tokens.bin"
    path.write_bytes(b"abcd" * 2000)
    view = map_file(str(path))[4:].view("<u2")
    gc.collect()
    assert view[:2].tobytes() == b"abcd"
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        view.flags.writeable = True
    assert str(path) in Path("/proc/self/maps").read_text()
    del view
    gc.collect()
    assert str(path) not in Path("/proc/self/maps").read_text()


def test_mapped_files_leave_no_descriptor_open(tmp_path: Path) -> None:
    path = tmp_path / "tokens.bin"
    path.write_bytes(b"x")
    used = len(os.listdir("/proc/self/fd"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 40, hard))
        mapped = [map_file(str(path)) for _ in range(200)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(mapped) == 200


def test_a_file_that_can_not_be_mapped_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for name, message in (("none", "none: No such file"), ("empty", "empty: empty"), ("", "can't be mapped|directory")):
        with pytest.raises(DataError, match=message):
            map_file(str(tmp_path / name))
