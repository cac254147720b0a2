"""Run state as JSON: everything comes back to the last bit, and what isn't one is refused."""

import json
import math
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.pretrain.state import VERSION, RunState

STATE = RunState(
    step=3,
    consumed_samples=2**43,
    consumed_tokens=2**62,
    history={"seed": 7, "spans": [{"start": 0, "end": 9, "weights": {"web": 1 / 3}}]},
    hyperparameters={"segments": [{"start_value": 0.1, "end_value": 5e-324}]},
    batch_size=[[0, 16], [1_000_000, 24]],
    model={"num_layers": 2, "hidden_dropout": 0.0, "kv_channels": None},
    sources={"web": {"loss": "all", "holdout": 0.05, "pad": None}},
    recent_losses=(0.1, 1 / 3, math.pi),
    before_decay=True,
    versions={"torch": "2.13.0"},
)


def test_a_state_comes_back_as_it_was():
    found = RunState.from_json(STATE.to_json())
    assert found == STATE
    assert isinstance(found.recent_losses, tuple)
    assert found.version == VERSION


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_floats_come_back_to_the_last_bit(losses):
    found = RunState.from_json(replace(STATE, recent_losses=tuple(losses)).to_json())
    assert [struct.pack("<d", loss) for loss in found.recent_losses] == [struct.pack("<d", loss) for loss in losses]


@pytest.mark.parametrize("version", [VERSION - 1, VERSION + 1, str(VERSION), None])
def test_another_version_is_refused(version):
    text = json.dumps({**json.loads(STATE.to_json()), "version": version})
    with pytest.raises(ValueError, match=f"^not a run state of version {VERSION}$"):
        RunState.from_json(text)


@pytest.mark.parametrize("text", ["[]", "3", "null", '"state"', "{}"])
def test_other_json_is_refused(text):
    with pytest.raises(ValueError, match="not a run state"):
        RunState.from_json(text)


@pytest.mark.parametrize("text", ["", "{", '{"version": 1,}'])
def test_what_is_no_json_is_refused(text):
    with pytest.raises(ValueError, match=r"Expecting|Illegal"):
        RunState.from_json(text)


def test_unknown_keys_are_named():
    text = json.dumps({**json.loads(STATE.to_json()), "zeal": 1, "epoch": 2})
    with pytest.raises(ValueError, match=r"^unknown keys \['epoch', 'zeal'\]$"):
        RunState.from_json(text)


def test_a_missing_key_is_refused():
    values = json.loads(STATE.to_json())
    del values["history"]
    with pytest.raises(TypeError, match="history"):
        RunState.from_json(json.dumps(values))
