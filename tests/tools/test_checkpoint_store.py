"""Checkpoint folders: written aside, renamed last, checked before use, pruned but for those that branches need."""

import json
from dataclasses import replace

import pytest

from tools.pretrain.checkpoint_store import CheckpointStore, check
from tools.pretrain.state import RunState

STATE = RunState(
    0, consumed_samples=0, consumed_tokens=0, history={}, hyperparameters={}, batch_size=[[0, 4]], model={}, sources={}
)


@pytest.fixture
def store(tmp_path):
    return CheckpointStore(tmp_path / "checkpoints")


def state_at(step, **fields):
    return replace(STATE, step=step, consumed_samples=4 * step, **fields)


def write(store, step, *, content=b"weights", **fields):
    """Write a checkpoint whose weights are one small file."""

    def save(folder):
        (folder / "part.distcp").write_bytes(content)

    return store.write(state_at(step, **fields), save, is_first=True, barrier=lambda: None)


def newest(store):
    """Step of the newest valid checkpoint, or None; and the warnings on the way to it."""
    warnings = []
    found = store.newest_valid(warnings.append)
    return found[1].step if found else None, warnings


def test_what_is_written_is_found_again(store):
    folder = write(store, 12, recent_losses=(0.1, 0.2))
    assert folder == store.folder / "step_00000012"
    assert sorted(path.name for path in folder.iterdir()) == ["files.json", "part.distcp", "run_state.json"]
    assert store.newest_valid(print) == (folder, state_at(12, recent_losses=(0.1, 0.2)))


def test_the_list_names_every_file_but_itself(store):
    listed = json.loads((write(store, 1) / "files.json").read_text())
    assert sorted(listed) == ["part.distcp", "run_state.json"]
    assert listed["part.distcp"]["bytes"] == len(b"weights")


def test_files_in_folders_are_listed_too(store):
    def save(folder):
        (folder / "deep").mkdir()
        (folder / "deep" / "part").write_bytes(b"x")

    folder = store.write(STATE, save, is_first=True, barrier=lambda: None)
    assert "deep/part" in json.loads((folder / "files.json").read_text())
    (folder / "deep" / "part").write_bytes(b"y")
    assert check(folder) == ("deep/part has other content than was written", None)


def test_nothing_there(store):
    assert newest(store) == (None, [])
    assert store.folders() == []
    store.prune(1)


def test_the_newest_is_taken(store):
    for step in (9, 10, 100):
        write(store, step)
    assert newest(store) == (100, [])


@pytest.mark.parametrize("suffix", [".unfinished", ".removed"])
def test_leftovers_of_a_killed_save_are_ignored(store, suffix):
    write(store, 1)
    write(store, 2).rename(store.path(2).with_suffix(suffix))
    assert newest(store) == (1, [])
    assert write(store, 2) == store.path(2)
    assert newest(store) == (2, [])
    assert not store.path(2).with_suffix(".unfinished").exists()


def test_a_save_that_fails_leaves_no_checkpoint(store):
    write(store, 1)

    def save(folder):
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        store.write(state_at(2), save, is_first=True, barrier=lambda: None)
    assert newest(store) == (1, [])


def test_other_ranks_touch_no_names(store):
    """They write their tensors into a folder that the first rank makes, and rename nothing."""
    unfinished = store.path(5).with_suffix(".unfinished")
    order = []

    def save(folder):
        order.append("save")
        (folder / "other.distcp").write_bytes(b"x")

    def barrier():
        order.append("barrier")
        unfinished.mkdir(parents=True, exist_ok=True)  # as the first rank does before its first barrier

    assert store.write(state_at(5), save, is_first=False, barrier=barrier) == store.path(5)
    assert order == ["barrier", "save", "barrier", "barrier"]
    assert [path.name for path in unfinished.iterdir()] == ["other.distcp"]


def remove_shard(folder):
    (folder / "part.distcp").unlink()


def cut_shard(folder):
    (folder / "part.distcp").write_bytes(b"weight")


def change_shard(folder):
    (folder / "part.distcp").write_bytes(b"Weights")


def remove_list(folder):
    (folder / "files.json").unlink()


def spoil_list(folder):
    (folder / "files.json").write_text("{")


def change_state(folder):
    path = folder / "run_state.json"
    path.write_text(path.read_text().replace('"step": 2', '"step": 3'))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (remove_shard, "part.distcp is missing"),
        (cut_shard, "part.distcp has 6 bytes, not 7"),
        (change_shard, "part.distcp has other content than was written"),
        (remove_list, "damaged (["),
        (spoil_list, "damaged (Expecting"),
        (change_state, "run_state.json has other content than was written"),
    ],
)
def test_a_damaged_one_is_passed_over_with_the_reason(store, damage, reason):
    write(store, 1)
    damage(write(store, 2))
    step, (warning,) = newest(store)
    assert step == 1
    assert warning.startswith(f"{store.path(2)}: {reason}")
    assert warning.endswith("; trying the one before")


@pytest.mark.parametrize("listed", ["[]", "3", '{"part.distcp": 7}', '{"part.distcp": {}}', '{"../x": {"bytes": 0}}'])
def test_a_list_of_another_form_is_damage(store, listed):
    folder = write(store, 1)
    (folder / "files.json").write_text(listed)
    complaint, state = check(folder)
    assert complaint
    assert state is None


def test_all_damaged(store):
    for step in (1, 2):
        change_shard(write(store, step))
    step, warnings = newest(store)
    assert step is None
    assert len(warnings) == 2


def steps(store):
    return [int(folder.name.removeprefix("step_")) for folder in store.folders()]


@pytest.mark.parametrize(("keep_last", "left"), [(1, [4]), (2, [3, 4]), (4, [1, 2, 3, 4]), (9, [1, 2, 3, 4])])
def test_the_last_ones_are_kept(store, keep_last, left):
    for step in (1, 2, 3, 4):
        write(store, step)
    store.prune(keep_last)
    assert steps(store) == left
    assert len(list(store.folder.iterdir())) == len(left)


def test_those_before_a_decay_are_kept_for_ever(store):
    for step in range(1, 8):
        write(store, step, before_decay=step in (2, 5))
        store.prune(2)
    assert steps(store) == [2, 5, 6, 7]


def test_a_damaged_one_is_pruned_like_any_other(store):
    (write(store, 1, before_decay=True) / "run_state.json").write_text("{}")
    for step in (2, 3):
        write(store, step)
    store.prune(2)
    assert steps(store) == [2, 3]


def test_a_folder_of_the_same_step_is_replaced(store):
    write(store, 1, content=b"old")
    folder = write(store, 1, content=b"newer", recent_losses=(1.0,))
    assert (folder / "part.distcp").read_bytes() == b"newer"
    assert store.newest_valid(print) == (folder, state_at(1, recent_losses=(1.0,)))
    assert list(store.folder.iterdir()) == [folder]


def test_a_damaged_newer_checkpoint_does_not_cost_the_good_ones(store):
    """Gone back from a damaged checkpoint at 200 to 100, a save at 150 leaves 150, and 200 goes."""
    for step in (100, 200):
        write(store, step)
    (store.path(200) / "part.distcp").write_bytes(b"")
    write(store, 150)
    store.prune(1)
    assert [folder.name for folder in store.folders()] == ["step_00000150"]
