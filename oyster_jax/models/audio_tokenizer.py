"""Sound to tokens and back, a hop of samples at a time, causal on both sides.

Each hop is encoded from its own samples and the ones before it. The decoder writes a hop and `overlap` samples more,
which are cross-faded with the next hop's beginning: hops, and so frames, meet without a click.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from oyster_jax.config import AudioTokenizerConfig
from oyster_jax.nn.layers import MLP, dense, norm, table
from oyster_jax.nn.quantizers import Quantized, Quantizer


class AudioState(NamedTuple):
    """What one side of the tokenizer remembers between frames."""

    convs: jax.Array  # [B, L, kernel - 1, D], the last inputs of each layer's convolution
    edge: jax.Array  # float32 [B, context] samples already heard (encoder), or [B, overlap] still to fade (decoder)


class CausalConvBlock(nn.Module):
    """A causal convolution over hops and an MLP. Takes the convolution's last inputs and returns its new ones."""

    cfg: AudioTokenizerConfig

    @nn.compact
    def __call__(self, x_BTD: jax.Array, past: jax.Array) -> tuple[jax.Array, jax.Array]:
        c = self.cfg
        h = jnp.concatenate([past.astype(c.dtype), norm(c.dtype, "norm_conv")(x_BTD)], axis=1)
        hops = x_BTD.shape[1]
        taps = jnp.concatenate([h[:, i : i + hops] for i in range(c.kernel)], axis=-1)
        x = x_BTD + nn.gelu(dense(c.width, (None, "embed"), c.dtype, bias=True, name="conv")(taps))
        x = x + MLP(c.width, 2, c.dtype, name="mlp")(norm(c.dtype, "norm_mlp")(x))
        return x, h[:, hops:]


class AudioTokenizer(nn.Module):
    """`state` None starts from silence; passing on the returned state continues exactly where a frame ended."""

    cfg: AudioTokenizerConfig

    def setup(self):
        c = self.cfg
        layers = nn.scan(
            CausalConvBlock,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=1,
            out_axes=1,
            length=c.layers,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )
        self.wave_in = dense(c.width, (None, "embed"), c.dtype, bias=True)
        # Silence would otherwise enter as exact zeros, where a norm layer's gradient is a thousandfold: six of them
        # in a row overflow, and one silent window stops all learning.
        self.rest_in = table(self, "rest_in", (c.width,))
        self.encoder = layers(c)
        self.to_code = dense(c.quantizer.code_dim, ("embed", None), "float32", bias=True)
        self.quantizer = Quantizer(c.quantizer)
        self.from_code = dense(c.width, (None, "embed"), c.dtype, bias=True)
        self.rest_out = table(self, "rest_out", (c.width,))
        self.decoder = layers(c)
        self.norm_out = norm(c.dtype)
        self.wave_out = dense(c.hop + c.overlap, ("embed", None), "float32", bias=True, scale=0.001)

    def latents(self, audio_BTS: jax.Array, state: AudioState | None = None) -> tuple[jax.Array, AudioState]:
        """float32 [B, T, S] to what is quantized, float32 [B, T, K, code_dim]."""
        c = self.cfg
        b, t, _ = audio_BTS.shape
        state = state or initial_state(c, b, c.context)
        heard = jnp.concatenate([state.edge, audio_BTS.reshape(b, -1)], axis=1)
        reach = np.arange(t * c.tokens)[:, None] * c.hop + np.arange(c.context + c.hop)
        x, convs = self.encoder(self.wave_in(compress(heard)[:, reach]) + self.rest_in.astype(c.dtype), state.convs)
        z = self.to_code(x).reshape(b, t, c.tokens, -1)
        return z, AudioState(convs, heard[:, heard.shape[1] - c.context :])

    def encode(self, audio_BTS: jax.Array, state: AudioState | None = None) -> tuple[jax.Array, AudioState]:
        """float32 [B, T, S] to tokens int32 [B, T, K] and the encoder's new state."""
        z, state = self.latents(audio_BTS, state)
        return self.quantizer(z).code, state

    def decode(self, tokens_BTK: jax.Array, state: AudioState | None = None) -> tuple[jax.Array, AudioState]:
        """Tokens int32 [B, T, K] to sound float32 [B, T, S] and the decoder's new state."""
        return self.sing(self.quantizer.lookup(tokens_BTK), state)

    def code_vectors(self) -> jax.Array:
        """What every code stands for, float32 [codes, code_dim]."""
        return self.quantizer.vectors()

    def sing(self, vector: jax.Array, state: AudioState | None = None) -> tuple[jax.Array, AudioState]:
        """Code vectors float32 [B, T, K, code_dim] to sound, as `decode`."""
        c = self.cfg
        b, t = vector.shape[:2]
        state = state or initial_state(c, b, c.overlap)
        x = self.from_code(vector) + self.rest_out.astype(c.dtype)
        x, convs = self.decoder(x.reshape(b, t * c.tokens, -1), state.convs)
        wave = self.wave_out(self.norm_out(x))
        fade = jnp.asarray(np.sin(np.linspace(0, np.pi / 2, c.overlap + 2)[1:-1]) ** 2, jnp.float32)
        tails = jnp.concatenate([state.edge[:, None], wave[:, :-1, c.hop :]], axis=1)
        head = wave[..., : c.overlap] * fade + tails * fade[::-1]
        audio = jnp.concatenate([head, wave[..., c.overlap : c.hop]], axis=-1)
        return audio.reshape(b, t, c.samples_per_frame), AudioState(convs, wave[:, -1, c.hop :])

    def __call__(self, audio_BTS: jax.Array, key: jax.Array | None = None) -> tuple[jax.Array, Quantized]:
        """Reconstructs a clip: sound float32 [B, T, S] and the quantizer's result. `key`: see `Quantizer`."""
        quantized = self.quantizer.push_apart(self.quantizer(self.latents(audio_BTS)[0], key))
        return self.sing(quantized.vector)[0], quantized


def initial_state(cfg: AudioTokenizerConfig, batch: int, edge: int) -> AudioState:
    """Silence before the first sample. `edge` is cfg.context for the encoder, cfg.overlap for the decoder."""
    return AudioState(
        jnp.zeros((batch, cfg.layers, cfg.kernel - 1, cfg.width), cfg.dtype), jnp.zeros((batch, edge), jnp.float32)
    )


def compress(wave: jax.Array) -> jax.Array:
    """μ-law companding, so that quiet sounds are not drowned in the first layer."""
    return jnp.sign(wave) * jnp.log1p(255 * jnp.abs(wave)) / np.log(256)
