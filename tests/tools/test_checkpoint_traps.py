"""The traps of megatron-core on the way from a step to a checkpoint and back; each test fails without its mend."""

import contextlib
import re
import signal
import tomllib
from pathlib import Path

import pytest
import torch
from megatron.core.dist_checkpointing.strategies import filesystem_async

from tools.runtime import checkpoint
from tools.runtime.batch import to_model_input
from tools.runtime.checkpoint import load_weights, save_weights
from tools.runtime.engine import _loss
from tools.runtime.model import transformer_config
from tools.runtime.optimizer import links, update_to_weight_ratio
from tools.runtime.statistics import StepStatistics

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("alone")]

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


@contextlib.contextmanager
def within(seconds):
    """Fail instead of hanging."""

    def too_long(number, frame):
        raise AssertionError(f"still going after {seconds} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def engine(new_engine, tiny_recipe, tiny_batch, tiny_values):
    """A model two steps old."""
    engine = new_engine(tiny_recipe())
    for step in range(2):
        engine.step(tiny_batch(step), tiny_values(1e-2))
    return engine


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "saved").mkdir()
    return tmp_path / "saved"


def parameters_and_state(engine):
    """(group, parameter, Adam's state) of every parameter that the optimizer holds."""
    for link in links(engine.optimizer):
        for group in link.optimizer.param_groups:
            for parameter in group["params"]:
                yield group, parameter, link.optimizer.state[parameter]


def same_to_the_bit(engine, other):
    """Weights, main weights, moments and step counts."""
    for (name, weight), (_, theirs) in zip(
        engine.model.named_parameters(), other.model.named_parameters(), strict=True
    ):
        assert torch.equal(weight, theirs), name
    pairs = zip(parameters_and_state(engine), parameters_and_state(other), strict=True)
    for (_, parameter, state), (_, their_parameter, their_state) in pairs:
        assert torch.equal(parameter, their_parameter)
        assert state.keys() == their_state.keys() == {"step", "exp_avg", "exp_avg_sq"}
        for name, value in state.items():
            assert torch.equal(value, their_state[name]), name


def test_psutil_is_a_dependency():
    """Megatron's writer measures its memory with it, outside of what it guards."""
    import psutil

    assert psutil.Process().memory_info().rss > 0
    names = tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"]
    assert any(re.match(r"psutil\b", name) for name in names)


def test_a_writer_that_dies_is_an_error_and_no_hang(engine, folder, monkeypatch):
    def no_psutil():
        raise ImportError("no psutil")

    monkeypatch.setattr(filesystem_async, "_process_memory", no_psutil)
    with within(20), pytest.raises(ImportError, match="no psutil"):
        save_weights(folder, engine.model, engine.optimizer)


def full(descriptor):
    raise OSError(28, "No space left on device")


def test_a_full_disk_is_an_error_and_no_hang(engine, folder, tmp_path, monkeypatch):
    """And once there is space again, a save works."""
    with monkeypatch.context() as patch:
        patch.setattr(filesystem_async.os, "fsync", full)
        with within(20), pytest.raises(BaseException, match="No space left on device"):
            save_weights(folder, engine.model, engine.optimizer)
    (tmp_path / "again").mkdir()
    save_weights(tmp_path / "again", engine.model, engine.optimizer)
    assert (tmp_path / "again" / ".metadata").is_file()


def test_a_folder_that_takes_no_files_is_an_error_and_no_hang(engine, folder, monkeypatch):
    """A permission would not stop the superuser, so here a file's place is taken after the save has begun."""
    stock = checkpoint._write_with_threads

    def in_a_taken_place(writer):
        for name, _, _ in writer.write_buckets:
            Path(name).mkdir()
        stock(writer)

    monkeypatch.setattr(checkpoint, "_write_with_threads", in_a_taken_place)
    with within(20), pytest.raises(BaseException, match="Is a directory"):
        save_weights(folder, engine.model, engine.optimizer)


def test_gradients_are_finalized(tiny_recipe):
    from megatron.core.distributed import finalize_model_grads

    assert transformer_config(tiny_recipe()).finalize_model_grads_func is finalize_model_grads


def test_the_engine_finalizes_with_the_tokens_of_the_whole_batch(engine, tiny_batch, tiny_values, monkeypatch):
    """Called once a step; without it nothing is averaged over ranks nor divided by the supervised tokens."""
    calls = []
    stock = engine.model.config.finalize_model_grads_func

    def counted(model, num_tokens, *arguments, **options):
        calls.append(int(num_tokens))
        stock(model, num_tokens, *arguments, **options)

    monkeypatch.setattr(engine.model.config, "finalize_model_grads_func", counted)
    engine.step(tiny_batch(2, micro_batches=3), tiny_values(1e-2))
    assert calls == [3 * 2 * 12]


def losses_of(engine, batch):
    """Summed loss of each bin, in the arithmetic of the statistics, straight from the model."""
    sums = torch.zeros(2, dtype=torch.float64)
    with torch.no_grad():
        for micro in batch.micro_batches:
            inputs = to_model_input(micro)
            losses = engine.model(inputs.tokens, inputs.position_ids, None, labels=inputs.labels)
            sums += (losses * inputs.loss_mask).sum(1).double()
    return sums.tolist()


