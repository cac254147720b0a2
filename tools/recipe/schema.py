"""The recipe's grammar: what a user may write, checked where it is defined.

A recipe lists phases on the token clock. In a phase, ``learning_rate`` starts a new segment of the curve and
``mixture`` a new mixture; where either is left out, the one before goes on through this phase without a break. So one
decay may span two mixtures, and one mixture may span warmup and stable.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from .batches import Coupling, GlobalBatchSize
from .curves import CurveSpec, Positive
from .named_schedules import NamedSchedule
from .numbers import Count, Real
from .section import Section, complaint, nearest
from .source_spec import FromMegatron, SourceSpec
from .transformer_fields import complaint_about, expected_type

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


class Model(BaseModel):
    """The network: any field of megatron-core's TransformerConfig by its own name, with Llama's choices as defaults."""

    model_config = ConfigDict(extra="allow", frozen=True)

    num_layers: Annotated[int, Field(gt=0)]
    hidden_size: Annotated[int, Field(gt=0)]
    num_attention_heads: Annotated[int, Field(gt=0)]
    num_query_groups: Annotated[int, Field(gt=0)] | None = None
    ffn_hidden_size: Annotated[int, Field(gt=0)] | None = None
    kv_channels: Annotated[int, Field(gt=0)] | None = None
    normalization: Literal["RMSNorm", "LayerNorm"] = "RMSNorm"
    gated_linear_unit: bool = True
    activation_func: Literal["silu", "gelu", "relu"] = "silu"
    add_bias_linear: bool = False
    hidden_dropout: Real = 0.0
    attention_dropout: Real = 0.0
    position_embedding_type: Literal["rope", "learned_absolute", "none"] = "rope"
    share_embeddings_and_output_weights: bool = False

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for name, value in (self.model_extra or {}).items():
            if expected := complaint_about(name):
                raise complaint(expected, got=name, place=name)
            if expected := expected_type(name, value):
                raise complaint(expected, got=value, place=name)
        heads, groups = self.num_attention_heads, self.num_query_groups or self.num_attention_heads
        if self.kv_channels is None and self.hidden_size % heads:
            raise complaint(f"a multiple of num_attention_heads ({heads})", got=self.hidden_size, place="hidden_size")
        if heads % groups:
            raise complaint(f"a divisor of num_attention_heads ({heads})", got=groups, place="num_query_groups")
        return self


class Parallelism(Section):
    """How the model is cut over processes; what is left of the world size is data parallel."""

    tensor_model_parallel_size: Annotated[int, Field(gt=0)] = 1
    pipeline_model_parallel_size: Annotated[int, Field(gt=0)] = 1
    context_parallel_size: Annotated[int, Field(gt=0)] = 1
    sequence_parallel: bool = False
    use_distributed_optimizer: bool = True
    overlap_grad_reduce: bool = False
    overlap_param_gather: bool = False


class LrMultipliers(Section):
    """What the learning rate of a group of parameters is multiplied by; each parameter is in one of them.

    A tied embedding is `embedding`; `vectors` are norms and biases, `hidden` all other matrices.
    """

    embedding: Positive = 1.0
    hidden: Positive = 1.0
    output: Positive = 1.0
    vectors: Positive = 1.0


class Optimizer(Section):
    """Adam with decoupled weight decay, under OptimizerConfig's names; a phase may change some of them."""

    weight_decay: Real = 0.1
    adam_beta1: Real = 0.9
    adam_beta2: Real = 0.95
    adam_eps: Real = 1e-8
    clip_grad: Real = 1.0
    lr_multipliers: LrMultipliers = LrMultipliers()


class PhaseSpec(Section):
    """A stretch of the clock; a part left out goes on from the phase before."""

    name: str
    tokens: Count
    learning_rate: CurveSpec | None = None
    weight_decay: CurveSpec | None = None
    adam_beta2: CurveSpec | None = None
    clip_grad: CurveSpec | None = None
    mixture: dict[str, Real] | None = None
    mixture_ramp: Literal["linear", "cosine"] | None = None

    @field_validator("tokens")
    @classmethod
    def _positive(cls, tokens: int) -> int:
        if tokens <= 0:
            raise complaint("a positive number of tokens", got=tokens)
        return tokens

    @field_validator("mixture")
    @classmethod
    def _weights(cls, mixture: dict[str, float] | None) -> dict[str, float] | None:
        for name, weight in (mixture or {}).items():
            if weight < 0:
                raise complaint("a weight of at least 0", got=weight, place=name)
        if mixture is not None and not any(mixture.values()):
            raise complaint("a weight above 0 for one source at least", got="only zeros" if mixture else "none")
        return mixture

    @model_validator(mode="after")
    def _ramp_has_an_end(self) -> Self:
        if self.mixture_ramp and self.mixture is None:
            raise complaint("a mixture beside mixture_ramp: where the ramp ends", got="none", place="mixture")
        return self


class Validation(Section):
    """Loss on held-out documents: how often, on how many windows a source, and which sources make up the one number."""

    every: Count = 0
    holdout: Real = 0.01
    windows: Annotated[int, Field(gt=0)] = 16
    sources: tuple[str, ...] | None = None

    @field_validator("holdout")
    @classmethod
    def _share(cls, share: float) -> float:
        if not 0 <= share <= 0.5:
            raise complaint("a share from 0 to 0.5", got=share)
        return share


class Checkpoints(Section):
    """How often to save, and how many to keep; the one before each decay is always kept."""

    every: Count = 0
    keep_last: Annotated[int, Field(gt=0)] = 2


