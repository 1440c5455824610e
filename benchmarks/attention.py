"""What do grouped queries, and temporal attention in every second layer only, cost in quality? One JSON line each.

    python benchmarks/attention.py --data=data_reef --workdir=runs/attention [--config=configs/reef_tiny.py --steps=600]

The tokenizers are trained once; then the dynamics with every choice, from the same seed, on the same tokens, for the
same number of steps. Held-out windows tell the bits a frame (all of its tokens hidden) and what the true actions gain
in PSNR over random ones, with intervals over starts. What a choice gains in speed is told by `roofline.py`. An
interrupted run goes on where it stopped.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from ml_collections import config_flags

import oyster_jax as oyster
from oyster_jax.config_dict import from_dict
from oyster_jax.config_experiment import ExperimentConfig, StageConfig
from oyster_jax.data.pipeline import WindowOptions, open_clips, windows
from oyster_jax.evaluation.dynamics import controllability, fully_masked_bits, tokenize_jit
from oyster_jax.evaluation.metrics import bootstrap
from oyster_jax.training.train import train
from oyster_jax.types import Clip

config_flags.DEFINE_config_file("config", "configs/reef_tiny.py", "experiment, one file of configs/")
flags.DEFINE_string("data", "runs/reef/data", "its data")
flags.DEFINE_string("workdir", "runs/attention", "folder for the trainings")
flags.DEFINE_integer("steps", 600, "training steps of the dynamics")
flags.DEFINE_integer("starts", 64, "held-out starts")

CHOICES = {
    "plain": {},
    "kv_heads=1": {"kv_heads": 1},
    "temporal_every=2": {"temporal_every": 2},
}
CONTEXT, FUTURE, BATCH = 16, 8, 16


def trained(experiment: ExperimentConfig, data: str, folder: Path, first: Path) -> oyster.World:
    """A world with the tokenizers of the run in `first`."""
    if folder != first and not folder.exists():
        for part in (*(first / "checkpoints").glob("*_tokenizer"), *first.glob("tokens-*")):
            shutil.copytree(part, folder / part.relative_to(first))
    return train(experiment, data, folder)


def judge(world: oyster.World, clips: list[Clip]) -> dict:
    """Bits a frame after the context, and what the true actions gain."""
    bits = []
    for clip in clips:
        tokens, action = tokenize_jit(world, clip)
        told = {"prompt": clip.prompt, "prompt_id": clip.prompt_id, "action": action}
        bits.append(fully_masked_bits(world, told | {"video_tokens": tokens.video, "audio_tokens": tokens.audio}))
    video, audio = (np.concatenate([np.asarray(b[i])[:, CONTEXT:].mean(1) for b in bits]) for i in (0, 1))
    spread = lambda x: [round(x[k], 2) for k in ("mean", "low", "high")]
    gain = controllability(world, clips, CONTEXT, (1, 4, 8))
    return {
        "bits_video": spread(bootstrap(video)),
        "bits_audio": spread(bootstrap(audio)),
        "delta_psnr": {horizon.split("_")[1]: spread(g) for horizon, g in gain.items()},
    }


def main(_):
    v = flags.FLAGS
    base, workdir = from_dict(ExperimentConfig, v.config.to_dict()), Path(v.workdir)
    stage: StageConfig = replace(base.train.dynamics, steps=v.steps)
    base = replace(base, train=replace(base.train, dynamics=stage))
    reader = open_clips(v.data)
    options = WindowOptions(CONTEXT + FUTURE, BATCH, arrays=("video", "audio", "action"), repeat=True)
    batches = windows(reader, reader.split("held_out"), options)
    clips = [Clip(**{n: jnp.asarray(b[n]) for n in Clip._fields}) for b, _ in zip(batches, range(v.starts // BATCH))]
    for name, choice in CHOICES.items():
        transformer = replace(base.dynamics.transformer, **choice)
        experiment = replace(base, dynamics=replace(base.dynamics, transformer=transformer))
        world = trained(experiment, v.data, workdir / name, workdir / next(iter(CHOICES)))
        size = sum(x.size for x in jax.tree.leaves(world.params["dynamics"]))
        about = {"benchmark": "attention", "choice": name, "steps": v.steps, "starts": v.starts, "parameters": size}
        print(json.dumps(about | judge(world, clips)), flush=True)


if __name__ == "__main__":
    app.run(main)
