"""Interrupted runs: resumed, they are the uninterrupted one bit for bit; damaged checkpoints are passed over."""

import random
import signal
import time

import pytest
import torch
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from mixer.errors import DataError
from tools.errors import UserError
from tools.pretrain.state import RunState
from tools.recipe.continued import continued_plan
from tools.recipe.load import load_recipe
from tools.recipe.resolve import resolve


def final_weights(place, tmp_path):
    """Every tensor of the last checkpoint, optimizer state included, by name."""
    target = tmp_path / "weights.pt"
    dcp_to_torch_save(place.folder / "run" / "checkpoints" / "step_00000016", target)
    state = torch.load(target, weights_only=False)
    flat, pending = {}, [("", state)]
    while pending:
        name, value = pending.pop()
        if isinstance(value, dict):
            pending += [(f"{name}.{key}", inner) for key, inner in value.items()]
        elif isinstance(value, torch.Tensor):
            flat[name] = value
    assert len(flat) > 20
    return flat


def same_to_the_bit(place, straight, tmp_path):
    """Losses of every step, held-out losses, what was read, and the final weights and moments."""
    for name in ("loss", "gradient_norm", "validation", "validation/sft"):
        assert place.metric(name) == straight.metric(name), name
    assert place.reads() == straight.reads()
    ours, theirs = final_weights(place, tmp_path), final_weights(straight, tmp_path)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@pytest.mark.parametrize("step", [4, 10])
def test_resumed_equals_straight(straight, as_it_stood, tmp_path, step):
    place = as_it_stood(straight, step)
    (place.folder / "run" / "tracking" / "journal.jsonl").unlink()
    place.pretrain(resume=True)
    taken = place.metric("loss")
    assert min(taken) == step + 1
    assert taken == {at: loss for at, loss in straight.metric("loss").items() if at > step}
    ours, theirs = final_weights(place, tmp_path), final_weights(straight, tmp_path)
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []


CURVES = (
    "phases.1.learning_rate={waves: 2, trough: 1e-3, to: 5e-3}",
    "phases.1.weight_decay={to: 0.01}",
    "phases.2.weight_decay=0.3",
    "phases.1.clip_grad={from: 0.2, to: 0.02, shape: cosine}",
    "optimizer.lr_multipliers={embedding: 3, vectors: 0.5}",
)


def test_curves_beside_the_learning_rate_go_on_as_they_went(workplace, as_it_stood, tmp_path):
    """From the middle of the waves, of the weight decay's fall and of that of the gradient's bound."""
    straight = workplace.pretrain(*CURVES)
    plan = resolve(load_recipe(workplace.recipe(*CURVES)), where="")
    for name, curve in plan.curves_beside.items():
        logged = straight.metric(name)
        assert logged == {step: curve.value((step - 1) * 256) for step in range(1, 17)}
        assert len(set(logged.values())) > 5
    assert (sorted(plan.curves_beside), straight.metric("adam_beta2")) == (["clip_grad", "weight_decay"], {})
    place = as_it_stood(straight, 8)
    place.pretrain(*CURVES, resume=True)
    same_to_the_bit(place, straight, tmp_path)


def wait_for(condition, program, seconds=60.0):
    """Wait until something holds, or the program has ended; says which."""
    deadline = time.monotonic() + seconds
    while not condition():
        if program.poll() is not None:
            return False
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.002)
    return True


def kill_somewhere(place, chance):
    """Start with --resume and kill -9: after some steps, or inside a save; whether it was still running."""
    checkpoints, reads = place.folder / "run" / "checkpoints", place.folder / "run" / "reads.jsonl"
    program = place.start("pretrain", place.recipe("checkpoints.every=256", "validation.every=0"), "--resume")
    lines = reads.read_text().count("\n") if reads.exists() else 0
    steps = chance.randrange(3)
    if chance.random() < 0.6:
        wait_for(lambda: any(checkpoints.glob("*.unfinished")), program)
        time.sleep(chance.random() * 0.08)
    else:
        wait_for(lambda: reads.exists() and reads.read_text().count("\n") > lines + steps, program)
    alive = program.poll() is None
    program.send_signal(signal.SIGKILL)
    program.communicate()
    return alive


