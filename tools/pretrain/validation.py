"""Loss on held-out documents, source by source, always on the same windows."""

from mixer.loader import validation_batches

from ..recipe.planned import Plan
from ..runtime.engine import Engine
from ..runtime.processes import Layout
from ..runtime.statistics import BinSums


class Validator:
    """Held-out windows of a plan, and which sources make up the one number called ``validation``.

    That number is the plain mean over the sources of the first phase (or of ``validation.sources``): it stays
    comparable when later phases bring in other data.
    """

    def __init__(self, plan: Plan, layout: Layout) -> None:
        self._plan = plan
        self._layout = layout
        self._names = [name for name, source in plan.sources.items() if source.num_validation_rows > 0]
        main = plan.recipe.validation.sources or tuple(plan.phases[0].sources)
        self._main = [name for name in main if name in self._names]

    def losses(self, engine: Engine) -> dict[str, float]:
        """``validation/SOURCE`` of each source with held-out rows, and their mean ``validation``; same on all ranks."""
        sums = {name: self._evaluate(engine, name) for name in self._names}
        losses = {name: found.mean_loss for name, found in sums.items() if sum(found.tokens)}
        metrics = {f"validation/{name}": loss for name, loss in losses.items()}
        main = [losses[name] for name in self._main if name in losses]
        return {**metrics, "validation": sum(main) / len(main)} if main else metrics

    def _evaluate(self, engine: Engine, name: str) -> BinSums:
        batches = validation_batches(
            self._plan.sources[name],
            micro_batch_size=self._plan.recipe.micro_batch_size,
            data_parallel_rank=self._layout.data_rank,
            data_parallel_size=self._layout.data,
            max_rows=self._plan.recipe.validation.windows,
            vocab_size=self._plan.vocab_size,
        )
        return engine.evaluate(list(batches), num_bins=1)
