"""A Megatron-LM argument list as our schedules.

    converted = from_megatron("--lr 3e-4 --min-lr 3e-5 --lr-decay-style WSD --train-samples 1000000 ...")

Only what decides learning rate, weight decay and batch size is read; all else in the list is passed over.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .batch_ramps import from_rampup_batch_size, from_step_batch_size_schedule
from .batch_size import BatchSizeRamp, Steps
from .conversion import Converted
from .errors import ScheduleError
from .megatron_curve import MegatronCurve, MegatronWeightDecay
from .row import Row
from .schedule import Schedule

_WSD_SHAPES = {"linear": "linear", "cosine": "cosine", "exponential": "megatron_exponential", "minus_sqrt": "1-sqrt"}


def from_megatron(arguments: str | Sequence[str]) -> Converted:
    """The schedules of a Megatron-LM command line, on the token clock, with Megatron's defaults.

    Equal to Megatron's at every sample within three units in the last place of the peak; `ParamScheduler` has all bits.

    Raises:
        ScheduleError: A flag that is needed is missing, two exclude each other, or a value is out of its range.

    >>> converted = from_megatron("--lr 1.0 --train-samples 100 --lr-warmup-samples 10 --seq-length 8 "
    ...                           "--global-batch-size 4 --lr-decay-style cosine")
    >>> converted.learning_rate.joints
    (0, 80, 800)
    """
    flags = _flags(_words(arguments) if isinstance(arguments, str) else arguments)
    length, batch = flags.count("seq-length"), _global_batch_size(flags)
    if length < 1:
        raise ScheduleError(f"Megatron arguments: --seq-length {length}; expected at least 1")
    curve, weight_decay = _megatron_curve(flags, batch), _weight_decay(flags, batch)
    ramp = _batch_sizes(flags, batch, length)
    schedule, notes = schedule_of(curve, sequence_length=length)
    return Converted(
        schedule,
        (*notes, *_decoupled_notes(flags, curve), *_horizon_notes(flags, ramp, batch, length)),
        _weight_decay_schedule(weight_decay, length),
        ramp,
        length,
    )


def schedule_of(curve: MegatronCurve, *, sequence_length: int = 1) -> tuple[Schedule, tuple[str, ...]]:
    """Megatron's curve as a schedule in tokens, and what to know about it.

    >>> schedule_of(MegatronCurve(0.0, 1.0, 0.1, 10, 100, "linear"))[0].joints
    (0, 10, 100)
    """
    warmup = round(curve.lr_warmup_steps * sequence_length)
    notes = list(curve.notes())
    if warmup != curve.lr_warmup_steps * sequence_length:
        notes.append(f"the warmup of {curve.lr_warmup_steps} samples ends inside a token; here at {warmup} tokens")
    end = round(curve.lr_decay_steps * sequence_length)
    row = Row(0, curve.init_lr).to(curve.max_lr, warmup)
    return _decayed(row, curve, end, sequence_length).schedule(), tuple(notes)


def _decayed(row: Row, curve: MegatronCurve, end: int, sequence_length: int) -> Row:
    if curve.lr_decay_style == "constant":
        return row.hold(1)
    if curve.lr_decay_style == "inverse-square-root":
        # Megatron counts at least one sample of warmup, and falls to the floor after its last sample.
        row.hold(max(0, sequence_length - row.tokens))
        return row.to(curve.min_lr, end + 1 - row.tokens, "inverse_sqrt").to(curve.min_lr, 0).hold(1)
    if curve.lr_decay_style != "WSD":
        return row.to(curve.min_lr, end - row.tokens, curve.lr_decay_style)
    decay = round((curve.wsd_decay_steps or 0) * sequence_length)
    if end - decay < row.tokens:
        most = (end - row.tokens) // sequence_length
        raise ScheduleError(
            f"WSD decay of {curve.wsd_decay_steps} samples begins inside the warmup; expected at most {most}"
        )
    return row.hold(end - decay - row.tokens).to(curve.min_lr, decay, _WSD_SHAPES[curve.lr_wsd_decay_style or ""])


def _megatron_curve(flags: "_Flags", global_batch_size: int) -> MegatronCurve:
    """The curve that Megatron-LM builds from these flags."""
    unit, scale = ("iters", global_batch_size) if flags.horizon == "iters" else ("samples", 1)
    _refuse_other_unit(flags, unit)
    decay = flags.count(f"lr-decay-{unit}", flags.count(f"train-{unit}")) * scale
    wsd = flags.count(f"lr-wsd-decay-{unit}", 0) * scale
    style = flags.text("lr-decay-style", "linear")
    return MegatronCurve(
        flags.number("lr-warmup-init", 0.0),
        flags.number("lr"),
        flags.number("min-lr", 0.0),
        _warmup(flags, unit, scale, decay),
        decay,
        style,
        wsd_decay_steps=wsd or None,
        lr_wsd_decay_style=flags.text("lr-wsd-decay-style", "exponential") if style == "WSD" else None,
    )


def _warmup(flags: "_Flags", unit: str, scale: int, decay: int) -> float:
    """Samples of warmup, not whole where they are a fraction of the decay's."""
    warmup = flags.count(f"lr-warmup-{unit}", 0) * scale
    if "lr-warmup-fraction" not in flags:
        return warmup
    if warmup:
        raise ScheduleError(f"--lr-warmup-fraction and --lr-warmup-{unit}; expected one of them, remove the other")
    return flags.number("lr-warmup-fraction") * decay


