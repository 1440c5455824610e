"""Does what stands still in a world's picture stand still in its tokens? One JSON line.

    python benchmarks/still.py --world=reef [--source=reef --episodes=8 --frames=96]

On fresh episodes, from one frame to the next: `patches_still`, the share of patches that keep every pixel;
`changed_of_still` and `changed_of_moving`, the share of them whose token changes; `tokens_changed`, how many of a
frame's tokens change, for the dynamics to predict.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

import oyster_jax as oyster
from oyster_jax.data.sources import make_source
from oyster_jax.data.sources.base import SourceOptions
from oyster_jax.models.video_tokenizer import frame_positions, patchify

flags.DEFINE_string("world", "reef", "a trained world")
flags.DEFINE_string("source", "reef", "what it was trained on, as in `oyster record`")
flags.DEFINE_integer("episodes", 8, "episodes to look at")
flags.DEFINE_integer("frames", 96, "frames of each")
flags.DEFINE_integer("seed", 99, "of the episodes")


def main(_):
    v = flags.FLAGS
    world = oyster.load(v.world)
    source = make_source(v.source, SourceOptions(seed=v.seed))
    video = np.stack([next(source.episode(i, v.frames)).video for i in range(v.episodes)])

    encode = jax.jit(lambda world, video, at: world.apply("video_tokenizer", video, at, method="encode")[0])
    tokens = np.asarray(encode(world, video, frame_positions(*video.shape[:2])))
    patch = np.asarray(patchify(jnp.asarray(video), world.config.video_tokenizer.patch))
    still = (patch[:, 1:] == patch[:, :-1]).all(-1)
    changed = tokens[:, 1:] != tokens[:, :-1]
    share = lambda x: round(float(x.mean()), 4) if x.size else None
    shown = {
        "patches_still": share(still),
        "changed_of_still": share(changed[still]),
        "changed_of_moving": share(changed[~still]),
        "tokens_changed": round(float(changed.sum(-1).mean()), 2),
    }
    asked = {name: getattr(v, name) for name in ("world", "source", "episodes", "frames", "seed")}
    print(json.dumps({"benchmark": "still", **asked, **shown}))


if __name__ == "__main__":
    app.run(main)