def test_killed_at_ten_random_moments(straight, workplace, tmp_path):
    """No step's loss, in whichever of the lives it was taken, differs from the straight run's."""
    chance = random.Random(5)
    killed = [kill_somewhere(workplace, chance) for _ in range(10)]
    assert sum(killed) >= 5, "most of the kills must have met a running program"
    workplace.pretrain("checkpoints.every=256", "validation.every=0", resume=True)
    expected = straight.metric("loss")
    journal = (workplace.folder / "run" / "tracking" / "journal.jsonl").read_text()
    assert '"kind":"metrics"' in journal
    assert workplace.metric("loss") == expected
    assert workplace.reads() == straight.reads()


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(straight, as_it_stood):
    place = as_it_stood(straight, 10)
    damaged = place.folder / "run" / "checkpoints" / "step_00000010"
    shard = next(damaged.glob("*.distcp"))
    shard.write_bytes(shard.read_bytes()[:-1])
    finished = place.annealmix("pretrain", place.recipe(), "--resume")
    assert finished.status == 0
    assert f"{damaged}: {shard.name} has " in finished.errors
    assert "step_00000008, 2.05K tokens" in finished.errors
    assert place.metric("loss") == straight.metric("loss")


def test_a_flipped_bit_is_noticed(straight, as_it_stood):
    place = as_it_stood(straight, 4)
    shard = next((place.folder / "run" / "checkpoints" / "step_00000004").glob("*.distcp"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    finished = place.annealmix("pretrain", place.recipe(), "--resume")
    assert finished.status == 2
    assert "only damaged checkpoints" in finished.errors


def test_without_resume_an_earlier_run_is_not_written_over(straight, as_it_stood):
    place = as_it_stood(straight, 16)
    finished = place.annealmix("pretrain", place.recipe())
    assert finished.status == 2
    assert "checkpoints of an earlier run; go on with --resume" in finished.errors
    assert "Traceback" not in finished.errors


def test_a_finished_run_resumes_to_its_report(straight, as_it_stood):
    place = as_it_stood(straight, 16)
    finished = place.annealmix("pretrain", place.recipe(), "--resume")
    assert finished.status == 0
    assert "held-out loss at 4.1K tokens" in finished.output


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.ffn_hidden_size=96", "model.ffn_hidden_size: got 96; expected 64, as in the checkpoint"),
        ("phases.0.learning_rate.to=5e-3", "learning_rate, the segment from 0 tokens on: to: got 0.005; expected 0.01"),
        ("phases.0.mixture.code=2", "phases[0].mixture.code: got 2; expected 1, as in the 2.05K tokens"),
        ("sources.web.holdout=0.2", "sources.web.holdout: got 0.2; expected 0.05, as in the checkpoint"),
    ],
)
def test_the_past_is_locked(straight, override, message):
    """A change to what was read, or to the model, is named with both values."""
    checkpoint = straight.folder / "run" / "checkpoints" / "step_00000008"
    state = RunState.from_json((checkpoint / "run_state.json").read_text())
    wanted = load_recipe(straight.recipe(override, name="other.yaml"))
    with pytest.raises((UserError, DataError)) as error:
        continued_plan(wanted, state, where="other.yaml")
    assert message in str(error.value)


def test_a_changed_past_is_one_line(straight, as_it_stood):
    place = as_it_stood(straight, 8)
    finished = place.annealmix("pretrain", place.recipe("seed=8"), "--resume")
    assert finished.status == 2
    assert (
        f"annealmix: {place.folder / 'recipe.yaml'}: seed: got 8; expected 7, as in the 2.05K tokens" in finished.errors
    )
    assert "Traceback" not in finished.errors


def test_what_changes_no_mathematics_may_change(straight):
    checkpoint = straight.folder / "run" / "checkpoints" / "step_00000008"
    state = RunState.from_json((checkpoint / "run_state.json").read_text())
    recompute = straight.recipe("model.recompute_granularity=selective", name="other.yaml")
    assert continued_plan(load_recipe(recompute), state, where="other.yaml").batches.num_steps == 16


def test_the_future_may_change(straight, as_it_stood):
    """A longer decay with another mixture and batch size goes on from where the run stood."""
    place = as_it_stood(straight, 8)
    place.pretrain("phases.2.tokens=2560", "phases.2.mixture={web: 1, sft: 1}", "global_batch_size=16", resume=True)
    sizes = [record["size"] for record in place.reads().values()]
    assert sizes[:8] == [8] * 8
    assert set(sizes[8:13]) == {16}
    assert place.reads()[7] == straight.reads()[7]
    assert place.reads()[8]["first_sample"] == 64


def test_sigterm_saves_and_leaves(straight, workplace, tmp_path):
    program = workplace.start("pretrain", workplace.recipe("checkpoints.every=0"))
    reads = workplace.folder / "run" / "reads.jsonl"
    assert wait_for(lambda: reads.exists() and reads.read_text().count("\n") >= 3, program)
    program.send_signal(signal.SIGTERM)
    output, _ = program.communicate(timeout=60)
    assert program.returncode == 128 + signal.SIGTERM
    assert "SIGTERM: saved" in output
    assert "go on with --resume" in output
    workplace.pretrain(resume=True)
    same_to_the_bit(workplace, straight, tmp_path)
