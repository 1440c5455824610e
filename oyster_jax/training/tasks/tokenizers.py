"""The two tokenizer stages. Each trains by itself: jointly, under one gradient clip, sound collapsed to one code."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from oyster_jax.config import WorldConfig
from oyster_jax.config_dict import to_dict
from oyster_jax.config_experiment import StageConfig, TrainConfig
from oyster_jax.models.audio_tokenizer import AudioTokenizer
from oyster_jax.models.video_tokenizer import VideoTokenizer, frame_positions, to_uint8
from oyster_jax.nn.quantizers import renewed, usage
from oyster_jax.training.losses import motion_mask, motion_weights, picture_loss, sound_loss, steadiness_loss
from oyster_jax.training.tasks.base import Batch, Metrics, Sample


@dataclass(frozen=True)
class VideoTokenizerTask:
    world: WorldConfig
    train: TrainConfig
    name: str = "video_tokenizer"

    @property
    def stage(self) -> StageConfig:
        return self.train.video_tokenizer

    @property
    def depends(self) -> dict:
        t = self.train
        model = to_dict(self.world.video_tokenizer)
        return {"model": model, "motion_weight": t.motion_weight, "steadiness": t.steadiness}

    @property
    def model(self) -> VideoTokenizer:
        return VideoTokenizer(self.world.video_tokenizer)

    def init(self, key: jax.Array) -> dict:
        m = self.world.media
        return self.model.init(key, jnp.zeros((1, 2, m.height, m.width, 3), jnp.uint8))["params"]

    def loss(self, params: dict, batch: Batch, key: jax.Array, progress: jax.Array) -> tuple[jax.Array, Metrics]:
        return self._loss(params, batch, key, progress)[:2]

    def evaluate(self, params: dict, batch: Batch, key: jax.Array) -> tuple[Metrics, Sample]:
        del key
        loss, metrics, pixels, code = self._loss(params, batch)
        metrics |= usage(code, self.world.video_tokenizer.quantizer.codebook_size)
        rows = jnp.stack([batch["video"][0], to_uint8(pixels[0])])
        return metrics | {"loss": loss}, Sample(rows, jnp.stack([batch["audio"][0]] * 2))

    def renew(self, params: dict, batch: Batch) -> dict:
        position = frame_positions(*batch["video"].shape[:2])
        z = self.model.apply({"params": params}, batch["video"], position, method="latents")[0]
        return with_renewed_codes(params, z)

    def _loss(self, params, batch, key=None, progress=1.0):
        video = batch["video"]
        pixels, quantized = self.model.apply({"params": params}, video, key)
        weights = motion_weights(video, self.train.motion_weight)
        loss = picture_loss(pixels, video, weights)
        unsteady = steadiness_loss(video, quantized, self.world.video_tokenizer.patch)
        error = (jnp.clip(pixels, 0, 1) - video / 255.0) ** 2
        moving = motion_mask(video) * jnp.ones(3)
        metrics = {
            "psnr": psnr(jnp.mean(error)),
            "psnr_moving": psnr(jnp.sum(error * moving) / jnp.maximum(moving.sum(), 1)),
            "quantizer_loss": quantized.loss,
            "unsteadiness": unsteady,
        }
        # Before the decoder has learnt to read the codes, one code for everything would be the steadiest of all.
        steadiness = self.train.steadiness * jnp.clip(2 * progress - 0.5, 0, 1)
        # The picture's loss is scaled so that it, and its gradients, are of order one next to the others.
        return 100 * loss + quantized.loss + steadiness * unsteady, metrics, pixels, quantized.code


@dataclass(frozen=True)
class AudioTokenizerTask:
    world: WorldConfig
    train: TrainConfig
    name: str = "audio_tokenizer"

    @property
    def stage(self) -> StageConfig:
        return self.train.audio_tokenizer

    @property
    def depends(self) -> dict:
        return {"model": to_dict(self.world.audio_tokenizer)}

    @property
    def model(self) -> AudioTokenizer:
        return AudioTokenizer(self.world.audio_tokenizer)

    def init(self, key: jax.Array) -> dict:
        return self.model.init(key, jnp.zeros((1, 2, self.world.media.samples_per_frame)))["params"]

    def loss(self, params: dict, batch: Batch, key: jax.Array, progress: jax.Array) -> tuple[jax.Array, Metrics]:
        del progress
        return self._loss(params, batch, key)[:2]

    def evaluate(self, params: dict, batch: Batch, key: jax.Array) -> tuple[Metrics, Sample]:
        del key
        loss, metrics, audio, code = self._loss(params, batch)
        metrics |= usage(code, self.world.audio_tokenizer.quantizer.codebook_size)
        rows = jnp.stack([batch["audio"][0], jnp.clip(audio[0], -1, 1)])
        return metrics | {"loss": loss}, Sample(jnp.stack([batch["video"][0]] * 2), rows)

    def renew(self, params: dict, batch: Batch) -> dict:
        z = self.model.apply({"params": params}, batch["audio"], method="latents")[0]
        return with_renewed_codes(params, z)

    def _loss(self, params, batch, key=None):
        audio, quantized = self.model.apply({"params": params}, batch["audio"], key)
        loss = sound_loss(audio, batch["audio"])
        power = jnp.mean(batch["audio"] ** 2) + 1e-6
        metrics = {
            "signal_to_noise": -psnr(power) + psnr(jnp.mean((audio - batch["audio"]) ** 2)),
            "quantizer_loss": quantized.loss,
        }
        return loss + quantized.loss, metrics, audio, quantized.code


def with_renewed_codes(params: dict, z: jax.Array) -> dict:
    """A tokenizer's parameters with the codes that none of the latents z [..., code_dim] chose begun anew; as they are
    where it has no codebook."""
    if "quantizer" not in params:
        return params
    return params | {"quantizer": {"codebook": renewed(params["quantizer"]["codebook"], z)}}


def psnr(mean_squared_error: jax.Array) -> jax.Array:
    """Peak signal-to-noise ratio in dB of a mean squared error against a peak of 1."""
    return -10 * jnp.log10(jnp.maximum(mean_squared_error, 1e-10))
