"""Losses of the stages, as functions of arrays."""

import jax
import jax.numpy as jnp
import numpy as np


def motion_weights(video_BTHWC: jax.Array, weight: float, threshold: float = 0.06) -> jax.Array:
    """How much each pixel counts, float32 [B, T, H, W, 1], mean about 1 + `weight`.

    Small moving things are what tokenizers lose first: a ball is one pixel in four thousand. Every pixel weighs 1, and
    the pixels that move (that differ from the frame before or the frame after) share `weight` times the weight of a whole
    frame among them.
    """
    x = video_BTHWC.astype(jnp.float32) / 255
    step = jnp.abs(x[:, 1:] - x[:, :-1])
    moved = jnp.maximum(jnp.pad(step, ((0, 0), (1, 0), *[(0, 0)] * 3)), jnp.pad(step, ((0, 0), (0, 1), *[(0, 0)] * 3)))
    moving = (moved.max(-1, keepdims=True) > threshold).astype(jnp.float32)
    return 1 + weight * moving / jnp.maximum(moving.mean(), 1e-3)


def picture_loss(pixels: jax.Array, video_BTHWC: jax.Array, weights: jax.Array) -> jax.Array:
    """Weighted mean squared error of pixels (about [0, 1]) against uint8 video."""
    error = (pixels - video_BTHWC.astype(jnp.float32) / 255) ** 2
    return jnp.mean(error * weights) / jnp.mean(weights)


def spectra(audio_BX: jax.Array, size: int) -> jax.Array:
    """Square roots of Hann-windowed magnitudes [B, frames, size / 2 + 1], hop size / 4.

    A root instead of a logarithm: most of a game is silence, and a logarithm makes silence's noise floor the loudest
    part of the loss.
    """
    hop = size // 4
    frames = (audio_BX.shape[1] - size) // hop + 1
    reach = np.arange(frames)[:, None] * hop + np.arange(size)
    magnitude = jnp.abs(jnp.fft.rfft(audio_BX[:, reach] * np.hanning(size).astype(np.float32)))
    return jnp.sqrt(magnitude + 1e-5)


def sound_loss(predicted_BTS: jax.Array, audio_BTS: jax.Array) -> jax.Array:
    """Waveform and multi-resolution spectral error, each relative to the loudness of its clip.

    Relative, so that a quiet clip teaches as much as a loud one; floored, so that silence stays silence.
    """
    a, b = (x.reshape(x.shape[0], -1) for x in (predicted_BTS, audio_BTS))
    power = jnp.mean(b**2, axis=1) + 1e-3
    loss = jnp.mean(jnp.mean((a - b) ** 2, axis=1) / power)
    for size in (64, 256, 1024):
        p, q = spectra(a, size), spectra(b, size)
        loss += jnp.mean(jnp.mean(jnp.abs(p - q), axis=(1, 2)) / (jnp.mean(q, axis=(1, 2)) + 0.1))
    return loss


def masked_cross_entropy(logits: jax.Array, tokens: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean cross-entropy in nats over the masked tokens; logits [..., codes], tokens and mask [...]."""
    nll = cross_entropy(logits, tokens)
    return jnp.sum(nll * mask) / jnp.maximum(jnp.sum(mask), 1)


def cross_entropy(logits: jax.Array, tokens: jax.Array) -> jax.Array:
    """Cross-entropy in nats of each token."""
    picked = jnp.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - picked
