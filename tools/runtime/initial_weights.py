"""Initial weights that don't depend on the layout.

Every matrix is drawn whole, from the seed, its global name and its global layer, and each rank keeps the slice that
megatron-core's own sharding description gives it. TP=1 and TP=8, PP=1 and PP=16 then start from the same model, and
the padded rows of the vocabulary are the same too.
"""

import hashlib
from collections.abc import Iterator

import torch
from megatron.core.dist_checkpointing.dict_utils import nested_values
from megatron.core.dist_checkpointing.mapping import ShardedTensor, apply_factories
from megatron.core.models.gpt import GPTModel

# The matrices that write into the residual stream; Megatron scales their deviation by 1/sqrt(2 x layers).
_RESIDUAL_OUTPUTS = ("linear_proj.weight", "linear_fc2.weight")


@torch.no_grad()
def draw_initial_weights(model: GPTModel, seed: int) -> None:
    """Fill this rank's matrices in place; norms and biases keep the ones and zeros they were built with.

    Megatron's own initialization is not switched off: it also marks which parameters are cut over tensor-parallel
    ranks, and without the marks gradient norms leave out what the other ranks hold, silently.
    """
    for shard in _matrices(model):
        config = model.config
        draw = config.output_layer_init_method if shard.key.endswith(_RESIDUAL_OUTPUTS) else config.init_method
        whole_shape = shard.global_shape[shard.prepend_axis_num :]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_seed_of(shard, seed))
            whole = torch.empty(whole_shape, dtype=torch.float32)
            draw(whole)
        shard.data.copy_(whole[_slices(shard)])


def _matrices(model: GPTModel) -> Iterator[ShardedTensor]:
    state = model.sharded_state_dict()
    apply_factories(state)
    for shard in nested_values(state):
        if isinstance(shard, ShardedTensor) and shard.data is not None and len(shard.local_shape) >= 2:
            yield shard


def _seed_of(shard: ShardedTensor, seed: int) -> int:
    """A 63-bit seed from the run's seed, the tensor's global name and its place along the layer axes."""
    layer = shard.global_offset[: shard.prepend_axis_num]
    digest = hashlib.blake2b(f"{seed}/{shard.key}/{layer}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _slices(shard: ShardedTensor) -> tuple[slice, ...]:
    offsets = shard.global_offset[shard.prepend_axis_num :]
    return tuple(slice(start, start + length) for start, length in zip(offsets, shard.local_shape, strict=True))
