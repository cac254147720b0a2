"""A recipe that goes on from a run on megatron-core's BlendedDataset: nothing is read again before all was read."""

from collections import Counter

import numpy as np
import pytest

from mixer.windows import Windows
from tools.errors import UserError
from tools.trace.selection import readings_of_document

LENGTH = 16
SEED = 11
BLEND = "0.7 {web} 0.3 {code}"
SPLIT = "80,20,0"
SAMPLES = 200


class _Tokenizer:
    """What GPTDatasetConfig asks of one: ids that no token has."""

    eod, pad, vocab_size, unique_identifiers = 60_000, 60_001, 60_002, {"name": "none"}


@pytest.fixture(scope="module")
def prefixes(tmp_path_factory, world):
    """Two sources in which no token occurs twice, so that a token's id tells its place."""
    import torch
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

    folder, rng = tmp_path_factory.mktemp("megatron"), np.random.default_rng(0)
    made = {}
    for name, count, longest in (("web", 160, 60), ("code", 40, 30)):
        made[name] = str(folder / name)
        lengths = rng.integers(1, longest, count)
        ids = np.split(np.arange(lengths.sum()), np.cumsum(lengths)[:-1])
        builder = IndexedDatasetBuilder(f"{made[name]}.bin", dtype=np.uint16)
        for document in ids:
            builder.add_document(torch.from_numpy(document), [len(document)])
        builder.finalize(f"{made[name]}.idx")
    return made


@pytest.fixture(scope="module")
def megatron(prefixes):
    """The training set as Megatron-LM builds it."""
    from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
    from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
    from megatron.core.datasets.utils import get_blend_from_list

    config = GPTDatasetConfig(
        random_seed=SEED,
        sequence_length=LENGTH,
        blend=get_blend_from_list(BLEND.format(**prefixes).split()),
        split=SPLIT,
        tokenizer=_Tokenizer(),
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
        create_attention_mask=False,
    )
    return BlendedMegatronDatasetBuilder(GPTDataset, [SAMPLES, 0, 0], lambda: True, config).build()[0]


@pytest.fixture
def plan_after(tiny_plan, prefixes):
    """The plan of a decay that goes on from Megatron's run after so many samples."""

    def plan(consumed, *overrides, blend=BLEND):
        run = f"blend: {blend.format(**prefixes)}, train_samples: {SAMPLES}, consumed_samples: {consumed}"
        return tiny_plan(
            f"sources={{web: {{path: {prefixes['web']}}}, code: {{path: {prefixes['code']}}}}}",
            "phases.0.mixture={web: 1, code: 1}",
            "phases.0.tokens=8K",
            f"from_megatron={{{run}, seed: {SEED}, split: '{SPLIT}'}}",
            *overrides,
        )

    return plan


def tokens_by_row(source):
    out = Windows.empty(source.num_rows, LENGTH)
    source.fill(np.arange(source.num_rows), out, np.arange(source.num_rows))
    return out.tokens


@pytest.mark.parametrize("consumed", [0, 60, 120])
def test_no_token_is_read_again_before_all_were_read(plan_after, megatron, consumed):
    plan = plan_after(consumed)
    located = plan.mixture.locate(np.arange(plan.total_samples))
    for k, (name, source) in enumerate(plan.sources.items()):
        before = Counter()
        for sample in range(consumed):
            item = megatron[sample]
            if item["dataset_id"] == k:
                before.update(item["tokens"].tolist())
        rows = located.row[located.source == plan.mixture.names.index(name)]
        unread = source.num_unread_rows
        first = tokens_by_row(source)[rows[:unread]].ravel().tolist()
        assert len(rows) > unread
        assert len(set(first)) == len(first)
        assert not set(first) & set(before)
        end = source.reads.train[1]
        assert end - len(before) - len(first) < 2 * LENGTH, "all but the rest of a window was read once"
        held = Windows.empty(source.num_validation_rows, LENGTH)
        source.fill(np.arange(len(held.tokens)), held, np.arange(len(held.tokens)), validation=True)
        assert held.tokens.min() >= end


