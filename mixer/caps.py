"""Where the share of a source goes that has reached its cap."""

from collections.abc import Collection, Mapping

from .errors import DataError
from .spans import Cap


def redistributed(
    weights: Mapping[str, float], caps: Mapping[str, Cap], exhausted: Collection[str]
) -> dict[str, float]:
    """Weights in which ``exhausted`` sources have 0, and others what those had; the sum stays.

    A source's weight goes to those of its cap's ``to`` that are not exhausted, in proportion to their own weights, in
    equal parts if all of those are 0. Where all are exhausted, the sources that they give to stand in for them, and so
    on. Raises DataError where that ends at no source.

    >>> redistributed({"web": 2, "code": 1, "math": 3}, {"math": Cap(9, ("web", "code"))}, ["math"])
    {'web': 4.0, 'code': 2.0, 'math': 0.0}
    """
    moved = {name: 0.0 if name in exhausted else float(weight) for name, weight in weights.items()}
    for name in sorted(exhausted):
        weight = weights.get(name, 0)
        targets = _live_targets(name, caps, exhausted) if weight > 0 else []
        own = [weights.get(target, 0) for target in targets]
        parts = own if any(own) else [1.0] * len(own)
        whole = sum(parts)
        for target, part in zip(targets, parts, strict=True):
            moved[target] = moved.get(target, 0.0) + weight * part / whole
    return moved


def _live_targets(name: str, caps: Mapping[str, Cap], exhausted: Collection[str]) -> list[str]:
    level, seen = set(caps[name].to), {name}
    while level - seen:
        live = sorted(level.difference(exhausted))
        if live:
            return live
        seen |= level
        level = {target for source in level for target in caps[source].to}
    gone = ", ".join(sorted(seen - {name}))
    raise DataError(
        f"source {name} reaches its cap of {caps[name].draws:,} draws, and all that its share goes to reach theirs: "
        f"{gone}; raise a cap, or name another source"
    )
