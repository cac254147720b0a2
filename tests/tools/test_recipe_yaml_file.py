import pytest

from tools.errors import UserError
from tools.recipe.yaml_file import parse_yaml, read_yaml, write_yaml


def test_scalars_are_what_people_mean():
    text = "{a: 2e9, b: 3e-4, c: 1_000, d: 1.1T, e: 12:30, no: on, f: true, g: null, h: 010, i: -.5, j: 1.}"
    assert parse_yaml(text, "x.yaml") == {
        "a": 2e9, "b": 3e-4, "c": 1000, "d": "1.1T", "e": "12:30", "no": "on",
        "f": True, "g": None, "h": 10, "i": -0.5, "j": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", "x.yaml:2: the key 'a' stands twice"),
        ("a:\n  b: 1\n  c: {d: 1, d: 2}\n", "x.yaml:3: the key 'd' stands twice"),
        ("a: 1\n\tb: 2\n", "x.yaml:2: got a tab; expected spaces"),
        ("a: [1, 2\nb: 3", "x.yaml:2: "),
        ("a: !!python/object/apply:os.system [ls]", "x.yaml:1: "),
    ],
)
def test_mistakes_name_the_line(text, message):
    with pytest.raises(UserError) as error:
        parse_yaml(text, "x.yaml")
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.yaml: got no such file; expected a recipe"):
        read_yaml(tmp_path / "nothing.yaml")


def test_what_is_written_reads_back():
    value = {"name": "x", "phases": [{"tokens": 100, "mixture": {"no": 0.25, "1e3": 1e-30}}]}
    assert parse_yaml(write_yaml(value), "x.yaml") == value
