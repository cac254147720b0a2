"""``trace``: what each sample reads, which samples read a document, and what it says to nonsense."""

import json
import subprocess
import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from mixer.indexed import IndexedTokens
from tools.errors import UserError
from tools.prepare.python_corpus import train_tokenizer
from tools.recipe.load import load_recipe
from tools.recipe.resolve import resolve
from tools.recipe.yaml_file import write_yaml
from tools.trace.command import show_trace, trace
from tools.trace.excerpt import one_line
from tools.trace.records import numbers_in_short
from tools.trace.selection import MAX_SAMPLES, Selection, parse_range

REPOSITORY = Path(__file__).parents[2]
SOURCES = "sources={web: {tokens: 16001}, code: {tokens: 1601}}"
PHASES = "phases=[{name: all, tokens: 9600, learning_rate: 1e-3, mixture: {web: 3, code: 1}}]"  # 600 samples
KEYS = ["sample", "step", "source", "draw", "generation", "epoch", "row", "offset", "documents", "text"]


@pytest.fixture(scope="module")
def plan(tiny_plan):
    return tiny_plan(SOURCES, PHASES, "global_batch_size=64", "micro_batch_size=8")


@pytest.fixture
def data_recipe(workplace):
    """A recipe over real files: web and code to the sample 84, then sft too; 128 samples in steps of 8."""
    return workplace.recipe()


@pytest.fixture
def data_plan(data_recipe):
    return resolve(load_recipe(data_recipe), where="")


def records(plan, **selection):
    return trace(plan, Selection(**selection))[0]


def test_a_range_is_what_the_mixture_says(plan):
    found = records(plan, samples="0:600")
    located = plan.mixture.locate(np.arange(600))
    assert list(found[0]) == KEYS
    assert [record["sample"] for record in found] == list(range(600))
    assert [record["source"] for record in found] == [plan.mixture.names[source] for source in located.source]
    for name in ("draw", "generation", "epoch", "row", "offset"):
        assert [record[name] for record in found] == getattr(located, name).tolist()
    assert records(plan, samples="599:600") == found[599:]


def test_counted_sources_have_neither_documents_nor_text(plan):
    assert {(*record["documents"], record["text"]) for record in records(plan, samples="0:600")} == {("",)}


def test_samples_after_the_last_whole_batch_have_no_step(plan):
    steps = [record["step"] for record in records(plan, samples="0:600")]
    assert steps == [sample // 64 for sample in range(576)] + [None] * 24


def test_the_ranks_of_a_step_share_it_micro_batch_by_micro_batch(plan):
    whole = records(plan, step=8)
    assert [record["sample"] for record in whole] == list(range(512, 576))
    ranks = [
        [record["sample"] - 512 for record in records(plan, step=8, rank=rank, data_parallel_size=4)]
        for rank in range(4)
    ]
    assert ranks[1] == [*range(8, 16), *range(40, 48)]
    assert sorted(chain(*ranks)) == list(range(64))


@pytest.mark.parametrize(("text", "numbers"), [("0:1", (0, 1)), ("7:600", (7, 600)), ("599:600", (599, 600))])
def test_ranges(text, numbers):
    assert parse_range(text, 600) == numbers


@pytest.mark.parametrize("text", [":", "5", "5:", ":5", "5:5", "6:5", "-1:5", "a:b", "1:2:3", "0:601", ""])
def test_ranges_that_are_none(text):
    with pytest.raises(UserError, match=r"^--samples: got .*; expected"):
        parse_range(text, 600)


def test_a_range_that_would_fill_the_memory():
    with pytest.raises(UserError, match="expected at most 1,000,000 samples at a time"):
        parse_range(f"0:{MAX_SAMPLES + 1}", 10**12)


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({}, "trace: got none of them; expected exactly one of --samples A:B, --step S and --document SOURCE:N"),
        ({"samples": "0:1", "step": 0}, "trace: got --samples and --step; expected exactly one of "),
        ({"step": 0, "rank": 0}, "--rank and --data-parallel-size: got one of them alone; expected both"),
        ({"samples": "0:1", "rank": 0, "data_parallel_size": 1}, "--rank: got --samples; expected --step"),
        ({"step": 9}, "--step: got 9; expected 0 to 8, the steps of the run"),
        ({"step": -1}, "--step: got -1; expected 0 to 8"),
        ({"step": 0, "rank": 2, "data_parallel_size": 2}, "--rank: got rank 2 of 2; expected 0 to 1"),
        ({"document": "web"}, "--document: got web; expected SOURCE:N, as in --document web:17"),
        ({"document": "web:-1"}, "--document: got web:-1; expected SOURCE:N"),
        ({"document": "wbe:1"}, "--document: got wbe:1; expected one of the sources web, code"),
        ({"document": "web:1"}, "--document: got web:1; expected a source with data; this one states its tokens only"),
    ],
)
def test_bad_selections_are_one_clear_line(plan, asked, line):
    with pytest.raises(UserError) as error:
        records(plan, **asked)
    assert str(error.value).startswith(line)


