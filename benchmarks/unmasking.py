"""How should a frame be unmasked? Long rollouts of one world under several schedules, steps and temperatures.

    python benchmarks/unmasking.py --world=runs/breakout/world --data=runs/breakout/data

The same held-out starts are continued under their true actions with every setting; one JSON line each: PSNR against
what happened after 1, 8 and all frames, how often a pixel changes beside how often it truly does, and the share of loud
frames. For Breakout also how far the paddle is from the true one, in pixels, and how often two balls are seen at once.
"""

import itertools
import json
import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from scipy.ndimage import label

import oyster_jax as oyster
from oyster_jax.data.pipeline import WindowOptions, open_clips, windows
from oyster_jax.evaluation.metrics import psnr_each
from oyster_jax.sampling.rollout import tokenize
from oyster_jax.types import Clip

flags.DEFINE_string("world", "runs/breakout/world", "a trained world")
flags.DEFINE_string("data", "runs/breakout/data", "its data")
flags.DEFINE_integer("frames", 100, "frames to roll out")
flags.DEFINE_integer("starts", 8, "held-out starts")
flags.DEFINE_multi_enum(
    "schedule", ["cosine", "geometric", "one_by_one"], ["cosine", "geometric"], "schedules to compare"
)
flags.DEFINE_multi_integer("video_steps", [8], "steps to compare")
flags.DEFINE_multi_float("temperature", [1.0], "temperatures to compare")
flags.DEFINE_integer("seed", 0, "seed")

CONTEXT = 16


def breakout(video: np.ndarray, truth: np.ndarray) -> dict:
    """How far paddles are from the true ones, and the share of frames with more than one ball. 64x64 frames [B, T]."""
    inside = np.s_[8:57]  # between the walls
    court, floor = (x[..., inside, :].max(-1) for x in (video[:, :, 31:54], video[:, :, 57:61]))
    balls = np.array([label(frame > 60, np.ones((3, 3)))[1] for frame in court.reshape(-1, *court.shape[2:])])

    def paddle(floor):
        seen = (floor > 80).any(2)
        return (seen * np.arange(seen.shape[-1])).sum(-1) / np.maximum(seen.sum(-1), 1)

    off = np.abs(paddle(floor) - paddle(truth[:, :, 57:61, inside].max(-1)))
    return {"paddle_off": float(off.mean()), "two_balls": float((balls > 1).mean())}


def main(_):
    v = flags.FLAGS
    world, reader = oyster.load(v.world), open_clips(v.data)
    options = WindowOptions(CONTEXT + v.frames, v.starts, seed=v.seed, arrays=("video", "audio", "action"))
    batch = next(iter(windows(reader, reader.split("held_out"), options)))
    clip = Clip(**{name: jnp.asarray(batch[name]) for name in Clip._fields})
    truth = batch["video"][:, CONTEXT:]
    changes = lambda x: float((np.abs(np.diff(x.astype(int), axis=1)).max(-1) > 15).mean())
    loud = lambda x: float((np.abs(x).max(-1) > 0.02).mean())
    action = jnp.moveaxis(jax.jit(tokenize)(world, clip)[1][:, CONTEXT - 1 : -1], 1, 0)
    state, _ = jax.jit(oyster.prefill)(world, jax.random.key(v.seed), clip.first(CONTEXT))
    print(json.dumps({"truth": {"changes": changes(truth), "loud": loud(batch["audio"][:, CONTEXT:])}}))
    for schedule, steps, temperature in itertools.product(v.schedule, v.video_steps, v.temperature):
        named = {"schedule": schedule, "video_steps": steps, "temperature": temperature}
        randomness = replace(world.config.sampling.randomness, temperature=temperature)
        sampling = replace(world.config.sampling, schedule=schedule, video_steps=steps, randomness=randomness)
        play = jax.jit(lambda w, s, a, sampling=sampling: oyster.rollout(w, s, a, sampling)[1])
        play = play.lower(world, state, action).compile()
        begin = time.monotonic()
        obs = jax.device_get(play(world, state, action))
        seconds = time.monotonic() - begin
        video, audio = obs.video.swapaxes(0, 1), obs.audio.swapaxes(0, 1)
        each = psnr_each(video, truth)
        report = named | {"psnr_1": each[:, 0].mean(), "psnr_8": each[:, 7].mean(), "psnr": each.mean()}
        report |= {"changes": changes(video), "loud": loud(audio), "seconds": seconds}
        if reader.info.source == "ale:breakout":
            report |= breakout(video, truth)
        print(json.dumps({k: round(float(x), 3) if k != "schedule" else x for k, x in report.items()}), flush=True)


if __name__ == "__main__":
    app.run(main)
