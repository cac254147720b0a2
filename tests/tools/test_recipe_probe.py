"""The text of layers.probe, tried where a recipe is resolved: what can't be measured on is refused in one line."""

import json
import shutil

import numpy as np
import pytest

from tools.errors import UserError
from tools.recipe.load import load_recipe
from tools.recipe.resolve import resolve


def told(place, probe, *overrides):
    """What is refused, after the recipe's name."""
    listed = f"layers.probe=[{', '.join(map(str, probe))}]"
    with pytest.raises(UserError) as error:
        resolve(load_recipe(place.recipe("layers.every=1024", listed, *overrides)), where="r.yaml")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_source_that_is_not_there_is_named_by_its_place(workplace, world):
    message = told(workplace, [world / "web", "other=data/nope"])
    assert message.startswith("r.yaml: layers.probe[1]: data/nope.idx")


def test_a_source_shorter_than_a_window(workplace, make_short):
    assert told(workplace, [make_short(32)]).startswith("r.yaml: layers.probe[0]: source short: ")
    place = workplace.recipe("layers.every=1024", f"layers.probe=[{make_short(33)}]")
    assert resolve(load_recipe(place), where="r.yaml")


@pytest.fixture
def make_short(tmp_path):
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

    def make(tokens, last=5):
        import torch

        prefix = tmp_path / "short"
        builder = IndexedDatasetBuilder(f"{prefix}.bin", dtype=np.uint16)
        builder.add_document(torch.tensor([5] * (tokens - 1) + [last]), [tokens])
        builder.finalize(f"{prefix}.idx")
        return prefix

    return make


def test_a_token_outside_the_vocabulary(workplace, make_short):
    message = told(workplace, [make_short(33, last=96)])
    assert message.startswith("r.yaml: layers.probe[0]: got token id 96 of source short; expected ids below 96")


def test_two_sources_of_one_name(workplace, world):
    message = told(workplace, [world / "web", f"web={world / 'code'}"])
    assert message == "r.yaml: layers.probe[1]: got web twice; expected NAME=PATH with a name for each"


def test_text_of_another_tokenizer(workplace, world, tmp_path):
    for suffix in (".bin", ".idx", ".mask.bin", ".mask.idx"):
        shutil.copy(world / f"sft{suffix}", tmp_path / f"sft{suffix}")
    manifest = json.loads((world / "sft.json").read_text()) | {"tokenizer": {"sha256": "f" * 64}}
    (tmp_path / "sft.json").write_text(json.dumps(manifest))
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 95}}}))
    tokenizer = f"tokenizer={tmp_path / 'tokenizer.json'}"
    message = told(workplace, [world / "web", f"chat={tmp_path / 'sft'}"], tokenizer, "vocab_size=null")
    assert message.startswith(f"r.yaml: layers.probe[1]: got {tmp_path / 'sft'}, written with tokenizer ffffffffffff;")


def test_rows_are_made_as_the_recipe_makes_them(workplace, world):
    """Packed windows of text need a pad id, which only the source's own section tells."""
    packed = "sources.web.windows=packed"
    assert "no pad id" in told(workplace, [world / "web"], packed)
    place = workplace.recipe(packed, "sources.web.pad=1", "layers.every=1024", f"layers.probe=[{world / 'web'}]")
    assert resolve(load_recipe(place), where="r.yaml")


def test_a_probe_that_is_never_read_is_not_looked_for(workplace):
    assert resolve(load_recipe(workplace.recipe("layers.every=0", "layers.probe=[nope]")), where="r.yaml")


def test_plan_refuses_as_pretrain_does(workplace):
    finished = workplace.annealmix("plan", workplace.recipe("layers.every=1024", "layers.probe=[nope]"))
    assert (finished.status, finished.output) == (2, "")
    (line,) = finished.errors.splitlines()
    assert "recipe.yaml: layers.probe[0]: nope.idx" in line
