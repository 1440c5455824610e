"""Where does a frame's time go, and how near is the step to what the machine can do? One JSON line for each size.

    python benchmarks/roofline.py [--window=16 --window=256] [--kv_heads=0 --kv_heads=1] [--batch=1 --batch=16]

Random weights (the time does not depend on them) at the sizes of the flags, with sound and a prompt, compiled as in
play. The arithmetic is counted by hand: matrix products of the tokens that are there, nothing else. Beside it, in turns
in the same process, a plain float32 matmul of the shape that an MLP of one frame has: `of_matmul` is the step's
FLOP/s over that of the matmul. `parts` says what each part takes alone, in ms: one model pass with all tokens hidden;
the drawing of tokens of all MaskGIT steps; both decoders; the commit. `reads_mb` is what has to be read for a frame:
weights and K/V.
"""

import itertools
import json
import os
import time
from fractions import Fraction
from functools import partial
from statistics import median

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

import oyster_jax as oyster
from oyster_jax import config as c
from oyster_jax.config_experiment import ExperimentConfig, resolve
from oyster_jax.models.grid import AROUND
from oyster_jax.sampling import cache, maskgit, rollout
from oyster_jax.training.tasks import make_tasks
from oyster_jax.types import Logits, TokenFrame

flags.DEFINE_integer("width", 256, "width of every transformer")
flags.DEFINE_integer("layers", 4, "layers of every transformer")
flags.DEFINE_integer("heads", 4, "attention heads")
flags.DEFINE_integer("patch", 8, "side of a patch of the 64x64 picture")
flags.DEFINE_integer("steps", 8, "MaskGIT steps of both modalities")
flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "activations")
flags.DEFINE_multi_integer("window", [16], "frames that temporal attention sees")
flags.DEFINE_multi_integer("kv_heads", [0], "key/value heads; 0: as many as heads")
flags.DEFINE_multi_integer("temporal_every", [1], "temporal attention in every n-th layer")
flags.DEFINE_multi_integer("batch", [1], "sessions in one step")
flags.DEFINE_float("seconds", 10, "how long to time each size")


def make_world(v, window: int, kv_heads: int, temporal_every: int) -> oyster.World:
    """A world of the flags' sizes with random weights."""
    transformer = c.TransformerConfig(
        v.layers, v.width, v.heads, kv_heads, window=window, temporal_every=temporal_every, dtype=v.dtype
    )
    codes = c.QuantizerConfig(levels=(8, 8, 4, 4))
    experiment = ExperimentConfig(
        video_tokenizer=c.VideoTokenizerConfig(v.patch, encoder=transformer, decoder=transformer, quantizer=codes),
        audio_tokenizer=c.AudioTokenizerConfig(tokens=8, width=96, layers=3),
        dynamics=c.DynamicsConfig(transformer=transformer),
        sampling=c.SamplingConfig(video_steps=v.steps, audio_steps=v.steps),
    )
    actions = c.ActionSpace((c.ActionFactor("action", tuple("abcdef")),))
    config = resolve(experiment, c.MediaSpec(Fraction(15), 15360), actions)
    tasks = make_tasks(config, experiment.train)
    return oyster.World({t.name: nn.unbox(jax.jit(t.init)(jax.random.key(0))) for t in tasks}, config)


def layer_flop(t: c.TransformerConfig, keys: int) -> dict[str, float]:
    """FLOP of a layer for each token, part by part. A token sees `keys` of its frame and prompt."""
    qkv, out = 2 * t.width * (t.width + 2 * t.groups * t.head_dim), 2 * t.width**2
    attend = lambda seen: 4 * t.width * seen
    spatial, temporal = {"qkv": qkv, "ask": attend(keys) + out}, {"qkv": qkv, "ask": attend(t.window) + out}
    return {"spatial": spatial, "temporal": temporal, "mlp": 4 * t.mlp_ratio * t.width**2}


