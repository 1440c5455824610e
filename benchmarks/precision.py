"""What do bfloat16, and int8 weights of the dynamics, gain and cost? One JSON line for each.

    pip install qwix
    python benchmarks/precision.py --world=reef [--turns=20]

`ms` is a whole step of one session, frame by frame and by turns; `ratio` is its time over that of float32. `shift` is
how far logits of a frame move, all tokens hidden, in standard deviations of the float32 logits; `agree` how often the
likeliest code of a token stays the likeliest. Int8 is Qwix's weight-only quantization, one scale for each output.
"""

import dataclasses
import json
import time
from statistics import median

import jax
import jax.numpy as jnp
import qwix
from absl import app, flags

import oyster_jax as oyster
from oyster_jax.models import world_model
from oyster_jax.models.dynamics import Dynamics, frames_before
from oyster_jax.nn import layers
from oyster_jax.sampling import rollout
from oyster_jax.types import TokenFrame

flags.DEFINE_string("world", "reef", "a trained world")
flags.DEFINE_string("prompt", "a bay at night", "its prompt")
flags.DEFINE_integer("turns", 20, "frames of each to time, by turns")

PARTS = {"dynamics": "transformer", "video_tokenizer": "decoder"}  # of each model, what runs in a step


def bfloat16(world: oyster.World) -> oyster.World:
    """The same parameters, computed with in bfloat16; caches are bfloat16 too."""
    config = world.config
    for model, part in PARTS.items():
        cfg = getattr(config, model)
        layers = dataclasses.replace(getattr(cfg, part), dtype="bfloat16")
        config = dataclasses.replace(config, **{model: dataclasses.replace(cfg, **{part: layers})})
    return oyster.World(world.params, config)


def int8(world: oyster.World) -> oyster.World:
    """The dense weights of the dynamics' transformer and heads as int8."""
    b, d = 1, world.config.dynamics
    tokens = TokenFrame(*(jnp.zeros((b, 1, n), jnp.int32) for n in (d.video_tokens, d.audio_tokens)))
    now, action = jnp.zeros((b, 1), jnp.int32), jnp.zeros((b, 1, len(d.action_sizes)), jnp.int32)
    hidden = jax.tree.map(lambda x: x == 0, tokens)  # such frames pass through all that committed ones do, and more
    told = (tokens, hidden, action, now, oyster.encode_prompt(world), now)
    before = frames_before(tokens, d.look_back)
    init = lambda: int8_dynamics(world.config).init(jax.random.key(0), *told, before=before)["params"]
    own = world.params["dynamics"]
    quantized = qwix.quantize_params(own, jax.eval_shape(init), allow_extra_params=True)
    return oyster.World(world.params | {"dynamics": own | quantized}, world.config)


def int8_dynamics(config: oyster.WorldConfig):
    rule = qwix.QuantizationRule(module_path=".*", op_names=("dot_general",), weight_qtype=jnp.int8)
    return qwix.quantize_model(Dynamics(config.dynamics), qwix.PtqProvider([rule]), methods=("__call__", "features"))


def logits(world: oyster.World, state: oyster.RolloutState) -> jax.Array:
    """Of every video token of the frame after `state`, all tokens hidden."""
    d = world.config.dynamics
    hidden = TokenFrame(*(jnp.ones((1, n), bool) for n in (d.video_tokens, d.audio_tokens)))
    action = jnp.full((1, 1, len(world.config.played_actions.factors)), -1)
    tokens = jax.tree.map(lambda x: x.astype(jnp.int32), hidden)
    return rollout._forward(world, state, tokens, hidden, action)[0].video


def player(world: oyster.World, prompt: str):
    """A function that takes one step and returns how long it took; and the logits after a frame that is given."""
    sizes = world.config.media
    image = jnp.broadcast_to(jnp.arange(sizes.width)[:, None], (sizes.height, sizes.width, 3)).astype(jnp.uint8)
    begin = jax.jit(oyster.reset)
    state, _ = begin(world, jax.random.key(0), oyster.encode_prompt(world, prompt), image)
    seen = jax.jit(logits)(world, state)
    action = jnp.zeros((1, len(world.config.played_actions.factors)), jnp.int32)
    step = jax.jit(oyster.step, donate_argnums=1).lower(world, state, action).compile(oyster.compiler_options())
    held = [state]

    def run() -> float:
        start = time.perf_counter()
        held[0], obs = step(world, held[0], action)
        jax.device_get(obs)
        jax.block_until_ready(held[0])
        return time.perf_counter() - start

    return run, seen


def main(_):
    v = flags.FLAGS
    world = oyster.load(v.world)
    # Qwix puts its product in the place of lax.dot_general, and must see the weight as it is: all sides do without the
    # CPU's product of two matrices, which makes a step neither faster nor slower.
    layers._product = jax.lax.dot_general
    plain, runs, seen = world_model.MODULES["dynamics"], {}, {}
    for name, change in {"float32": lambda w: w, "bfloat16": bfloat16, "int8": int8}.items():
        changed = change(world)
        world_model.MODULES["dynamics"] = int8_dynamics if name == "int8" else plain
        runs[name], seen[name] = player(changed, v.prompt)
    times = {name: [] for name in runs}
    for turn in range(v.turns + 2):
        for name, run in runs.items():
            times[name] += [run()] if turn > 1 else []
            run()
    exact = seen["float32"]
    for name, x in seen.items():
        report = {"benchmark": "precision", "world": v.world, "precision": name}
        report["ms"] = round(1e3 * median(times[name]), 1)
        report["ratio"] = round(median(a / b for a, b in zip(times[name], times["float32"])), 2)
        report["shift"] = round(float(jnp.sqrt(jnp.mean((x - exact) ** 2)) / exact.std()), 4)
        report["agree"] = round(float((x.argmax(-1) == exact.argmax(-1)).mean()), 3)
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    app.run(main)
