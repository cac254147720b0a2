"""Conversations that share a window don't see each other, and recomputing activations changes nothing."""

import pytest
import torch

from tools.runtime.batch import block_mask, segment_boundaries, to_model_input
from tools.runtime.model import build_model, transformer_config
from tools.runtime.processes import device, has_transformer_engine, seed_everything

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("alone")]

# Rows of 16 positions: A takes 6 and B 7 of the first, the rest is padding; the second row is one conversation.
SEGMENTS = [[0] * 6 + [1] * 7 + [-1] * 3, [0] * 16]
A, B = slice(0, 6), slice(6, 13)


def test_block_mask_of_one_row():
    """Rows look at columns; 1 forbids. Two tokens of one segment, two of another."""
    assert block_mask(torch.tensor([[0, 0, 1, 1]])).int().tolist() == [
        [[[0, 1, 1, 1], [0, 0, 1, 1], [1, 1, 0, 1], [1, 1, 0, 0]]]
    ]


def test_block_mask_of_one_segment_is_causal():
    assert torch.equal(block_mask(torch.zeros(1, 5, dtype=torch.int32))[0, 0], torch.ones(5, 5).triu(1).bool())


def test_each_row_of_a_batch_has_its_own_mask():
    rows = torch.tensor([[0, 1, 1], [0, 0, 1]])
    mask = block_mask(rows)
    assert mask.shape == (2, 1, 3, 3)
    for row in range(2):
        assert torch.equal(mask[row : row + 1], block_mask(rows[row : row + 1]))
    assert not mask.diagonal(dim1=2, dim2=3).any()


def test_padding_sees_only_padding():
    assert block_mask(torch.tensor([[0, -1, -1]])).int().tolist() == [[[[0, 1, 1], [1, 0, 1], [1, 0, 0]]]]


@pytest.mark.parametrize(
    ("segments", "boundaries"),
    [
        ([[0]], [0, 1]),
        ([[0, 0, 0]], [0, 3]),
        ([[0, 1, 2]], [0, 1, 2, 3]),
        ([[0, 0, 1], [1, 1, 1]], [0, 2, 3, 6]),
        ([[0, 0, -1, -1], [0, 1, 1, -1]], [0, 2, 4, 5, 7, 8]),
    ],
)
def test_boundaries(segments, boundaries):
    found = segment_boundaries(torch.tensor(segments))
    assert found.tolist() == boundaries
    assert found.dtype == torch.int32


def test_a_mask_is_made_only_where_there_are_segments(tiny_batch):
    micro = tiny_batch().micro_batches[0]
    assert to_model_input(micro).attention_mask is None
    micro.read.windows.segments[:2] = SEGMENTS
    packed = to_model_input(micro)
    if not has_transformer_engine():
        assert torch.equal(packed.attention_mask, block_mask(torch.tensor(SEGMENTS, device=device())))
        assert packed.packed is None


def test_the_fused_softmax_that_ignores_masks_is_off(tiny_recipe):
    assert transformer_config(tiny_recipe()).masked_softmax_fusion is has_transformer_engine()


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def logits(request, alone, tiny_recipe):
    """From (2, 16) tokens to (2, 16, vocabulary) logits of a tiny model, conversations apart."""
    recipe = tiny_recipe(f"precision={request.param}")
    seed_everything(recipe.seed)
    model = build_model(recipe, 96).eval()
    mask = block_mask(torch.tensor(SEGMENTS, device=device()))
    positions = torch.arange(16, device=device()).expand(2, 16)

    @torch.no_grad()
    def run(tokens):
        return model(tokens, positions, mask)

    return run


@pytest.fixture
def tokens():
    return torch.arange(32, device=device()).reshape(2, 16) % 90


def changed(tokens, row, position):
    other = tokens.clone()
    other[row, position] = 95
    return other


@pytest.mark.skipif(has_transformer_engine(), reason="there conversations are kept apart by boundaries, not by a mask")
@pytest.mark.parametrize("position", range(6))
def test_changing_one_conversation_leaves_the_other_alone(logits, tokens, position):
    before, after = logits(tokens), logits(changed(tokens, 0, position))
    assert torch.equal(before[0, B], after[0, B])
    assert torch.equal(before[1], after[1])
    assert torch.equal(before[0, :position], after[0, :position])
    for here in range(position, 6):
        assert not torch.equal(before[0, here], after[0, here])


@pytest.mark.skipif(has_transformer_engine(), reason="there conversations are kept apart by boundaries, not by a mask")
def test_the_later_conversation_does_not_reach_back(logits, tokens):
    before, after = logits(tokens), logits(changed(tokens, 0, B.start))
    assert torch.equal(before[0, A], after[0, A])
    assert not torch.equal(before[0, B], after[0, B])


FULL = ("model.recompute_granularity=full", "model.recompute_method=uniform", "model.recompute_num_layers=1")
SELECTIVE = ("model.recompute_granularity=selective",)
MLP_ONLY = (*SELECTIVE, "model.recompute_modules=[mlp]")


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("changes", [FULL, SELECTIVE, MLP_ONLY], ids=["full", "selective", "mlp"])
def test_recomputed_activations_give_the_same_loss_and_gradients(
    new_engine, tiny_recipe, tiny_batch, tiny_values, changes, dropout
):
    results = []
    for recompute in ((), changes):
        engine = new_engine(tiny_recipe(*recompute, f"model.hidden_dropout={dropout}"))
        assert bool(engine.model.config.recompute_granularity) is bool(recompute)
        result = engine.step(tiny_batch(), tiny_values(1e-2))
        gradients = {name: parameter.main_grad.clone() for name, parameter in engine.model.named_parameters()}
        results.append((result.sums, result.gradient_norm, gradients))
    (sums, norm, gradients), (their_sums, their_norm, their_gradients) = results
    assert (sums, norm) == (their_sums, their_norm)
    assert norm > 0
    assert [name for name in gradients if not torch.equal(gradients[name], their_gradients[name])] == []


def test_documents_kept_apart_in_a_pipeline_of_transformer_engine(monkeypatch, tiny_recipe, world):
    """Refused with more than one window a micro-batch, where stages would mix the windows up; allowed otherwise."""
    from mixer.source import open_source
    from tools.errors import UserError
    from tools.runtime import processes

    monkeypatch.setattr(processes, "has_transformer_engine", lambda: True)
    pipeline = "parallelism.pipeline_model_parallel_size=2"
    text, chat, apart = (
        {"source": open_source(world / name, name=name, sequence_length=32, **options)}
        for name, options in (("web", {}), ("sft", {}), ("web", {"attention": "document"}))
    )
    for sources in (chat, apart):
        with pytest.raises(UserError, match="got 2 with 2 pipeline stages, and documents kept apart in source source"):
            processes.refuse_packed_pipeline(tiny_recipe(pipeline), sources)
        processes.refuse_packed_pipeline(tiny_recipe(pipeline, "micro_batch_size=1"), sources)
        processes.refuse_packed_pipeline(tiny_recipe(), sources)
    processes.refuse_packed_pipeline(tiny_recipe(pipeline), text)