def stack_flop(t: c.TransformerConfig, keys: int) -> float:
    """FLOP of all layers for each token."""
    one = layer_flop(t, keys)
    spatial, temporal = (sum(one[name].values()) for name in ("spatial", "temporal"))
    return t.layers * (spatial + one["mlp"]) + t.temporal_layers * temporal


def frame_flop(config: c.WorldConfig) -> float:
    """FLOP of one frame of one session: what is expected of it, MaskGIT steps, the commit up to its last K/V, and the
    video decoder.

    The last layer of a MaskGIT step, and the heads, look only at tokens that are hidden.
    """
    d, v, s = config.dynamics, config.video_tokenizer, config.sampling
    t, keys = d.transformer, d.frame_tokens + d.text.tokens
    every, last = d.frame_tokens * stack_flop(t, keys), layer_flop(t, keys)
    ask = last["spatial"]["ask"] + sum(last["temporal"].values()) + last["mlp"]
    after_last_kv = last["temporal"]["ask"] + 2 * t.width**2 + last["mlp"]  # and the queries
    decoder = v.tokens * (stack_flop(v.decoder, v.tokens) + 2 * v.decoder.width * v.patch**2 * 3)

    total = max(s.video_steps, s.audio_steps)
    each = ((d.video_tokens, s.video_steps, d.video_codes), (d.audio_tokens, s.audio_steps, d.audio_codes))
    hidden = [np.array([n, *maskgit.mask_schedule(n, steps, total, s.schedule)[:-1]]) for n, steps, _ in each]
    steps = 0
    for run in maskgit.runs(sum(hidden)):
        seen = [n[run.start] for n in hidden]
        heads = sum(2 * t.width * n * codes for n, (*_, codes) in zip(seen, each))
        steps += len(hidden[0][run]) * (every - (d.frame_tokens - sum(seen)) * ask + heads)
    return float(expect_flop(d) + steps + every - d.frame_tokens * after_last_kv + decoder)


def expect_flop(d: c.DynamicsConfig) -> float:
    """FLOP of `Dynamics.expect` without an atlas, once a frame: what stood next to each patch in the last frames, and
    what the action makes of it."""
    width, near = d.transformer.width, d.transformer.width // 4 * c.MOVED
    steered = AROUND * near * 2 * width + 2 * width * width
    return 2 * (d.video_tokens - d.video_shared) * (AROUND * width**2 + steered)


def frame_reads(world: oyster.World, state: oyster.RolloutState) -> int:
    """Bytes of weights and of K/V that a frame has to read, were every one read once a pass."""
    weigh = lambda tree: sum(x.nbytes for x in jax.tree.leaves(tree))
    s, p = world.config.sampling, world.params
    passes = max(s.video_steps, s.audio_steps) + 1
    decoders = weigh((p["video_tokenizer"]["decoder"], state.video))
    return passes * weigh((p["dynamics"]["transformer"], state.dynamics)) + decoders


def matmul(rows: int, t: c.TransformerConfig):
    """(a plain matmul there and back of the shape of a frame's MLP, its FLOP)."""
    wide = t.mlp_ratio * t.width
    x, up, down = (jnp.full(shape, 0.01, jnp.float32) for shape in ((rows, t.width), (t.width, wide), (wide, t.width)))
    run = jax.jit(lambda x, up, down: (x @ up) @ down)
    return lambda: run(x, up, down).block_until_ready(), 4 * rows * t.width * wide


