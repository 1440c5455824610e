"""How long does a world take to answer? One JSON line.

    python benchmarks/latency.py --world=reef [--frames=300 --video_steps=8]

From an action until its frame and its sound are in host memory, in ms (compiling is apart); `commit` is how much longer
the session is busy. Between frames a plain matmul of fixed size is timed as a control: where its own p99 is far from
its p50, the machine was not quiet. `start` is a new process until its first frame, in seconds, and until its first
answer, for which `step` is compiled while the first frame is on show: cold (nothing kept from before), then warm
(programs kept by the first). `late` / `early`: the last tenth of the frames over the first.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

import oyster_jax as oyster
from oyster_jax.sampling.script import sticky_random

flags.DEFINE_string("world", "reef", "a trained world")
flags.DEFINE_string("prompt", "a bay at night", "its prompt")
flags.DEFINE_integer("frames", 300, "frames to time")
flags.DEFINE_integer("video_steps", None, "MaskGIT steps for the picture (default: the world's)")
flags.DEFINE_integer("audio_steps", None, "MaskGIT steps for the sound (default: the world's)")
flags.DEFINE_boolean("start", True, "whether to time cold and warm starts")

FIRST_FRAME = """
import sys, time
begin = time.time()
import jax, numpy, oyster_jax as oyster
world = oyster.load(sys.argv[1])
state, obs = oyster.compile_reset(world)(jax.random.key(0), sys.argv[2])
jax.device_get(obs)
first = time.time() - begin
step = oyster.compile_step(world)
action = jax.numpy.zeros((1, len(world.config.played_actions.factors)), "int32")
jax.device_get(step(state, action)[1])
print(first, time.time() - begin)
"""


def start_times(world: str, prompt: str) -> dict:
    """Seconds from importing anything to the first frame, and to the first answer to an action, in new processes."""
    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | {"XDG_CACHE_HOME": folder}
        run = lambda: subprocess.run(
            [sys.executable, "-c", FIRST_FRAME, world, prompt], env=env, capture_output=True, text=True, check=True
        )
        times = [[round(float(x), 2) for x in run().stdout.split()] for _ in range(3)]
    names = ("first_frame", "first_answer")
    return {"cold": dict(zip(names, times[0])), "warm": dict(zip(names, np.min(times[1:], axis=0).tolist()))}


def play(world: oyster.World, prompt: str, frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Seconds of every answer, of every whole step, and of the control in between."""
    step = oyster.compile_step(world, keep=False)
    state, _ = oyster.compile_reset(world, keep=False)(jax.random.key(0), prompt)
    actions = sticky_random(world.config.played_actions, frames, np.random.default_rng(0))
    square = jnp.ones((512, 512), jnp.float32)
    control = jax.jit(jnp.matmul)
    times = np.zeros((3, frames))
    for t, action in enumerate(actions):
        begin = time.perf_counter()
        state, obs = step(state, jnp.asarray(action[None]))
        np.asarray(obs.video), np.asarray(obs.audio)
        times[0, t] = time.perf_counter() - begin
        jax.block_until_ready(state)
        times[1, t] = time.perf_counter() - begin
        begin = time.perf_counter()
        for _ in range(4):
            control(square, square).block_until_ready()
        times[2, t] = time.perf_counter() - begin
    return times[:, 5:]  # the first ones still warm up


def main(_):
    v = flags.FLAGS
    world = oyster.load(v.world)
    steps = {n: v[n].value for n in ("video_steps", "audio_steps") if v[n].value}
    sampling = replace(world.config.sampling, **steps)
    world = replace(world, config=replace(world.config, sampling=sampling))
    answer, whole, control = play(world, v.prompt, v.frames)
    spread = lambda x: {f"p{q}": round(1e3 * float(np.percentile(x, q)), 2) for q in (50, 90, 99)}
    tenth = max(1, len(answer) // 10)
    report = {
        "benchmark": "latency",
        "world": v.world,
        "cores": os.cpu_count(),
        "frames": v.frames,
        "video_steps": sampling.video_steps,
        "audio_steps": sampling.audio_steps,
        "answer_ms": spread(answer),
        "p99_over_p50": round(float(np.percentile(answer, 99) / np.median(answer)), 2),
        "commit_ms": round(1e3 * float(np.median(whole - answer)), 2),
        "control_ms": spread(control),
        "late_over_early": round(float(np.median(answer[-tenth:]) / np.median(answer[:tenth])), 3),
        "control_late_over_early": round(float(np.median(control[-tenth:]) / np.median(control[:tenth])), 3),
    }
    print(json.dumps(report | ({"start_s": start_times(v.world, v.prompt)} if v.start else {})))


if __name__ == "__main__":
    app.run(main)