def test_a_document_that_does_not_exist(data_plan):
    with pytest.raises(UserError, match="--document: got web:300; expected a document of web, 0 to 299"):
        records(data_plan, document="web:300")


@pytest.mark.parametrize("overrides", [(), ("sources.web.epoch_offset=true", "phases.1.tokens=48K")])
def test_documents_lead_back_to_exactly_the_samples_that_name_them(workplace, overrides):
    """Documents of every source, by the inverse, beside a scan of the whole run; also where windows move."""
    plan = resolve(load_recipe(workplace.recipe(*overrides)), where="")
    scanned = {}
    for record in trace(plan, Selection(samples=f"0:{plan.total_samples}"), with_text=False)[0]:
        for document in record["documents"]:
            scanned.setdefault(f"{record['source']}:{document}", []).append(record)
    for name, count in {"web": 300, "code": 150, "sft": 200}.items():
        for document in (f"{name}:{number}" for number in range(count)[:: 3 if overrides else 1]):
            found, remark = trace(plan, Selection(document=document))
            expected = scanned.get(document, [])
            assert found == [{key: record[key] for key in KEYS[:-2]} for record in expected]
            assert bool(remark) == (not expected)


def test_a_document_that_is_never_read_says_why(data_plan):
    remarks = [trace(data_plan, Selection(document=f"sft:{number}"))[1] for number in range(200)]
    assert remarks[199] == "sft:199 is never read: it is held out for validation"
    late = next(number for number, remark in enumerate(remarks) if "ends" in remark)
    (row,) = data_plan.sources["sft"].rows_of_document(late).tolist()
    assert remarks[late] == f"sft:{late} is never read: the run ends before it reads row {row}"


def test_the_excerpt_is_how_the_row_begins(workplace, tmp_path):
    """Without a tokenizer the ids, as they lie in the file; with one, their text."""
    moved = ["sources.web.epoch_offset=true", "phases.1.tokens=48K"]
    plan = resolve(load_recipe(workplace.recipe(*moved)), where="")
    whole = trace(plan, Selection(samples="0:1200"), with_text=False)[0]
    number = next(record["sample"] for record in whole if record["offset"])
    (record,) = records(plan, samples=f"{number}:{number + 1}")
    start = plan.sources["web"].starts(np.array([record["row"]]))[0] + record["offset"]
    ids = IndexedTokens.open(workplace.data / "web").tokens[start : start + 32].tolist()
    assert record["text"] == " ".join(map(str, ids[:12]))
    tokenizer = tmp_path / "tokenizer.json"
    train_tokenizer(iter([]), vocab_size=262, path=tokenizer)
    recipe = workplace.recipe(*moved, f"tokenizer={tokenizer}", "vocab_size=null")
    (record,) = records(resolve(load_recipe(recipe), where=""), samples=f"{number}:{number + 1}")
    from tokenizers import Tokenizer

    assert record["text"] == one_line(Tokenizer.from_file(str(tokenizer)).decode(ids, skip_special_tokens=False))


