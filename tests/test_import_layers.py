"""Imports point one way, playing needs no training library, only the command line reads flags or the environment."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import oyster_jax

PACKAGE = Path(oyster_jax.__file__).parent
BASE = {"compiler", "config", "config_dict", "config_sampling", "types", "errors"}
# What each layer may import beside itself and BASE. Layers that are not named here may import all of these.
ALLOWED = {
    "compiler": set(),
    "config": set(),
    "config_dict": set(),
    "config_sampling": set(),
    "config_experiment": set(),
    "types": set(),
    "errors": set(),
    "media": set(),
    "nn": set(),
    "models": {"nn"},
    "sampling": {"nn", "models"},
    "sims": set(),
    "distributed": {"config_experiment", "nn", "models", "sampling"},
    "data": {"models", "sims", "media"},
    "training": {"config_experiment", "nn", "models", "sampling", "data", "distributed", "media"},
    "evaluation": {"nn", "models", "sampling", "data", "distributed", "media", "sims", "training"},
    "worlds": {"nn", "models", "sampling", "media"},
    "studio": {"nn", "models", "sampling", "worlds", "media"},
}
HEAVY = ("optax", "grain", "orbax", "array_record", "tensorboardX", "ale_py", "vizdoom", "av", "scipy", "matplotlib")
FILES = sorted(PACKAGE.rglob("*.py"))


def layer(module: str) -> str:
    """`oyster_jax.nn.layers` belongs to `nn`."""
    return (module.split(".") + [""])[1]


def imports(file: Path):
    """(module, whether it is imported when the file is) of every import of a file."""
    tree = ast.parse(file.read_text())
    late = {n for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node not in late) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            # `from oyster_jax import nn` names a module, `from oyster_jax.nn import x` may name one
            names = [f"{node.module}.{a.name}" for a in node.names] if node.module == "oyster_jax" else [node.module]
            yield from ((name, node not in late) for name in names)


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_point_one_way(file):
    own = file.relative_to(PACKAGE).with_suffix("").parts[0]
    if own not in ALLOWED:
        return
    used = {layer(m) for m, _ in imports(file) if m.startswith("oyster_jax")}
    assert used <= ALLOWED[own] | BASE | {own}


def test_every_layer_is_known():
    """A new folder must say where it stands."""
    layers = {f.relative_to(PACKAGE).with_suffix("").parts[0] for f in FILES}
    assert layers - set(ALLOWED) <= {"__init__", "__main__", "cli"}


def test_playing_needs_no_training_library_and_no_game():
    """Nor does what is imported later, inside functions, belong to them."""
    code = "import sys, oyster_jax, oyster_jax.sampling.film, oyster_jax.sampling.script; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {m.split(".")[0] for m in loaded} & {*HEAVY, "gymnasium"}
    assert not [m for m in loaded if m.startswith(("oyster_jax.training", "oyster_jax.data", "oyster_jax.cli"))]
    for file in FILES:
        if file.relative_to(PACKAGE).parts[0] in ("nn", "models", "sampling", "config.py", "types.py"):
            assert not {m.split(".")[0] for m, _ in imports(file)} & set(HEAVY), file


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_only_the_command_line_reads_flags_or_the_environment(file):
    if file.relative_to(PACKAGE).parts[0] in ("cli", "__main__.py"):
        return
    tree = ast.parse(file.read_text())
    names = {a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module == "absl" for a in n.names}
    assert "flags" not in names and "app" not in names
    assert not {m for m, _ in imports(file)} & {"absl.flags", "absl.app", "argparse"}
    if file.name == "executables.py":  # XLA's own flags are part of what a compiled program is
        text = file.read_text()
        assert text.count("environ") == 1 and 'for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS")' in text
        return
    read = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)}
    assert not read & {"environ", "getenv", "argv"}