def parts(world: oyster.World, state: oyster.RolloutState, action: jax.Array) -> dict:
    """What each part of a step takes alone: functions to time."""
    d, batch = world.config.dynamics, len(state.position)
    hidden = TokenFrame(*(jnp.ones((batch, n), bool) for n in (d.video_tokens, d.audio_tokens)))
    tokens = jax.tree.map(lambda x: x.astype(jnp.int32), hidden)
    settings, played = world.config.sampling, partial(jax.jit, compiler_options=oyster.compiler_options())
    mask = cache.past_mask(state.position, world.config.video_tokenizer.decoder.window)
    model = played(lambda w, s, t, h: rollout._guided_logits(w, s, action, settings)(t, h, None))
    logits = model(world, state, tokens, hidden)

    def draw(keys, logits):
        def again(tokens, masked, wanted):
            now = Logits(*(lg + m.sum() for lg, m in zip(logits, masked)))
            one = lambda lg, w: jnp.take_along_axis(lg, w[:, None, :, None], 2)
            return now if wanted is None else Logits(*map(one, now, wanted))

        return maskgit.unmask(again, tokens, hidden, keys, settings)

    def see(world, state):
        at = state.position[:, None]
        return world.apply("video_tokenizer", tokens.video[:, None], at, state.video, mask, method="decode")

    hear = lambda w, s: w.apply("audio_tokenizer", tokens.audio[:, None], s.audio, method="decode")
    pending, _ = played(rollout.predict)(world, state, action)
    runs = {
        "one_pass": (model, (world, state, tokens, hidden)),
        "drawing": (played(draw), (state.key, logits)),
        "video_decoder": (played(see), (world, state)),
        "audio_decoder": (played(hear), (world, state)),
        "commit": (played(rollout.commit), (world, state, pending)),  # its buffers are copied here, not in a step
    }
    return {name: lambda run=run, args=args: jax.block_until_ready(run(*args)) for name, (run, args) in runs.items()}


def timed(run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measure(world: oyster.World, batch: int, seconds: float) -> dict:
    """One size: step and matmul by turns, then the parts."""
    config, t = world.config, world.config.dynamics.transformer
    state = rollout.init_state(world, jax.random.key(0), batch=batch)
    state = jax.tree.map(jnp.copy, state._replace(position=state.position + t.window))  # the window is full
    action = jnp.zeros((batch, 1), jnp.int32)
    alone = {name: (run(), [timed(run) for _ in range(5)])[1] for name, run in parts(world, state, action).items()}
    figures = {"session_mb": oyster.state_bytes(state) / batch / 1e6, "reads_mb": frame_reads(world, state) / 1e6}
    begin = time.perf_counter()
    fast = oyster.compile_step(world, batch, keep=False)
    figures["compile_s"] = time.perf_counter() - begin
    held = [state]

    def step():
        held[0], obs = fast(held[0], action)
        jax.block_until_ready((held[0], obs))

    plain, plain_flop = matmul(batch * config.dynamics.frame_tokens, t)
    for run in (step, plain):
        run()
    steps, plains = [], []
    while sum(steps) < seconds:
        steps.append(timed(step))
        plains.append(median(timed(plain) for _ in range(9)))
    flop = batch * frame_flop(config)
    ratios = [flop / s / (plain_flop / p) for s, p in zip(steps, plains)]
    figures |= {
        "gflop": flop / 1e9,
        "ms": 1e3 * median(steps),
        "gflop_s": flop / median(steps) / 1e9,
        "matmul_gflop_s": plain_flop / median(plains) / 1e9,
        "of_matmul": median(ratios),
    }
    return figures | {"parts": {name: round(1e3 * median(each), 3) for name, each in alone.items()}}


def main(_):
    v = flags.FLAGS
    for window, kv_heads, every, batch in itertools.product(v.window, v.kv_heads, v.temporal_every, v.batch):
        sizes = {n: v[n].value for n in ("width", "layers", "heads", "patch", "steps", "dtype")}
        sizes |= {"window": window, "kv_heads": kv_heads, "temporal_every": every, "batch": batch}
        figures = measure(make_world(v, window, kv_heads, every), batch, v.seconds)
        figures = {name: round(x, 3) if isinstance(x, float) else x for name, x in figures.items()}
        print(json.dumps({"benchmark": "roofline", "cores": os.cpu_count()} | sizes | figures), flush=True)


if __name__ == "__main__":
    app.run(main)
