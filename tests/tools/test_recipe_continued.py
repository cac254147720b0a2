"""A recipe edited under way: what goes on, what is refused, and what ``plan --resume-from`` says of it."""

import json

import numpy as np
import pytest

from mixer.ledger import Ledger
from mixer.windows import Windows
from schedulers.words import format_tokens
from tools.errors import UserError
from tools.plan.changes import changes_since
from tools.plan.command import show_plan
from tools.pretrain.state import RunState
from tools.recipe.continued import continued, continued_plan, model_identity, read_state, row_settings
from tools.recipe.load import load_recipe
from tools.recipe.resolve import resolve

AT = 64  # of 128 samples, in the middle of the phase `stable`, which runs from 32 to 84


def state_of(plan, consumed_samples):
    """What a checkpoint of this plan would hold."""
    length = plan.recipe.sequence_length
    return RunState(
        step=consumed_samples // 8,
        consumed_samples=consumed_samples,
        consumed_tokens=consumed_samples * length,
        history=json.loads(json.dumps(plan.history.to_json())),
        hyperparameters=plan.hyperparameters.to_dict(),
        batch_size=[list(entry) for entry in plan.batches.ramp.entries],
        model=model_identity(plan.recipe, plan.vocab_size),
        sources=json.loads(json.dumps(row_settings(plan.recipe))),
    )


@pytest.fixture
def place(tmp_path, world, workplace):
    """A folder over a copy of the text, which may grow."""
    import shutil

    for path in world.iterdir():
        shutil.copy(path, tmp_path)
    return type(workplace)(tmp_path, tmp_path)


def planned(place, *overrides):
    return resolve(load_recipe(place.recipe(*overrides)), where="")


def edited(place, before, *overrides, at=AT):
    return continued_plan(load_recipe(place.recipe(*overrides)), state_of(before, at), where="recipe.yaml")


def rows_read(plan, name, first=0, end=None):
    """(row, offset) of each read of a source, in order of sample."""
    located = plan.mixture.locate(np.arange(first, end or plan.total_samples))
    mine = located[located.source == plan.mixture.names.index(name)]
    return list(zip(mine.row.tolist(), mine.offset.tolist(), strict=True))


def test_the_same_recipe_changes_nothing(place):
    before = planned(place)
    after = edited(place, before)
    assert after.history == before.history
    assert changes_since(state_of(before, AT), after).nothing
    again = edited(place, after)
    assert again.history == before.history


def test_new_weights_take_effect_from_the_checkpoint_on(place):
    before = planned(place)
    after = edited(place, before, "phases.1.mixture={web: 1, code: 3}")
    stable = after.phases[1].sources
    assert (stable["web"].start_share, stable["web"].end_share) == pytest.approx((2 / 3, 1 / 4))
    assert after.mixture.counts(AT) == before.mixture.counts(AT)
    ahead = after.mixture.counts(84)["web"] - after.mixture.counts(AT)["web"]
    assert ahead == 20 // 4
    pairs = zip(rows_read(after, "web"), rows_read(before, "web"), strict=False)
    assert all(ours == theirs for ours, theirs in pairs)


def test_a_ramp_that_has_begun_goes_on_from_the_shares_it_reached(place):
    ramp = "phases.1.mixture={web: 1, code: 1}", "phases.1.mixture_ramp=linear"
    before = planned(place, *ramp)
    assert edited(place, before, *ramp).history == before.history
    steeper = edited(place, before, "phases.1.mixture={code: 1}", "phases.1.mixture_ramp=cosine")
    reached = 2 / 3 + (1 / 2 - 2 / 3) * (AT - 32) / (84 - 32)
    (cut,) = [span for span in steeper.history.spans if span.start_sample == AT]
    assert cut.ramp.from_weights["web"] == pytest.approx(reached)
    assert (
        edited(place, steeper, "phases.1.mixture={code: 1}", "phases.1.mixture_ramp=cosine").history == steeper.history
    )


@pytest.mark.parametrize("how", ["next_epoch", "append"])
def test_data_that_grew_joins_without_repeat_or_loss(place, grow, how):
    """web has about 500 rows; its epoch is cut short here by a recipe that reads it several times."""
    long = "phases.2.tokens=64K", "phases.2.mixture={web: 1}"
    before = planned(place, *long)
    old_rows = before.sources["web"].num_rows
    grow(place.data / "web", seed=9, count=40)
    after = edited(place, before, *long, f"sources.web.grown={how}")
    new_rows = after.sources["web"].num_rows
    assert new_rows > old_rows + 50
    read = [row for row, _ in rows_read(after, "web")]
    assert read[: after.mixture.counts(AT)["web"]] == [row for row, _ in rows_read(before, "web", 0, AT)]
    first_epoch = new_rows if how == "append" else old_rows
    assert sorted(read[:first_epoch]) == list(range(first_epoch))
    assert sorted(read[first_epoch : first_epoch + new_rows]) == list(range(new_rows))
    assert after.history.sources["web"].generations[0].holdout == before.history.sources["web"].generations[0].holdout
    joins = "its open epoch" if how == "append" else "where its open epoch ends"
    assert changes_since(state_of(before, AT), after).notes == (
        f"source web: grew by 2.68K tokens, which join {joins}",
    )
    assert edited(place, after, *long, f"sources.web.grown={how}", at=AT + 8).history == after.history