def test_no_text_reads_no_token(data_plan, monkeypatch):
    whole = [{key: value for key, value in record.items() if key != "text"} for record in records(data_plan, step=3)]
    for source in data_plan.sources.values():
        monkeypatch.setattr(type(source), "fill", None)
    assert trace(data_plan, Selection(step=3), with_text=False)[0] == whole


def test_control_characters_do_no_harm():
    assert one_line("a\x1b[2Jb\r\n\u202ec\x00") == "a\\x1b[2Jb\\r\\n\\u202ec\\x00"
    assert one_line("\n" * 99) == "\\n" * 30
    assert one_line("[bold]é漢") == "[bold]é漢"


def test_many_documents_in_short():
    assert numbers_in_short([]) == ""
    assert numbers_in_short([7]) == "7"
    assert numbers_in_short(list(range(1000, 2000))) == "1000-1999"
    assert numbers_in_short([100000000001, 200000000001]) == "100000000001 +1"


def test_the_table_is_cut_at_the_width_of_the_terminal(data_recipe, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    show_trace(data_recipe, [], Selection(samples="0:4"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["sample", "step", "source", "draw", "epoch", "row", "documents", "token", "ids"]
    assert len(lines) == 5
    assert {len(line) for line in lines} == {60}
    show_trace(data_recipe, [], Selection(samples="0:4"), with_text=False)
    assert "token" not in capsys.readouterr().out


def test_the_command_prints_what_the_function_says(data_recipe, data_plan, capsys):
    show_trace(data_recipe, [], Selection(step=15), as_json=True)
    assert json.loads(capsys.readouterr().out) == records(data_plan, step=15)
    show_trace(data_recipe, [], Selection(document="web:299"), as_json=True)
    assert capsys.readouterr() == ("[]\n", "web:299 is never read: it is held out for validation\n")
    show_trace(data_recipe, [], Selection(document="web:299"))
    assert capsys.readouterr().out == "web:299 is never read: it is held out for validation\n"


# A frontier-sized recipe: 300 sources that stand for 15T tokens, two phases, one of them a new mixture.
LARGE = """
import resource, sys
from pathlib import Path
from tools.trace.command import show_trace
from tools.trace.selection import Selection

show_trace(Path(sys.argv[1]), [], Selection(samples="3600000000:3600001000"), as_json=True)
loaded = [name for name in ("torch", "megatron", "matplotlib", "datasets", "mlflow") if name in sys.modules]
usage = resource.getrusage(resource.RUSAGE_SELF)
print(loaded, file=sys.stderr)
print(usage.ru_utime + usage.ru_stime, file=sys.stderr)
"""


def test_a_large_recipe_takes_no_framework_and_no_time(tmp_path, tiny_recipe):
    """The time is the processor's, start of Python included, so that a busy machine doesn't fail the test."""
    names = [f"source-{number}" for number in range(300)]
    late = {name: 1 + number % 5 for number, name in enumerate(names)}
    document = tiny_recipe().model_dump(mode="json", by_alias=True, exclude_none=True)
    document |= {"sequence_length": 4096, "global_batch_size": 4096}
    document["sources"] = {name: {"tokens": 10**9 * (1 + number)} for number, name in enumerate(names)}
    document["phases"] = [
        {"name": "stable", "tokens": "12T", "learning_rate": 3e-4, "mixture": dict.fromkeys(names, 1)},
        {"name": "decay", "tokens": "3T", "learning_rate": {"to": 3e-5}, "mixture": late},
    ]
    path = tmp_path / "large.yaml"
    path.write_text(write_yaml(document))
    command = [sys.executable, "-c", LARGE, str(path)]
    finished = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    loaded, seconds = finished.stderr.splitlines()[-2:]
    assert loaded == "[]"
    assert float(seconds) < 2.0
    assert len(json.loads(finished.stdout)) == 1000
