"""Pictures of a report: contact sheets, spectrograms, curves."""

from pathlib import Path

import matplotlib
import numpy as np

from oyster_jax.config import MediaSpec
from oyster_jax.evaluation.metrics import log_mel

matplotlib.use("Agg")
from matplotlib import pyplot as plt


def contact_sheet(path: Path, rows: dict[str, np.ndarray], columns: int = 12, stride: int = 1) -> None:
    """Named rows of uint8 [T, H, W, 3], every `stride`-th frame, enlarged without smoothing."""
    fig, axes = plt.subplots(len(rows), 1, figsize=(columns * 1.1, 1.4 * len(rows)), squeeze=False)
    for axis, (name, video) in zip(axes[:, 0], rows.items()):
        axis.imshow(np.concatenate(list(video[: columns * stride : stride]), axis=1), interpolation="nearest")
        axis.set_title(name, fontsize=7, loc="left", pad=2)
        axis.set_xticks([])
        axis.set_yticks([])
    fig.tight_layout(pad=0.3)
    fig.savefig(path, dpi=130)
    plt.close(fig)


def spectrograms(path: Path, sounds: dict[str, np.ndarray], media: MediaSpec) -> None:
    """Named log-mel spectrograms of float sound [T, S]."""
    fig, axes = plt.subplots(len(sounds), 1, figsize=(12, 2.2 * len(sounds)), squeeze=False, sharex=True)
    for axis, (name, audio) in zip(axes[:, 0], sounds.items()):
        seconds = audio.size / media.sample_rate
        image = log_mel(audio.reshape(-1), media.sample_rate).T
        axis.imshow(image, origin="lower", aspect="auto", extent=(0, seconds, 0, len(image)), vmin=-80, vmax=0)
        axis.set_ylabel(f"{name}\nmel band")
    axes[-1, 0].set_xlabel("seconds")
    fig.tight_layout()
    fig.savefig(path, dpi=100)
    plt.close(fig)


def delta_psnr(path: Path, report: dict) -> None:
    """ΔPSNR over the horizon with its bootstrap interval."""
    horizons = [int(name.split("_")[1]) for name in report]
    mean, low, high = (np.array([r[k] for r in report.values()]) for k in ("mean", "low", "high"))
    fig, axis = plt.subplots(figsize=(5, 3))
    axis.errorbar(horizons, mean, [mean - low, high - mean], marker="o", capsize=3)
    axis.axhline(0, color="grey", linewidth=0.5)
    axis.set_xlabel("frames after the start")
    axis.set_ylabel("ΔPSNR, dB")
    fig.tight_layout()
    fig.savefig(path, dpi=100)
    plt.close(fig)


def match_curves(path: Path, curves: dict[str, dict[str, dict[str, list[float]]]]) -> None:
    """One panel for each metric over time: its mean by the second, a line for each name that has it, and for the first
    name, thinner, its 5th percentile (dotted) and its 95th (dashed). curves: by name and metric `mean`, `p5` and `p95`,
    one value a second."""
    metrics = list(dict.fromkeys(metric for own in curves.values() for metric in own))
    fig, axes = plt.subplots(-(-len(metrics) // 3), 3, figsize=(14, 2.4 * -(-len(metrics) // 3)), squeeze=False)
    for axis, metric in zip(axes.flat, metrics):
        for i, (name, own) in enumerate(curves.items()):
            if metric in own:
                at = np.arange(1, len(own[metric]["mean"]) + 1)
                axis.plot(at, own[metric]["mean"], label=name, color=f"C{i}")
                if i == 0:
                    axis.plot(at, own[metric]["p5"], ":", at, own[metric]["p95"], "--", color=f"C{i}", linewidth=0.7)
        axis.set_title(metric, fontsize=8)
        axis.legend(fontsize=6)
    fig.tight_layout()
    fig.savefig(path, dpi=100)
    plt.close(fig)
