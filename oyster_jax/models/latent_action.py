"""The latent action model: what was done between two frames, as a product of small codes (Genie, section 2.1).

The encoder sees frames up to t+1, picture and sound, and names the change t -> t+1; the decoder must predict frame t+1
from the frames up to t and that name alone. Sound is seen as the magnitudes of short spectra: its phase says nothing
about what was done.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from oyster_jax.config import LatentActionConfig, QuantizerConfig
from oyster_jax.models.video_tokenizer import frame_positions, patchify, unpatchify
from oyster_jax.nn.layers import dense, table
from oyster_jax.nn.quantizers import Quantizer
from oyster_jax.nn.transformer import STTransformer


class LatentActionOutput(NamedTuple):
    """What a training pass gives. T - 1 transitions of a clip of T frames."""

    code: jax.Array  # int32 [B, T - 1, factors]
    vector: jax.Array  # float32 [B, T - 1, factors * code_dim], straight through
    loss: jax.Array  # float32 [], the codebooks' loss
    video: jax.Array  # float32 [B, T - 1, H, W, 3], predicted frames 1 .. T-1, about [0, 1]
    sound: jax.Array  # float32 [B, T - 1, patches, bins], predicted spectra of those frames
    latent: jax.Array  # float32 [B, T - 1, factors, code_dim], before quantization


class LatentActionModel(nn.Module):
    cfg: LatentActionConfig

    def setup(self):
        c = self.cfg
        self.quantizers = [Quantizer(QuantizerConfig("vq", codes=n, dim=c.code_dim)) for n in c.codes]
        tokens = 1 + (c.height // c.patch) * (c.width // c.patch) + c.samples_per_frame // c.audio_patch
        e, d = c.encoder, c.decoder
        self.video_in = dense(e.width, (None, "embed"), e.dtype, bias=True)
        self.sound_in = dense(e.width, (None, "embed"), e.dtype, bias=True)
        self.place_in = table(self, "place_in", (tokens, e.width))
        self.encoder = STTransformer(e)
        self.to_code = dense((len(c.codes), c.code_dim), ("embed", None, None), "float32", bias=True)
        self.video_past = dense(d.width, (None, "embed"), d.dtype, bias=True)
        self.sound_past = dense(d.width, (None, "embed"), d.dtype, bias=True)
        self.from_code = dense(d.width, (None, "embed"), d.dtype, bias=True)
        self.place_out = table(self, "place_out", (tokens, d.width))
        self.decoder = STTransformer(d)
        self.video_out = dense(c.patch * c.patch * 3, ("embed", None), "float32", bias=True, scale=0.1)
        self.sound_out = dense(c.audio_patch // 2 + 1, ("embed", None), "float32", bias=True, scale=0.1)

    def latents(self, video_BTHWC: jax.Array, audio_BTS: jax.Array) -> jax.Array:
        """Clips to one latent for each transition, float32 [B, T - 1, factors, code_dim]."""
        c = self.cfg
        patches, spectra = observe(c, video_BTHWC, audio_BTS)
        x = jnp.concatenate([self.video_in(patches), self.sound_in(spectra)], axis=2)
        # The transition's own token reads the frame; it carries nothing but its place.
        x = jnp.pad(x, ((0, 0), (0, 0), (1, 0), (0, 0))) + self.place_in.astype(x.dtype)
        x, _ = self.encoder(x, frame_positions(*x.shape[:2]))
        return self.to_code(x[:, 1:, 0])

    def encode(self, video_BTHWC: jax.Array, audio_BTS: jax.Array) -> jax.Array:
        """uint8 [B, T, H, W, 3] and float32 [B, T, S] to codes int32 [B, T - 1, factors]: entry t led to frame t+1."""
        z = self.latents(video_BTHWC, audio_BTS)
        return jnp.stack([q(z[:, :, i]).code for i, q in enumerate(self.quantizers)], axis=-1)

    def __call__(self, video_BTHWC: jax.Array, audio_BTS: jax.Array) -> LatentActionOutput:
        c = self.cfg
        z = self.latents(video_BTHWC, audio_BTS)
        parts = [q(z[:, :, i]) for i, q in enumerate(self.quantizers)]
        vector = jnp.concatenate([p.vector for p in parts], axis=-1)
        patches, spectra = observe(c, video_BTHWC[:, :-1], audio_BTS[:, :-1])
        x = jnp.concatenate(
            [self.from_code(vector)[:, :, None], self.video_past(patches), self.sound_past(spectra)], axis=2
        )
        x = x + self.place_out.astype(x.dtype)
        x, _ = self.decoder(x, frame_positions(*x.shape[:2]))
        picture, sound = jnp.split(x[:, :, 1:], [patches.shape[2]], axis=2)
        change = unpatchify(self.video_out(picture), c.patch, c.height, c.width)
        return LatentActionOutput(
            code=jnp.stack([p.code for p in parts], axis=-1),
            vector=vector,
            loss=sum(p.loss for p in parts) / len(parts),
            video=video_BTHWC[:, :-1].astype(jnp.float32) / 255 + change,
            sound=spectra + self.sound_out(sound),
            latent=z,
        )


def observe(c: LatentActionConfig, video_BTHWC: jax.Array, audio_BTS: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Picture patches [B, T, N, patch * patch * 3] in [-1, 1] and square-root spectra [B, T, patches, bins]."""
    patches = patchify(video_BTHWC.astype(jnp.float32) / 127.5 - 1, c.patch)
    hops = audio_BTS.reshape(*audio_BTS.shape[:2], -1, c.audio_patch)
    spectra = jnp.abs(jnp.fft.rfft(hops * jnp.hanning(c.audio_patch)))
    return patches, jnp.sqrt(spectra + 1e-4)
