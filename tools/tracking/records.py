"""The lines of a journal: one JSON object each, first its kind and its wall-clock time.

    {"kind":"begin","time_ms":1700000000000,"name":"quickstart","experiment":"annealmix",...}
    {"kind":"metrics","time_ms":1700000000420,"step":1,"tokens":8192,"values":{"loss":8.51}}
    {"kind":"end","time_ms":1700000003000,"status":"FINISHED"}
    {"kind":"close","time_ms":1700000003001}

A line counts once its newline is written: what a crash tore off is left alone at the end of the file, and skipped when
later lines follow it.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BEGIN_PREFIX = b'{"kind":"begin",'


@dataclass(frozen=True)
class Line:
    """One whole line of the journal, bytes [start, end); the record of a torn or foreign line is empty."""

    start: int
    end: int
    record: dict[str, Any]

    @property
    def kind(self) -> str:
        """What the line says: begin, params, metrics, ..., or nothing."""
        return str(self.record.get("kind", ""))


def encode(kind: str, *, time_ms: int, **fields: Any) -> bytes:
    r"""One line of the journal, newline included.

    >>> encode("metrics", time_ms=7, step=1, tokens=8, values={"loss": 0.5})
    b'{"kind":"metrics","time_ms":7,"step":1,"tokens":8,"values":{"loss":0.5}}\n'
    """
    record = {"kind": kind, "time_ms": time_ms, **fields}
    return json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def storable(value: float) -> float | str:
    """The value as JSON can hold it: a float, or its name where it is not finite; ``float`` reads both back.

    >>> storable(1), storable(float("nan")), storable(float("-inf"))
    (1.0, 'NaN', '-Infinity')
    """
    number = float(value)
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def flatten(nested: Any, prefix: str = "") -> dict[str, str]:
    """Nested mappings and lists as one level of dotted keys; what is not text is written as JSON.

    >>> flatten({"model": {"num_layers": 2}, "phases": [{"tokens": 2e9}], "name": "quickstart", "tied": True})
    {'model.num_layers': '2', 'phases.0.tokens': '2000000000.0', 'name': 'quickstart', 'tied': 'true'}
    """
    pairs = nested.items() if isinstance(nested, Mapping) else enumerate(nested) if _is_list(nested) else None
    if not pairs:
        return {prefix: nested if isinstance(nested, str) else json.dumps(nested, default=str)} if prefix else {}
    flat: dict[str, str] = {}
    for key, value in pairs:
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0


def read_lines(path: Path, *, start: int = 0, until: int | None = None) -> Iterator[Line]:
    """The whole lines of the journal from byte `start` on, to the end of the file or to byte `until`."""
    with path.open("rb") as file:
        file.seek(start)
        for raw in file:
            if not raw.endswith(b"\n") or (until is not None and start >= until):
                return
            yield Line(start=start, end=start + len(raw), record=_decode(raw))
            start += len(raw)


def _decode(raw: bytes) -> dict[str, Any]:
    try:
        record = json.loads(raw)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def last_begin(path: Path) -> dict[str, Any] | None:
    """The record with which the trainer was last started; None where there is no journal, or none was begun."""
    last = None
    if path.exists():
        with path.open("rb") as file:
            for raw in file:
                if raw.startswith(_BEGIN_PREFIX) and raw.endswith(b"\n"):
                    last = _decode(raw) or last
    return last
