"""Unmasking the tokens of one frame in a few parallel steps (MaskGIT, arXiv 2202.04200).

Each modality has its own schedule and its own ranking: silence, the surest guess of all, would win a joint one.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from oyster_jax.config import SamplingConfig
from oyster_jax.models.dynamics import Logits
from oyster_jax.types import TokenFrame


def mask_ratio(progress: jax.Array) -> jax.Array:
    """The cosine schedule of training: the share of tokens that is masked, for `progress` 0 to 1."""
    return jnp.cos(np.pi / 2 * progress)


def mask_schedule(tokens: int, steps: int, total: int, schedule: str) -> np.ndarray:
    """int32 [total]: how many of `tokens` stay masked after each of `total` steps, in `steps` reveals.

    `cosine` reveals few tokens at first and most at last, as the paper does for pictures drawn from nothing. Of a next
    frame nearly all tokens are certain, and the few that are not (where a ball goes) must not be drawn all at once, or
    there are two balls or none: `geometric` leaves the same fraction after each step, and one token for the last.
    The reveals are spread over all steps and the last step always reveals the rest; a step may reveal none.
    """
    steps = min(steps, total)
    done = np.floor(np.arange(1, total + 1) * steps / total)
    if schedule == "cosine":
        left = np.floor(tokens * np.cos(np.pi / 2 * done / steps) + 1e-6)
    else:
        left = np.ceil(tokens ** (1 - done / max(steps - 1, 1)) - 1e-6)
    left[done == steps] = 0
    return left.astype(np.int32)


def unmask(
    predict: Callable[[TokenFrame, TokenFrame], Logits],
    tokens: TokenFrame,
    masked: TokenFrame,
    key_B: jax.Array,
    settings: SamplingConfig,
) -> TokenFrame:
    """Samples the masked tokens of one frame.

    predict: tokens and masks ([B, N], [B, K]) to logits [B, 1, N, codes] and [B, 1, K, codes].
    tokens, masked: the frame to begin with; what is not masked is given and stays.
    key_B: one key for each element, consumed here.
    """
    total = max(settings.video_steps, settings.audio_steps)
    left = TokenFrame(
        mask_schedule(tokens.video.shape[1], settings.video_steps, total, settings.schedule),
        mask_schedule(tokens.audio.shape[1], settings.audio_steps, total, settings.schedule),
    )

    def body(carry, step):
        tokens, masked, keys = carry
        index, left = step
        keys, video_keys, audio_keys = jnp.moveaxis(jax.vmap(lambda k: jax.random.split(k, 3))(keys), 1, 0)
        logits = predict(tokens, masked)
        noise = settings.confidence_noise * (1 - (index + 1) / total)
        video = reveal(logits.video[:, 0], tokens.video, masked.video, left.video, noise, video_keys, settings)
        audio = reveal(logits.audio[:, 0], tokens.audio, masked.audio, left.audio, noise, audio_keys, settings)
        return (TokenFrame(video[0], audio[0]), TokenFrame(video[1], audio[1]), keys), None

    steps = (jnp.arange(total), jax.tree.map(jnp.asarray, left))
    (tokens, _, _), _ = jax.lax.scan(body, (tokens, masked, key_B), steps)
    return tokens


def reveal(logits, tokens, masked, left, noise, key_B, settings: SamplingConfig) -> tuple[jax.Array, jax.Array]:
    """One step for one modality: samples every masked token, keeps the surest, masks the `left` others again.

    logits [B, N, codes]; tokens, masked [B, N]; returns the new tokens and the new mask.
    """
    sample_keys, rank_keys = jnp.moveaxis(jax.vmap(jax.random.split)(key_B), 1, 0)
    gumbel = lambda keys, x: jax.vmap(lambda k, row: jax.random.gumbel(k, row.shape))(keys, x)
    if settings.temperature > 0:
        scaled = logits / settings.temperature
        sampled = jnp.argmax(scaled + gumbel(sample_keys, scaled), axis=-1)
    else:
        sampled = jnp.argmax(logits, axis=-1)
    log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), sampled[..., None], axis=-1)[..., 0]
    confidence = jnp.where(masked, log_p + noise * gumbel(rank_keys, log_p), jnp.inf)
    rank = jnp.argsort(jnp.argsort(confidence, axis=-1), axis=-1)
    still = masked & (rank < left)
    return jnp.where(masked & ~still, sampled, tokens), still
