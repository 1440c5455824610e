"""The two sides of `jasmine.py`, each a process in an environment of its own that it starts and asks.

A side compiles its measures, says how long that took, and then runs the one that it is told to, over and over for as
long as it is told to: both are compiled once and can still take turns. Imports wait until it is known which side runs.
"""

import json
import os
import sys
import time
from fractions import Fraction
from importlib.metadata import version
from types import SimpleNamespace

BLOCKS, HEADS, ACTIONS = 4, 4, 6


def stepper(step, state, *args):
    """A function that takes one training step, from wherever the last one ended."""
    import jax

    held = [state]

    def run():
        held[0], shown = step(held[0], *args)
        jax.block_until_ready((held[0], shown))

    return run


# ---------------------------------------------------------------------------- ours


def ours(case) -> tuple[dict, dict]:
    """Parameters, and what builds each measure.

    Sampling: `steps` hands out frame by frame, `rollout` all frames at the end, as Jasmine does.
    Training: on `raw` clips, encoded in the same step, or on `tokens` out of the cache, as `oyster train` does.
    """
    world, task = make_world(case)
    clip = make_clip(case)
    return world.params, train_ours(task, world, clip) if case.train else sample_ours(case, world, clip)


def make_world(case):
    """A world with random weights and sound, as wide and deep as Jasmine's models, and its dynamics task."""
    import flax.linen as nn
    import jax

    from oyster_jax import config as c
    from oyster_jax.config_experiment import ExperimentConfig, StageConfig, TrainConfig, resolve
    from oyster_jax.config_sampling import Randomness
    from oyster_jax.models.world_model import World
    from oyster_jax.training.tasks import make_tasks

    transformer = c.TransformerConfig(BLOCKS, case.width, HEADS, case.kv_heads, window=case.clip)
    codebook = c.QuantizerConfig("vq", codes=case.codes, dim=32)
    steps = dict(video_steps=case.maskgit_steps, audio_steps=case.maskgit_steps)
    noise = Randomness(case.temperature, case.temperature)
    experiment = ExperimentConfig(
        video_tokenizer=c.VideoTokenizerConfig(
            case.patch, encoder=transformer, decoder=transformer, quantizer=codebook
        ),
        audio_tokenizer=c.AudioTokenizerConfig(tokens=8, width=96, layers=3),
        dynamics=c.DynamicsConfig(transformer=transformer),
        sampling=c.SamplingConfig(**steps, randomness=noise),
        train=TrainConfig(dynamics=StageConfig(batch=case.batch, frames=case.clip)),
    )
    media = c.MediaSpec(Fraction(15), 15360, case.size, case.size)
    actions = c.ActionSpace((c.ActionFactor("action", tuple(map(str, range(ACTIONS)))),))
    config = resolve(experiment, media, actions)
    tasks = {task.name: task for task in make_tasks(config, experiment.train)}
    params = {name: nn.unbox(jax.jit(task.init)(jax.random.key(0))) for name, task in tasks.items()}
    return World(params, config), tasks["dynamics"]


def make_clip(case):
    """Noise to look at and listen to, under a prompt."""
    import jax
    import numpy as np

    from oyster_jax import Clip
    from oyster_jax.models.text_encoder import prompt_bytes

    rng, shape = np.random.default_rng(0), (case.batch, case.clip)
    clip = Clip(
        video=rng.integers(0, 256, (*shape, case.size, case.size, 3)).astype(np.uint8),
        audio=rng.uniform(-0.5, 0.5, (*shape, 1024)).astype(np.float32),
        action=rng.integers(0, ACTIONS, (*shape, 1)).astype(np.int32),
        prompt=np.tile(prompt_bytes("a bay at night"), (case.batch, 1, 1)),
        prompt_id=np.zeros(shape, np.int32),
    )
    return jax.device_put(clip)


def sample_ours(case, world, clip) -> dict:
    import jax
    import jax.numpy as jnp

    import oyster_jax as oyster

    key, past = jax.random.key(1), clip.first(case.given)
    action_TBA = jnp.moveaxis(clip.action[:, case.given - 1 : -1], 1, 0)

    def steps():
        begin = jax.jit(oyster.prefill).lower(world, key, past).compile(oyster.compiler_options())
        step = oyster.compile_step(world, case.batch, keep=False)
        actions = list(action_TBA)

        def run():
            state, _ = begin(world, key, past)
            for action in actions:
                state, obs = step(state, action)
                jax.device_get(obs)

        return run

    def rollout():
        film = lambda world, past, actions: oyster.rollout(world, oyster.prefill(world, key, past)[0], actions)[1]
        play = jax.jit(film).lower(world, past, action_TBA).compile(oyster.compiler_options())
        return lambda: jax.device_get(play(world, past, action_TBA))

    return {"steps": steps, "rollout": rollout}


