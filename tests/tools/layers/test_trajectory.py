"""Trends over checkpoints: three answers, what scatters is in the interval, and how much probe text would tell."""

import numpy as np
import pytest

from tools.layers.trajectory import answer_of, of_layers, slope, trend, verdict
from tools.layers.uncertainty import Bootstrap

DOUBLINGS = np.arange(6.0)


def checkpoints(change, spread, scatter=0.0, documents=100, seed=0, x=DOUBLINGS):
    """A number on all documents, then on each draw, at checkpoints on a line of this slope that scatter about it.

    Documents differ by ``spread`` in their slopes.
    """
    rng = np.random.default_rng(seed)
    own = rng.normal(0, spread, documents)
    own += change - own.mean()
    bootstrap = Bootstrap.of(np.ones(documents))
    slopes = np.concatenate([[own.mean()], bootstrap.means(own, np.ones(documents))])
    return {"values": 5 + slopes[:, None] * x + rng.normal(0, scatter, len(x)), "bootstrap": bootstrap, "read": 1000}


@pytest.mark.parametrize(
    ("change", "spread", "answer"),
    [(-0.5, 0.1, "moving"), (0.5, 0.1, "moving"), (0.001, 0.01, "settled"), (0.0, 1.0, "cannot tell")],
)
def test_a_change_is_told_by_its_interval_against_the_margin(change, spread, answer):
    found = trend("loss", DOUBLINGS, margin=0.01, **checkpoints(change, spread))
    assert found.answer == answer
    assert found.change == pytest.approx(change)
    assert found.low < change < found.high


def test_what_a_doubling_gives_does_not_depend_on_how_far_apart_the_checkpoints_lie():
    near, far = (trend("loss", x, margin=0.01, **checkpoints(-0.05, 0.001, x=x)) for x in (DOUBLINGS / 100, DOUBLINGS))
    assert near.change == pytest.approx(far.change)
    assert (near.answer, far.answer) == ("moving", "moving")


def test_scatter_from_checkpoint_to_checkpoint_is_no_movement():
    """Nothing changes but the training's own noise: a false alarm is no more common than the level says."""
    alarms = [
        trend("loss", DOUBLINGS, margin=0.0, **checkpoints(0, 1e-6, 0.02, documents=8, seed=s)).answer
        for s in range(400)
    ]
    assert 0.02 <= alarms.count("moving") / 400 <= 0.08


def test_two_checkpoints_tell_nothing():
    found = trend("loss", DOUBLINGS[:2], margin=0.01, **checkpoints(-3.0, 0.001, x=DOUBLINGS[:2]))
    assert (found.answer, found.low, found.high) == ("cannot tell", -np.inf, np.inf)
    assert found.probe_tokens_to_tell is None


def test_probe_text_that_would_tell_grows_with_the_square_of_the_spread():
    needed = [trend("loss", DOUBLINGS, margin=0.01, **checkpoints(0, s)).probe_tokens_to_tell for s in (1.0, 2.0)]
    assert needed[1] / needed[0] == pytest.approx(4, rel=1e-3)
    assert needed[0] == pytest.approx(1000 * (1.98 * 1.0 / 10 / 0.01) ** 2, rel=0.2)


def test_more_text_is_asked_for_than_was_read_and_none_where_it_would_not_help():
    assert trend("loss", DOUBLINGS, margin=0.01, **checkpoints(0.0, 0.058)).probe_tokens_to_tell > 1000
    assert trend("loss", DOUBLINGS, margin=0.01, **checkpoints(0.0, 0.1, 5.0)).probe_tokens_to_tell is None


def test_layers_that_move_against_each_other_still_move():
    given = {"looks": 2, "margin": 0.05}
    ends = [trend(str(change), DOUBLINGS, **given, **checkpoints(change, 0.01)) for change in (0.2, -0.3)]
    still = trend("0", DOUBLINGS, **given, **checkpoints(0.0, 0.001))
    unknown = trend("?", DOUBLINGS, **given, **checkpoints(0.0, 2.0))
    assert (of_layers([*ends, still, unknown]).name, of_layers(ends).answer) == ("-0.3", "moving")
    assert [of_layers(found).answer for found in ([still, unknown], [still])] == ["cannot tell", "settled"]
    wider = trend("0", DOUBLINGS, looks=20, margin=0.05, **checkpoints(0.0, 0.001))
    assert wider.high - wider.low > 1.2 * (still.high - still.low)


def test_an_unknown_interval_tells_nothing():
    assert answer_of(float("nan"), float("nan"), 1.0) == "cannot tell"
    assert answer_of(-1.0, 1.0, 1.0) == "settled"


def test_the_run_is_saturated_only_if_everything_is_settled():
    assert verdict(["settled", "settled"]) == "saturated"
    assert verdict(["settled", "cannot tell"]) == "cannot tell"
    assert verdict(["cannot tell", "moving"]) == "still moving"


def test_the_slope_is_that_of_least_squares():
    rng = np.random.default_rng(0)
    tokens, values = np.array([1e9, 2e9, 5e9]), rng.normal(size=(7, 3, 4))
    expected = [[np.polyfit(tokens, values[d, :, layer], 1)[0] for layer in range(4)] for d in range(7)]
    assert slope(tokens, values) == pytest.approx(np.array(expected), rel=1e-9)
