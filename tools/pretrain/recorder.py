"""What a run writes down: metrics of each step, held-out losses, and which samples each step read."""

import json
import time
from collections.abc import Mapping

from mixer.batch import GlobalBatch
from schedulers.hyperparameters import Values

from ..recipe.planned import Plan
from ..runtime.engine import StepResult
from ..runtime.statistics import BinSums
from .surroundings import Surroundings


class Recorder:
    """Turns results into metrics for the tracker and facts for the display; rank 0's speaks, the others' are silent."""

    def __init__(self, plan: Plan, around: Surroundings) -> None:
        self._plan = plan
        self._tracker = around.tracker
        self._display = around.display
        reads = plan.recipe.output_folder / "reads.jsonl"
        self._reads = reads.open("a", encoding="utf-8") if around.layout.is_first else None
        self._last_step_s = time.perf_counter()

    def step(self, batch: GlobalBatch, result: StepResult, values: Values, update_ratio: float | None) -> None:
        """One step is done."""
        consumed = (batch.first_sample + batch.size) * self._plan.recipe.sequence_length
        speed = batch.size * self._plan.recipe.sequence_length / self._seconds_since_last_step()
        loss = result.sums.mean_loss
        self._display.step(
            tokens=consumed,
            phase=self._plan.phase_at(batch.first_sample).name,
            loss=loss,
            learning_rate=values.learning_rate,
            tokens_per_second=speed,
        )
        beside = {"weight_decay": values.weight_decay, "adam_beta2": values.beta2, "clip_grad": values.clip_grad}
        metrics = {
            "loss": loss,
            "learning_rate": values.learning_rate,
            **{name: value for name, value in beside.items() if name in self._plan.curves_beside},
            "gradient_norm": result.gradient_norm,
            "global_batch_size": batch.size,
            "tokens_per_second": speed,
            **({} if update_ratio is None else {"update_to_weight": update_ratio}),
            **source_metrics(batch, result.sums, self._plan.mixture.names),
        }
        if batch.step % self._plan.recipe.tracking.log_every_steps == 0:
            self._tracker.metrics(metrics, step=batch.step + 1, tokens=consumed)
        self._write_read(batch, result.sums.digest)

    def evaluation(self, metrics: Mapping[str, float], *, step: int, tokens: int) -> None:
        """What was measured after ``step`` steps: held-out losses, layers."""
        self._tracker.metrics(dict(metrics), step=step, tokens=tokens)

    def restart_clock(self) -> None:
        """What was done since the last step, a save or a validation, is no part of the next step's speed."""
        self._last_step_s = time.perf_counter()

    def _seconds_since_last_step(self) -> float:
        now = time.perf_counter()
        seconds, self._last_step_s = now - self._last_step_s, now
        return max(seconds, 1e-9)

    def _write_read(self, batch: GlobalBatch, digest: int) -> None:
        """One line a step: which samples, and a digest of their tokens that no layout changes."""
        if self._reads:
            line = {"step": batch.step, "first_sample": batch.first_sample, "size": batch.size, "digest": digest}
            self._reads.write(json.dumps(line) + "\n")
            self._reads.flush()


def source_metrics(batch: GlobalBatch, sums: BinSums, names: tuple[str, ...]) -> dict[str, float]:
    """Loss of each source and of each epoch of it, its share of the loss' tokens, of the loss and of the samples."""
    totals: dict[str, tuple[float, float, int]] = {}
    metrics: dict[str, float] = {}
    bins = zip(batch.bins, sums.loss, sums.tokens, batch.bin_samples, strict=True)
    for (source, epoch), loss, tokens, samples in bins:
        before = totals.get(names[source], (0.0, 0.0, 0))
        totals[names[source]] = before[0] + loss, before[1] + tokens, before[2] + samples
        if tokens:
            metrics[f"loss/{names[source]}/epoch_{epoch}"] = loss / tokens
    all_loss = sum(sums.loss) or 1.0
    for name, (loss, tokens, samples) in totals.items():
        metrics[f"share/{name}"] = samples / batch.size
        metrics[f"share_of_loss/{name}"] = loss / all_loss
        if tokens:
            metrics[f"loss/{name}"] = loss / tokens
    return metrics