def test_data_that_changed_is_refused(place, grow):
    before = planned(place)
    tokens = np.fromfile(place.data / "web.bin", np.uint16)
    tokens[100] += 1
    tokens.tofile(place.data / "web.bin")
    with pytest.raises(UserError, match=r"sources.web: .*fingerprint is .*the data or how it is cut has changed"):
        edited(place, before)


def test_a_skipped_document_is_not_read_from_the_checkpoint_on(place):
    before = planned(place)
    document = before.sources["web"].documents(rows_read(before, "web", AT)[3][0])[0]
    gone = set(before.sources["web"].rows_of_document(document).tolist())
    skip = f"skip_documents={{web: [{document}]}}"
    after = edited(place, before, skip)
    expected = [read for read in rows_read(before, "web", AT) if read[0] not in gone]
    found = rows_read(after, "web", AT)
    assert found[: len(expected)] == expected
    assert rows_read(after, "web", 0, AT) == rows_read(before, "web", 0, AT)
    (note,) = changes_since(state_of(before, AT), after).notes
    assert note == f"skip_documents: web {document} in {len(gone)} rows, from here on"
    with pytest.raises(
        UserError,
        match=rf": skip_documents.web: got no document {document}; "
        rf"expected document {document} among them, as in the 2.3K tokens",
    ):
        edited(place, after, at=AT + 8)
    more = edited(place, after, f"skip_documents={{web: [{document}, 0]}}", at=AT + 8)
    assert [skip.start for skip in more.history.document_skips] == [AT, AT + 8]


def test_a_document_that_is_not_there_is_named(place):
    with pytest.raises(UserError, match=r"skip_documents.web: got 300; expected document numbers from 0 to 299"):
        planned(place, "skip_documents={web: [300]}")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sources.web.windows=packed", "resume: sources.web.windows: got packed; expected none, as in the checkpoint"),
        ("sources.web.attention=document", "resume: sources.web.attention: got document; expected window"),
        ("validation.holdout=0.2", ""),
        ("sources.web.shuffle=off", "recipe.yaml: sources.web.shuffle: got off; expected each_epoch, as in the 2.05K"),
        ("sequence_length=64", "resume: sequence_length: got 64; expected 32, as in the checkpoint"),
        ("sources.web.epoch_offset=true", "resume: sources.web.epoch_offset: got true; expected false"),
        ("model.hidden_size=64", "resume: model.hidden_size: got 64; expected 32, as in the checkpoint"),
        ("phases.0.mixture_ramp=linear", "phases[0].mixture_ramp"),
        ("sources.sft.overlong=drop", ""),
    ],
)
def test_the_past_is_locked_and_what_was_not_read_is_free(place, override, message):
    before = planned(place)
    if not message:
        assert edited(place, before, override).total_samples == 128
        return
    with pytest.raises(UserError) as error:
        edited(place, before, override)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_cap_below_what_was_read_says_so(place):
    before = planned(place)
    with pytest.raises(UserError, match=r"so much was read before the checkpoint; raise max_epochs"):
        edited(place, before, "sources.code.max_epochs=0.01")


def test_a_cap_that_changes_is_told_from_weights_and_used_up_where_it_acts(place):
    before = planned(place)
    keys = ("max_epochs=0.01", "exhausted=redistribute", "redistribute_to=[web]")
    after = edited(place, before, *(f"sources.code.{key}" for key in keys))
    notes = changes_since(state_of(before, AT), after).notes
    assert {note.partition(": ")[2] for note in notes} == {"other caps"}
    located = after.mixture.locate(np.arange(128))
    end = int(np.flatnonzero(located.source == after.mixture.names.index("code"))[-1]) + 1
    tokens = format_tokens(end * after.recipe.sequence_length)
    assert f"sources.code: used up at {tokens} tokens; its share goes to web" in after.warnings


