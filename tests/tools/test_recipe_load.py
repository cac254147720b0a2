import copy

import pytest

from tools.errors import UserError
from tools.recipe.load import apply_override, load_recipe, parse_recipe
from tools.recipe.transformer_fields import complaint_about, transformer_config_fields
from tools.recipe.yaml_file import write_yaml

RECIPE = {
    "name": "tiny",
    "sequence_length": 8,
    "model": {"num_layers": 2, "hidden_size": 16, "num_attention_heads": 4},
    "vocab_size": 64,
    "global_batch_size": 4,
    "sources": {"web": {"tokens": "2e9"}, "sft": {"tokens": "10M", "loss": "assistant"}},
    "phases": [
        {"name": "stable", "tokens": "1.1K", "learning_rate": "3e-4", "mixture": {"web": 1}},
        {"name": "decay", "tokens": 400, "learning_rate": {"to": 0}, "mixture": {"web": 3, "sft": 1}},
    ],
}


def changed(*overrides):
    document = copy.deepcopy(RECIPE)
    for override in overrides:
        apply_override(document, override)
    return document


def test_numbers_and_shorthands():
    recipe = parse_recipe(RECIPE, "r.yaml")
    assert recipe.sources["web"].tokens == 2 * 10**9
    assert recipe.phases[0].tokens == 1100
    assert (recipe.phases[0].learning_rate.start, recipe.phases[0].learning_rate.to) == (3e-4, 3e-4)
    assert recipe.phases[0].learning_rate.shape == "constant"
    assert recipe.phases[1].learning_rate.shape == "linear"
    assert recipe.global_batch_size == ((0, 4),)


def test_a_batch_ramp_is_a_list():
    assert parse_recipe(changed("global_batch_size=[[0, 4], [1K, 8]]"), "r").global_batch_size == ((0, 4), (1000, 8))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("phases.0.tokens=0", "phases[0].tokens: got 0; expected a positive number of tokens"),
        ("phases.0.tokens=1.5", "phases[0].tokens: got 1.5; expected a whole number such as"),
        (
            "model.hidden_sise=8",
            "model.hidden_sise: got hidden_sise; expected a field of TransformerConfig; the nearest is hidden_size",
        ),
        ("model.bf16=true", "model.bf16: got bf16; expected this to be set in precision"),
        ("model.num_attention_heads=3", "model.hidden_size: got 16; expected a multiple of num_attention_heads (3)"),
        ("model.num_query_groups=3", "model.num_query_groups: got 3; expected a divisor of num_attention_heads (4)"),
        ("phasen=[]", "phasen: got phasen; expected a key that stands here; the nearest is phases"),
        ("sources.web.pth=x", "sources.web.pth: got pth; expected a key that stands here; the nearest is path"),
        ("sources.web.path=x", "sources.web: got both; expected either path"),
        ("sources.a/b.tokens=1K", "sources.a/b: got a/b; expected letters, digits"),
        (
            "phases.1.mixture={wbe: 1}",
            "phases[1].mixture.wbe: got wbe; expected a source of the recipe; the nearest is web",
        ),
        ("phases.1.mixture={web: -1, sft: 2}", "phases[1].mixture.web: got -1.0; expected a weight of at least 0"),
        (
            "phases.1.mixture={web: 0}",
            "phases[1].mixture: got only zeros; expected a weight above 0 for one source at least",
        ),
        ("phases.1.mixture={web: nan}", "phases[1].mixture.web: got nan; expected a finite number"),
        ("sources.web.mean_loss_tokens=0", "sources.web.mean_loss_tokens: got 0; expected greater than 0"),
        (
            "sources.web.mean_loss_tokens=9",
            "sources.web.mean_loss_tokens: got 9.0; expected at most sequence_length",
        ),
        ("phases.0.mixture=null", "phases[0].mixture: got none; expected a mixture in the first phase"),
        (
            "phases.1.learning_rate={shape: cosine}",
            "phases[1].learning_rate.to: got no value; expected the value it goes to",
        ),
        ("phases.1.learning_rate={to: 0, shape: cos}", "phases[1].learning_rate.shape: got cos; expected 'constant', "),
        (
            "phases.1.learning_rate={to: 1e-5, half_life: 1K}",
            "phases[1].learning_rate.half_life: got 1000; expected it with shape half_life",
        ),
        ("phases=[]", "phases: got []; expected "),
        ("seed=-1", "seed: got -1; expected greater than or equal to 0"),
        ("precision=fp8", "precision: got fp8; expected 'fp32' or 'bf16'"),
        ("validation.holdout=1", "validation.holdout: got 1.0; expected a share from 0 to 0.5"),
        ("tokenizer=t.json", "r.yaml: got both; expected either tokenizer"),
    ],
)
def test_each_mistake_is_one_line_with_its_place(override, message):
    with pytest.raises(UserError) as error:
        parse_recipe(changed(override), "r.yaml")
    assert message in str(error.value)
    assert str(error.value).startswith("r.yaml: ")
    assert "\n" not in str(error.value)


def test_a_missing_key():
    document = changed()
    del document["sequence_length"]
    with pytest.raises(UserError, match=r"r.yaml: sequence_length: got nothing; expected a value"):
        parse_recipe(document, "r.yaml")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "--set seed: expected KEY=VALUE"),
        ("=3", "--set =3: expected KEY=VALUE"),
        ("phases.9.tokens=3", "got 9; expected an index from 0 to 1"),
        ("name.x=3", "got name, which is a plain value; expected a section or a list"),
    ],
)
def test_overrides_that_point_nowhere(override, message):
    with pytest.raises(UserError, match=message.replace("[", r"\[")):
        apply_override(copy.deepcopy(RECIPE), override)


def test_overrides_reach_a_file(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(write_yaml(RECIPE))
    assert load_recipe(path, ["phases.1.tokens=2B", "seed=7"]).phases[1].tokens == 2 * 10**9
    path.write_text("[]")
    with pytest.raises(UserError, match="got list; expected a mapping"):
        load_recipe(path)


def test_model_fields_are_those_of_the_installed_transformer_config():
    from dataclasses import fields

    from megatron.core.transformer import TransformerConfig

    assert set(transformer_config_fields()) == {field.name for field in fields(TransformerConfig)}


def test_a_field_of_gpt_model_is_known():
    assert complaint_about("rotary_base") is None
    assert complaint_about("ffn_hidden_size") is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("skip_samples=[5, 6]", "skip_samples[0]: got 5; expected a list"),
        ("phases.0.mixture=[web]", "phases[0].mixture: got ['web']; expected a section of keys and values"),
        ("phases=[]", "phases: got []; expected at least 1 of them"),
        ("global_batch_size=[[0, 8, 3]]", "global_batch_size[0]: got [0, 8, 3]; expected at most 2 of them"),
        (
            "sources.web={path: web, mean_loss_tokens: 9}",
            "sources.web.mean_loss_tokens: got 9.0; expected none with path: data on disk is counted",
        ),
    ],
)
def test_mistakes_are_told_in_words_of_yaml(override, message):
    with pytest.raises(UserError) as error:
        parse_recipe(changed(override), "tiny.yaml")
    assert str(error.value) == f"tiny.yaml: {message}"
