"""Puts a trained world into the package, in half precision, where `oyster.load("NAME")` finds it.

python launch/ship.py --world=runs/reef/world --name=reef
"""

import json
import re
from pathlib import Path

from absl import app, flags

import oyster_jax as oyster
from oyster_jax.models.world_model import PARAMS_FILE, SHIPPED, WORLD_FILE, save_world

flags.DEFINE_string("world", "runs/reef/world", "the world's folder, as `oyster train` exports it")
flags.DEFINE_string("name", "reef", "what it will be called")

MOST_MB = 12  # a repository keeps every version for ever


def main(_):
    v = flags.FLAGS
    if not re.fullmatch(r"[a-z][a-z0-9_]*", v.name):
        raise app.UsageError(f"--name={v.name}: a name is of small letters, digits and underscores")
    training = json.loads((Path(v.world) / WORLD_FILE).read_text())["training"]
    world = oyster.load(v.world)
    out = SHIPPED / v.name
    save_world(world, out, training, half=True)
    size = (out / PARAMS_FILE).stat().st_size / 1e6
    if size > MOST_MB:
        raise app.UsageError(f"{out} has {size:.1f} MB, more than {MOST_MB}: do not commit it")
    print(f"{out}: {size:.1f} MB")


if __name__ == "__main__":
    app.run(main)
