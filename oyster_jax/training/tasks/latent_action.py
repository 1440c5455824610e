"""The latent action stage: unlabelled clips with sound in, a small code for every transition out."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from oyster_jax.config import WorldConfig
from oyster_jax.config_dict import to_dict
from oyster_jax.config_experiment import StageConfig, TrainConfig
from oyster_jax.models.latent_action import LatentActionModel, observe
from oyster_jax.models.video_tokenizer import to_uint8
from oyster_jax.nn.quantizers import usage
from oyster_jax.training.losses import motion_weights, picture_loss
from oyster_jax.training.tasks.base import Batch, Metrics, Sample
from oyster_jax.training.tasks.tokenizers import psnr


@dataclass(frozen=True)
class LatentActionTask:
    world: WorldConfig
    train: TrainConfig
    name: str = "latent_action"

    @property
    def stage(self) -> StageConfig:
        return self.train.latent_action

    @property
    def depends(self) -> dict:
        return {"model": to_dict(self.world.latent_action), "motion_weight": self.train.motion_weight}

    @property
    def model(self) -> LatentActionModel:
        return LatentActionModel(self.world.latent_action)

    def init(self, key: jax.Array) -> dict:
        m = self.world.media
        video = jnp.zeros((1, 2, m.height, m.width, 3), jnp.uint8)
        return self.model.init(key, video, jnp.zeros((1, 2, m.samples_per_frame)))["params"]

    def loss(self, params: dict, batch: Batch, key: jax.Array, progress: jax.Array) -> tuple[jax.Array, Metrics]:
        return self._loss(params, batch, key, progress)[:2]

    def evaluate(self, params: dict, batch: Batch, key: jax.Array) -> tuple[Metrics, Sample]:
        del key
        loss, metrics, out = self._loss(params, batch)
        for i, size in enumerate(self.world.latent_action.codes):
            metrics |= {f"factor{i}/{k}": v for k, v in usage(out.code[..., i], size).items()}
        rows = jnp.stack([batch["video"][0, 1:], to_uint8(out.video[0])])
        return metrics | {"loss": loss}, Sample(rows, jnp.stack([batch["audio"][0, 1:]] * 2))

    def _loss(self, params, batch, key=None, progress=1.0):
        video, audio = batch["video"], batch["audio"]
        out = self.model.apply({"params": params}, video, audio, key, progress)
        after = video[:, 1:]
        weights = motion_weights(video, self.train.motion_weight, self.world.latent_action.patch)[:, 1:]
        _, spectra = observe(self.world.latent_action, after, audio[:, 1:])
        sound = jnp.mean((out.sound - spectra) ** 2) / (jnp.mean(spectra**2) + 0.01)
        picture = 100 * picture_loss(out.video, after, weights)
        error = jnp.mean((jnp.clip(out.video, 0, 1) - after / 255.0) ** 2)
        metrics = {"psnr": psnr(error), "sound_error": sound, "code_loss": out.loss}
        return picture + 0.1 * sound + out.loss, metrics, out
