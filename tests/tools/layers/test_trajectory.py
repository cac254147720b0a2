"""Trends over checkpoints: three answers, what scatters is in the interval, and how much probe text would tell."""

import numpy as np
import pytest

from tools.layers.trajectory import answer_of, of_layers, slope, trends_of, verdict
from tools.layers.uncertainty import Bootstrap, Means

DOUBLINGS = np.arange(6.0)


def trends(changes, spread, scatter=0.0, *, margin=0.01, documents=100, seed=0, x=DOUBLINGS):
    """Of numbers with these changes over all documents, at checkpoints that scatter about their lines.

    Documents differ by ``spread`` in their slopes.
    """
    rng = np.random.default_rng(seed)
    own = rng.normal(0, spread, (documents, len(changes)))
    own += changes - own.mean(0)
    return told(own, rng.normal(0, scatter, (len(x), len(changes))), x, margin, seed)


def told(own, scatter, x, margin, seed=0):
    """Trends of what documents (documents, numbers) have as their slopes."""
    bootstrap = Bootstrap.of(np.ones(len(own)), np.zeros(len(own), int), seed=seed)
    slopes = bootstrap.means(own, np.ones((len(own), 1)))
    lines = slopes.map(lambda rows: rows[:, None, :] * x[:, None])
    values = Means(5 + lines.value + scatter, 5 + lines.draws + scatter, lines.shifts)
    names = [str(number) for number in range(own.shape[1])]
    return trends_of(names, x=x, values=values, margin=margin, bootstrap=bootstrap, read=1000)


def trend(change, *given, **options):
    (found,) = trends([change], *given, **options)
    return found


@pytest.mark.parametrize(
    ("change", "spread", "answer"),
    [(-0.5, 0.1, "moving"), (0.5, 0.1, "moving"), (0.001, 0.01, "settled"), (0.0, 1.0, "cannot tell")],
)
def test_a_change_is_told_by_its_interval_against_the_margin(change, spread, answer):
    found = trend(change, spread)
    assert found.answer == answer
    assert found.change == pytest.approx(change)
    assert found.low < change < found.high


def test_what_a_doubling_gives_does_not_depend_on_how_far_apart_the_checkpoints_lie():
    near, far = (trend(-0.05, 0.001, x=x) for x in (DOUBLINGS / 100, DOUBLINGS))
    assert near.change == pytest.approx(far.change)
    assert (near.answer, far.answer) == ("moving", "moving")


def test_scatter_from_checkpoint_to_checkpoint_is_no_movement():
    """Nothing changes but the training's own noise: a false alarm is no more common than the level says."""
    alarms = [trend(0, 1e-6, 0.02, margin=0.0, documents=8, seed=s).answer for s in range(400)]
    assert 0.02 <= alarms.count("moving") / 400 <= 0.08


def test_two_checkpoints_tell_nothing():
    found = trend(-3.0, 0.001, x=DOUBLINGS[:2])
    assert (found.answer, found.low, found.high) == ("cannot tell", -np.inf, np.inf)
    assert found.probe_tokens_to_tell is None


def test_probe_text_that_would_tell_grows_with_the_square_of_the_spread():
    needed = [trend(0, s).probe_tokens_to_tell for s in (1.0, 2.0)]
    assert needed[1] / needed[0] == pytest.approx(4, rel=1e-3)
    assert needed[0] == pytest.approx(1000 * (1.98 * 1.0 / 10 / 0.01) ** 2, rel=0.2)


def test_more_text_is_asked_for_than_was_read_and_none_where_it_would_not_help():
    assert trend(0.0, 0.058).probe_tokens_to_tell > 1000
    assert trend(0.0, 0.1, 5.0).probe_tokens_to_tell is None


def test_layers_that_move_against_each_other_still_move():
    ends = trends([0.2, -0.3], 0.01, margin=0.05)
    still, unknown = trend(0.0, 0.001, margin=0.05), trend(0.0, 2.0, margin=0.05)
    assert (of_layers([*ends, still, unknown]).change, of_layers(ends).answer) == (pytest.approx(-0.3), "moving")
    assert [of_layers(found).answer for found in ([still, unknown], [still])] == ["cannot tell", "settled"]


@pytest.mark.parametrize("scatter", [0.0, 0.5])
def test_of_many_layers_that_stand_still_none_moves_in_19_of_20_runs(scatter):
    """Documents have slopes of their own whose mean is 0 in truth, and so do checkpoints where they scatter."""
    rng, x = np.random.default_rng(0), DOUBLINGS
    noise = rng.normal(0, scatter, (200, len(x), 24))
    found = [told(rng.normal(0, 1, (40, 24)), noise[run], x, 0.0, seed=run) for run in range(200)]
    moving = sum(of_layers(layers).answer == "moving" for layers in found)
    assert moving <= 0.08 * 200  # 0.05 and twice what two hundred leave to chance


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
