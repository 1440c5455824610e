"""What `pip install` of the package brings."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_wheel_holds_all_modules_and_the_world(tmp_path):
    """And no more than the 12 MB that a repository should keep of a world."""
    shutil.copy(ROOT / "setup.py", tmp_path)
    shutil.copytree(ROOT / "oyster_jax", tmp_path / "oyster_jax", ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", f"--wheel-dir={tmp_path / 'out'}", tmp_path]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (tmp_path / "out").iterdir()
    files = {name: info.file_size for info in zipfile.ZipFile(wheel).infolist() for name in [info.filename]}
    modules = {p.relative_to(ROOT).as_posix() for p in (ROOT / "oyster_jax").rglob("*.py")}
    assert modules <= set(files)
    world = {name: size for name, size in files.items() if name.startswith("oyster_jax/worlds/reef/")}
    assert {"params.safetensors", "world.json", "match_bay.json", "directing_open.json"} <= {
        Path(n).name for n in world
    }
    assert sum(world.values()) <= 12e6
