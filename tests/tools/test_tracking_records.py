"""Lines, addresses and batches: the parts of tracking that touch no tracker."""

import doctest
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.tracking import records, uri
from tools.tracking.batches import MAX_POINTS, NewPoints, next_batch, send_halving
from tools.tracking.errors import RecordRefusedError
from tools.tracking.records import Line, encode, flatten, last_begin, read_lines, storable
from tools.tracking.sent import Sent, TrackingFolder, load_sent, save_sent, try_lock

SETTINGS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", min_size=1, max_size=3), inner, max_size=3)
    ),
)


def metrics(step: int, **values: float) -> bytes:
    stored = {key: storable(value) for key, value in values.items()}
    return encode("metrics", time_ms=0, step=step, tokens=8 * step, values=stored)


@pytest.mark.parametrize("module", [records, uri])
def test_examples_in_docstrings(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


@given(st.floats())
def test_storable_values_survive_json(value: float) -> None:
    back = float(json.loads(json.dumps(storable(value), allow_nan=False)))
    assert back == value or (math.isnan(back) and math.isnan(value))


@given(SETTINGS)
def test_flatten_keeps_every_leaf(nested: object) -> None:
    def leaves(value: object) -> int:
        inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else None
        return sum(map(leaves, inner)) if inner else 1

    flat = flatten({"top": nested})
    assert len(flat) == leaves(nested)
    assert all(isinstance(value, str) for value in flat.values())


def test_lines_start_and_end_where_they_stand(tmp_path: Path) -> None:
    first, second = encode("close", time_ms=1), encode("close", time_ms=2)
    path = tmp_path / "j"
    path.write_bytes(first + second)
    assert list(read_lines(path)) == [
        Line(start=0, end=len(first), record={"kind": "close", "time_ms": 1}),
        Line(start=len(first), end=len(first + second), record={"kind": "close", "time_ms": 2}),
    ]
    assert [line.start for line in read_lines(path, start=len(first))] == [len(first)]
    assert [line.start for line in read_lines(path, until=len(first))] == [0]
    assert [line.start for line in read_lines(path, until=len(first) + 1)] == [0, len(first)]
    assert list(read_lines(path, start=len(first + second))) == []


@given(st.integers(min_value=0, max_value=80))
def test_a_torn_last_line_is_not_read(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    whole = metrics(1, loss=2.0)
    path = tmp_path_factory.mktemp("torn") / "j"
    path.write_bytes(whole + whole[: min(cut, len(whole) - 1)])
    assert [line.record["step"] for line in read_lines(path)] == [1]


def test_unreadable_lines_are_empty_records(tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_bytes(b'{"kind":"met\n\0\0\0\n[1]\n\xff\n\n' + encode("close", time_ms=1))
    assert [line.kind for line in read_lines(path)] == ["", "", "", "", "", "close"]


def test_last_begin(tmp_path: Path) -> None:
    path = tmp_path / "j"
    assert last_begin(path) is None
    path.write_bytes(encode("close", time_ms=1))
    assert last_begin(path) is None
    path.write_bytes(encode("begin", time_ms=1, name="a") + encode("begin", time_ms=2, name="b") + b'{"kind":"begin",')
    assert last_begin(path) == {"kind": "begin", "time_ms": 2, "name": "b"}


def test_choose_uri_in_order() -> None:
    here = Path("/work")

    def chosen(recipe: str | None, environment: str | None, previous: str | None) -> str:
        return uri.choose_uri(recipe, environment=environment, previous=previous, folder=here)

    assert chosen("http://a", "http://b", "http://c") == "http://a"
    assert chosen(None, "http://b", "http://c") == "http://b"
    assert chosen(None, None, "http://c") == "http://c"
    assert chosen(None, None, None) == "sqlite:////work/mlflow.db"
    assert chosen("sqlite:///x/y.db", None, None) == "sqlite:////work/x/y.db"
    assert chosen("sqlite:////x/y.db", None, None) == "sqlite:////x/y.db"
    assert chosen("mlruns", None, None) == "/work/mlruns"
    assert chosen("journal", None, None) == "journal"
    assert chosen("postgresql://u:p@h/db", None, None) == "postgresql://u:p@h/db"


def test_addresses() -> None:
    assert uri.artifact_location("sqlite:////work/mlflow.db") == "file:///work/mlartifacts"
    assert uri.artifact_location("http://tracker") is None
    assert uri.without_password("postgresql://me:secret@db:5432/x") == "postgresql://db:5432/x"
    assert uri.without_password("sqlite:////a@b/mlflow.db") == "sqlite:////a@b/mlflow.db"
    command = "mlflow ui --backend-store-uri sqlite:////work/mlflow.db"
    assert uri.how_to_view("sqlite:////work/mlflow.db", experiment_id="1", run_id="ab") == command


def lines_of(path: Path, *raw: bytes) -> list[Line]:
    path.write_bytes(b"".join(raw))
    return list(read_lines(path))


def test_metrics_go_together_and_nothing_else(tmp_path: Path) -> None:
    lines = lines_of(
        tmp_path / "j", metrics(1, loss=1), metrics(2, loss=1), encode("close", time_ms=1), metrics(3, loss=1)
    )
    assert next_batch(lines) == lines[:2]
    assert next_batch(lines[2:]) == lines[2:3]
    assert next_batch(lines[3:]) == lines[3:]
    assert next_batch([]) == []


def test_a_batch_holds_at_most_the_trackers_limit(tmp_path: Path) -> None:
    # Each of these lines is two points: one value, and the tokens.
    lines = lines_of(tmp_path / "j", *(metrics(step, loss=1) for step in range(MAX_POINTS // 2 + 1)))
    assert next_batch(lines) == lines[:-1]
    wide = lines_of(tmp_path / "k", metrics(1, **{f"m{i}": 0.0 for i in range(MAX_POINTS + 5)}), metrics(2, loss=1))
    assert next_batch(wide) == wide[:1]


@given(st.lists(st.integers(0, 40), unique=True), st.sets(st.integers(0, 40)))
def test_halving_leaves_out_the_culprits_alone(items: list[int], bad: set[int]) -> None:
    taken: list[int] = []

    def send(some: list[int]) -> None:
        if bad.intersection(some):
            raise RecordRefusedError("no")
        taken.extend(some)

    assert send_halving(send, items) == ["no"] * len(bad.intersection(items))
    assert taken == [item for item in items if item not in bad]


def points_of(new: NewPoints, lines: list[Line], sent: Sent) -> list[tuple[str, int, float]]:
    return [(point.key, point.step, point.value) for point in new.pick(lines, sent=sent)]


def test_a_rewound_run_sends_only_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "j"
    lines = lines_of(path, *(metrics(step, loss=step, speed=1) for step in (1, 2, 3)))
    again = lines_of(path, *(metrics(step, loss=step, speed=2) for step in (1, 2, 3)))
    path.write_bytes(b"".join(metrics(step, loss=step, speed=1) for step in (1, 2, 3)))
    sent = Sent(offset=path.stat().st_size, last_step=3)

    restarted = NewPoints(path, last_step=3)
    assert points_of(restarted, again[1:], sent) == [("speed", 2, 2.0), ("speed", 3, 2.0)]
    assert points_of(restarted, again[1:], sent) == []

    straight = NewPoints(path, last_step=-1)
    assert len(points_of(straight, lines, Sent())) == 9
    assert points_of(straight, again[1:], sent) == [("speed", 2, 2.0), ("speed", 3, 2.0)]


def test_two_records_of_one_step_send_its_tokens_once(tmp_path: Path) -> None:
    lines = lines_of(tmp_path / "j", metrics(1, loss=1), metrics(1, valid=float("nan")), metrics(1, valid=float("nan")))
    points = NewPoints(tmp_path / "j", last_step=-1).pick(lines, sent=Sent())
    assert [point.key for point in points] == ["tokens", "loss", "valid"]
    assert math.isnan(points[-1].value)


def test_sent_is_read_back_and_a_damaged_file_is_nothing_sent(tmp_path: Path) -> None:
    path = tmp_path / "sent.json"
    assert load_sent(path) == Sent()
    sent = Sent(offset=7, run_offset=3, last_step=2, run_id="ab", experiment_id="1", tracking_uri="u", session_pid=9)
    save_sent(path, sent)
    assert load_sent(path) == sent
    assert sorted(file.name for file in tmp_path.iterdir()) == ["sent.json"]
    path.write_text('{"offset": 7')
    assert load_sent(path) == Sent()


def test_one_lock_at_a_time(tmp_path: Path) -> None:
    path = TrackingFolder(tmp_path).lock
    with try_lock(path) as first:
        assert first
        with try_lock(path) as second:
            assert not second
    with try_lock(path) as third:
        assert third
