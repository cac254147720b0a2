"""``annealmix layers``: open models one after the other, read the probe through each, write the report."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .ablate import Ablation, Run, ablated, ablated_spans
from .analysis import analysed
from .figures import draw_figures
from .findings import Analysis, Buckets, buckets_of
from .folder import check_folder, write_folder
from .layered import LayeredModel, memory_end_told
from .measure import strata_of
from .opening import Options, check_length, open_model, paths_of, probe_for
from .order import parse_run
from .page import page
from .probe import Probe
from .progress import WindowsBar, windows_bar
from .report import EARLIER, PAGE, Report, write_tables
from .sentences import summary_lines
from .strata import Strata
from .trajectory import Trajectory, apart, trajectory


@dataclass
class _Study:
    """What the models have in common, and what has been found so far."""

    options: Options
    bar: WindowsBar
    probe: Probe | None = None
    buckets: Buckets | None = None
    analyses: list[Analysis] = field(default_factory=list)
    runs: list[Path | None] = field(default_factory=list)
    ablations: dict[str, list[Ablation]] = field(default_factory=dict)

    def add(self, path: Path) -> None:
        """Open a model, read the probe through it, and let it go."""
        model = open_model(path, self.options)
        if model.name in self.ablations:
            model = replace(model, name=str(path))
        spans = [parse_run("--ablate-span", t, model.num_layers, force=True) for t in self.options.ablate_spans]
        self.probe = self.probe or replace(probe_for(model, self.options), on_read=self.bar.read)
        check_length(model, self.probe.sequence_length)
        self.bar.begin(model.name, self.probe.num_windows * _passes(model, self.options))
        analysis = analysed(
            model,
            self.probe,
            micro_batch=self.options.micro_batch,
            redundant=self.options.redundant,
            buckets=self.buckets,
            seed=self.options.seed,
        )
        self.buckets = self.buckets or buckets_of(analysis.found, strata_of(model, self.probe))
        self.analyses.append(analysis)
        self.runs.append(model.run)
        self.ablations[analysis.name] = _ablations(model, self.probe, analysis, spans, self.options)

    def report(self) -> Report:
        """All of it."""
        assert self.probe is not None
        facts = _probe_facts(self.probe, self.analyses[0], self.options)
        trajectory = _trajectory(self.analyses, self.runs, self.probe, self.options)
        return Report(self.analyses, facts, self.ablations, trajectory)


def run(models: Sequence[Path], options: Options) -> Report | None:
    """Analyse models on one probe and write the report; every process of a launch calls it.

    The first process writes and gets the report, the others None. Raises UserError or DataError where a model or data
    can't be read.
    """
    from ..runtime.processes import is_first, prepare

    prepare()
    check_folder(options.out, earlier=EARLIER, models=models)
    with memory_end_told(), windows_bar() as bar:
        study = _Study(options, bar)
        for path in paths_of(models, options):
            study.add(path)
    if not is_first():
        return None
    report = study.report()
    write_folder(options.out, lambda folder: _write(report, folder), earlier=EARLIER)
    return report


def _passes(model: LayeredModel, options: Options) -> int:
    """How often the probe is read: once for the measures, and for each kind of ablation with all layers and without."""
    of_parts = len(options.ablate) * (1 + model.num_layers)
    return 1 + of_parts + (1 + len(options.ablate_spans) if options.ablate_spans else 0)


def _ablations(
    model: LayeredModel, probe: Probe, analysis: Analysis, spans: Sequence[Run], options: Options
) -> list[Ablation]:
    given = {"micro_batch": options.micro_batch, "seed": options.seed}
    found = [ablated(model, probe, part, analysis.found, **given) for part in options.ablate]
    if spans:
        found.append(ablated_spans(model, probe, spans, analysis.found, **given))
    return found


def _trajectory(
    analyses: Sequence[Analysis], runs: Sequence[Path | None], probe: Probe, options: Options
) -> Trajectory | None:
    """Where all models are checkpoints of one run, at known and different positions: those after its first token."""
    tokens = [analysis.facts["consumed_tokens"] for analysis in analyses]
    if None in tokens or None in runs or len(set(runs)) > 1 or len(set(tokens)) < len(tokens):
        return None
    strata = Strata(tuple(probe.names), probe.sequence_length, frozenset())
    order = apart(tokens)
    if len(order) < 2:
        return None
    return trajectory([analyses[i] for i in order], [tokens[i] for i in order], strata, seed=options.seed)


def _probe_facts(probe: Probe, analysis: Analysis, options: Options) -> dict[str, Any]:
    documents = probe.num_documents(analysis.found.group_tokens)
    return {
        "sources": probe.names,
        "windows": probe.num_windows,
        "sequence_length": probe.sequence_length,
        "documents": sum(documents),
        "documents_of_sources": documents,
        "tokens": int(analysis.found.group_tokens.sum()),
        "special_ids": sorted(probe.special),
        "seed": options.seed,
    }


def _write(report: Report, folder: Path) -> None:
    write_tables(report, folder)
    figures = draw_figures(report, folder)
    (folder / PAGE).write_text(page(report, figures, folder), encoding="utf-8")


def summary(report: Report, out: Path) -> str:
    """What the command prints: the layers of each model, a line for each finding, and where the report is."""
    return "\n".join([*summary_lines(report), str(out / PAGE)])
