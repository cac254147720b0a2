"""The adapter inside megatron-core: its forward-backward function, its RerunDataIterator, a tiny GPT on this CPU."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mixer.errors import DataError
from mixer.external_loader import ExternalLoader, held_out
from mixer.generations import SourceHistory
from mixer.history import History
from mixer.loader import Loader
from mixer.mixture import Mixture
from mixer.rows import Source
from mixer.source import open_source
from mixer.spans import Span

S, VOCABULARY, SAMPLES = 16, 96, 103
ALONE = {"data_parallel_rank": 0, "data_parallel_size": 1}
EXAMPLE = Path(__file__).parents[2] / "examples" / "megatron_lm_external.py"


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory, write_tokens: Callable[..., Path]) -> dict[str, Source]:
    folder, rng = tmp_path_factory.mktemp("external"), np.random.default_rng(0)
    write_tokens(folder / "web", [rng.integers(2, VOCABULARY, 30).tolist() for _ in range(60)])
    chats = [rng.integers(2, VOCABULARY, int(size)).tolist() for size in rng.integers(4, 12, 60)]
    write_tokens(folder / "sft", chats)
    write_tokens(folder / "sft.mask", [[k % 2 for k in range(len(chat))] for chat in chats], "u1")
    options: Any = {"sequence_length": S, "holdout_share": 0.1}
    return {
        "web": open_source(folder / "web", name="web", **options),
        "sft": open_source(folder / "sft", name="sft", kind="chat", pad=0, loss="assistant", **options),
    }


@pytest.fixture(scope="module")
def mixture(sources: dict[str, Source]) -> Mixture:
    histories = {name: SourceHistory(source.generations()) for name, source in sources.items()}
    spans = [Span(0, 50, {"web": 1}), Span(50, SAMPLES, {"web": 0.6, "sft": 0.4})]
    return Mixture(History(seed=3, sequence_length=S, sources=histories, spans=spans))


@pytest.fixture
def new_loader(mixture: Mixture, sources: dict[str, Source]) -> Iterator[Callable[..., ExternalLoader]]:
    made = []

    def build(**options: Any) -> ExternalLoader:
        options = {"micro_batch_size": 2, "attention_mask": True, **ALONE, **options}
        made.append(ExternalLoader(mixture, sources, **options))
        return made[-1]

    yield build
    for loader in made:
        loader.close()


def test_what_is_missing_is_told_before_the_run_begins(
    new_loader: Callable[..., ExternalLoader], mixture: Mixture, sources: dict[str, Source]
) -> None:
    with pytest.raises(DataError, match="source sft is drawn but not open; sources are web"):
        ExternalLoader(mixture, {"web": sources["web"]}, micro_batch_size=2, **ALONE)
    with pytest.raises(DataError, match="rank -1 of 4, micro_batch_size 2; expected a rank from 0"):
        new_loader(data_parallel_rank=-1, data_parallel_size=4)


def drain(loader: ExternalLoader) -> list[dict[str, torch.Tensor]]:
    return list(iter(partial(next, loader, None), None))


def equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def test_keys_shapes_and_types_are_megatrons(new_loader: Callable[..., ExternalLoader]) -> None:
    found = {key: (value.dtype, *value.shape) for key, value in next(new_loader(cu_seqlens=True)).items()}
    ids = dict.fromkeys(("tokens", "labels", "position_ids"), (torch.int64, 2, S))
    of_rows = dict.fromkeys(("dataset_id", "epoch"), (torch.int64, 2))
    masks = {"loss_mask": (torch.float32, 2, S), "attention_mask": (torch.bool, 2, 1, S, S)}
    packed = {"cu_seqlens": (torch.int32, 2, S + 1), "max_seqlen": (torch.int32, 2)}
    assert found == {**ids, **of_rows, **masks, **packed}
    assert "cu_seqlens" not in next(new_loader())
    assert not hasattr(ExternalLoader, "__len__")


@pytest.mark.parametrize(("ranks", "micro"), [(1, 1), (1, 4), (3, 2), (5, 1)])
def test_samples_come_in_megatrons_order(
    new_loader: Callable[..., ExternalLoader], mixture: Mixture, sources: dict[str, Source], ranks: int, micro: int
) -> None:
    """MegatronPretrainingSampler: micro-batch m of a rank is consumed + m * mbs * dp + rank * mbs + [0, mbs)."""
    with Loader(mixture, sources, micro_batch_size=1, **ALONE, batch_sizes=[(0, SAMPLES)]) as loader:
        expected = np.concatenate([batch.tokens for batch in next(loader).micro_batches])
    consumed, together = 7, ranks * micro
    for rank in range(ranks):
        options = {"micro_batch_size": micro, "data_parallel_rank": rank, "data_parallel_size": ranks}
        batches = drain(new_loader(consumed_samples=consumed, **options))
        assert len(batches) == (SAMPLES - consumed) // together
        for m, batch in enumerate(batches):
            first = consumed + m * together + rank * micro
            assert batch["tokens"].tolist() == expected[first : first + micro].tolist()


def test_the_state_is_one_position_on_every_rank(new_loader: Callable[..., ExternalLoader]) -> None:
    ranks = [new_loader(data_parallel_rank=rank, data_parallel_size=3) for rank in range(3)]
    for loader in ranks:
        next(loader)
        next(loader)
    assert [loader.save_state() for loader in ranks] == [{"consumed_samples": 12, "sequence_length": S}] * 3


def test_resuming_anywhere_equals_the_straight_run(new_loader: Callable[..., ExternalLoader]) -> None:
    straight = drain(new_loader())
    for done in (0, 1, 15, 16, 17, 40, len(straight)):
        loader, again = new_loader(), new_loader(consumed_samples=6)
        for _ in range(done):
            next(loader)
        next(again)
        again.restore_state(loader.save_state())
        rest = drain(again)
        assert len(rest) == len(straight) - done
        assert all(equal(*pair) for pair in zip(rest, straight[done:], strict=True))


def test_tensors_are_their_own(new_loader: Callable[..., ExternalLoader]) -> None:
    """RerunDataIterator writes them into checkpoints: a view would bring its whole block along."""
    loader = new_loader()
    for batch in (next(loader), next(loader)):
        for value in batch.values():
            assert value.untyped_storage().nbytes() == value.nbytes
            assert value.is_contiguous()


def test_conversations_are_kept_apart(new_loader: Callable[..., ExternalLoader]) -> None:
    batches = drain(new_loader(cu_seqlens=True))
    assert sum(int(batch["cu_seqlens"][0, 1]) < S for batch in batches) > 3
    for batch in batches:
        for row in range(2):
            edges = batch["cu_seqlens"][row].unique()
            assert (edges[0], edges[-1]) == (0, S)
            assert batch["max_seqlen"][row] == edges.diff().max()
            allowed = torch.block_diag(*[torch.ones(n, n).tril() for n in edges.diff().tolist()])
            assert torch.equal(batch["attention_mask"][row, 0], allowed == 0)


def test_what_can_not_be_read_right_is_refused(new_loader: Callable[..., ExternalLoader]) -> None:
    with pytest.raises(DataError, match="source sft: keeps documents of a row apart, which would see each other"):
        new_loader(attention_mask=False)
    with pytest.raises(DataError, match="consumed_samples is 104, but the run has 103 samples"):
        new_loader(consumed_samples=104)
    with pytest.raises(DataError, match="rank 2 of 2"):
        new_loader(data_parallel_rank=2, data_parallel_size=2)
    with pytest.raises(DataError, match="expected consumed_samples of 16 tokens each"):
        new_loader().restore_state({"consumed_samples": 3, "sequence_length": 32})


def test_validation_goes_round_the_held_out_rows(sources: dict[str, Source]) -> None:
    batches = held_out(sources, micro_batch_size=2, attention_mask=True, max_rows=4, **ALONE)
    rounds = list(islice(batches, 12))
    size = sum(-(-min(4, source.num_validation_rows) // 2) for source in sources.values())
    assert all(equal(*pair) for pair in zip(rounds, rounds[size:], strict=False))
    assert not equal(rounds[0], rounds[1])
    with pytest.raises(DataError, match="nothing is held out"):
        held_out({}, micro_batch_size=2, **ALONE)


@pytest.fixture(scope="module")
def model() -> Iterator[Any]:
    """A GPT of two layers on megatron-core's groups of one process; the environment stays as it was."""
    from tools.recipe.load import parse_recipe
    from tools.recipe.schema import Parallelism
    from tools.runtime import processes

    environment, threads = dict(os.environ), torch.get_num_threads()
    processes.start(Parallelism())
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(1)
    from tools.runtime.model import build_model

    layers = {"num_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "ffn_hidden_size": 64}
    sizes = {"sequence_length": S, "vocab_size": VOCABULARY, "global_batch_size": 4, "micro_batch_size": 2}
    phases = [{"name": "all", "tokens": 1024, "learning_rate": 1e-2, "mixture": {"web": 1}}]
    document = {"name": "tiny", "seed": 7, "model": layers, "sources": {"web": {"tokens": 100_000}}, "phases": phases}
    processes.seed_everything(7)
    yield build_model(parse_recipe({**document, **sizes}, "tiny.yaml"), VOCABULARY)
    torch.set_num_threads(threads)
    processes.stop()


def forward_step(losses: list[float], batches: Any, model: Any) -> Any:
    """As Megatron-LM writes it: next() and the keys of its batch, nothing of ours."""
    batch = next(batches)
    output = model(batch["tokens"], batch["position_ids"], batch["attention_mask"], labels=batch["labels"])

    def loss(output: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        total = (output.float() * batch["loss_mask"]).sum()
        losses.append(float(total.detach()))
        return total, batch["loss_mask"].sum().to(torch.int), {}

    return output, loss


def step(model: Any, batches: Any, num_microbatches: int) -> tuple[list[float], torch.Tensor]:
    """Losses of the micro-batches and the gradient of one parameter after megatron-core's forward and backward."""
    from megatron.core.pipeline_parallel import get_forward_backward_func

    losses: list[float] = []
    model.zero_grad_buffer()
    get_forward_backward_func()(
        forward_step_func=partial(forward_step, losses),
        data_iterator=batches,
        model=[model],
        num_microbatches=num_microbatches,
        seq_length=S,
        micro_batch_size=2,
    )
    return losses, next(model.parameters()).main_grad.clone()


def test_megatrons_loop_trains_on_it(model: Any, new_loader: Callable[..., ExternalLoader]) -> None:
    loader = new_loader(consumed_samples=44)
    losses, gradient = step(model, loader, 4)
    assert np.isfinite(losses).tolist() == [True] * 4
    assert float(gradient.abs().sum()) > 0
    assert loader.save_state()["consumed_samples"] == 44 + 4 * 2
    ramped, _ = step(model, loader, 6)  # a batch-size ramp: more micro-batches, nothing to tell the loader
    resumed, _ = step(model, new_loader(consumed_samples=52), 6)
    assert ramped == resumed


def test_a_step_is_replayed_through_megatron(model: Any, new_loader: Callable[..., ExternalLoader]) -> None:
    from megatron.core import rerun_state_machine as rerun

    rerun.initialize_rerun_state_machine(mode=rerun.RerunMode.VALIDATE_RESULTS)
    batches = rerun.RerunDataIterator(new_loader(consumed_samples=60))
    losses, gradient = step(model, batches, 4)
    batches.rewind()
    again, same = step(model, batches, 4)
    assert (losses, gradient.tolist()) == (again, same.tolist())
    batches.advance()
    assert batches.iterable.save_state()["consumed_samples"] == 68
    later, _ = step(model, batches, 4)
    rerun.destroy_rerun_state_machine()
    assert later == step(model, new_loader(consumed_samples=68), 4)[0]


def test_the_example_compiles_and_is_short() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    compile(text, str(EXAMPLE), "exec")
    assert len(text.splitlines()) <= 60
