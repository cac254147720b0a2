"""``annealmix layers``: open models one after the other, read the probe through each, write the report."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mixer.manifest import Manifest

from ..errors import UserError
from .ablate import Ablation, Part, ablated, ablated_spans
from .figures import draw_figures
from .findings import Analysis, Buckets, Pass, analyse, buckets_of
from .layered import LayeredModel
from .measure import measure, strata_of
from .measures import resolution
from .order import parse_run
from .page import LAYER_HEAD, correlation_line, layer_cells, loss_line, page, probe_line, span_line, verdict_line
from .probe import Probe, open_probe
from .report import Report, write_folder, write_tables
from .strata import Strata
from .trajectory import Trajectory, trajectory


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    data: list[str]
    out: Path
    recipe: Path | None = None
    overrides: tuple[str, ...] = ()
    windows: int = 64
    sequence_length: int | None = None
    micro_batch: int = 4
    redundant: int | None = None
    ablate: tuple[Part, ...] = ()
    ablate_spans: tuple[str, ...] = ()
    any_tokenizer: bool = False
    seed: int = 0


@dataclass
class _Study:
    """What the models have in common, and what has been found so far."""

    options: Options
    probe: Probe | None = None
    buckets: Buckets | None = None
    analyses: list[Analysis] = field(default_factory=list)
    ablations: dict[str, list[Ablation]] = field(default_factory=dict)

    def add(self, path: Path) -> None:
        """Open a model, read the probe through it, and let it go."""
        model = open_model(path, self.options)
        if model.name in self.ablations:
            model = replace(model, name=str(path))
        self.probe = self.probe or probe_for(model, self.options)
        check_fit(model, self.options)
        analysis = _analyse(model, self.probe, self.options, self.buckets)
        self.buckets = self.buckets or buckets_of(analysis.found, strata_of(model, self.probe))
        self.analyses.append(analysis)
        self.ablations[analysis.name] = _ablations(model, self.probe, analysis, self.options)

    def report(self) -> Report:
        """All of it."""
        assert self.probe is not None
        facts = _probe_facts(self.probe, self.analyses[0], self.options)
        return Report(self.analyses, facts, self.ablations, _trajectory(self.analyses, self.probe, self.options))


def run(models: Sequence[Path], options: Options) -> Report | None:
    """Analyse models on one probe and write the report; every process of a launch calls it.

    The first process writes and gets the report, the others None. Raises UserError or DataError where a model or data
    can't be read.
    """
    from ..runtime.processes import is_first, prepare

    prepare()
    study = _Study(options)
    for path in list(_each_checkpoint(models)):
        study.add(path)
    if not is_first():
        return None
    report = study.report()
    write_folder(options.out, lambda folder: _write(report, folder))
    return report


def _each_checkpoint(models: Sequence[Path]) -> Iterator[Path]:
    """Folders of Hugging Face models as they are, runs as their checkpoints, oldest first."""
    from .hf_model import is_folder_of_hf
    from .own_model import checkpoints_in

    for path in models:
        found = [path] if is_folder_of_hf(path) else checkpoints_in(path)
        if not found:
            expected = "a checkpoint, a run's folder with checkpoints, or a folder with a config.json"
            raise UserError(str(path), got="none" if path.exists() else "no such folder", expected=expected)
        yield from found


def newest_checkpoint(path: Path) -> Path:
    """One model at a path: of a run the last checkpoint."""
    return list(_each_checkpoint([path]))[-1]


def open_model(path: Path, options: Options) -> LayeredModel:
    """Open one model of either kind."""
    from .hf_model import is_folder_of_hf, open_hf
    from .own_model import open_own

    return open_hf(path) if is_folder_of_hf(path) else open_own(path, options.recipe, options.overrides)


def probe_for(model: LayeredModel, options: Options) -> Probe:
    """The probe, made for the first model: its window length and its special tokens."""
    check_fit(model, options)
    length = options.sequence_length or model.sequence_length
    return open_probe(options.data, sequence_length=length, windows=options.windows, special=model.special)


def check_fit(model: LayeredModel, options: Options) -> None:
    """Refuse text of another tokenizer, where both are known."""
    for text in options.data:
        path = text.rpartition("=")[2]
        manifest = Manifest.read(path)
        known = manifest.tokenizer_sha256 if manifest else None
        if known and model.tokenizer and known != model.tokenizer and not options.any_tokenizer:
            got = f"{path}, written with tokenizer {known[:12]}"
            fix = "prepare the text with it, or say --any-tokenizer where the two are the same in other words"
            raise UserError(model.name, got=got, expected=f"text of its tokenizer {model.tokenizer[:12]}", fix=fix)


def _analyse(model: LayeredModel, probe: Probe, options: Options, buckets: Buckets | None) -> Analysis:
    found = Pass.of(measure(model, probe, micro_batch=options.micro_batch))
    facts = {
        "num_layers": model.num_layers,
        "hidden_size": model.hidden_size,
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
        redundant=min(options.redundant or max(1, model.num_layers // 4), model.num_layers),
        buckets=buckets,
        seed=options.seed,
    )


def _ablations(model: LayeredModel, probe: Probe, analysis: Analysis, options: Options) -> list[Ablation]:
    given = {"micro_batch": options.micro_batch, "seed": options.seed}
    found = [ablated(model, probe, part, analysis.found, **given) for part in options.ablate]
    if options.ablate_spans:
        texts = options.ablate_spans
        spans = [parse_run("--ablate-span", text, model.num_layers, force=True) for text in texts]
        found.append(ablated_spans(model, probe, spans, analysis.found, **given))
    return found


def _trajectory(analyses: Sequence[Analysis], probe: Probe, options: Options) -> Trajectory | None:
    """Where all models are checkpoints of known and different positions, with as many layers."""
    tokens = [analysis.facts["consumed_tokens"] for analysis in analyses]
    depths = {analysis.facts["num_layers"] for analysis in analyses}
    if len(analyses) < 2 or None in tokens or len(set(tokens)) < len(tokens) or len(depths) > 1:
        return None
    strata = Strata(tuple(probe.names), probe.sequence_length, frozenset())
    return trajectory(analyses, tokens, strata, seed=options.seed)


def _probe_facts(probe: Probe, analysis: Analysis, options: Options) -> dict[str, Any]:
    return {
        "sources": probe.names,
        "windows": probe.num_windows,
        "sequence_length": probe.sequence_length,
        "documents": probe.num_documents,
        "tokens": int(analysis.found.group_tokens.sum()),
        "special_ids": sorted(probe.special),
        "seed": options.seed,
    }


def _write(report: Report, folder: Path) -> None:
    write_tables(report, folder)
    figures = draw_figures(report, folder)
    (folder / "report.html").write_text(page(report, figures, folder), encoding="utf-8")


def summary(report: Report, out: Path) -> str:
    """What the command prints: the last model's layers, a line for each finding, and where the report is."""
    last = report.analyses[-1]
    rows = ["".join(f"{cell:>24}" for cell in row[:4] + row[8:]) for row in layer_cells(last)]
    head = "".join(f"{cell:>24}" for cell in LAYER_HEAD[:4] + LAYER_HEAD[8:])
    lines = [probe_line(report.probe), f"{last.name}: {loss_line(last)} {span_line(last)}", head, *rows]
    lines += [f"without {a.part}: {correlation_line(a)}" for a in report.ablations[last.name]]
    lines += [verdict_line(report.trajectory)] if report.trajectory else []
    return "\n".join([*lines, str(out / "report.html")])