def test_a_source_that_a_running_ramp_still_reads_stays_in_the_recipe(place):
    ramp = ("phases.1.mixture_ramp=linear", "phases.2.mixture={web: 1}", "validation.sources=[web]")
    before = planned(place, "phases.1.mixture={web: 1, sft: 1}", *ramp)
    recipe = load_recipe(place.recipe("phases.1.mixture={web: 1}", *ramp))
    kept = {name: spec for name, spec in recipe.sources.items() if name != "sft"}
    told = r"recipe.yaml: sources.sft: got none, and the running ramp still reads \d+ windows of it; keep it until"
    with pytest.raises(UserError, match=told):
        continued_plan(recipe.model_copy(update={"sources": kept}), state_of(before, AT), where="recipe.yaml")


def test_tokens_of_a_plan_leave_out_what_skips_pass_over(place):
    plan = planned(place, "skip_samples=[[40, 70]]")
    located = plan.mixture.locate(np.arange(plan.total_samples))
    for phase in plan.phases:
        drawn = np.bincount(located.source[phase.start_sample : phase.end_sample], minlength=len(plan.mixture.names))
        counted = {name: n for name, n in zip(plan.mixture.names, drawn.tolist(), strict=True) if n}
        assert {name: use.samples for name, use in phase.sources.items() if use.samples} == counted
    assert plan.epochs(128)["web"] == Ledger(plan.mixture, plan.sources).at(128)["web"].epochs


def test_a_cap_ahead_names_the_share_of_the_running_phase_that_fits(place):
    before = planned(place)
    epochs = before.epochs(70)["code"]
    with pytest.raises(UserError, match=r"by the end of phases\[1\] .*that fits in phases\[1\].mixture is 0.") as error:
        edited(place, before, f"sources.code.max_epochs={epochs}")
    share = float(str(error.value).rpartition(" ")[2])
    mixture = f"phases.1.mixture={{code: {share}, web: {1 - share}}}"
    held = edited(place, before, mixture, "phases.2.mixture={web: 1}", f"sources.code.max_epochs={epochs}")
    assert held.epochs(128)["code"] <= epochs


def test_a_stop_ahead_ends_the_run_early_and_resumes_to_the_same_end(place):
    before = planned(place)
    epochs = before.epochs(100)["code"]
    stop = f"sources.code.max_epochs={epochs}", "sources.code.exhausted=stop"
    after = edited(place, before, *stop)
    assert AT < after.total_samples < 128
    assert edited(place, after, *stop, at=AT + 8).history == after.history


@pytest.fixture
def checkpoint(place):
    """A run folder with the state of the plain recipe, sealed as a checkpoint is."""
    from tools.pretrain.checkpoint_store import CheckpointStore

    store = CheckpointStore(place.folder / "run" / "checkpoints")
    state = state_of(planned(place), AT)
    return store.write(state, lambda folder: None, is_first=True, barrier=lambda: None)


def test_a_checkpoint_is_found_in_itself_its_folder_and_its_run(checkpoint, tmp_path):
    states = [
        read_state(folder, lambda line: None) for folder in (checkpoint, checkpoint.parent, checkpoint.parents[1])
    ]
    assert states[0].consumed_samples == AT
    assert states[1:] == states[:1] * 2
    for folder, got in ((tmp_path / "no", "no such folder"), (tmp_path, "no checkpoint")):
        with pytest.raises(UserError, match=f"got {got}; expected a checkpoint folder, or a run folder"):
            read_state(folder, lambda line: None)
    (checkpoint / "run_state.json").write_text("{}")
    with pytest.raises(UserError, match=r"a damaged checkpoint: run_state.json has 2 bytes"):
        read_state(checkpoint, lambda line: None)


def test_plan_shows_what_changes_in_tokens(place, checkpoint, capsys):
    recipe = place.recipe("phases.2.tokens=2816", "phases.2.mixture={web: 1, sft: 1}")
    show_plan(recipe, [], plot=None, as_json=True, resume_from=checkpoint)
    found = json.loads(capsys.readouterr().out)
    plan = continued(recipe, [], checkpoint)
    counts, end = plan.mixture.counts(AT), plan.mixture.counts(plan.total_samples)
    assert found["changes"]["consumed_tokens"] == AT * 32
    for name, source in found["changes"]["sources"].items():
        assert source["read_tokens"] == counts.get(name, 0) * 32
        assert source["ahead_now_tokens"] == (end[name] - counts[name]) * 32
    assert found["changes"]["sources"]["code"]["ahead_before_tokens"] == (39 - counts["code"]) * 32
    assert found["changes"]["notes"] == [
        "phase decay: was 2.69K to 4.1K, now 2.69K to 5.5K",
        "phase decay: other weights",
        "learning rate: from 2.69K tokens on: schedule ends 1.41K later",
    ]
    show_plan(recipe, [], plot=None, as_json=False, resume_from=checkpoint.parents[1])
    printed = capsys.readouterr().out
    assert "read so far  ahead before  ahead now" in printed
    assert "phase decay: was 2.69K to 4.1K, now 2.69K to 5.5K" in printed
    show_plan(place.recipe(), [], plot=None, as_json=False, resume_from=checkpoint)
    assert "at 2.05K tokens  the recipe changes nothing of what lies ahead" in capsys.readouterr().out


