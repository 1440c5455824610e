"""Frames to tokens and back: ST-transformer encoder and decoder around a quantizer (Genie's ST-ViViT)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from oyster_jax.config import QuantizerConfig, VideoTokenizerConfig
from oyster_jax.nn.layers import PatchLayers, dense, table
from oyster_jax.nn.quantizers import Quantized, Quantizer
from oyster_jax.nn.transformer import STTransformer
from oyster_jax.types import Past


def patchify(video_BTHWC: jax.Array, patch: int) -> jax.Array:
    """[B, T, H, W, C] to [B, T, N, patch * patch * C], patches in reading order."""
    b, t, h, w, c = video_BTHWC.shape
    x = video_BTHWC.reshape(b, t, h // patch, patch, w // patch, patch, c)
    return x.transpose(0, 1, 2, 4, 3, 5, 6).reshape(b, t, (h // patch) * (w // patch), patch * patch * c)


def unpatchify(x_BTNP: jax.Array, patch: int, height: int, width: int) -> jax.Array:
    """The inverse of `patchify`."""
    b, t = x_BTNP.shape[:2]
    x = x_BTNP.reshape(b, t, height // patch, width // patch, patch, patch, -1)
    return x.transpose(0, 1, 2, 4, 3, 5, 6).reshape(b, t, height, width, -1)


def frame_positions(batch: int, frames: int) -> np.ndarray:
    """int32 [B, T]: the frame numbers of clips that begin at frame 0. A constant to XLA, as what comes of it then is:
    asked to count by itself, it takes the sines of rotary embeddings anew for each token and head that they turn."""
    return np.broadcast_to(np.arange(frames, dtype=np.int32), (batch, frames))


class VideoTokenizer(nn.Module):
    """Causal in time on both sides: what a token says, and what a frame shows, depends on no later frame.

    `past` and `past_mask` everywhere are those of `STTransformer`: None encodes or decodes a whole clip.
    """

    cfg: VideoTokenizerConfig

    def setup(self):
        c = self.cfg
        self.patch_in = dense(c.encoder.width, (None, "embed"), c.encoder.dtype, bias=True)
        # A screen that moves over a map shows the same things in other places.
        places = lambda name, width: table(self, name, (c.patches, width)) if c.patch_place else jnp.zeros((1, width))
        self.place_in = places("place_in", c.encoder.width)
        self.read = PatchLayers(c.patch_layers, c.encoder.width, c.encoder.dtype, c.patch_mean)
        self.encoder = STTransformer(c.encoder)
        self.to_code = dense(c.quantizer.code_dim, ("embed", None), "float32", bias=True)
        self.quantizer = Quantizer(c.quantizer)
        self.from_code = dense(c.decoder.width, (None, "embed"), c.decoder.dtype, bias=True)
        self.place_out = places("place_out", c.decoder.width)
        self.decoder = STTransformer(c.decoder)
        self.draw = PatchLayers(c.patch_layers, c.decoder.width, c.decoder.dtype, c.patch_mean)
        self.patch_out = dense(c.patch * c.patch * 3, ("embed", None), "float32", bias=True, scale=0.1)
        if c.frame_codes:
            width, dtype, dim = c.encoder.width, c.encoder.dtype, c.quantizer.code_dim
            self.share = dense(width, ("embed", None), dtype, bias=True)
            self.to_frame = dense(dim, ("embed", None), "float32", bias=True)
            self.frame_quantizer = Quantizer(QuantizerConfig("vq", codes=c.frame_codes, dim=dim))
            self.frame_in = dense(width, (None, "embed"), dtype)
            self.set_apart = PatchLayers(1, width, dtype, mean=False)
            self.frame_out = dense(c.decoder.width, (None, "embed"), c.decoder.dtype)

    def latents(self, video_BTHWC, position_BT, past: Past | None = None, past_mask=None, key=None):
        """uint8 [B, T, H, W, 3] to what is quantized, float32 [B, T, N, code_dim], and the present's K/V.

        `key`: see `Quantizer`. With `frame_codes` patches are read in the light of their frame's code.
        """
        c = self.cfg
        pixels = video_BTHWC.astype(jnp.float32) / 127.5 - 1
        x = self.read(self.patch_in(patchify(pixels, c.patch))) + self.place_in.astype(c.encoder.dtype)
        z = ()
        if c.frame_codes:
            z = (self.to_frame(jnp.mean(nn.gelu(self.share(x)), axis=2, keepdims=True)),)
            x = self.set_apart(x + self.frame_in(self.frame_quantizer(z[0], key).vector))
        x, present = self.encoder(x, position_BT, past, past_mask)
        return jnp.concatenate([self.to_code(x), *z], axis=2), present

    def quantize(self, z_BTND: jax.Array, key: jax.Array | None = None) -> Quantized:
        """`latents` to codes and their vectors; a frame's codes come after those of patches. `key`: see `Quantizer`."""
        c = self.cfg
        own = self.quantizer(z_BTND[:, :, : c.patches], key)
        if not c.frame_codes:
            return own
        frame = self.frame_quantizer(z_BTND[:, :, c.patches :], key)
        frame = frame._replace(code=frame.code + c.quantizer.codebook_size)
        joined = (jnp.concatenate([a, b], axis=2) for a, b in zip(own[:3], frame[:3]))
        return Quantized(*joined, own.loss + frame.loss)

    def encode(self, video_BTHWC, position_BT, past: Past | None = None, past_mask=None) -> tuple[jax.Array, Past]:
        """uint8 [B, T, H, W, 3] to tokens int32 [B, T, N] and the present's K/V."""
        z, present = self.latents(video_BTHWC, position_BT, past, past_mask)
        return self.quantize(z).code, present

    def decode(self, tokens_BTN, position_BT, past: Past | None = None, past_mask=None) -> tuple[jax.Array, Past]:
        """Tokens int32 [B, T, N] to pixels float32 [B, T, H, W, 3], about [0, 1], and the present's K/V.

        A code that cannot be where it is (of a frame, in a patch's place) counts as the nearest number that can.
        """
        c = self.cfg
        of_patch, own = np.arange(c.tokens) < c.patches, c.quantizer.codebook_size
        codes = jnp.clip(tokens_BTN, np.where(of_patch, 0, own), np.where(of_patch, own, c.codes) - 1)
        return self.paint(jnp.take(self.code_vectors(), codes, axis=0), position_BT, past, past_mask)

    def code_vectors(self) -> jax.Array:
        """What every code stands for, float32 [codes, code_dim]."""
        own = self.quantizer.vectors()
        return jnp.concatenate([own, self.frame_quantizer.vectors()]) if self.cfg.frame_codes else own

    def paint(self, vector, position_BT, past: Past | None = None, past_mask=None) -> tuple[jax.Array, Past]:
        """Code vectors float32 [B, T, N, code_dim] to pixels, as `decode`."""
        c = self.cfg
        x = self.from_code(vector[:, :, : c.patches]) + self.place_out.astype(c.decoder.dtype)
        if c.frame_codes:
            x += self.frame_out(vector[:, :, c.patches :])
        x, present = self.decoder(x, position_BT, past, past_mask)
        return unpatchify(self.patch_out(self.draw(x)) + 0.5, c.patch, c.height, c.width), present

    def __call__(self, video_BTHWC: jax.Array, key: jax.Array | None = None) -> tuple[jax.Array, Quantized]:
        """Reconstructs a clip: pixels float32 [B, T, H, W, 3] and the quantizer's result. `key`: see `Quantizer`."""
        position = frame_positions(*video_BTHWC.shape[:2])
        quantized = self.quantize(self.latents(video_BTHWC, position, key=key)[0], key)
        return self.paint(quantized.vector, position)[0], quantized


def to_uint8(pixels: jax.Array) -> jax.Array:
    """Pixels float [...] about [0, 1] to uint8."""
    return jnp.round(jnp.clip(pixels, 0, 1) * 255).astype(jnp.uint8)
