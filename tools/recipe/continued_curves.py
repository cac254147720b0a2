"""Whether a recipe's curves are, up to where a run stands, those that the run had."""

from schedulers.batch_ramps import Coupled
from schedulers.hyperparameters import Curve, Hyperparameters, as_schedule
from schedulers.schedule import Schedule
from schedulers.words import format_tokens

from ..errors import UserError
from .planned import BESIDE

_WORDS = {  # of a segment's fields, as a recipe calls them
    "start_value": "from",
    "end_value": "to",
    "start_tokens": "start",
    "end_tokens": "end",
    "half_life_tokens": "half_life",
    "timescale_tokens": "timescale",
}
_CHANGE_AHEAD = "change only what lies ahead, in a phase that begins there"
_PUT_IT_BACK = "put it back, or begin a new run"


def check_curves(wanted: Hyperparameters, saved: Hyperparameters, consumed_tokens: int) -> None:
    """Raise UserError that names the first curve, and what of it, that differs before ``consumed_tokens``."""
    if not consumed_tokens:
        return
    for key, name in {"learning_rate": "learning_rate", **BESIDE}.items():
        _check_curve(key, getattr(wanted, name), getattr(saved, name), consumed_tokens)
    now, then = _coupling(wanted.learning_rate), _coupling(saved.learning_rate)
    _check("coupling", now, then, consumed_tokens, fix=_PUT_IT_BACK)
    for group in sorted({*wanted.group_multipliers, *saved.group_multipliers}):
        now, then = (str(of.group_multipliers.get(group, 1.0)) for of in (wanted, saved))
        _check(f"optimizer.lr_multipliers.{group}", now, then, consumed_tokens, fix=_PUT_IT_BACK)


def _check_curve(key: str, wanted: Curve, saved: Curve, consumed_tokens: int) -> None:
    if not isinstance(wanted, Schedule | Coupled) and not isinstance(saved, Schedule | Coupled):
        _check(f"optimizer.{key}", str(wanted), str(saved), consumed_tokens)
        return
    ours, theirs = as_schedule(saved), as_schedule(wanted)
    difference = ours.first_difference(theirs, before_tokens=consumed_tokens)
    if difference:
        place, had, wants = difference
        index, _, field = place.removeprefix("segments[").partition("].")
        begun = dict(ours.begun_before(consumed_tokens))[int(index)].start_tokens
        place = f"{key}, the segment from {format_tokens(begun)} tokens on: {_WORDS.get(field, field)}"
        _check(place, str(wants), str(had), consumed_tokens)


def _check(place: str, wanted: str, saved: str, consumed_tokens: int, fix: str = _CHANGE_AHEAD) -> None:
    if wanted != saved:
        raise UserError(
            f"resume: {place}",
            got=wanted,
            expected=f"{saved}, as the checkpoint at {consumed_tokens:,} tokens has it: the past is fixed",
            fix=fix,
        )


def _coupling(curve: Curve) -> str:
    return f"{curve.rule} to {curve.reference_batch_size}" if isinstance(curve, Coupled) else "none"