def train_ours(task, world, clip) -> dict:
    import flax.linen as nn
    import jax

    import oyster_jax as oyster
    from oyster_jax.sampling.rollout import tokenize
    from oyster_jax.training.loop import init_state, make_train_step

    def encode(world, clip):
        tokens, action = tokenize(world, clip)
        batch = {"prompt": clip.prompt, "prompt_id": clip.prompt_id, "action": action}
        return batch | {"video_tokens": tokens.video, "audio_tokens": tokens.audio}

    step, key = make_train_step(task), jax.random.key(1)

    def build(step, *args):
        state = jax.jit(lambda key: nn.unbox(init_state(task, key)))(key)
        program = jax.jit(step, donate_argnums=0).lower(state, *args).compile(oyster.compiler_options())
        return stepper(program, state, *args)

    return {
        "raw": lambda: build(lambda state, world, clip: step(state, encode(world, clip), key), world, clip),
        "tokens": lambda: build(lambda state, batch: step(state, batch, key), jax.jit(encode)(world, clip)),
    }


# ---------------------------------------------------------------------------- Jasmine


def jasmine(case) -> tuple[dict, dict]:
    """Parameters, and what builds each measure.

    Sampling: `sample`, its Genie's own method.
    Training: `trainer`, with the metrics and pictures that its trainer makes in every step, and `lean`, without them.
    """
    import jax
    from flax import nnx
    from jasmine.baselines.maskgit import train_dynamics_maskgit as trainer

    parts = {"dim": case.width, "ffn_dim": 4 * case.width, "num_blocks": BLOCKS, "num_heads": HEADS}
    args = trainer.Args(
        **{f"{model}_{name}": value for model in ("tokenizer", "lam", "dyna") for name, value in parts.items()},
        **dict(seq_len=case.clip, patch_size=case.patch, lam_patch_size=case.patch, num_patch_latents=case.codes),
        **dict(num_actions=ACTIONS, use_gt_actions=case.train, use_flash_attention=False),
    )
    args.dtype = jax.numpy.float32  # no field of their dataclass
    genie, _ = trainer.build_model(args, jax.random.key(0))
    builds = train_jasmine(case, trainer, args, genie) if case.train else sample_jasmine(case, genie)
    return nnx.state(genie, nnx.Param), builds


def sample_jasmine(case, genie) -> dict:
    """Under latent actions: the codes are given, as whoever plays a world gives them."""
    import jax
    import numpy as np
    from flax import nnx

    rng = np.random.default_rng(0)
    batch = {
        "videos": rng.random((case.batch, case.given, case.size, case.size, 3), np.float32),
        "latent_actions": rng.integers(0, ACTIONS, case.batch * (case.clip - 1)),
        "rng": jax.random.key(1),
    }
    graph, state = nnx.split(genie)
    settings = dict(sample_argmax=case.temperature == 0, maskgit_steps=case.maskgit_steps)

    def frames(state, batch):
        return nnx.merge(graph, state).sample(batch, case.clip, **settings)[0]

    def sample():
        run = jax.jit(frames).lower(state, batch).compile()
        return lambda: jax.device_get(run(state, batch))

    return {"sample": sample}


def train_jasmine(case, trainer, args, genie) -> dict:
    """With true actions, as ours: no latent action model runs."""
    import jax
    import numpy as np
    from flax import nnx

    rng = np.random.default_rng(0)
    batch = {
        "videos": rng.integers(0, 256, (case.batch, case.clip, case.size, case.size, 3)).astype(np.uint8),
        "actions": rng.integers(0, ACTIONS, (case.batch, case.clip)),
        "rng": jax.random.key(1),
    }
    graph, start = nnx.split(trainer.build_optimizer(genie, args))

    def step(state, batch, whole: bool):
        optimizer, video = nnx.merge(graph, state), batch["videos"].astype(np.float32) / 255

        def loss(model):
            model.train()
            out = model(batch | {"videos": video})
            value, metrics = trainer._calculate_step_metrics(out, video, args.num_actions, args.num_patch_latents)
            return value, (out["recon"], metrics)

        (value, shown), grads = nnx.value_and_grad(loss, has_aux=True)(optimizer.model)
        optimizer.update(grads)
        return nnx.state(optimizer), (value, shown if whole else None)  # XLA drops what nobody is shown

    def build(whole: bool):
        run = jax.jit(lambda state, batch: step(state, batch, whole), donate_argnums=0).lower(start, batch).compile()
        return stepper(run, jax.tree.map(jax.numpy.copy, start), batch)

    return {"trainer": lambda: build(True), "lean": lambda: build(False)}


# ---------------------------------------------------------------------------- both


def timed(run) -> float:
    """Seconds that a function takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main():
    side, root, case = sys.argv[1:]
    sys.path[0] = root  # and not this folder, whose jasmine.py is not Jasmine
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes where errors go
    say = lambda x: print(json.dumps(x), file=answers, flush=True)
    import jax

    params, builds = {"ours": ours, "jasmine": jasmine}[side](SimpleNamespace(**json.loads(case)))
    runs, compile_s = {}, {}
    for name, build in builds.items():
        start = time.perf_counter()
        runs[name] = build()
        compile_s[name] = round(time.perf_counter() - start, 1)
    size = round(sum(x.size for x in jax.tree.leaves(params)) / 1e6, 1)
    versions = {name: version(name) for name in ("jax", "flax")}
    say(versions | {"million_parameters": size, "compile_s": compile_s})
    for line in sys.stdin:
        name, seconds = line.split()
        times = [timed(runs[name])]
        while sum(times) < float(seconds):
            times.append(timed(runs[name]))
        say(times)


if __name__ == "__main__":
    main()
