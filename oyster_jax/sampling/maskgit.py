"""Unmasking the tokens of one frame in a few parallel steps (MaskGIT, arXiv 2202.04200).

Each modality has its own schedule and its own ranking: silence, the surest guess of all, would win a joint one.
"""

import operator
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from oyster_jax.config_sampling import SamplingConfig
from oyster_jax.types import Logits, TokenFrame


def mask_ratio(progress: jax.Array) -> jax.Array:
    """The cosine schedule of training: the share of tokens that is masked, for `progress` 0 to 1."""
    return jnp.cos(np.pi / 2 * progress)


def mask_schedule(tokens: int, steps: int, total: int, schedule: str) -> np.ndarray:
    """int32 [total]: how many of `tokens` stay masked after each of `total` steps, in `steps` reveals.

    `cosine` reveals few tokens at first and most at last, as the paper does for pictures drawn from nothing. Of a next
    frame nearly all tokens are certain, and the few that are not (where a ball goes) must not be drawn all at once, or
    there are two balls or none: `geometric` leaves the same fraction after each step, and one token for the last;
    `one_by_one` reveals all but `steps` - 1 at once and then one a step, so that so many uncertain ones are each drawn
    knowing those before.
    The reveals are spread over all steps and the last step always reveals the rest; a step may reveal none.
    """
    steps = min(steps, total)
    done = np.floor(np.arange(1, total + 1) * steps / total)
    if schedule == "cosine":
        left = np.floor(tokens * np.cos(np.pi / 2 * done / steps) + 1e-6)
    elif schedule == "one_by_one":
        left = np.where(done == 0, tokens, np.minimum(tokens, steps - done))
    else:
        left = np.ceil(tokens ** (1 - done / max(steps - 1, 1)) - 1e-6)
    left[done == steps] = 0
    return left.astype(np.int32)


def runs(hidden: np.ndarray) -> list[slice]:
    """Cuts steps with `hidden` tokens yet to tell, int [total] and falling, into one or two runs of steps.

    A run is a compiled loop that looks at as many tokens as its first step must. A second one compiles half as long
    again: it is made where that spares a quarter of the tokens or more.
    """
    total = len(hidden)
    looked_at = [cut * hidden[0] + (total - cut) * hidden[cut] for cut in range(1, total)]
    if total == 1 or min(looked_at) > 0.75 * total * hidden[0]:
        return [slice(0, total)]
    cut = 1 + int(np.argmin(looked_at))
    return [slice(0, cut), slice(cut, total)]


def unmask(
    predict: Callable[[TokenFrame, TokenFrame, TokenFrame | None], Logits],
    tokens: TokenFrame,
    masked: TokenFrame,
    key_B: jax.Array,
    settings: SamplingConfig,
) -> TokenFrame:
    """Samples the masked tokens of one frame.

    predict: tokens, masks ([B, N], [B, K]) and which tokens are wanted (int32 [B, R], [B, Q]; None: all in order) to
      logits [B, 1, R, codes] and [B, 1, Q, codes].
    tokens, masked: the frame to begin with; what is not masked is given and stays.
    key_B: one key for each element, consumed here.
    """
    total = max(settings.video_steps, settings.audio_steps)
    sizes = TokenFrame(tokens.video.shape[1], tokens.audio.shape[1])
    left = TokenFrame(
        mask_schedule(sizes.video, settings.video_steps, total, settings.schedule),
        mask_schedule(sizes.audio, settings.audio_steps, total, settings.schedule),
    )
    hidden = jax.tree.map(lambda size, left: np.array([size, *left[:-1]]), sizes, left)  # before each step

    # All of a frame's random numbers at once: three for each token at each step.
    draw = lambda key: jax.random.uniform(key, (total, 3, sum(sizes)), minval=np.finfo(np.float32).tiny)
    draws = TokenFrame(*jnp.split(jnp.moveaxis(jax.vmap(draw)(key_B), 0, 2), [sizes.video], axis=-1))

    def body(count: TokenFrame, carry, step):
        tokens, masked = carry
        index, left, draws = step
        # The masked tokens first: only they, `count` at most, are looked at. All of them need not be gathered.
        first = lambda masked, count: jnp.argsort(~masked, axis=-1)[:, :count]
        wanted = None if count == sizes else jax.tree.map(first, masked, count)
        logits = predict(tokens, masked, wanted)
        noise = settings.randomness.confidence_noise * (1 - (index + 1) / total)
        video, audio = (
            reveal(of_one[0][:, 0], *of_one[1:], noise, settings)
            for of_one in zip(logits, tokens, masked, wanted or (None, None), left, draws)
        )
        return (TokenFrame(video[0], audio[0]), TokenFrame(video[1], audio[1])), None

    carry, steps = (tokens, masked), (np.arange(total), left, draws)
    for run in runs(hidden.video + hidden.audio):
        count = TokenFrame(int(hidden.video[run.start]), int(hidden.audio[run.start]))
        now = jax.tree.map(operator.itemgetter(run), steps)
        carry, _ = jax.lax.scan(partial(body, count), carry, now)
    return carry[0]