def test_the_loss_of_a_step_is_what_the_model_gave(engine, tiny_batch, tiny_values):
    batch = tiny_batch(2)
    expected = losses_of(engine, batch)
    sums = engine.step(batch, tiny_values(1e-2)).sums
    assert sums.loss == expected
    assert sums.tokens == [24.0, 24.0]


def test_what_megatron_does_to_the_loss_afterwards_is_not_logged(tiny_batch):
    """The schedules divide the returned tensors in place, by tokens and by micro-batches."""
    inputs, statistics = to_model_input(tiny_batch().micro_batches[0]), StepStatistics(2)
    losses = torch.arange(32.0).reshape(2, 16)
    loss, num_tokens, _ = _loss(statistics, inputs, losses)
    assert (float(loss), int(num_tokens)) == (66.0 + 258.0, 24)
    loss /= num_tokens
    num_tokens *= 0
    inputs.loss_mask.zero_()
    losses.zero_()
    sums = statistics.reduce()
    assert (sums.loss, sums.tokens) == ([66.0, 258.0], [12.0, 12.0])
    assert sums.mean_loss == 324.0 / 24.0


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("distributed", [True, False])
def test_a_loaded_optimizer_goes_on_as_the_uninterrupted_one(
    new_engine, tiny_recipe, tiny_batch, tiny_values, folder, precision, distributed
):
    changes = f"precision={precision}", f"parallelism.use_distributed_optimizer={str(distributed).lower()}"
    straight, fresh = new_engine(tiny_recipe(*changes)), new_engine(tiny_recipe(*changes, "seed=8"))
    for step in range(3):
        straight.step(tiny_batch(step), tiny_values(1e-2))
    save_weights(folder, straight.model, straight.optimizer)
    load_weights(folder, fresh.model, fresh.optimizer)
    same_to_the_bit(fresh, straight)
    for step in (3, 4):
        ours, theirs = (engine.step(tiny_batch(step), tiny_values(5e-3)) for engine in (fresh, straight))
        assert (ours.sums, ours.gradient_norm) == (theirs.sums, theirs.gradient_norm)
        same_to_the_bit(fresh, straight)


def test_every_parameter_counts_its_own_steps(new_engine, tiny_recipe, tiny_batch, tiny_values, engine, folder):
    save_weights(folder, engine.model, engine.optimizer)
    fresh = new_engine(tiny_recipe("seed=8"))
    load_weights(folder, fresh.model, fresh.optimizer)
    counts = [state["step"] for _, _, state in parameters_and_state(fresh)]
    assert len(counts) == 15  # embedding, output, last norm; 4 matrices and 2 norms in each of 2 layers
    assert len({count.data_ptr() for count in counts}) == len(counts)
    assert [float(count) for count in counts] == [2.0] * len(counts)
    fresh.step(tiny_batch(2), tiny_values(1e-2))
    assert [float(state["step"]) for _, _, state in parameters_and_state(fresh)] == [3.0] * len(counts)


def test_the_mend_is_taken_back_after_a_load(new_engine, tiny_recipe, engine, folder):
    from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer

    stock = DistributedOptimizer._set_main_param_and_optimizer_states
    save_weights(folder, engine.model, engine.optimizer)
    fresh = new_engine(tiny_recipe())
    load_weights(folder, fresh.model, fresh.optimizer)
    assert DistributedOptimizer._set_main_param_and_optimizer_states is stock


def test_weights_alone_can_be_loaded(new_engine, tiny_recipe, engine, folder):
    save_weights(folder, engine.model, engine.optimizer)
    fresh = new_engine(tiny_recipe("seed=8"))
    load_weights(folder, fresh.model, None)
    for (name, weight), (_, theirs) in zip(
        fresh.model.named_parameters(), engine.model.named_parameters(), strict=True
    ):
        assert torch.equal(weight, theirs), name


@pytest.mark.parametrize(
    "changes",
    [
        (),
        ("precision=bf16",),
        ("parallelism.use_distributed_optimizer=false",),
        ("optimizer.weight_decay=0", "optimizer.adam_beta1=0", "optimizer.adam_eps=1e-3"),
        ("model.share_embeddings_and_output_weights=true",),
    ],
)
def test_the_update_is_measured_as_by_brute_force(new_engine, tiny_recipe, tiny_batch, tiny_values, changes):
    engine = new_engine(tiny_recipe(*changes))
    for step, learning_rate in enumerate([1e-2, 3e-3, 1e-2]):
        before = [parameter.detach().double() for _, parameter, _ in parameters_and_state(engine)]
        engine.step(tiny_batch(step), tiny_values(learning_rate, *changes))
        after = [parameter.detach().double() for _, parameter, _ in parameters_and_state(engine)]
        change = sum(float((new - old).square().sum()) for new, old in zip(after, before, strict=True))
        total = sum(float(new.square().sum()) for new in after)
        assert update_to_weight_ratio(engine.optimizer) == pytest.approx((change / total) ** 0.5, rel=1e-5)


def test_before_the_first_step_nothing_was_updated(new_engine, tiny_recipe):
    assert update_to_weight_ratio(new_engine(tiny_recipe()).optimizer) == 0.0
