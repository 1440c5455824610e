"""What the dynamics know: bits a frame against simple guessers, and whether actions do anything."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from oyster_jax.config_sampling import SamplingConfig
from oyster_jax.evaluation.metrics import bootstrap, psnr_each
from oyster_jax.models.controls import predict_codes, with_previous
from oyster_jax.models.world_model import World
from oyster_jax.sampling.film import film
from oyster_jax.sampling.rollout import prefill, rollout, tokenize
from oyster_jax.training.losses import cross_entropy
from oyster_jax.training.tasks.dynamics import two_streams
from oyster_jax.types import Clip, Logits, TokenFrame


@jax.jit
def fully_masked_bits(world: World, batch: dict) -> tuple[jax.Array, jax.Array]:
    """Cross-entropy of each frame with all its tokens masked, in bits: float [B, T] for video and for audio.

    The sum over tokens, each judged given the past, the action and the prompt but not its neighbours: an upper bound
    on what the frame costs, and the same for every model and baseline.
    """
    tokens = TokenFrame(batch["video_tokens"].astype(jnp.int32), batch["audio_tokens"].astype(jnp.int32))
    everything = jax.tree.map(lambda x: jnp.ones(x.shape, bool), tokens)
    logits = two_streams(world.config, world.params["dynamics"], batch, tokens, everything)
    bits = jax.tree.map(lambda lg, t: cross_entropy(lg, t).sum(-1) / np.log(2), logits, Logits(*tokens))
    return bits.video, bits.audio


def guesser_bits(train: list[np.ndarray], test: list[np.ndarray], size: int) -> dict[str, float]:
    """Bits a frame of two guessers fitted on the clips `train` and judged on the clips `test`, tokens int [T, N] each.

    unigram: each token by its frequency at its place. copy: the token before at its place with the probability that it
    stays, otherwise another one by the unigram. First frames of clips are left out of both: nothing comes before them.
    """
    pairs = lambda clips: (np.concatenate([c[1:] for c in clips]), np.concatenate([c[:-1] for c in clips]))
    places = train[0].shape[1]
    count = np.full((places, size), 0.01)
    np.add.at(count, (np.arange(places), np.concatenate(train)), 1)
    unigram = count / count.sum(1, keepdims=True)
    now, before = pairs(train)
    stay = ((now == before).sum(0) + 1) / (len(now) + 2)
    place = np.arange(places)
    now, before = pairs(test)
    p = unigram[place, now]
    copy = np.where(now == before, stay, (1 - stay) * p / (1 - unigram[place, before]))
    bits = lambda q: float(-np.log2(q).sum(1).mean())
    return {"unigram": bits(p), "copy": bits(copy)}


@functools.partial(jax.jit, static_argnames=("horizon", "sampling"))
def _two_futures(world: World, key, clip: Clip, actions_TBA, other_TBA, horizon: int, sampling):
    state, _ = prefill(world, key, clip)
    _, told = rollout(world, state, actions_TBA[:horizon], sampling)
    _, random = rollout(world, state, other_TBA[:horizon], sampling)
    return told.video, random.video


tokenize_jit = jax.jit(tokenize)


def replay(world: World, clip: Clip, context: int, sampling: SamplingConfig | None = None, seed: int = 0):
    """What the world makes of a clip's first `context` frames under the clip's own actions, beside what happened.

    `clip` is a batch of one. Returns (video uint8 [T, H, W, 3], sound float32 [T, S]) of the truth and of the world.
    """
    _, action = tokenize_jit(world, clip)
    begin = jax.jit(prefill)(world, jax.random.key(seed), clip.first(context))
    video, audio = film(world, begin, np.asarray(action)[0, context - 1 : -1], sampling=sampling)
    return (clip.video[0, context:], clip.audio[0, context:]), (video[1:], audio[1:])


def controllability(
    world: World,
    batches: list[Clip],
    context: int,
    horizons: tuple[int, ...] = (1, 4, 8),
    sampling: SamplingConfig | None = None,
    seed: int = 0,
    named: bool = False,
    groups: np.ndarray | None = None,
) -> dict:
    """ΔPSNR (Genie, arXiv 2402.15391, section 3.1): PSNR under the true actions minus PSNR under random ones.

    batches: clips of `context` + max(horizons) frames; the futures after the context are rolled out twice, with common
    keys, and compared with what happened. A world of latent actions is given the codes that it infers from the clip,
    or (`named`) those that its controls name for the true actions: then nothing of the future is looked at.
    Per horizon: the mean over starts with its bootstrap interval (`groups`: see `bootstrap`), and both PSNRs.
    """
    rng = np.random.default_rng(seed)
    longest = max(horizons)
    sizes = world.config.played_actions.sizes
    gains, told_psnr, random_psnr = [], [], []
    for i, clip in enumerate(batches):
        if named:
            played = predict_codes(world.params["controls"], with_previous(clip.action))
        else:
            played = np.asarray(tokenize_jit(world, clip)[1])
        played = np.moveaxis(played[:, context - 1 : context - 1 + longest], 1, 0)
        other = rng.integers(0, sizes, played.shape)
        key = jax.random.fold_in(jax.random.key(seed), i)
        futures = _two_futures(world, key, clip.first(context), played, other, longest, sampling)
        truth = np.moveaxis(np.asarray(clip.video[:, context : context + longest]), 1, 0)
        told, random = (psnr_each(np.asarray(f), truth) for f in futures)
        gains.append(told - random)
        told_psnr.append(told)
        random_psnr.append(random)
    gain, told, random = (np.concatenate(x, axis=1) for x in (gains, told_psnr, random_psnr))
    return {
        f"horizon_{h}": bootstrap(gain[h - 1], groups)
        | {"psnr_true_actions": float(told[h - 1].mean()), "psnr_random_actions": float(random[h - 1].mean())}
        for h in horizons
    }
