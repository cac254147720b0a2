"""What a run's report says of layers: which changed most and least since the first measurement."""

import pytest

from tools.pretrain.layer_summary import LayerChange, describe_layers, layer_changes

TOKENS = [0.0, 2048.0, 4096.0]


def journal(*changes, half=0.01):
    """Curves of layers whose distance has changed so at the end, each with an interval of this half width."""
    named = {
        f"layers/distance_{name}/layer_{layer}": (TOKENS, [0.0, 9.0, change + off])
        for layer, change in enumerate(changes)
        for name, off in (("change", 0), ("low", -half), ("high", half))
    }
    return {**named, "loss": (TOKENS, [3.0, 2.0, 1.0])}


def test_most_and_least_go_by_size_whatever_the_direction(tiny_recipe):
    recipe = tiny_recipe("run_dir=runs/a b", "layers.every=2048", "layers.probe=[data/web, 'x=data/c']")
    assert describe_layers(journal(0.02, -0.5, -0.001, 0.3), recipe) == [
        "1 - cos of layers, change from 0 to 4.1K tokens:  most layer 1 -0.5000 (95% -0.5100 to -0.4900)"
        "   least layer 2 -0.0010 (95% -0.0110 to +0.0090)",
        "full report of the layers:  annealmix layers 'runs/a b' --data data/web --data x=data/c"
        " --out 'runs/a b/layers'",
    ]


def test_layers_are_in_the_order_of_their_numbers():
    assert [change.layer for change in layer_changes(journal(*[0.1] * 11))] == list(range(11))


def test_without_intervals_the_change_stands_alone():
    curves = {name: curve for name, curve in journal(0.25).items() if "low" not in name}
    assert layer_changes(curves) == [LayerChange(0, 0.0, 4096.0, 0.25)]
    assert str(layer_changes(curves)[0]) == "layer 0 +0.2500 (no interval)"


@pytest.mark.parametrize("curves", [{}, {"layers/distance_change/layer_0": ([0.0], [0.0])}])
def test_nothing_is_said_of_layers_measured_once_or_never(curves, tiny_recipe):
    assert describe_layers(curves, tiny_recipe()) == []