def reveal(logits, tokens, masked, wanted, left, draw_3BN, noise, settings: SamplingConfig):
    """One step for one modality: samples every masked token, keeps the surest, masks the `left` others again.

    logits [B, R, codes] of the tokens `wanted` [B, R], among which are all that are masked (None: of all tokens);
    tokens, masked [B, N]; draw: uniform in (0, 1); returns the new tokens and the new mask.
    """
    take = lambda x: x if wanted is None else jnp.take_along_axis(x, wanted, axis=-1)
    put = lambda x, new: new if wanted is None else jnp.put_along_axis(x, wanted, new, axis=-1, inplace=False)
    draw, hidden = draw_3BN[..., : logits.shape[1]], take(masked)
    sampled, log_p = sample(logits, draw[:2], settings.randomness.temperature)
    gumbel = -jnp.log(-jnp.log(draw[2]))
    confidence = jnp.where(hidden, log_p + noise * gumbel, jnp.inf)
    rank = jnp.argsort(jnp.argsort(confidence, axis=-1), axis=-1)
    still = hidden & (rank < left)
    told = jnp.where(hidden & ~still, sampled, take(tokens))
    return put(tokens, told), put(masked, still)


def sample(logits: jax.Array, draw_2: jax.Array, temperature: float) -> tuple[jax.Array, jax.Array]:
    """Codes int32 [...] drawn from logits [..., codes], and their log-probabilities at temperature 1.

    draw: uniform in (0, 1), [2, ...]. The cumulative distribution is searched in two levels, first for the group of
    codes, then within it: two random numbers and one exponential a code, where Gumbel noise takes a random number and
    two logarithms for each (a tenth of the time at 1,024 codes).
    """
    shifted = logits - jnp.max(logits, axis=-1, keepdims=True)
    p = jnp.exp(shifted)
    total = jnp.log(jnp.sum(p, axis=-1))
    if temperature > 0:
        p = p if temperature == 1 else jnp.exp(shifted / temperature)
        width = int(np.ceil(np.sqrt(p.shape[-1])))
        p = jnp.pad(p, [(0, 0)] * (p.ndim - 1) + [(0, -p.shape[-1] % width)]).reshape(*p.shape[:-1], -1, width)
        group = search(p.sum(-1), draw_2[0])
        code = group * width + search(jnp.take_along_axis(p, group[..., None, None], axis=-2)[..., 0, :], draw_2[1])
    else:
        code = jnp.argmax(logits, axis=-1)
    return code, jnp.take_along_axis(shifted, code[..., None], axis=-1)[..., 0] - total


def search(p: jax.Array, draw: jax.Array) -> jax.Array:
    """The index int32 [...] at which the cumulative sum of weights p [..., n] passes a share `draw` of their total.

    Never one whose weight is 0.
    """
    reached = jnp.cumsum(p, axis=-1)
    return jnp.argmax(reached > draw[..., None] * reached[..., -1:], axis=-1)
