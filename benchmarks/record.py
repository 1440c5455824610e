"""How many frames a second can be recorded, with sound, to disk, and how many does the reef play when vmapped? One JSON
line for each source.

python benchmarks/record.py [simulate reef ale:breakout vizdoom:basic_audio]
"""

import json
import sys
import tempfile
import time

import jax
import jax.numpy as jnp

from oyster_jax.data.recorder import record
from oyster_jax.data.sources import make_source
from oyster_jax.sims import reef


def measure(name: str, frames: int = 4096) -> dict:
    """Frames a second of recording `frames` frames; compilation and start-up apart, by a first short recording."""
    source = make_source(name)
    with tempfile.TemporaryDirectory() as folder:
        record(source, f"{folder}/warm", 300)
        start = time.perf_counter()
        record(source, f"{folder}/timed", frames)
        seconds = time.perf_counter() - start
    return {"benchmark": "record", "source": name, "frames": frames, "frames_per_second": round(frames / seconds, 1)}


def simulate(worlds: int = 64, frames: int = 128) -> dict:
    """Frames a second of as many bays side by side under random actions, picture and sound included."""
    sizes = jnp.array(reef.ACTIONS.sizes)
    begin = jax.jit(jax.vmap(lambda key: reef.reset(key, reef.Scene(0, 1, 0, 0))[0]))

    @jax.jit
    def play(states, key):
        actions = jax.random.randint(key, (frames, worlds, len(sizes)), 0, sizes)
        states, obs = jax.lax.scan(jax.vmap(reef.step), states, actions)
        return states, jax.tree.map(lambda x: x.astype(jnp.float32).mean(), obs)  # all of it is made, none is kept

    states = begin(jax.random.split(jax.random.key(0), worlds))
    jax.block_until_ready(play(states, jax.random.key(1)))
    start = time.perf_counter()
    jax.block_until_ready(play(states, jax.random.key(2)))
    rate = worlds * frames / (time.perf_counter() - start)
    return {"benchmark": "simulate", "source": "reef", "worlds": worlds, "frames_per_second": round(rate, 1)}


if __name__ == "__main__":
    for name in sys.argv[1:] or ["simulate", "reef", "ale:breakout", "vizdoom:basic_audio"]:
        print(json.dumps(simulate() if name == "simulate" else measure(name)))
