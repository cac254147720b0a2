"""Trends over checkpoints: three answers, and how much probe text would tell."""

import numpy as np
import pytest

from tools.layers.trajectory import answer_of, slope, trend, verdict
from tools.layers.uncertainty import Bootstrap


def changes_of(mean, spread, documents=100, seed=0):
    """The change on all documents, then on each draw, of documents whose own changes spread about a mean."""
    own = np.random.default_rng(seed).normal(0, spread, documents)
    own += mean - own.mean()
    bootstrap = Bootstrap.of(np.ones(documents))
    return np.concatenate([[own.mean()], bootstrap.means(own, np.ones(documents))]), bootstrap


@pytest.mark.parametrize(
    ("mean", "spread", "answer"),
    [(-0.5, 0.1, "moving"), (0.5, 0.1, "moving"), (0.001, 0.01, "settled"), (0.0, 1.0, "cannot tell")],
)
def test_a_change_is_told_by_its_interval_against_the_margin(mean, spread, answer):
    changes, bootstrap = changes_of(mean, spread)
    found = trend("loss", changes, 0.01, bootstrap, 1000)
    assert found.answer == answer
    assert found.low < mean < found.high


def test_probe_text_that_would_tell_grows_with_the_square_of_the_spread():
    needed = [trend("loss", *_spread(spread)).probe_tokens_to_tell for spread in (1.0, 2.0)]
    assert needed[1] / needed[0] == pytest.approx(4, rel=1e-3)
    assert needed[0] == pytest.approx(1000 * (1.98 * 1.0 / 10 / 0.01) ** 2, rel=0.2)


def _spread(spread):
    changes, bootstrap = changes_of(0.0, spread)
    return changes, 0.01, bootstrap, 1000


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
