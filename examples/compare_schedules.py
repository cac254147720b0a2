"""Four learning-rate schedules on one model and one mixture, at equal tokens, several seeds: which loss do they reach?

    annealmix prepare python-corpus --out data/python
    python examples/compare_schedules.py --out runs/schedules --seeds 3

Runs that are done are not run again, so an interrupted comparison goes on where it stood. Writes results.json,
results.md and schedules.png into the folder.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
from annealmix.pretrain.report import measured_curves
from scipy.stats import t as student_t

from schedulers.words import format_tokens

matplotlib.use("Agg")
import matplotlib.pyplot as plt

WARMUP = "{name: warmup, tokens: 30K, learning_rate: {from: 2e-5, to: 2e-3}, mixture: {code: 0.6, prose: 0.4}}"
ARMS = {
    "wsd": "{name: stable, tokens: 450K, learning_rate: constant}, "
    "{name: decay, tokens: 120K, learning_rate: {to: 0, shape: 1-sqrt}}",
    "cosine": "{name: decay, tokens: 570K, learning_rate: {to: 0, shape: cosine}}",
    "linear": "{name: decay, tokens: 570K, learning_rate: {to: 0}}",
    "waves": "{name: waves, tokens: 330K, learning_rate: {waves: 3, trough: 4e-4, to: 1e-3}}, "
    "{name: stable, tokens: 120K, learning_rate: constant}, "
    "{name: decay, tokens: 120K, learning_rate: {to: 0, shape: 1-sqrt}}",
}
REFERENCE = "wsd"
SETTINGS = (
    "sources={code: {path: data/python/code}, prose: {path: data/python/prose}}",
    "validation={every: 120K, windows: 128, holdout: 0.05}",
    "checkpoints={every: 0}",
    "tracking={uri: journal}",
)


def main() -> None:
    """Run what is not done yet, then write the table and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/schedules"), help="of the runs and the results")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each schedule")
    given = parser.parse_args()
    runs = {arm: [given.out / f"{arm}-{seed}" for seed in range(1, given.seeds + 1)] for arm in ARMS}
    for seed in range(1, given.seeds + 1):
        for arm, phases in ARMS.items():
            train(runs[arm][seed - 1], phases, seed)
    losses = {arm: [measured_curves(run)["validation"][1][-1] for run in of_arm] for arm, of_arm in runs.items()}
    (given.out / "results.json").write_text(json.dumps(losses, indent=1))
    (given.out / "results.md").write_text(table(losses))
    draw(runs, given.out / "schedules.png")
    print(table(losses), end="")


def train(run: Path, phases: str, seed: int) -> None:
    """One run of the quickstart's model, unless it has its report already."""
    if (run / "report.txt").exists():
        return
    settings = (f"name={run.name}", f"seed={seed}", f"run_dir={run}", f"phases=[{WARMUP}, {phases}]", *SETTINGS)
    overrides = [part for setting in settings for part in ("--set", setting)]
    subprocess.run([sys.executable, "-m", "annealmix", "pretrain", "configs/quickstart.yaml", *overrides], check=True)


def table(losses: dict[str, list[float]]) -> str:
    """Mean and standard error of each arm, and its paired difference to the reference with a 95 % t interval."""
    lines = [f"| schedule | held-out loss | beside {REFERENCE}, same seeds | each seed |", "|---|---|---|---|"]
    for arm, values in losses.items():
        pairs = [value - other for value, other in zip(values, losses[REFERENCE], strict=True)]
        beside = "" if arm == REFERENCE else interval(pairs)
        each = ", ".join(f"{value:.4f}" for value in values)
        lines.append(f"| {arm} | {statistics.mean(values):.4f} ± {error(values):.4f} | {beside} | {each} |")
    return "\n".join(lines) + "\n"


def error(values: list[float]) -> float:
    """Standard error of the mean; needs two values."""
    return statistics.stdev(values) / len(values) ** 0.5


def interval(pairs: list[float]) -> str:
    """Mean difference and its 95 % interval by Student's t."""
    mean, half = statistics.mean(pairs), float(student_t.ppf(0.975, len(pairs) - 1)) * error(pairs)
    return f"{mean:+.4f} ({mean - half:+.4f} to {mean + half:+.4f})"


def draw(runs: dict[str, list[Path]], path: Path) -> None:
    """Learning rate over held-out loss, on one token axis; the band spans the seeds."""
    figure, axes = plt.subplots(2, 1, sharex=True, figsize=(9, 6), height_ratios=[1, 1.6], layout="constrained")
    for arm, of_arm in runs.items():
        curves = [measured_curves(run) for run in of_arm]
        (line,) = axes[0].plot(*curves[0]["learning_rate"], linewidth=1.5, label=arm)
        tokens, losses = curves[0]["validation"][0], np.array([curve["validation"][1] for curve in curves])
        axes[1].plot(tokens, losses.mean(0), marker="o", markersize=3, linewidth=1.3, color=line.get_color(), label=arm)
        axes[1].fill_between(tokens, losses.min(0), losses.max(0), color=line.get_color(), alpha=0.2, linewidth=0)
    axes[0].set_ylabel("learning rate")
    axes[1].set_ylabel("held-out loss (nats per token)")
    axes[1].set_ylim(*_loss_limits(axes[1]))
    axes[1].set_xlabel("tokens")
    axes[1].xaxis.set_major_formatter(lambda value, _: format_tokens(int(value)))
    axes[1].legend(frameon=False)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _loss_limits(axis: plt.Axes) -> tuple[float, float]:
    """Without the first points, next to which all else looks flat."""
    values = np.concatenate([line.get_ydata()[2:] for line in axis.lines])
    return float(values.min()) - 0.05, float(values.max()) + 0.05


if __name__ == "__main__":
    main()
