"""What do more MaskGIT steps buy? One JSON line for each number of steps.

    python benchmarks/steps.py --world=runs/breakout/world --data=runs/breakout/data [--steps=1 --steps=2]

On held-out starts: `bits` is what the true next frame costs, picture and sound, when it is told in that many steps: the
tokens that the model is surest about first, each priced given those told before. The others compare eight frames
sampled under the true actions with what happened: PSNR of the pixels that differ from their clip's median image, ΔPSNR
against random actions after 1, 4 and 8 frames with 95 % intervals, and the log-mel distance of the sounds. `ms` is the
median time of an answer with one session; the settings take turns, since machines are noisy.
"""

import json
import time
from dataclasses import replace
from functools import partial
from statistics import median

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

import oyster_jax as oyster
from oyster_jax.data.pipeline import open_clips
from oyster_jax.evaluation.dynamics import controllability
from oyster_jax.evaluation.metrics import changed_mask, log_mel_distance, psnr
from oyster_jax.evaluation.report import EvaluationOptions, random_starts
from oyster_jax.sampling import maskgit, rollout
from oyster_jax.types import Clip, TokenFrame

flags.DEFINE_string("world", "runs/breakout/world", "a trained world")
flags.DEFINE_string("data", "runs/breakout/data", "its data")
flags.DEFINE_multi_integer("steps", [1, 2, 4, 8, 16, 25], "MaskGIT steps of both modalities")
flags.DEFINE_integer("starts", 64, "held-out starts")
flags.DEFINE_integer("turns", 10, "answers of each setting to time, by turns")
flags.DEFINE_float("prompt_guidance", None, "guidance on prompts (default: the world's)")
flags.DEFINE_integer("seed", 0, "seed")

CONTEXT, FUTURE, BATCH = 16, 8, 16


@partial(jax.jit, static_argnums=2)
def bits(world: oyster.World, clip: Clip, settings: oyster.SamplingConfig) -> tuple[jax.Array, jax.Array]:
    """Bits of the frame after the context, float [B] for picture and for sound, told in as many steps as `settings`."""
    tokens, action = rollout.tokenize(world, clip)
    state, _ = rollout.prefill(world, jax.random.key(0), clip.first(CONTEXT))
    truth, action = jax.tree.map(lambda x: x[:, CONTEXT], tokens), action[:, CONTEXT - 1]
    bare = replace(settings, guidance=oyster.Guidance())
    total = max(settings.video_steps, settings.audio_steps)
    left = [
        jnp.asarray(maskgit.mask_schedule(x.shape[1], s, total, settings.schedule))
        for x, s in zip(truth, (settings.video_steps, settings.audio_steps))
    ]

    def tell(masked, left):
        logits = rollout._guided_logits(world, state, action, bare)(truth, masked, None)
        cost, still = [], []
        for lg, code, hidden, stay in zip(logits, truth, masked, left):
            log_p = jax.nn.log_softmax(lg[:, 0])
            sure = jnp.where(hidden, log_p.max(-1), jnp.inf)
            remain = hidden & (jnp.argsort(jnp.argsort(sure, -1), -1) < stay)
            price = -jnp.take_along_axis(log_p, code[..., None], -1)[..., 0] / np.log(2)
            cost.append(jnp.where(hidden & ~remain, price, 0).sum(-1))
            still.append(remain)
        return TokenFrame(*still), tuple(cost)

    hidden = jax.tree.map(lambda x: jnp.ones(x.shape, bool), truth)
    _, (video, audio) = jax.lax.scan(tell, hidden, TokenFrame(*left))
    return video.sum(0), audio.sum(0)


def quality(world: oyster.World, starts: tuple, sampling: oyster.SamplingConfig, seed: int) -> dict:
    """Everything but the time. starts: what `random_starts` gives."""
    clips, groups = starts
    cost = [bits(world, clip, sampling) for clip in clips]
    changed, distance = [], []
    play = jax.jit(
        lambda w, k, clip, a: oyster.rollout(w, oyster.prefill(w, k, clip.first(CONTEXT))[0], a, sampling)[1]
    )
    for i, clip in enumerate(clips):
        action = jnp.moveaxis(jax.jit(rollout.tokenize)(world, clip)[1][:, CONTEXT - 1 : -1], 1, 0)
        obs = jax.device_get(play(world, jax.random.fold_in(jax.random.key(seed), i), clip, action))
        truth, made = np.asarray(clip.video[:, CONTEXT:]), obs.video.swapaxes(0, 1)
        mask = np.stack([changed_mask(t, np.median(v, axis=0)) for t, v in zip(truth, np.asarray(clip.video))])
        changed.append(psnr(truth, made, mask))
        heard = zip(np.asarray(clip.audio[:, CONTEXT:]), obs.audio.swapaxes(0, 1))
        distance += [log_mel_distance(a, b, world.config.media.sample_rate) for a, b in heard]
    gain = controllability(world, clips, CONTEXT, (1, 4, 8), sampling, seed, groups=groups)
    gain = {h.split("_")[1]: [round(g[k], 2) for k in ("mean", "low", "high")] for h, g in gain.items()}
    video, audio = (np.concatenate([np.asarray(c[i]) for c in cost]).mean() for i in (0, 1))
    return {
        "bits_video": round(float(video), 2),
        "bits_audio": round(float(audio), 2),
        "changed_psnr": round(float(np.mean(changed)), 2),
        "delta_psnr": gain,
        "sound_distance": round(float(np.mean(distance)), 2),
    }


def answer(world: oyster.World, sampling: oyster.SamplingConfig):
    """A function that takes one step of one session and returns how long its frame and sound took."""
    step = oyster.compile_step(world, sampling=sampling, keep=False)
    held = [jax.tree.map(jnp.copy, jax.jit(oyster.reset)(world, jax.random.key(0))[0])]
    action = jnp.zeros((1, len(world.config.played_actions.factors)), jnp.int32)

    def run() -> float:
        begin = time.perf_counter()
        held[0], obs = step(held[0], action)
        jax.device_get(obs)
        seconds = time.perf_counter() - begin
        jax.block_until_ready(held[0])
        return seconds

    return run


def main(_):
    v = flags.FLAGS
    world, reader = oyster.load(v.world), open_clips(v.data)
    base = world.config.sampling
    if v.prompt_guidance is not None:
        base = replace(base, guidance=replace(base.guidance, prompt=v.prompt_guidance))
    settings = {n: replace(base, video_steps=n, audio_steps=n) for n in v.steps}
    options = EvaluationOptions(starts=v.starts, context=CONTEXT, horizons=(FUTURE,), batch=BATCH, seed=v.seed)
    starts = random_starts(reader, reader.split("held_out"), options)
    runs = {n: answer(world, s) for n, s in settings.items()}
    times = {n: [] for n in settings}
    for turn in range(v.turns + 1):
        for n, run in runs.items():
            times[n] += [run()] if turn else []
            run()
    for n, sampling in settings.items():
        named = {"benchmark": "steps", "world": v.world, "steps": n, "starts": v.starts}
        named |= {"prompt_guidance": base.guidance.prompt, "ms": round(1e3 * median(times[n]), 1)}
        print(json.dumps(named | quality(world, starts, sampling, v.seed)), flush=True)


if __name__ == "__main__":
    app.run(main)
