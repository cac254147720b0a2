"""Curves that can't be laid, and batch sizes that are no ramp: one line each, with its place."""

import pytest

from tools.errors import UserError

PHASES = (
    "phases=[{name: first, tokens: 1600, learning_rate: 1, mixture: {web: 1}}, {name: second, tokens: 4800},"
    " {name: third, tokens: 3840, learning_rate: constant}]"
)
RATE, NO_RATE = "phases.1.learning_rate=", ("phases.0.learning_rate=null", "phases.2.learning_rate=null")
BAD = [
    ("{wave: 3, to: 1}", ".wave: got wave; expected a key that stands here; the nearest is waves"),
    ("{waves: 3, to: 1}", ": got neither; expected one of trough (waves that fall first) and crest"),
    ("{waves: 3, trough: 0, crest: 1, to: 1}", ": got both; expected one of trough"),
    (
        "{cycles: 3, waves: 3, to: 0}",
        ": got both; expected one of waves (which go down and back up) and cycles (which fall, and begin anew)",
    ),
    ("{waves: 0, trough: 0, to: 1}", ".waves: got 0; expected a number of them, from 1 to 1,000, or a list"),
    ("{waves: [3 miles], trough: 0, to: 1}", ".waves: got ['3 miles']; expected a length such as 2B, 5000 samples"),
    (
        "{waves: [1K, 2K], trough: 0, to: 1}",
        ": lengths add up to 3000 tokens; expected the 4800 that are left for them; change one",
    ),
    ("{waves: [1K, 3800], growth: 2, trough: 0, to: 1}", ": growth=2 beside stated lengths; leave one of them out"),
    ("{waves: 2, trough: 0.5, to: 0.1}", ": trough=0.5, to=0.1, crest=1; expected them in this order"),
    ("{cycles: 2, to: 2}", ": cycles: floor=2.0, peak=1.0; expected a floor from 0 to the peak"),
    (
        "{cycles: 2, to: 0, rewarmup: 9K}",
        ": cycles: cycle 1 has 2400 tokens; expected more than its rewarmup, 9000; shorten that",
    ),
    ("{cycles: [4800, 0], to: 0}", ": length 2 of 2 is 0 tokens; leave it out"),
    ("{cycles: [150 steps, 1000 steps], to: 0}", ".cycles: 1000 steps; expected at most 160, all of the run; shorten"),
    ("{cycles: 1001, to: 0}", ".cycles: got 1001; expected a number of them, from 1 to 1,000, or a list"),
    ("{cycles: 3, to: 0, crest_factor: 1e300}", ": crest_factor=1e+300; crest 2 is no finite number"),
    ("{waves: 900, trough: 0, to: 1, growth: 1.1}", ": waves: the shortest of 900 has 0 tokens; expected at least one"),
    ("slow", ": got slow; expected a number, constant, or a curve such as {to: 3e-4, shape: linear}"),
    ("[1]", ": got [1]; expected a number, constant, or a curve"),
    ("{to: 0, shape: half_life}", ".half_life: got none; expected it with shape half_life, and only there"),
    ("{to: 0, timescale: 1K}", ".timescale: got 1000; expected it with shape inverse_sqrt or power_law"),
    ("{to: 0, over: 4K}", ": over 4000 tokens; expected no less than the phase, in which it is cut"),
    ("{to: 0, shape: power, exponent: 0}", ": segment 1600 to 6400 tokens: shape='power' with exponent=0.0"),
]
NAMED_BAD = [
    ("{schedule: wsf, peak: 1}", ".schedule: got wsf; expected the name of a schedule; the nearest is wsd"),
    ("{schedule: [wsd], peak: 1}", ".schedule: got ['wsd']; expected the name of a schedule; the nearest is wsd"),
    (
        "{schedule: waves, peak: 1, waves: 2, over: 95%, trough: 0, stable: 1, decay: 10%}",
        ": waves: warmup, waves and decay are 512 tokens more than the run; shorten one",
    ),
    (
        "{schedule: triangular, low: 0, high: 1, cycles: 3, crest_factor: 1e300}",
        ": crest_factor=1e+300; crest 2 is no finite number",
    ),
    ("{schedule: wsd, peek: 1}", ".peek: got peek; expected a key that stands here; the nearest is peak"),
    ("{schedule: wsd, peak: 1}", ".decay: got nothing; expected a value: this key has to stand in the recipe"),
    ("{schedule: wsd, peak: 1, decay: 101%}", ".decay: got 101%; expected a length such as 2B, 5000 samples"),
    (
        "{schedule: wsd, peak: 1, warmup: 95%, decay: 10%}",
        ": wsd: warmup_tokens=9728 + decay_tokens=1024 is more than 10240 tokens",
    ),
    (
        "{schedule: waves, peak: 1, waves: 2, trough: 0, stable: 1, decay: 1}",
        ".over: got none; expected the length of all waves beside their number",
    ),
    (
        "{schedule: constant, peak: 1, warmup: 20K}",
        ": constant: a warmup of 20000 in a run of 10240 tokens; shorten it",
    ),
    (
        "{schedule: cosine, peak: 1, warmup: 1000 steps}",
        ".warmup: 1000 steps; expected at most 160, all of the run; shorten it or train longer",
    ),
    (
        "{schedule: multi_cosine, peak: 1, warmup: 100%, cycles: 2}",
        ": multi_cosine: a warmup of 10240 in a run of 10240 tokens leaves none for cycles; shorten it",
    ),
    (
        "{schedule: multi_cosine, peak: 1, warmup: 10239, cycles: 2}",
        ": cycles: cycle 0 has 0 tokens; expected at least 1; take fewer cycles",
    ),
    ("3e-4", ": got 0.0003; expected a whole schedule by name, as in {schedule: wsd, ...}; segments"),
]
OTHERS = [
    ("phases.0.adam_beta2={to: 2}", "beta2 runs from 0.95 to 2; expected at least 0 to below 1"),
    ("phases.0.weight_decay={shape: cosine}", "phases[0].weight_decay.to: got no value; expected the value it goes to"),
    (
        "learning_rate={schedule: constant, peak: 1}",
        "phases[0].learning_rate: got one; expected none: learning_rate at",
    ),
    ("global_batch_size={from: 4, to: 15, by: 4, over: 100}", "global_batch_size: ramp from 4 to 15 by 4; expected a"),
    (
        "global_batch_size={from: 4, double: [100]}",
        "global_batch_size.double: got double; expected a key that stands here; the nearest is double_at",
    ),
    (
        "global_batch_size={from: 4, double_at: [10 steps]}",
        "global_batch_size: 10 steps without a step table; give the clock one, or say it in tokens",
    ),
    ("global_batch_size={from: 3, double_at: [64]}", "global_batch_size: got 3; expected a multiple of micro_batch"),
    ("coupling.rule=sqrt", "coupling.reference: got none; expected the batch size at which the learning rate is"),
    ("coupling.rule=cube", "coupling.rule: got cube; expected 'none', 'sqrt' or 'linear'"),
    (
        "optimizer.lr_multipliers.embeddings=2",
        "optimizer.lr_multipliers.embeddings: got embeddings; expected a key that stands here; the nearest is embed",
    ),
    ("optimizer.lr_multipliers.hidden=0", "optimizer.lr_multipliers.hidden: got 0; expected greater than 0"),
]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        *(((RATE + curve,), f"phases[1].learning_rate{message}") for curve, message in BAD),
        *(((*NO_RATE, f"learning_rate={named}"), f"learning_rate{message}") for named, message in NAMED_BAD),
        *(((override,), message) for override, message in OTHERS),
    ],
)
def test_each_mistake_is_one_line(tiny_plan, overrides, message):
    with pytest.raises(UserError) as error:
        tiny_plan(PHASES, *overrides)
    assert str(error.value).startswith(f"tiny.yaml: {message}")
    assert "\n" not in str(error.value)


def test_tied_embeddings_have_one_multiplier(tiny_plan):
    with pytest.raises(UserError, match=r"optimizer.lr_multipliers.output: got 2.0; expected none with tied"):
        tiny_plan("model.share_embeddings_and_output_weights=true", "optimizer.lr_multipliers.output=2")
