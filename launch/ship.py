"""Puts a trained world into the package, in half precision, where `oyster.load("NAME")` finds it, and beside it the
reports of what it is worth.

python launch/ship.py --world=runs/reef/world --name=reef
oyster evaluate --world=reef --match=60 --out=match; oyster evaluate --world=reef --direct --out=directing
python launch/ship.py --name=reef --reports=match,directing
"""

import json
import re
import shutil
from pathlib import Path

from absl import app, flags

import oyster_jax as oyster
from oyster_jax.models.world_model import PARAMS_FILE, SHIPPED, WORLD_FILE, save_world

flags.DEFINE_string("world", None, "the world's folder, as `oyster train` exports it; without, the one there stays")
flags.DEFINE_string("name", "reef", "what it will be called")
flags.DEFINE_list("reports", [], "folders that `oyster evaluate` wrote of the world as shipped")

MOST_MB = 12  # a repository keeps every version for ever


def main(_):
    v = flags.FLAGS
    if not re.fullmatch(r"[a-z][a-z0-9_]*", v.name):
        raise app.UsageError(f"--name={v.name}: a name is of small letters, digits and underscores")
    out = SHIPPED / v.name
    if not v.world and not v.reports:
        raise app.UsageError("nothing to ship: give --world, or --reports of the world that is there")
    if v.world:
        for report in reports(out):  # of the world that goes
            report.unlink()
        training = json.loads((Path(v.world) / WORLD_FILE).read_text())["training"]
        save_world(oyster.load(v.world), out, training, half=True)
        size = (out / PARAMS_FILE).stat().st_size / 1e6
        if size > MOST_MB:
            raise app.UsageError(f"{out} has {size:.1f} MB, more than {MOST_MB}: do not commit it")
        print(f"{out}: {size:.1f} MB")
    for report in (r for folder in v.reports for r in reports(Path(folder))):
        place = json.loads(report.read_text())["options"]["place"]
        print(shutil.copy(report, out / f"{report.stem}_{place}.json"))


def reports(folder: Path) -> list[Path]:
    """The reports in a folder that `oyster evaluate` wrote, or in the package."""
    return [path for kind in ("match", "directing") for path in sorted(folder.glob(f"{kind}*.json"))]


if __name__ == "__main__":
    app.run(main)
