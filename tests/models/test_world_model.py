"""What is saved is what is loaded, anywhere and to the bit; what is not whole is refused."""

import hashlib
import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from oyster_jax.config_dict import to_dict
from oyster_jax.errors import OysterError
from oyster_jax.models.world_model import World, load, save_world, shipped


@pytest.fixture(scope="module")
def folder(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("world") / "w"
    save_world(world, folder, {"source": "echo", "frames": 480})
    return folder


def test_a_world_survives_the_disk_bit_for_bit(world, folder, tmp_path):
    again = load(folder)
    assert again.config == world.config
    assert jax.tree.structure(again) == jax.tree.structure(world)
    jax.tree.map(np.testing.assert_array_equal, again.params, world.params)
    assert all(a.dtype == b.dtype for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(world)))
    save_world(again, tmp_path / "again", {"source": "echo", "frames": 480})
    for name in ("world.json", "params.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    assert sorted(p.name for p in folder.iterdir()) == ["params.safetensors", "world.json"]


def test_half_the_bytes_load_as_numbers_of_before_rounded(world, tmp_path):
    save_world(world, tmp_path / "half", half=True)
    again = load(tmp_path / "half")
    assert all(a.dtype == b.dtype for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(world)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-7), again.params, world.params)
    size = lambda folder: (folder / "params.safetensors").stat().st_size
    save_world(world, tmp_path / "whole")
    assert size(tmp_path / "half") < 0.6 * size(tmp_path / "whole")


def test_a_world_of_the_package_is_loaded_by_name_unless_a_folder_is_called_so(world, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "reef" in shipped() and load("reef").config.actions.size >= 10_000
    shutil.copytree(folder, "reef")
    assert load("reef").config == world.config
    with pytest.raises(OysterError, match=r"no world at atlantis.*reef"):
        load("atlantis")


def test_world_json_says_what_the_world_is(world, folder):
    info = json.loads((folder / "world.json").read_text())
    assert info["config"] == to_dict(world.config) and info["training"] == {"source": "echo", "frames": 480}
    raw = (folder / "params.safetensors").read_bytes()
    assert info["sha256"] == {"params.safetensors": hashlib.sha256(raw).hexdigest()}


FRESH = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("grain", "optax", "orbax", "ale_py", "vizdoom", "av"):
            raise ModuleNotFoundError(f"{name} is not installed", name=name)
sys.meta_path.insert(0, Refuse())
import jax, numpy as np, oyster_jax as oyster
world = oyster.load(sys.argv[1])
assert isinstance(hash(world.config), int)
state = jax.eval_shape(lambda w, k: oyster.reset(w, k), world, jax.random.key(0))
print(sum(np.asarray(x, np.float64).sum() for x in jax.tree.leaves(world)), state[1].video.shape)
"""


def test_a_world_loads_and_traces_where_nothing_of_training_is_installed(world, folder):
    done = subprocess.run([sys.executable, "-c", FRESH, str(folder)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    total = sum(np.asarray(x, np.float64).sum() for x in jax.tree.leaves(world))
    assert done.stdout.split(maxsplit=1) == [str(total), "(1, 32, 48, 3)\n"]


def test_a_world_is_a_pytree_with_a_static_config(world):
    assert hash(world.config) == hash(load_config(world))
    doubled = jax.tree.map(lambda x: 2 * x, world)
    assert isinstance(doubled, World) and doubled.config is world.config
    compiled = jax.jit(
        lambda w: (w.params["dynamics"]["place"].sum(), w.config.media.height * w.params["dynamics"]["place"][0, 0])
    )
    compiled(world), compiled(doubled)
    assert compiled._cache_size() == 1  # other numbers are no other program
    np.testing.assert_allclose(compiled(doubled)[1], 64 * world.params["dynamics"]["place"][0, 0], rtol=1e-6)


def load_config(world):
    """An equal config that shares nothing with the world's."""
    from oyster_jax.config import WorldConfig
    from oyster_jax.config_dict import from_dict

    return from_dict(WorldConfig, json.loads(json.dumps(to_dict(world.config))))


def test_a_part_that_was_not_trained_is_named(world):
    with pytest.raises(OysterError, match="no trained dynamics; train that stage"):
        World({}, world.config).apply("dynamics")


# ---------------------------------------------------------------------------- damage


def cut(path, keep):
    path.write_bytes(path.read_bytes()[:keep])


def flip(path):
    raw = bytearray(path.read_bytes())
    raw[-5] ^= 1
    path.write_bytes(raw)


def edit(change):
    def apply(folder):
        info = json.loads((folder / "world.json").read_text())
        change(info)
        (folder / "world.json").write_text(json.dumps(info))

    return apply


def forge(folder):
    """Parameters that are no parameters, with the hash to fit."""
    raw = b"not safetensors at all"
    (folder / "params.safetensors").write_bytes(raw)
    edit(lambda i: i.update(sha256={"params.safetensors": hashlib.sha256(raw).hexdigest()}))(folder)


@pytest.mark.parametrize(
    "damage, message",
    [
        (shutil.rmtree, "no world at"),
        (lambda d: (d / "world.json").unlink(), "no world at"),
        (lambda d: (d / "params.safetensors").unlink(), "no world at"),
        (lambda d: flip(d / "params.safetensors"), "does not match its hash"),
        (lambda d: cut(d / "params.safetensors", 1000), "does not match its hash"),
        (lambda d: cut(d / "params.safetensors", 0), "does not match its hash"),
        (forge, "is not readable"),
        (lambda d: cut(d / "world.json", 200), "not readable JSON"),
        (lambda d: (d / "world.json").write_bytes(b"\xff\xfe\0\1"), "not readable JSON"),
        (lambda d: (d / "world.json").write_text("[]"), "not a world of schema 6"),
        (edit(lambda i: i.update(schema=3)), "not a world of schema 6"),
        (edit(lambda i: i.pop("sha256")), "world.json is incomplete"),
        (edit(lambda i: i.update(sha256="x")), "world.json is incomplete"),
        (edit(lambda i: i.pop("config")), "world.json is incomplete"),
        (edit(lambda i: i.update(config=3)), "must be a mapping"),
        (edit(lambda i: i["config"].update(colour="red")), "no field colour"),
        (edit(lambda i: i["config"].pop("media")), "media"),
        (edit(lambda i: i["config"]["media"].update(fps="0/0")), "fps must be a number"),
    ],
)
def test_what_is_damaged_is_refused(folder, tmp_path, damage, message):
    copy = shutil.copytree(folder, tmp_path / "w")
    damage(copy)
    with pytest.raises(OysterError, match=message) as error:
        load(copy)
    assert str(copy) in str(error.value)


@pytest.mark.parametrize("blocked", ["params.safetensors.tmp", "world.json.tmp"])
def test_a_save_that_fails_leaves_the_old_world_whole(world, folder, tmp_path, blocked):
    copy = shutil.copytree(folder, tmp_path / "w")
    (copy / blocked).mkdir()  # nothing can be written there
    with pytest.raises(IsADirectoryError):
        save_world(World(jax.tree.map(lambda x: x + 1, world.params), world.config), copy)
    (copy / blocked).rmdir()
    jax.tree.map(np.testing.assert_array_equal, load(copy).params, world.params)
    assert sorted(p.name for p in copy.iterdir()) == ["params.safetensors", "world.json"]