class _Flags:
    """Command-line flags and the words after each."""

    def __init__(self, words: Mapping[str, Sequence[str]]) -> None:
        self._words = words

    def __contains__(self, name: str) -> bool:
        return name in self._words

    @property
    def horizon(self) -> str:
        """`iters` or `samples`, whichever the run's length is given in."""
        given = [unit for unit in ("iters", "samples") if f"train-{unit}" in self]
        if len(given) != 1:
            raise ScheduleError(f"Megatron arguments: {len(given)} of --train-iters and --train-samples; expected one")
        return given[0]

    def words(self, name: str) -> Sequence[str]:
        """All words after a flag."""
        return self._words[name]

    def text(self, name: str, default: str | None = None) -> str:
        """The word after a flag."""
        if name in self and self._words[name]:
            return self._words[name][0]
        if default is None:
            raise ScheduleError(f"Megatron arguments: --{name} is missing; add it")
        return default

    def count(self, name: str, default: Any = None) -> int:
        """A whole number."""
        return int(self._number(name, default, int))

    def counts(self, name: str) -> list[int]:
        """All words after a flag, as whole numbers."""
        return [_number(name, word, int) for word in self._words[name]]

    def number(self, name: str, default: Any = None) -> float:
        """A number."""
        return float(self._number(name, default, float))

    def _number(self, name: str, default: Any, kind: type) -> Any:
        return _number(name, self.text(name, None if default is None else str(default)), kind)


def _number(name: str, text: str, kind: type) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise ScheduleError(f"Megatron arguments: --{name} {text}; expected a number") from None


def _flags(words: Sequence[str]) -> _Flags:
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for word in words:
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            current = found[name.replace("_", "-")] = [value] if value else []
        else:
            current.append(word)
    return _Flags(found)


def _words(arguments: str) -> list[str]:
    try:
        return shlex.split(arguments)
    except ValueError as error:
        raise ScheduleError(f"Megatron arguments: {error}; close the quote") from None


def _global_batch_size(flags: _Flags) -> int:
    """The size that Megatron turns iterations into samples with; 0 where there is none and none is needed."""
    if "step-batch-size-schedule" not in flags or "global-batch-size" in flags:
        return flags.count("global-batch-size")
    if flags.horizon == "iters":
        raise ScheduleError(
            "--train-iters under --step-batch-size-schedule is worth iterations x micro-batch x data-parallel size; "
            "say --train-samples"
        )
    return 0


def _refuse_other_unit(flags: _Flags, unit: str) -> None:
    other = "samples" if unit == "iters" else "iters"
    for name in ("lr-decay", "lr-warmup", "lr-wsd-decay"):
        if f"{name}-{other}" in flags and flags.count(f"{name}-{other}", 0):
            raise ScheduleError(f"--{name}-{other} beside --train-{unit}; expected --{name}-{unit}, as Megatron does")


def _weight_decay(flags: _Flags, global_batch_size: int) -> MegatronWeightDecay:
    style = flags.text("weight-decay-incr-style", "constant")
    value = flags.number("weight-decay", 0.01)
    start = value if style == "constant" else flags.number("start-weight-decay")
    end = value if style == "constant" else flags.number("end-weight-decay")
    scale = global_batch_size if flags.horizon == "iters" else 1
    return MegatronWeightDecay(start, end, flags.count(f"train-{flags.horizon}") * scale, style)


def _weight_decay_schedule(weight_decay: MegatronWeightDecay, sequence_length: int) -> Schedule:
    row = Row(0, weight_decay.start_wd)
    if weight_decay.wd_incr_style == "constant":
        return row.hold(1).schedule()
    length = weight_decay.wd_incr_steps * sequence_length
    return row.to(weight_decay.end_wd, length, weight_decay.wd_incr_style).schedule()


def _batch_sizes(flags: _Flags, global_batch_size: int, sequence_length: int) -> BatchSizeRamp:
    if "rampup-batch-size" in flags:
        return from_rampup_batch_size(
            flags.counts("rampup-batch-size"), global_batch_size=global_batch_size, sequence_length=sequence_length
        )
    if "step-batch-size-schedule" in flags:
        return from_step_batch_size_schedule(
            " ".join(flags.words("step-batch-size-schedule")), sequence_length=sequence_length
        )
    return BatchSizeRamp(((0, global_batch_size),))


def _decoupled_notes(flags: _Flags, curve: MegatronCurve) -> Iterator[str]:
    if "decoupled-lr" in flags:
        rate = flags.number("decoupled-lr")
        yield (
            f"--decoupled-lr {rate:g} is for embeddings and output alone and not in this curve; "
            f"give these groups a multiplier of {rate / curve.max_lr:g}"
        )


def _horizon_notes(flags: _Flags, ramp: BatchSizeRamp, batch: int, length: int) -> Iterator[str]:
    """A horizon in iterations is worth iterations x global batch, whatever the ramp trains on."""
    if flags.horizon != "iters" or len(ramp.entries) == 1:
        return
    iterations = flags.count("train-iters")
    largest = max(size for _, size in ramp.entries)
    table = Steps(ramp, sequence_length=length, total_samples=iterations * largest)
    trained, meant = table.first_sample(iterations), iterations * batch
    if trained != meant:
        yield (
            f"--train-iters {iterations} is taken for {meant} samples, but under the ramp the run trains on {trained}; "
            "say --train-samples"
        )