class Layers(Section):
    """How far each layer's output differs from its input, on a fixed text: how often, on how many windows."""

    every: Count = 0
    probe: tuple[str, ...] = ()
    windows: Annotated[int, Field(gt=0)] = 16

    @model_validator(mode="after")
    def _has_a_probe(self) -> Self:
        if self.every and not self.probe:
            raise complaint("a token source to measure on, as [NAME=]PATH", got="none", place="probe")
        return self


class Tracking(Section):
    """Where MLflow's server or file is; without ``uri``, MLFLOW_TRACKING_URI or sqlite:///mlflow.db.

    ``journal`` keeps everything in the run's own journal and sends nothing.
    """

    uri: str | None = None
    experiment: str = "annealmix"
    log_every_steps: Annotated[int, Field(gt=0)] = 1


class StopOn(Section):
    """What ends a run at once: a loss this many nats above the mean of the last ``window_steps`` steps, or a NaN."""

    spike_nats: Annotated[Real, Field(gt=0)] = 3.0
    window_steps: Annotated[int, Field(gt=0)] = 50


class Recipe(Section):
    """One run, whole."""

    name: str
    seed: Annotated[int, Field(ge=0)] = 1234
    sequence_length: Annotated[int, Field(gt=0)]
    run_dir: Path | None = None
    model: Model
    tokenizer: Path | None = None
    vocab_size: Annotated[int, Field(gt=0)] | None = None
    precision: Literal["fp32", "bf16"] = "fp32"
    parallelism: Parallelism = Parallelism()
    optimizer: Optimizer = Optimizer()
    micro_batch_size: Annotated[int, Field(gt=0)] = 1
    global_batch_size: GlobalBatchSize
    coupling: Coupling = Coupling()
    unit: Literal["tokens", "loss_tokens"] = "tokens"
    sources: Annotated[dict[str, SourceSpec], Field(min_length=1)]
    learning_rate: NamedSchedule | None = None
    phases: Annotated[tuple[PhaseSpec, ...], Field(min_length=1)]
    skip_samples: tuple[tuple[Count, Count], ...] = ()
    skip_documents: dict[str, tuple[Count, ...]] | None = None
    from_megatron: FromMegatron | None = None
    validation: Validation = Validation()
    checkpoints: Checkpoints = Checkpoints()
    layers: Layers = Layers()
    tracking: Tracking = Tracking()
    stop_on: StopOn = StopOn()

    @model_validator(mode="after")
    def _has_a_vocabulary(self) -> Self:
        if (self.tokenizer is None) == (self.vocab_size is None):
            got = "neither" if self.tokenizer is None else "both"
            raise complaint("either tokenizer (a tokenizer.json) or vocab_size", got=got)
        return self

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        """Mixtures and validation name sources that exist; names can stand in file and metric names."""
        phases = [(f"phases[{i}].name", phase.name) for i, phase in enumerate(self.phases)]
        for place, name in [("name", self.name), *((f"sources.{name}", name) for name in self.sources), *phases]:
            if not _NAME.fullmatch(name):
                raise complaint("letters, digits, '_', '-' and '.', the first no '.'", got=name, place=place)
        for name, spec in self.sources.items():
            if name in spec.redistribute_to:
                raise complaint("other sources", got=name, place=f"sources.{name}.redistribute_to")
        for place, name in self._source_names():
            if name not in self.sources:
                near = nearest(name, self.sources)
                raise complaint(f"a source of the recipe; the nearest is {near}", got=name, place=place)
        return self

    @model_validator(mode="after")
    def _tied_embeddings_are_one(self) -> Self:
        output = self.optimizer.lr_multipliers.output
        if self.model.share_embeddings_and_output_weights and output != 1.0:
            expected = "none with tied embeddings: their multiplier is embedding"
            raise complaint(expected, got=output, place="optimizer.lr_multipliers.output")
        return self

    @model_validator(mode="after")
    def _loss_tokens_fit_a_window(self) -> Self:
        for name, spec in self.sources.items():
            if (spec.mean_loss_tokens or 0) > self.sequence_length:
                expected = f"at most sequence_length ({self.sequence_length})"
                raise complaint(expected, got=spec.mean_loss_tokens, place=f"sources.{name}.mean_loss_tokens")
        return self

    @model_validator(mode="after")
    def _first_phase_is_whole(self) -> Self:
        for key in ("mixture",) if self.learning_rate else ("mixture", "learning_rate"):
            if getattr(self.phases[0], key) is None:
                raise complaint(f"a {key} in the first phase", got="none", place=f"phases[0].{key}")
        if self.phases[0].mixture_ramp:
            expected = "none in the first phase: there is no mixture before it"
            raise complaint(expected, got=self.phases[0].mixture_ramp, place="phases[0].mixture_ramp")
        return self

    @model_validator(mode="after")
    def _one_learning_rate(self) -> Self:
        for index, phase in enumerate(self.phases) if self.learning_rate else ():
            if phase.learning_rate is not None:
                expected = "none: learning_rate at the top of the recipe is the schedule of the whole run"
                raise complaint(expected, got="one", place=f"phases[{index}].learning_rate")
        return self

    def _source_names(self) -> Iterator[tuple[str, str]]:
        """Each place that names a source, with the name."""
        for index, phase in enumerate(self.phases):
            yield from ((f"phases[{index}].mixture.{name}", name) for name in phase.mixture or ())
        for source, spec in self.sources.items():
            yield from ((f"sources.{source}.redistribute_to", name) for name in spec.redistribute_to)
        yield from ((f"validation.sources.{name}", name) for name in self.validation.sources or ())
        yield from ((f"skip_documents.{name}", name) for name in self.skip_documents or ())

    @property
    def output_folder(self) -> Path:
        """Where the run's files go."""
        return self.run_dir or Path("runs") / self.name