def test_a_source_outside_the_blend_is_opened_whole_and_one_left_out_is_told(plan_after, prefixes):
    plan = plan_after(60, blend="1.0 {web}")
    assert len(plan.history.sources["web"].generations) == 2
    assert len(plan.history.sources["code"].generations) == 1
    other = "sources={web: {path: " + prefixes["web"] + "}}", "phases.0.mixture={web: 1}"
    warnings = plan_after(60, *other).warnings
    told = f"from_megatron.blend: {prefixes['code']} is no source of this recipe; what that run left of it is not read"
    assert told in warnings


def test_two_names_of_one_file_are_told(tiny_plan, prefixes, tmp_path):
    for suffix in (".bin", ".idx"):
        (tmp_path / f"link{suffix}").symlink_to(prefixes["web"] + suffix)
    sources = f"sources={{web: {{path: {prefixes['web']}}}, twin: {{path: {tmp_path / 'link'}, holdout_runs: 1}}}}"
    warnings = tiny_plan(sources, "phases.0.mixture={web: 1, twin: 1}").warnings
    twice = "is read by web already; its documents are drawn and held out twice"
    assert f"sources.twin: {tmp_path / 'link'} {twice}" in warnings
    assert "sources.twin.holdout_runs: one run of documents that were not shuffled when written; take 16" in warnings


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("from_megatron.consumed_samples=201", "from_megatron.consumed_samples: got 201; expected at most"),
        ("from_megatron.blend=0.3 a 0.7x b", "from_megatron.blend: got 0.3 a 0.7x b; expected paths, or a positive"),
        ("from_megatron.blend=[]", "from_megatron.blend: got nothing; expected paths"),
        ("from_megatron.split=x", "split is 'x'; expected shares of train, validation and test"),
        ("sources.web.windows=packed", "windows are packed; what a Megatron run has left is read in concatenated"),
        ("sources.web.epoch_offset=true", "epoch_offset is set; what a Megatron run has left is read in concatenated"),
        ("sources.web.loss=assistant", "source web: loss is 'assistant'; Megatron trained on all tokens"),
        ("sources.web.holdout=0.1", "source web: holdout is set; what the Megatron run's split kept from training"),
        ("from_megatron.dataset_index=absent.npy", "absent.npy: "),
    ],
)
def test_each_mistake_is_one_line(plan_after, override, message):
    with pytest.raises(UserError) as error:
        plan_after(60, override)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_list_is_the_text_and_paths_alone_are_weighed_by_their_lengths(plan_after, prefixes):
    as_list = "from_megatron.blend=" + str([0.7, prefixes["web"], 0.3, prefixes["code"]])
    assert plan_after(60, as_list).history == plan_after(60).history
    by_length = plan_after(60, blend="{web} {code}").sources
    shares = [source.reads.times.sum() for source in by_length.values()]
    assert all(shares)


def test_another_sequence_length_is_the_earlier_runs_own(plan_after):
    short, long = plan_after(60), plan_after(60, "from_megatron.sequence_length=32")
    reads = [plan.sources["web"].reads for plan in (short, long)]
    tokens_read = [int((read.times * np.diff(read.edges)).sum()) for read in reads]
    assert tokens_read[1] == 2 * tokens_read[0]


def test_a_document_is_looked_up_in_what_the_earlier_run_left(plan_after):
    plan = plan_after(60)
    samples = np.arange(plan.total_samples)
    located = plan.mixture.locate(samples)
    mine = located.source == plan.mixture.names.index("web")
    source = plan.sources["web"]
    document = source.documents(int(located.row[mine][0]))[0]
    holds = np.array([document in source.documents(row) for row in located.row[mine].tolist()])
    assert readings_of_document(plan, f"web:{document}").samples.tolist() == samples[mine][holds].tolist()
    held_out = source.tokens.num_documents - 1
    assert readings_of_document(plan, f"web:{held_out}").why_none == "it is held out for validation"
