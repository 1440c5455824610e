"""Do prompts and images direct a world of the reef? One JSON line, and a sheet to look at.

    python benchmarks/directing.py --world=runs/reef/world --out=runs/reef/directing.png

Every scene of the simulator is asked for by its caption, from nothing and as an event after two seconds; the scene that
a generated frame shows is read by its nearest neighbour among the simulator's own scenes. Images to begin with come
from the simulator; one of them is continued under two prompts.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

import oyster_jax as oyster
from oyster_jax.evaluation import plots
from oyster_jax.evaluation.metrics import psnr
from oyster_jax.sampling.film import film
from oyster_jax.sampling.script import world_actions
from oyster_jax.sims import reef

flags.DEFINE_string("world", "runs/reef/world", "a world trained on the reef")
flags.DEFINE_string("out", "directing.png", "contact sheet to write")
flags.DEFINE_integer("seed", 0, "seed")

FRAMES = 30


def references(keys: int = 8) -> np.ndarray:
    """The median frame of each scene over several starts, float32 [scenes, H, W, 3]."""
    draw = jax.jit(jax.vmap(lambda key, scene: reef.reset(key, scene)[1].video, (0, None)))
    stills = [draw(jax.random.split(jax.random.key(1), keys), scene) for scene in reef.SCENES]
    return np.median(np.asarray(stills), axis=1).astype(np.float32)


def nearest_scene(frame: np.ndarray, stills: np.ndarray) -> int:
    """Index of the scene whose still is nearest in mean absolute difference."""
    return int(np.abs(stills - frame.astype(np.float32)).mean((1, 2, 3)).argmin())


def main(_):
    values = flags.FLAGS
    world = oyster.load(values.world)
    stills = references()
    scenes = list(reef.SCENES)
    captions = [reef.caption(s) for s in scenes]
    rng = np.random.default_rng(values.seed)
    reset = jax.jit(oyster.reset)
    actions = world_actions(world, "random", FRAMES + 30, values.seed)
    first, later, switched, rows = [], [], [], {}
    for i, caption in enumerate(captions):
        j = int(rng.choice([k for k in range(len(scenes)) if k != i]))
        begin = reset(world, jax.random.key(values.seed), oyster.encode_prompt(world, caption))
        video, _ = film(world, begin, actions, events=[(FRAMES, captions[j])])
        first.append(nearest_scene(video[0], stills) == i)
        later.append(nearest_scene(video[FRAMES - 1], stills) == i)
        switched.append(nearest_scene(video[-1], stills) == j)
        if i in (0, len(scenes) // 2, len(scenes) - 1):
            rows[f"{caption}\nthen {captions[j]}"] = video
    kept = []
    for i in range(4):
        image = np.asarray(reef.reset(jax.random.key(i), scenes[int(rng.integers(len(scenes)))])[1].video)
        begin = reset(world, jax.random.key(values.seed), None, jnp.asarray(image))
        video, _ = film(world, begin, actions)
        kept.append(psnr(video[0], image))
        if i < 2:
            rows[f"from an image {i}"] = np.concatenate([image[None], video])
    for caption in (captions[0], captions[-1]):
        begin = reset(world, jax.random.key(values.seed), oyster.encode_prompt(world, caption), jnp.asarray(image))
        rows[f"one image,\n{caption}"] = film(world, begin, actions)[0]
    plots.contact_sheet(Path(values.out), rows, columns=12, stride=5)
    share = lambda hits: round(float(np.mean(hits)), 3)
    print(
        json.dumps(
            {
                "benchmark": "directing",
                "scenes": len(scenes),
                "first_frame_right": share(first),
                "after_2_s_right": share(later),
                "event_right_after_2_s": share(switched),
                "chance": round(1 / len(scenes), 3),
                "image_psnr": round(float(np.mean(kept)), 2),
            }
        )
    )


if __name__ == "__main__":
    app.run(main)
