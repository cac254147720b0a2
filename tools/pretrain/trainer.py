"""The training loop. Read ``Trainer.run`` from top to bottom: it is the whole of it."""

from dataclasses import replace

import torch.distributed as dist

from mixer.batch import GlobalBatch
from mixer.loader import Loader

from ..recipe.planned import Plan
from ..runtime.batch import pinned_bytes
from ..runtime.checkpoint import save_weights
from ..runtime.engine import Engine, StepResult
from ..runtime.optimizer import update_to_weight_ratio
from .anomaly import explain_stop
from .due import Due
from .layer_probe import LayerProbe
from .recorder import Recorder
from .state import RunState
from .surroundings import Surroundings
from .validation import Validator
from .watch import RunStoppedError, SpikeWatch


class Trainer:
    """A run under way: the plan, the engine, and where the clock stands."""

    def __init__(self, plan: Plan, engine: Engine, state: RunState, around: Surroundings) -> None:
        self.plan = plan
        self.engine = engine
        self.state = state
        self._layout = around.layout
        self._store = around.store
        self._leave = around.leave
        self._recorder = Recorder(plan, around)
        self._due = Due(plan)
        self._validator = Validator(plan, around.layout)
        self._layers = (
            LayerProbe(plan.recipe, engine, around.layout, begin=state.step == 0) if plan.recipe.layers.every else None
        )
        stop_on = plan.recipe.stop_on
        self._watch = SpikeWatch(
            spike_nats=stop_on.spike_nats, window_steps=stop_on.window_steps, recent=state.recent_losses
        )

    def run(self) -> RunState:
        """Train from where the state stands to the end of the plan, or to a request to leave."""
        if self.state.step == 0:
            self._validate()
            self._measure_layers()
        with self._loader() as batches:
            for batch in batches:
                values = self.plan.hyperparameters.at(batch.first_sample * self.plan.recipe.sequence_length)
                result = self.engine.step(batch, values, stop_requested=self._leave.asked)
                self._stop_on_anomaly(batch, result)
                self._advance(batch)
                self._recorder.step(batch, result, values, self._update_ratio(batch))
                if self._due.validation(self.state):
                    self._validate()
                if self._due.layers(self.state):
                    self._measure_layers()
                if self._due.checkpoint(self.state) or result.sums.stop_requested:
                    self._save()
                if result.sums.stop_requested:
                    break
        return self.state

    def _loader(self) -> Loader:
        plan = self.plan
        return Loader(
            plan.mixture,
            plan.sources,
            micro_batch_size=plan.recipe.micro_batch_size,
            data_parallel_rank=self._layout.data_rank,
            data_parallel_size=self._layout.data,
            batch_sizes=plan.batches,
            start_step=self.state.step,
            vocab_size=plan.vocab_size,
            allocate=pinned_bytes,
        )

    def _advance(self, batch: GlobalBatch) -> None:
        consumed = batch.first_sample + batch.size
        self.state = replace(
            self.state,
            step=batch.step + 1,
            consumed_samples=consumed,
            consumed_tokens=consumed * self.plan.recipe.sequence_length,
            recent_losses=self._watch.recent,
        )

    def _update_ratio(self, batch: GlobalBatch) -> float | None:
        """Measured on the steps whose line says so: it reads every weight once."""
        return update_to_weight_ratio(self.engine.optimizer) if self._due.update_ratio(batch.step) else None

    def _validate(self) -> None:
        losses = self._validator.losses(self.engine)
        self._recorder.evaluation(losses, step=self.state.step, tokens=self.state.consumed_tokens)
        self._recorder.restart_clock()

    def _measure_layers(self) -> None:
        if self._layers:
            metrics = self._layers.metrics()
            self._recorder.evaluation(metrics, step=self.state.step, tokens=self.state.consumed_tokens)
            self._recorder.restart_clock()

    def _save(self) -> None:
        state = replace(self.state, before_decay=self._due.is_before_decay(self.state))
        self._store.write(
            state,
            lambda folder: save_weights(folder, self.engine.model, self.engine.optimizer),
            is_first=self._layout.is_first,
            barrier=dist.barrier,
        )
        if self._layout.is_first:
            self._store.prune(self.plan.recipe.checkpoints.keep_last)
        self._recorder.restart_clock()

    def _stop_on_anomaly(self, batch: GlobalBatch, result: StepResult) -> None:
        complaint = self._watch.complaint(result.sums.mean_loss, result.gradient_norm)
        if complaint and not self._layout.is_first:
            raise RunStoppedError(complaint)  # rank 0 tells the whole story
        if complaint:
            raise explain_stop(complaint, batch, self.plan, self._store)
