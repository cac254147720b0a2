"""One model on one probe: the pass, and all that it says."""

from .findings import Analysis, Buckets, Pass, analyse
from .layered import LayeredModel
from .measure import measure, strata_of
from .measures import resolution
from .probe import Probe


def analysed(
    model: LayeredModel,
    probe: Probe,
    *,
    micro_batch: int = 4,
    redundant: int | None = None,
    buckets: Buckets | None = None,
    seed: int = 0,
) -> Analysis:
    """Read the probe through a model once; every process of a launch calls it and gets the same.

    ``redundant`` is the k of the k most redundant layers, a quarter of them by default. ``buckets`` of loss and entropy
    are those that ``buckets_of`` gives for the first of several models.
    """
    found = Pass.of(measure(model, probe, micro_batch=micro_batch), probe.group_sources)
    facts = {
        "num_layers": model.num_layers,
        "hidden_size": model.hidden_size,
        "context_length": model.context_length,
        "norm": model.norm,
        "residual_dtype": str(model.dtype).removeprefix("torch."),
        "resolution": resolution(model.dtype),
        "consumed_tokens": model.position,
    }
    return analyse(
        found,
        strata_of(model, probe),
        name=model.name,
        facts=facts,
        resolution=resolution(model.dtype),
        redundant=min(redundant or max(1, model.num_layers // 4), model.num_layers),
        buckets=buckets,
        seed=seed,
    )
