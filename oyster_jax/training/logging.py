"""What a training shows: TensorBoard scalars, pictures and sounds, sample videos, and a progress bar."""

from fractions import Fraction
from pathlib import Path

import numpy as np
from tensorboardX import SummaryWriter
from tqdm import tqdm

from oyster_jax.config import MediaSpec
from oyster_jax.media import write_video
from oyster_jax.training.tasks.base import Sample


class Logger:
    """One stage's log below `workdir`; on processes other than the first it does nothing."""

    def __init__(self, workdir: Path, stage: str, media: MediaSpec, steps: int, start: int, active: bool = True):
        self.active, self.stage, self.media = active, stage, media
        self.samples = workdir / "samples"
        if active:
            self.samples.mkdir(parents=True, exist_ok=True)
            self.writer = SummaryWriter(str(workdir / "tensorboard" / stage), purge_step=start + 1)
            self.bar = tqdm(total=steps, initial=start, desc=stage, unit="step", dynamic_ncols=True)

    def advance(self, step: int, frames_per_second: float | None = None, metrics: dict | None = None) -> None:
        """Moves the progress bar to `step`, and logs metrics where there are some."""
        if not self.active:
            return
        self.bar.update(step - self.bar.n)
        if metrics:
            shown = {"loss": f"{metrics['loss']:.4g}", "frames/s": f"{frames_per_second:.0f}"}
            self.bar.set_postfix(shown)
            self.scalars("train", metrics | {"frames_per_second": frames_per_second}, step)

    def scalars(self, group: str, metrics: dict, step: int) -> None:
        if self.active:
            for name, value in metrics.items():
                self.writer.add_scalar(f"{group}/{name}", float(value), step)

    def evaluation(self, metrics: dict, sample: Sample | None, step: int) -> None:
        """Logs held-out metrics and a sample: contact sheet, sound, and a video with both."""
        if not self.active:
            return
        self.scalars("held_out", metrics, step)
        self.bar.write(f"{self.stage} {step}: " + "  ".join(f"{k} {float(v):.4g}" for k, v in sorted(metrics.items())))
        if sample is None:
            return
        video, audio = np.asarray(sample.video), np.asarray(sample.audio)
        sheet = np.concatenate([np.concatenate(list(row), axis=1) for row in video], axis=0)
        self.writer.add_image("sample", sheet, step, dataformats="HWC")
        for i, row in enumerate(audio):
            self.writer.add_audio(f"sample/{i}", row.reshape(-1), step, sample_rate=self.media.sample_rate)
        side_by_side = np.concatenate(list(video), axis=2)
        path = self.samples / f"{self.stage}-{step:06d}.mp4"
        write_video(path, side_by_side, audio[-1], Fraction(self.media.fps), self.media.sample_rate)

    def close(self) -> None:
        if self.active:
            self.bar.close()
            self.writer.close()
