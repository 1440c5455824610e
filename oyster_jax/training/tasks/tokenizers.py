"""The two tokenizer stages. Each trains by itself: jointly, under one gradient clip, sound collapsed to one code."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from oyster_jax.config import WorldConfig
from oyster_jax.config_dict import to_dict
from oyster_jax.config_experiment import StageConfig, TrainConfig
from oyster_jax.models.audio_tokenizer import AudioTokenizer
from oyster_jax.models.video_tokenizer import VideoTokenizer, frame_positions, patchify, to_uint8
from oyster_jax.nn.quantizers import renewed, usage
from oyster_jax.training.losses import (
    motion_mask,
    motion_weights,
    picture_loss,
    sound_loss,
    steadiness_loss,
    still_patches,
)
from oyster_jax.training.tasks.base import Batch, Metrics, Sample

DRAWN_WELL, DRAWN_ALIKE = 1e-3, 3e-4  # mean squared errors of a patch, 30 and 35 dB


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
        weights = {"motion_weight": t.motion_weight, "steadiness": t.steadiness, "likeness": t.likeness}
        return {"model": model} | weights

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
        metrics |= usage(code, self.world.video_tokenizer.codes)
        rows = jnp.stack([batch["video"][0], to_uint8(pixels[0])])
        return metrics | {"loss": loss}, Sample(rows, jnp.stack([batch["audio"][0]] * 2))

    def renew(self, params: dict, batch: Batch) -> dict:
        position = frame_positions(*batch["video"].shape[:2])
        z = self.model.apply({"params": params}, batch["video"], position, method="latents")[0]
        of_patches, of_frames = jnp.split(z, [self.world.video_tokenizer.patches], axis=2)
        return with_renewed_codes(with_renewed_codes(params, of_patches), of_frames, "frame_quantizer")

    def _loss(self, params, batch, key=None, progress=1.0):
        video, c = batch["video"], self.world.video_tokenizer
        pixels, quantized = self.model.apply({"params": params}, video, key)
        weights = motion_weights(video, self.train.motion_weight, c.patch)
        loss = picture_loss(pixels, video, weights)
        own = jax.tree.map(lambda x: x[:, :, : c.patches], (quantized.soft, quantized.vector))
        unsteady = steadiness_loss(*own, still_patches(video, c.patch))
        swapped, unlike, shared = 0.0, 0.0, {}
        if c.frame_codes:
            swapped, alike = self._swapped(params, video, quantized)
            unlike = steadiness_loss(*own, alike)
            shared = {"swapped_loss": swapped, "alike": jnp.sum(alike) / max(alike.size, 1), "unlike": unlike}
        error = (jnp.clip(pixels, 0, 1) - video / 255.0) ** 2
        moving = motion_mask(video) * jnp.ones(3)
        metrics = {
            "psnr": psnr(jnp.mean(error)),
            "psnr_moving": psnr(jnp.sum(error * moving) / jnp.maximum(moving.sum(), 1)),
            "quantizer_loss": quantized.loss,
            "unsteadiness": unsteady,
        } | shared
        # Before the decoder has learnt to read the codes, one code for everything would be the steadiest of all.
        steadiness = self.train.steadiness * jnp.clip(2 * progress - 0.5, 0, 1)
        # The picture's loss is scaled so that it, and its gradients, are of order one next to the others.
        steady = steadiness * unsteady + self.train.likeness * unlike
        return 100 * (loss + swapped) + quantized.loss + steady, metrics, pixels, quantized.code

    def _swapped(self, params, video, quantized):
        """How badly frames are drawn with the patches' codes of the frame before, where the two have other codes of
        their own; and which patches [B, T - 1, N] are then drawn well.

        When the light changes nearly everything stays where it is, so what a patch shows and what its frame is like
        are told apart. What did move counts less the worse it is drawn (Charbonnier's loss).
        """
        c = self.world.video_tokenizer
        own, shared = jnp.split(quantized.vector, [c.patches], axis=2)
        vector = jnp.concatenate([own[:, :-1], shared[:, 1:]], axis=2)
        drawn, _ = self.model.apply({"params": params}, vector, frame_positions(*vector.shape[:2]), method="paint")
        error = patchify(drawn - video[:, 1:] / 255.0, c.patch)
        error = jnp.mean(error**2, axis=-1)
        changed = (quantized.code[:, 1:, -1:] != quantized.code[:, :-1, -1:]) * jnp.ones_like(error)
        counted = 2 * DRAWN_WELL * (jnp.sqrt(1 + error / DRAWN_WELL) - 1)
        loss = jnp.sum(counted * changed) / jnp.maximum(jnp.sum(changed), 1)
        return loss, (error < DRAWN_ALIKE) & (changed > 0)


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


def with_renewed_codes(params: dict, z: jax.Array, name: str = "quantizer") -> dict:
    """A tokenizer's parameters with the codes of the quantizer `name` that none of the latents z [..., code_dim] chose
    begun anew; as they are where it has no codebook."""
    if name not in params:
        return params
    return params | {name: {"codebook": renewed(params[name]["codebook"], z)}}


def psnr(mean_squared_error: jax.Array) -> jax.Array:
    """Peak signal-to-noise ratio in dB of a mean squared error against a peak of 1."""
    return -10 * jnp.log10(jnp.maximum(mean_squared_error, 1e-10))
