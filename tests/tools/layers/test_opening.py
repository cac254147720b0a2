"""What is known of models before they are opened, and how the text for them is cut."""

import numpy as np
import pytest

from tools.errors import UserError
from tools.layers import hf_model
from tools.layers.opening import Options, check_length, paths_of
from tools.layers.order import parse_run, quietest_run, reordered_model
from tools.layers.own_model import layered, row_options
from tools.layers.probe import open_probe


def recipe_over(tiny_recipe, world, **attention):
    """Sources of the world's files, text with the attention that is given."""
    found = {name: f"{{path: {world / name}, attention: {kind}}}" for name, kind in attention.items()}
    sources = ", ".join(f"{name}: {spec}" for name, spec in found.items())
    chat = f"sft: {{path: {world / 'sft'}, loss: assistant}}"
    return tiny_recipe(f"sources={{{sources}, {chat}}}", "phases.0.mixture={web: 1}")


def positions(probe):
    """Whether each source has segments, and the last position of any of its windows."""
    batches = list(probe.batches(8))
    return [(batch.segments is not None, int(batch.position_ids.max())) for batch in batches]


def test_a_run_reads_text_as_it_was_trained_on(tiny_recipe, world):
    """Documents apart where its recipe says so; text that it doesn't name as all of its text, conversations as ever."""
    rows = row_options(recipe_over(tiny_recipe, world, web="document"))
    paths = [str(world / name) for name in ("web", "code", "sft")]
    given = {"sequence_length": 256, "windows": 4}
    plain = positions(open_probe(paths, **given))
    told = positions(open_probe(paths, **given, rows=rows))
    assert plain[:2] == [(False, 255)] * 2
    assert [segments for segments, _ in told] == [True, True, True]
    assert all(last < 255 for _, last in told[:2])
    assert told[2] == plain[2]
    mixed = row_options(recipe_over(tiny_recipe, world, web="document", code="window"))
    assert mixed[""] == {}
    told = positions(open_probe(paths[:2], **given, rows=mixed))
    assert [segments for segments, _ in told] == [True, False]


def test_windows_beyond_learned_positions_are_refused(alone, tiny_recipe, make_probe):
    from tools.runtime.model import model_for_reading

    recipe = tiny_recipe("model.position_embedding_type=learned_absolute")
    model = layered(model_for_reading(recipe, 96), recipe, name="learned")
    check_length(model, 16)
    with pytest.raises(
        UserError, match="--sequence-length: got 17; expected at most 16, for which learned has learned"
    ):
        check_length(model, 17)


@pytest.mark.parametrize(
    ("given", "moved"),
    [
        ({"no_rope_freq": [0, 1, 0, 1]}, {"no_rope_freq": [0, 1, 1]}),
        ({"no_rope_freq": 2}, {"no_rope_freq": [0, 1, 1]}),
        ({"window_attn_skip_freq": 2, "moe_layer_freq": 1}, {"window_attn_skip_freq": [1, 0, 0]}),
        (
            {"moe_layer_freq": 2, "linear_attention_freq": 4},
            {"moe_layer_freq": [1, 0, 0], "linear_attention_freq": [1, 1, 0]},
        ),
        ({"hidden_size": 4, "no_rope_freq": None}, {}),
    ],
)
def test_what_a_recipe_says_of_single_layers_goes_with_them(given, moved):
    assert reordered_model(given, [0, 1, 3]) == moved


def test_the_periods_of_layers_are_megatrons_own(alone, tiny_recipe):
    from megatron.core.transformer.utils import is_layer_window_attention

    from tools.runtime.model import transformer_config

    made = transformer_config(tiny_recipe("model.num_layers=4", "model.no_rope_freq=2"))
    everywhere = reordered_model({"no_rope_freq": 2, "window_attn_skip_freq": 3}, range(4))
    assert everywhere["no_rope_freq"] == made.no_rope_freq
    assert everywhere["window_attn_skip_freq"] == [
        is_layer_window_attention((1, 1), 3, layer + 1) for layer in range(4)
    ]


def test_runs_of_unknown_angle_are_never_the_quietest():
    angles = np.full((6, 6), np.nan)
    with pytest.raises(UserError, match=r"--drop: got 1; expected an angle of one run at least"):
        quietest_run(angles, 1)
    angles[3, 4] = 0.5
    assert quietest_run(angles, 1) == (3, 4)


def test_nothing_is_not_a_run():
    with pytest.raises(UserError, match="--drop: got nothing; expected A:B with"):
        parse_run("--drop", "", 4, force=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ablate_spans": ("1:9",)}, r"--ablate-span: got 1:9; expected A:B with 0 <= A < B <= 3"),
        (
            {"data": ["text=code"]},
            r"small: got code, written with tokenizer 111111111111; expected text of its tokenizer",
        ),
    ],
)
def test_options_that_do_not_fit_the_last_model_are_told_before_the_first_is_opened(
    tmp_path, monkeypatch, changes, message
):
    told = {"big": (12, None), "small": (3, "2" * 64)}
    monkeypatch.chdir(tmp_path)
    for name in told:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").touch()
    monkeypatch.setattr(hf_model, "told_of", lambda path: told[path.name])
    manifest = '{"kind": "text", "tokens": 9, "documents": 1, "supervised_tokens": 0, "tokenizer": {"sha256": "%s"}}'
    (tmp_path / "code.json").write_text(manifest % ("1" * 64))
    models = [type(tmp_path)(name) for name in told]
    with pytest.raises(UserError, match=message):
        paths_of(models, Options(**{"data": [], "out": tmp_path / "out", **changes}))
