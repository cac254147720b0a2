"""Megatron-LM reads our stream. Run from a Megatron-LM checkout with its usual arguments and these:

    torchrun ... examples/megatron_lm_external.py --dataloader-type external --annealmix-mixture mixture.json ...

mixture.json: {"history": History.to_json(), "sources": {name: prefix of .bin/.idx}}. The position is Megatron's own
args.consumed_train_samples: its checkpoints need nothing from us. Leave --phase-transition-iterations away, which ends
the job; phases are spans of the history. The megatron-core wheel has no megatron.training, so our tests only compile
this file; what it calls of ours they run on megatron-core.
"""

import json
from functools import partial
from pathlib import Path

from gpt_builders import gpt_builder
from megatron.core import mpu
from megatron.core.enums import ModelType
from megatron.training import get_args, pretrain
from model_provider import model_provider
from pretrain_gpt import forward_step

from mixer.external_loader import ExternalLoader, held_out
from mixer.history import History
from mixer.mixture import Mixture
from mixer.source import open_source


def add_argument(parser):
    """Add ours to Megatron's."""
    parser.add_argument("--annealmix-mixture", required=True)
    return parser


def train_valid_test_datasets_provider(train_val_test_num_samples, vp_stage=None):
    """Loaders of this rank, new ones at each call, which Megatron makes once per virtual pipeline stage."""
    args = get_args()
    document = json.loads(Path(args.annealmix_mixture).read_text(encoding="utf-8"))
    history = History.from_json(document["history"])
    sources = {}
    for name, prefix in document["sources"].items():
        read = history.sources[name]
        sources[name] = open_source(prefix, name=name, sequence_length=args.seq_length, history=read)
    layout = {
        "micro_batch_size": args.micro_batch_size,
        "data_parallel_rank": mpu.get_data_parallel_rank(),
        "data_parallel_size": mpu.get_data_parallel_world_size(),
        "attention_mask": args.create_attention_mask_in_dataloader,
    }
    train = ExternalLoader(Mixture(history), sources, consumed_samples=args.consumed_train_samples, **layout)
    return train, held_out(sources, **layout) if args.eval_iters else None, None


if __name__ == "__main__":
    train_valid_test_datasets_provider.is_distributed = True  # else Megatron asks TP rank 0 alone
    model = partial(model_provider, gpt_builder), ModelType.encoder_or_decoder
    pretrain(train_valid_test_datasets_provider, *model, forward_step, extra_args_provider=add_argument)
