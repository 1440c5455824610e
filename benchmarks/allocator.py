"""Does a training step gain from an allocator that keeps its memory? One JSON line for each.

    apt-get install libtcmalloc-minimal4
    python benchmarks/allocator.py [--config=configs/reef_tiny.py] [--turns=3] [--steps=20]

Steps of the config's dynamics stage on random tokens (the time does not depend on them), on a CPU, in fresh processes
by turns: glibc's allocator, and tcmalloc put in its place by `launch/cpu.sh`. `seconds` a step, the median of a
process's steps, for each turn; `faults` of pages and `system`, the share of CPU time spent in the kernel.
"""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import jax
import numpy as np
from absl import app, flags
from ml_collections import config_flags

from oyster_jax.config_dict import from_dict
from oyster_jax.config_experiment import ExperimentConfig, resolve
from oyster_jax.distributed.mesh import make_mesh
from oyster_jax.sims import reef
from oyster_jax.training.loop import shard_train_step
from oyster_jax.training.tasks.dynamics import DynamicsTask

config_flags.DEFINE_config_file("config", "configs/reef_tiny.py", "experiment, one file of configs/")
flags.DEFINE_integer("turns", 3, "processes with each allocator")
flags.DEFINE_integer("steps", 20, "steps to time in each process")
flags.DEFINE_boolean("own", False, "measure this process, with the allocator that it has")

CPU = Path(__file__).parents[1] / "launch" / "cpu.sh"


def main(_):
    v = flags.FLAGS
    experiment = from_dict(ExperimentConfig, v.config.to_dict())
    if v.own:
        print(json.dumps(measure(experiment, v.steps)))
        return
    own = [sys.executable, *sys.argv, "--own"]
    commands = {"glibc": own, "tcmalloc": ["bash", "-c", f'source {CPU} && exec "$@"', "bash", *own]}
    env = {k: x for k, x in os.environ.items() if k != "LD_PRELOAD"} | {"JAX_PLATFORMS": "cpu"}
    runs = {name: [] for name in commands}
    for _ in range(v.turns):
        for name, command in commands.items():
            done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
            runs[name].append(json.loads(done.stdout.splitlines()[-1]))
    for name, turns in runs.items():
        columns = {k: [turn[k] for turn in turns] for k in turns[0]}
        ratio = median(columns["seconds"]) / median(turn["seconds"] for turn in runs["glibc"])
        print(json.dumps({"benchmark": "allocator", "allocator": name, **columns, "ratio": round(ratio, 3)}))


def measure(experiment: ExperimentConfig, steps: int) -> dict:
    """A step's seconds, page faults and the kernel's share of its CPU time in this process."""
    task, batch = dynamics(experiment)
    init, step, _ = shard_train_step(task, make_mesh())
    state, _ = jax.block_until_ready(step(init(jax.random.key(0)), batch, jax.random.key(1)))
    seconds, before = [], resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(steps):
        start = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, batch, jax.random.key(1)))
        seconds.append(time.perf_counter() - start)
    after = resource.getrusage(resource.RUSAGE_SELF)
    kernel, user = after.ru_stime - before.ru_stime, after.ru_utime - before.ru_utime
    faults = (after.ru_minflt - before.ru_minflt) // steps
    return {"seconds": round(median(seconds), 3), "faults": faults, "system": round(kernel / (kernel + user), 3)}


def dynamics(experiment: ExperimentConfig) -> tuple[DynamicsTask, dict[str, np.ndarray]]:
    """The dynamics task of an experiment on the reef, and a batch of random tokens, its prompts without padding."""
    world, stage = resolve(experiment, reef.MEDIA, reef.ACTIONS), experiment.train.dynamics
    c, rng = world.dynamics, np.random.default_rng(0)
    random = lambda most, *more: rng.integers(0, most, (stage.batch, stage.frames, *more)).astype(np.int32)
    batch = {
        "video_tokens": random(c.video_codes, c.video_tokens),
        "audio_tokens": random(c.audio_codes, c.audio_tokens),
        "action": random(c.action_sizes, len(c.action_sizes)),
        "prompt": np.full((stage.batch, 4, 128), ord("a"), np.uint8),
        "prompt_id": random(4),
    }
    return DynamicsTask(world, experiment.train), batch


if __name__ == "__main__":
    app.run(main)
