"""Measures of layers whose effect is known in closed form."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tools.layers.measures import MEASURES, dots, measures, null_distance, resolution


def named(x, update):
    values, defined = measures(dots(x, update))
    return dict(zip(MEASURES, values.unbind(-1), strict=True)), defined


@pytest.mark.parametrize("layer", [0, 1, 31])
def test_orthogonal_updates_as_long_as_the_embedding_give_the_null_model(layer):
    pieces = torch.eye(layer + 2)
    found, _ = named(pieces[: layer + 1].sum(0), pieces[layer + 1])
    pieces_before = layer + 1
    assert 1 - found["distance"].item() == pytest.approx(math.sqrt(pieces_before / (pieces_before + 1)), abs=1e-12)
    assert found["distance"].item() == pytest.approx(null_distance(layer), abs=1e-12)


def test_a_layer_that_only_scales_turns_nothing_and_is_three_times_as_long():
    found, _ = named(torch.randn(5, 64), torch.zeros(5, 64))
    assert torch.equal(found["distance"], torch.zeros(5, dtype=torch.float64))
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(1))
    found, _ = named(x, 3 * x - x)
    assert found["distance"].max() < resolution(torch.float32)
    assert found["output_ratio"] == pytest.approx(3)
    assert found["update_ratio"] == pytest.approx(2)
    assert found["update_cosine"] == pytest.approx(1)


def test_a_reversal_is_at_the_far_end_and_a_zero_has_no_direction():
    x = torch.tensor([[1.0, 2.0], [1.0, 2.0], [0.0, 0.0]])
    found, defined = named(x, torch.tensor([[-2.0, -4.0], [-1.0, -2.0], [1.0, 0.0]]))
    assert defined.tolist() == [True, False, False]
    assert [found[name][0].item() for name in ("distance", "angle")] == [2.0, 1.0]
    assert all(found[name][1:].tolist() == [0.0, 0.0] for name in MEASURES)


@given(st.floats(1e-6, 10), st.floats(0, math.pi), st.integers(0, 99))
def test_small_and_large_updates_agree_with_double_precision(length, direction, seed):
    x = torch.randn(64, generator=torch.Generator().manual_seed(seed))
    other = torch.randn(64, generator=torch.Generator().manual_seed(seed + 100))
    other -= x * (other @ x) / (x @ x)
    update = length * (math.cos(direction) * x + math.sin(direction) * other)
    found, _ = named(x, update)
    x, y = x.double(), x.double() + update.double()
    cosine = (x @ y / (x.norm() * y.norm())).item()
    roundings = (x.norm() ** 2 + update.double().norm() ** 2) / y.norm() ** 2  # of x.x, x.u and u.u, as parts of y.y
    assert found["distance"].item() == pytest.approx(1 - cosine, abs=2e-7 * roundings.item(), rel=1e-4)


@pytest.mark.parametrize(("dtype", "massive"), [(torch.float16, 6e4), (torch.bfloat16, 1e15)])
def test_half_precision_states_of_massive_tokens_agree_with_fp32(dtype, massive):
    x = torch.randn(4, 4096, generator=torch.Generator().manual_seed(0))
    x[0, 7] = massive
    x, update = x.to(dtype), (0.1 * x.roll(1, 1)).to(dtype)
    found, defined = named(x, update)
    expected, _ = named(x.float(), update.float())
    assert bool(defined.all())
    assert all(torch.equal(found[name], expected[name]) for name in MEASURES)
    assert torch.isfinite(found["distance"]).all()


@pytest.mark.parametrize("length", [1e-3, 1e-6, 1e-8])
def test_an_update_far_below_rounding_still_has_its_distance(length):
    """Half the square of its length, where 1 minus a cosine in double precision would be 0 or a few of its steps."""
    found, _ = named(torch.eye(8)[0], length * torch.eye(8)[1])
    assert found["distance"].item() == pytest.approx(length**2 / 2, rel=1e-5, abs=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dot_products_are_those_of_fp64_and_leave_what_a_model_gave_as_it_was(dtype):
    generator = torch.Generator().manual_seed(0)
    x, update = (torch.randn(2, 16, 4096, generator=generator).to(dtype) for _ in range(2))
    before = x.clone(), update.clone()
    found = dots(x, update)
    assert torch.equal(x, before[0])
    assert torch.equal(update, before[1])
    x, update = x.double(), update.double()
    expected = torch.stack([(x * x), x * update, update**2]).sum(-1).movedim(0, -1)
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), expected, rtol=1e-6, atol=1e-4)
