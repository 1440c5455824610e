"""Puts a trained world into the package, in half precision, where `oyster.load("NAME")` finds it, and beside it the
reports of what it is worth.

python launch/ship.py --world=runs/reef/world --name=reef
oyster evaluate --world=reef --match=60 --out=match; oyster evaluate --world=reef --direct --out=directing
python launch/ship.py --name=reef --reports=match,directing
"""

import json
import re
import shutil
import tempfile
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
    named = {}  # what a report is called in the package
    for report in (r for folder in v.reports for r in reports(Path(folder))):
        options = json.loads(report.read_text())["options"]
        name = "_".join([report.stem, options["place"], *(n for n in ("idle", "held_out") if options.get(n))]) + ".json"
        if name in named:
            raise app.UsageError(f"{report} and {named[name]} are reports of the same kind: give one of them")
        named[name] = report
    if v.world:
        put_in(v.world, out)
    for name, report in named.items():
        print(shutil.copy(report, out / name))


def put_in(world: str, out: Path) -> None:
    """The world of a folder in the place of the packaged one, whose reports go; raises where it is too large."""
    training = json.loads((Path(world) / WORLD_FILE).read_text())["training"]
    with tempfile.TemporaryDirectory() as folder:
        save_world(oyster.load(world), folder, training, half=True)
        size = (Path(folder) / PARAMS_FILE).stat().st_size / 1e6
        if size > MOST_MB:
            raise app.UsageError(f"{world} would have {size:.1f} MB in the package, more than {MOST_MB}")
        for report in reports(out):
            report.unlink()
        shutil.copytree(folder, out, dirs_exist_ok=True)
    print(f"{out}: {size:.1f} MB")


def reports(folder: Path) -> list[Path]:
    """The reports in a folder that `oyster evaluate` wrote, or in the package."""
    return [path for kind in ("match", "directing") for path in sorted(folder.glob(f"{kind}*.json"))]


if __name__ == "__main__":
    app.run(main)
