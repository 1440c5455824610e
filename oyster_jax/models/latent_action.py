"""The latent action model: what was done between two frames, as a product of small codes (Genie, section 2.1).

The encoder sees the changes of picture and sound up to t -> t+1 and names the last; the decoder must predict frame t+1
from the frames up to t and that name alone. Were the encoder shown the frames themselves, it would name the scene: that
too helps to predict, and is far easier to see. Sound is seen as the magnitudes of short spectra: its phase says nothing
about what was done.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from oyster_jax.config import LatentActionConfig, QuantizerConfig
from oyster_jax.models.video_tokenizer import frame_positions, patchify, unpatchify
from oyster_jax.nn.attention import grid_angles
from oyster_jax.nn.layers import dense, table
from oyster_jax.nn.quantizers import Quantizer
from oyster_jax.nn.transformer import STTransformer


class LatentActionOutput(NamedTuple):
    """What a training pass gives. T - 1 transitions of a clip of T frames."""

    code: jax.Array  # int32 [B, T - 1, factors]
    loss: jax.Array  # float32 [], what keeps latents apart and codes close to them and in use
    video: jax.Array  # float32 [B, T - 1, H, W, 3], predicted frames 1 .. T-1, about [0, 1]
    sound: jax.Array  # float32 [B, T - 1, patches, bins], predicted spectra of those frames


class LatentActionModel(nn.Module):
    cfg: LatentActionConfig

    def setup(self):
        c = self.cfg
        self.quantizers = [Quantizer(QuantizerConfig("vq", codes=n, dim=c.code_dim)) for n in c.codes]
        e, d = c.encoder, c.decoder
        rows, columns, hops = c.height // c.patch, c.width // c.patch, c.samples_per_frame // c.audio_patch
        tokens = 1 + rows * columns + hops
        self.grid_in, self.grid_out = (grid_angles(rows, columns, 1, hops, t.head_dim) for t in (e, d))
        self.video_in = dense(e.width, (None, "embed"), e.dtype, bias=True)
        self.sound_in = dense(e.width, (None, "embed"), e.dtype, bias=True)
        self.place_in = table(self, "place_in", (tokens, e.width))
        self.encoder = STTransformer(e)
        self.to_code = dense((len(c.codes), c.code_dim), ("embed", None, None), "float32", bias=True)
        self.video_past = dense(d.width, (None, "embed"), d.dtype, bias=True)
        self.sound_past = dense(d.width, (None, "embed"), d.dtype, bias=True)
        self.from_code = dense(d.width, (None, "embed"), d.dtype, bias=True)
        self.hidden = table(self, "hidden", (d.width,))
        self.place_out = table(self, "place_out", (tokens, d.width))
        self.decoder = STTransformer(d)
        self.video_out = dense(c.patch * c.patch * 3, ("embed", None), "float32", bias=True, scale=0.1)
        self.sound_out = dense(c.audio_patch // 2 + 1, ("embed", None), "float32", bias=True, scale=0.1)

    def latents(self, video_BTHWC: jax.Array, audio_BTS: jax.Array) -> jax.Array:
        """Clips to one latent for each transition, float32 [B, T - 1, factors, code_dim]."""
        c = self.cfg
        patches, spectra = (x[:, 1:] - x[:, :-1] for x in observe(c, video_BTHWC, audio_BTS))
        x = jnp.concatenate([self.video_in(patches), self.sound_in(spectra)], axis=2)
        # The transition's own token reads the others; it carries nothing but its place.
        x = jnp.pad(x, ((0, 0), (0, 0), (1, 0), (0, 0))) + self.place_in.astype(x.dtype)
        x, _ = self.encoder(x, frame_positions(*x.shape[:2]), grid=self.grid_in)
        return self.to_code(x[:, :, 0])

    def encode(self, video_BTHWC: jax.Array, audio_BTS: jax.Array) -> jax.Array:
        """uint8 [B, T, H, W, 3] and float32 [B, T, S] to codes int32 [B, T - 1, factors]: entry t led to frame t+1."""
        z = self.latents(video_BTHWC, audio_BTS)
        return jnp.stack([q(z[:, :, i]).code for i, q in enumerate(self.quantizers)], axis=-1)

    def __call__(self, video_BTHWC, audio_BTS, key: jax.Array | None = None, progress=1.0) -> LatentActionOutput:
        """Predicts frames 1 .. T-1 of clips, as `encode` takes them.

        With a `key` as in training, at `progress` 0 .. 1 of it: first the latents pass as they are, to learn what is
        worth saying; then more and more of them are rounded to codes, which are pushed apart to divide it among them.
        """
        c = self.cfg
        decided = jnp.clip((progress - 0.3) / 0.4, 0, 1)
        hide_key, *keys = [None] * (1 + len(c.codes)) if key is None else jax.random.split(key, 1 + len(c.codes))
        z = self.latents(video_BTHWC, audio_BTS)
        parts = [q(z[:, :, i], k, decided) for i, (q, k) in enumerate(zip(self.quantizers, keys))]
        vector = jnp.concatenate([p.vector for p in parts], axis=-1)
        undivided = sum(q.indecision(p.soft) for q, p in zip(self.quantizers, parts))
        loss = (sum(p.loss for p in parts) + 0.2 * decided * undivided) / len(parts)
        patches, spectra = observe(c, video_BTHWC[:, :-1], audio_BTS[:, :-1])
        hidden = jnp.zeros(patches.shape[:2], bool) if key is None else hide_frames(hide_key, patches.shape[:2])
        seen = jnp.concatenate([self.video_past(patches), self.sound_past(spectra)], axis=2)
        seen = jnp.where(hidden[..., None, None], self.hidden.astype(seen.dtype), seen)
        x = jnp.concatenate([self.from_code(vector)[:, :, None], seen], axis=2) + self.place_out.astype(seen.dtype)
        x, _ = self.decoder(x, frame_positions(*x.shape[:2]), grid=self.grid_out)
        picture, sound = jnp.split(x[:, :, 1:], [patches.shape[2]], axis=2)
        change = unpatchify(self.video_out(picture), c.patch, c.height, c.width)
        return LatentActionOutput(
            code=jnp.stack([p.code for p in parts], axis=-1),
            loss=loss + narrowness(z),
            video=last_seen(video_BTHWC[:, :-1], hidden).astype(jnp.float32) / 255 + change,
            sound=last_seen(spectra, hidden) + self.sound_out(sound),
        )


def observe(c: LatentActionConfig, video_BTHWC: jax.Array, audio_BTS: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Picture patches [B, T, N, patch * patch * 3] in [-1, 1] and square-root spectra [B, T, patches, bins]."""
    patches = patchify(video_BTHWC.astype(jnp.float32) / 127.5 - 1, c.patch)
    hops = audio_BTS.reshape(*audio_BTS.shape[:2], -1, c.audio_patch)
    spectra = jnp.abs(jnp.fft.rfft(hops * jnp.hanning(c.audio_patch)))
    return patches, jnp.sqrt(spectra + 1e-4)


