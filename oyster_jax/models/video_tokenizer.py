"""Frames to tokens and back: ST-transformer encoder and decoder around a quantizer (Genie's ST-ViViT)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from oyster_jax.config import VideoTokenizerConfig
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


def frame_positions(batch: int, frames: int) -> jax.Array:
    """int32 [B, T]: the frame numbers of clips that begin at frame 0."""
    return jnp.broadcast_to(jnp.arange(frames), (batch, frames))


class VideoTokenizer(nn.Module):
    """Causal in time on both sides: what a token says, and what a frame shows, depends on no later frame.

    `past` and `past_mask` everywhere are those of `STTransformer`: None encodes or decodes a whole clip.
    """

    cfg: VideoTokenizerConfig

    def setup(self):
        c = self.cfg
        self.patch_in = dense(c.encoder.width, (None, "embed"), c.encoder.dtype, bias=True)
        # A screen that moves over a map shows the same things in other places.
        places = lambda name, width: table(self, name, (c.tokens, width)) if c.patch_place else jnp.zeros((1, width))
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

    def latents(self, video_BTHWC, position_BT, past: Past | None = None, past_mask=None) -> tuple[jax.Array, Past]:
        """uint8 [B, T, H, W, 3] to what is quantized, float32 [B, T, N, code_dim], and the present's K/V."""
        c = self.cfg
        pixels = video_BTHWC.astype(jnp.float32) / 127.5 - 1
        x = self.read(self.patch_in(patchify(pixels, c.patch))) + self.place_in.astype(c.encoder.dtype)
        x, present = self.encoder(x, position_BT, past, past_mask)
        return self.to_code(x), present

    def encode(self, video_BTHWC, position_BT, past: Past | None = None, past_mask=None) -> tuple[jax.Array, Past]:
        """uint8 [B, T, H, W, 3] to tokens int32 [B, T, N] and the present's K/V."""
        z, present = self.latents(video_BTHWC, position_BT, past, past_mask)
        return self.quantizer(z).code, present

    def decode(self, tokens_BTN, position_BT, past: Past | None = None, past_mask=None) -> tuple[jax.Array, Past]:
        """Tokens int32 [B, T, N] to pixels float32 [B, T, H, W, 3], about [0, 1], and the present's K/V."""
        return self.paint(self.quantizer.lookup(tokens_BTN), position_BT, past, past_mask)

    def paint(self, vector, position_BT, past: Past | None = None, past_mask=None) -> tuple[jax.Array, Past]:
        """Code vectors float32 [B, T, N, code_dim] to pixels, as `decode`."""
        c = self.cfg
        x = self.from_code(vector) + self.place_out.astype(c.decoder.dtype)
        x, present = self.decoder(x, position_BT, past, past_mask)
        return unpatchify(self.patch_out(self.draw(x)) + 0.5, c.patch, c.height, c.width), present

    def __call__(self, video_BTHWC: jax.Array, key: jax.Array | None = None) -> tuple[jax.Array, Quantized]:
        """Reconstructs a clip: pixels float32 [B, T, H, W, 3] and the quantizer's result. `key`: see `Quantizer`."""
        position = frame_positions(*video_BTHWC.shape[:2])
        quantized = self.quantizer(self.latents(video_BTHWC, position)[0], key)
        return self.paint(quantized.vector, position)[0], quantized


def to_uint8(pixels: jax.Array) -> jax.Array:
    """Pixels float [...] about [0, 1] to uint8."""
    return jnp.round(jnp.clip(pixels, 0, 1) * 255).astype(jnp.uint8)