def test_rows_keep_their_tokens_when_data_grows(place, grow):
    before = planned(place)
    grow(place.data / "web", seed=9, count=40)
    after = edited(place, before)
    rows = np.arange(before.sources["web"].num_rows)
    read = []
    for plan in (before, after):
        out = Windows.empty(len(rows), 32)
        plan.sources["web"].fill(rows, out, rows)
        read.append(out.tokens.tobytes())
    assert read[0] == read[1]


RAMP = "global_batch_size={from: 8, double_at: [1024]}"


@pytest.mark.parametrize(
    ("began", "now", "message"),
    [
        ((), ("phases.0.learning_rate.to=5e-3",), "learning_rate, the segment from 0 tokens on: to: got 0.005"),
        (
            ("phases.1.learning_rate={waves: 2, trough: 1e-3, to: 5e-3}",),
            ("phases.1.learning_rate={waves: 2, trough: 2e-3, to: 5e-3}",),
            "learning_rate, the segment from 1.02K tokens on: to: got 0.002; expected 0.001, as the checkpoint",
        ),
        (
            (),
            ("phases.1.weight_decay={to: 0}",),
            "weight_decay, the segment from 0 tokens on: end: got 1024; expected 2048",
        ),
        (
            ("phases.1.clip_grad={to: 0.1}",),
            (),
            "clip_grad, the segment from 0 tokens on: end: got 2048; expected 1024",
        ),
        ((), ("optimizer.adam_beta2=0.99",), "resume: optimizer.adam_beta2: got 0.99; expected 0.95"),
        ((), ("optimizer.lr_multipliers.embedding=2",), "optimizer.lr_multipliers.embedding: got 2.0; expected 1.0"),
        ((RAMP,), (RAMP, "coupling={rule: sqrt, reference: 8}"), "resume: coupling: got sqrt to 8; expected none"),
    ],
)
def test_curves_behind_the_checkpoint_are_locked(place, began, now, message):
    with pytest.raises(UserError) as error:
        edited(place, planned(place, *began), *now)
    assert message in str(error.value)
    assert "the past is fixed; " in str(error.value)


def test_curves_ahead_may_change(place):
    more = "phases.2.weight_decay={to: 0}", "phases.2.clip_grad=0.5", "phases.2.learning_rate={cycles: 2, to: 1e-3}"
    plan = edited(place, planned(place), *more, "optimizer.adam_beta1=0.8")
    assert list(plan.curves_beside) == ["weight_decay", "clip_grad"]
    assert edited(place, planned(place), *more, at=0).hyperparameters == plan.hyperparameters


def test_a_coupled_rate_goes_by_the_batches_that_were(place):
    """Batches of 8 to the checkpoint, 16 from there on; before it nothing is what the new ramp says."""
    coupled = "coupling={rule: linear, reference: 8}"
    before = planned(place, coupled)
    after = edited(place, before, coupled, "global_batch_size=16")
    assert after.batches.ramp.entries == ((0, 8), (AT * 32, 16))
    rates = [after.learning_rate.value(tokens) / after.schedule.value(tokens) for tokens in (32, AT * 32 - 1, AT * 32)]
    assert rates == [1.0, 1.0, 2.0]


def test_a_decay_under_way_is_cut_and_keeps_its_pace(place):
    """It runs from 2,688 to 4,096 tokens, and ends at the checkpoint of 3,200; what follows is free."""
    before = planned(place)
    begun = before.recipe.model_dump(mode="json", by_alias=True, exclude_none=True)["phases"]
    cut = {**begun[2], "tokens": 512, "learning_rate": {"to": 1e-4, "over": 1408}}
    phases = [*begun[:2], cut, {"name": "held", "tokens": 896, "learning_rate": "constant"}]
    after = edited(place, before, f"phases={json.dumps(phases)}", at=100)
    assert [after.schedule.value(tokens) for tokens in range(0, 3200, 100)] == [
        before.schedule.value(tokens) for tokens in range(0, 3200, 100)
    ]
    assert after.schedule.value(4000) == before.schedule.value(3200)
    stretched = {**cut, "learning_rate": {"to": 1e-4, "over": 2000}}
    with pytest.raises(
        UserError, match=r"learning_rate, the segment from 2.69K tokens on: end: got 4704; expected 4096"
    ):
        edited(place, before, f"phases={json.dumps([*begun[:2], stretched, phases[3]])}", at=100)