def hide_frames(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """bool [B, T]: which frames the decoder goes without, half of those after the first.

    What an action does often shows a frame later only, when the frame between betrays it already: a decoder that is
    always shown that frame never asks the code for it.
    """
    return jax.random.bernoulli(key, 0.5, shape) & (jnp.arange(shape[1]) > 0)


def last_seen(x: jax.Array, hidden_BT: jax.Array) -> jax.Array:
    """Each frame of x [B, T, ...], or the one last shown before it where it is hidden."""
    last = jax.lax.cummax(jnp.where(hidden_BT, 0, jnp.arange(x.shape[1])), axis=1)
    return jnp.take_along_axis(x, last.reshape(*last.shape, *[1] * (x.ndim - 2)), axis=1)


def narrowness(z: jax.Array) -> jax.Array:
    """How far latents [B, T, factors, dim] are from filling their space, float32 []: each feature's mean should be 0,
    its spread at least 1, and no two of them the same (VICReg, arXiv 2105.04906, section 4.1).

    Fresh latents have far more in common than they differ by, so that all get the same code. The pull of this loss
    does not vanish with their spread, as that of a loss of the codes does.
    """
    z = z.reshape(-1, *z.shape[2:])
    mean = jnp.mean(z, axis=0)
    covariance = jnp.einsum("xfi,xfj->fij", z - mean, z - mean) / z.shape[0]
    variance = jnp.einsum("fii->fi", covariance)
    apart = jnp.sum(covariance**2, axis=(1, 2)) - jnp.sum(variance**2, axis=1)
    return jnp.mean(jax.nn.relu(1 - jnp.sqrt(variance + 1e-6))) + jnp.mean(mean**2) + jnp.mean(apart) / z.shape[-1]
