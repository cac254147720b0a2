"""What a layer does to a token, out of three dot products of its input x and its update u = y - x.

The distance 1 - cos(x, y) follows from |x|^2 |u|^2 - (x.u)^2, which is |x|^2 |y|^2 sin^2 and small when u is small, so
that a layer that hardly moves is not lost in the rounding of a cosine near 1.
"""

import math

import torch

MEASURES = ("distance", "angle", "update_ratio", "output_ratio", "update_cosine")
_FP32_FLOOR = 2.0**-23


def squares(x: torch.Tensor) -> torch.Tensor:
    """x_i^2 in fp32, whatever the dtype.

    >>> squares(torch.tensor([3.0, 4.0])).tolist()
    [9.0, 16.0]
    """
    x = x.float()
    return x * x


def update_products(x: torch.Tensor, update: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(..., hidden) twice -> x.u and u.u, (...) each, in fp32.

    >>> [each.item() for each in update_products(torch.tensor([3.0, 0.0]), torch.tensor([1.0, 2.0]))]
    [3.0, 5.0]
    """
    return (update.float() * x.float()).sum(-1), squares(update).sum(-1)


def dots(x: torch.Tensor, update: torch.Tensor) -> torch.Tensor:
    """(..., hidden) twice -> (..., 3) fp32: x.x, x.u and u.u.

    >>> dots(torch.tensor([3.0, 0.0]), torch.tensor([1.0, 2.0])).tolist()
    [9.0, 3.0, 5.0]
    """
    return torch.stack([squares(x).sum(-1), *update_products(x, update)], -1)


def measures(products: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(..., 3) dot products -> (..., 5) fp64 in the order of MEASURES, and (...) whether there is a direction.

    ``distance`` is 1 - cos(x, y), 0 to 2 (Block Influence, arXiv 2403.03853); ``angle`` is arccos(cos)/pi, 0 to 1
    (arXiv 2403.17887); ``update_ratio`` |u|/|x|; ``output_ratio`` |y|/|x|; ``update_cosine`` cos(u, x), 0 where u is 0.
    Where x or y is 0 there is no direction: all five are 0 then, and such a token doesn't count.

    >>> values, defined = measures(dots(torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 1.0])))
    >>> [round(value, 3) for value in values.tolist()], bool(defined)
    ([1.0, 0.5, 1.414, 1.0, -0.707], True)
    """
    xx, xu, uu = products.double().unbind(-1)
    along = xx + xu
    across = (xx * uu - xu * xu).clamp(min=0)
    length = (along * along + across).sqrt()
    defined = (xx > 0) & (length > 0)
    xx, length = torch.where(defined, xx, 1.0), torch.where(defined, length, 1.0)
    near = across / (length * (length + along.abs()))
    values = torch.stack(
        [
            torch.where(along >= 0, near, 2 - near),
            torch.atan2(across.sqrt(), along) / math.pi,
            (uu / xx).sqrt(),
            length / xx,
            (xu / (xx * uu).sqrt()).nan_to_num(0.0, 0.0, 0.0).clamp(-1, 1),
        ],
        -1,
    )
    return values * defined.unsqueeze(-1), defined


def resolution(dtype: torch.dtype) -> float:
    """The most that rounding alone can give where the residual is kept in ``dtype``: half the square of its roundoff.

    It mostly gives about a sixth of that. fp32 dot products see nothing below 2^-23 where the update is as long as its
    input.

    >>> resolution(torch.bfloat16), resolution(torch.float32)
    (7.62939453125e-06, 1.1920928955078125e-07)
    """
    return max(torch.finfo(dtype).eps ** 2 / 8, _FP32_FLOOR)


def null_distance(layer: int) -> float:
    """Distance of layer 0, 1, ... if all updates were orthogonal and as long as the embedding: 1 - sqrt(L/(L+1)).

    L = layer + 1 pieces make its input (arXiv 2403.03853, appendix A); it is close to 1/(2(L+1)).

    >>> round(null_distance(0), 4), round(null_distance(31), 4)
    (0.2929, 0.0153)
    """
    return 1 - math.sqrt((layer + 1) / (layer + 2))
