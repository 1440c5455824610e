"""Losses of the stages, as functions of arrays."""

import jax
import jax.numpy as jnp
import numpy as np

from oyster_jax.config import LONGEST_SPECTRUM
from oyster_jax.models.video_tokenizer import patchify, unpatchify


def motion_mask(video_BTHWC: jax.Array, threshold: float = 0.06) -> jax.Array:
    """float32 [B, T, H, W, 1]: 1 where a pixel differs from the frame before or from the frame after."""
    x = video_BTHWC.astype(jnp.float32) / 255
    step = jnp.abs(x[:, 1:] - x[:, :-1]).max(-1, keepdims=True)
    ahead, behind = (jnp.pad(step, ((0, 0), side, *[(0, 0)] * 3)) for side in ((0, 1), (1, 0)))
    return (jnp.maximum(ahead, behind) > threshold).astype(jnp.float32)


def motion_weights(video_BTHWC: jax.Array, weight: float, patch: int, reach: int = 8) -> jax.Array:
    """How much each pixel counts, float32 [B, T, H, W, 1].

    Small moving things are what tokenizers lose first: a ball is one pixel in four thousand. Every pixel weighs 1;
    moving pixels share `weight` times the weight of all frames among them, and a crowd of them within `reach` pixels
    shares what a lone one has, so that a ball weighs as much as a paddle ten times its size. Half of it goes to all
    pixels of the patch alike: with the moving pixels alone, a ball's pixel in Breakout weighs 300 times what the others
    of its patch do, and its ghosts are drawn there, since they cost nothing.
    """
    moving = motion_mask(video_BTHWC)
    b, t, h, w, _ = moving.shape
    crowd = box_sum(moving.reshape(b * t, h, w, 1), reach).reshape(moving.shape)
    share = moving / (crowd + 2)
    of_patch = patchify(share, patch)
    of_patch = jnp.broadcast_to(of_patch.mean(-1, keepdims=True), of_patch.shape)
    share = (share + unpatchify(of_patch, patch, h, w)) / 2
    return 1 + weight * share / jnp.maximum(share.mean(), 1e-5)


def still_patches(video_BTHWC: jax.Array, patch: int, threshold: float = 0.02) -> jax.Array:
    """Which patches do not differ from the frame before, bool [B, T - 1, N]."""
    x = patchify(video_BTHWC.astype(jnp.float32) / 255, patch)
    return jnp.abs(x[:, 1:] - x[:, :-1]).max(-1) < threshold


def steadiness_loss(soft: jax.Array, vector: jax.Array, still: jax.Array) -> jax.Array:
    """How far latents `soft` [B, T, N, dim] of patches that are `still`, bool [B, T - 1, N], stray from the `vector` of
    the frame before, against their spread.

    That vector is its code, or the latent itself where training passes it on unrounded (see `Quantizer`).
    Attention lets whatever moves elsewhere nudge every latent a little, and those near an edge between two codes flip:
    without this, a fifth of the tokens of still patches changed each frame, for the dynamics to predict in vain.
    Relative to the spread of all latents, so that shrinking them is no way out. float32 [].
    """
    strayed = jnp.sum((soft[:, 1:] - jax.lax.stop_gradient(vector[:, :-1])) ** 2, -1)
    spread = jnp.sum(jnp.var(soft, axis=(0, 1, 2))) + 1e-2
    return jnp.sum(strayed * still) / jnp.maximum(jnp.sum(still), 1) / spread


def box_sum(x_BHWC: jax.Array, reach: int) -> jax.Array:
    """Sums over `reach` x `reach` neighbourhoods."""
    for axis in (1, 2):
        window = tuple(reach if i == axis else 1 for i in range(4))
        x_BHWC = jax.lax.reduce_window(x_BHWC, 0.0, jax.lax.add, window, (1, 1, 1, 1), "SAME")
    return x_BHWC


def picture_loss(pixels: jax.Array, video_BTHWC: jax.Array, weights: jax.Array) -> jax.Array:
    """Weighted mean squared error of pixels (about [0, 1]) against uint8 video, over three scales.

    At one scale alone, knowing in which half of a patch a ball is saves next to nothing, since a picture of half as
    many ghosts is as wrong: where it is would never be learnt. The sums over 2 x 2 and 4 x 4 pixels, weighed so that
    a lone pixel counts as much as at full scale, show the way.
    """
    error = pixels - video_BTHWC.astype(jnp.float32) / 255
    error, weights = (x.reshape(-1, *x.shape[2:]) for x in (error, weights))
    loss = jnp.mean(error**2 * weights)
    for scale in (2, 4):
        coarse = pool(error, scale) * scale
        loss += jnp.mean(coarse**2 * pool(weights, scale))
    return loss / 3 / jnp.mean(weights)


def pool(x_BHWC: jax.Array, scale: int) -> jax.Array:
    """Means over `scale` x `scale` blocks; what is over at the right and at the bottom is left out."""
    b, h, w, c = x_BHWC.shape
    h, w = h // scale, w // scale
    return x_BHWC[:, : h * scale, : w * scale].reshape(b, h, scale, w, scale, c).mean((2, 4))


def spectra(audio_BX: jax.Array, size: int) -> jax.Array:
    """Hann-windowed magnitudes [B, frames, size / 2 + 1] with hop size / 4; a tone of amplitude a gives a."""
    hop = size // 4
    frames = (audio_BX.shape[1] - size) // hop + 1
    reach = np.arange(frames)[:, None] * hop + np.arange(size)
    spectrum = jnp.fft.rfft(audio_BX[:, reach] * (np.hanning(size) * 4 / size).astype(np.float32))
    return jnp.sqrt(spectrum.real**2 + spectrum.imag**2 + 1e-10)


def sound_loss(predicted_BTS: jax.Array, audio_BTS: jax.Array) -> jax.Array:
    """Waveform and multi-resolution spectral error, each relative to the loudness of its clip.

    Relative, so that a quiet clip teaches as much as a loud one; floored, so that silence stays silence. Square roots
    of magnitudes instead of logarithms: most of a game is silence, and a logarithm makes silence's noise floor the
    loudest part of the loss.
    """
    a, b = (x.reshape(x.shape[0], -1) for x in (predicted_BTS, audio_BTS))
    power = jnp.mean(b**2, axis=1) + 1e-4
    loss = jnp.mean(jnp.mean((a - b) ** 2, axis=1) / power)
    for size in (64, 256, LONGEST_SPECTRUM):
        p, q = spectra(a, size), spectra(b, size)
        relative = lambda x, y, floor: jnp.mean(jnp.abs(x - y), axis=(1, 2)) / (jnp.mean(y, axis=(1, 2)) + floor)
        loss += jnp.mean(relative(p, q, 1e-3) + relative(jnp.sqrt(p + 1e-3), jnp.sqrt(q + 1e-3), 1e-2))
    return loss


def masked_cross_entropy(logits: jax.Array, tokens: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean cross-entropy in nats over masked tokens; logits [..., codes], tokens and mask (or weights) [...]."""
    nll = cross_entropy(logits, tokens)
    return jnp.sum(nll * mask) / jnp.maximum(jnp.sum(mask), 1)


def cross_entropy(logits: jax.Array, tokens: jax.Array) -> jax.Array:
    """Cross-entropy in nats of each token."""
    picked = jnp.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - picked
