"""The bundle of a trained world: config and parameters, and the folder that holds them."""

import contextlib
import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from oyster_jax.config import TransformerConfig, WorldConfig
from oyster_jax.config_dict import from_dict, to_dict
from oyster_jax.errors import OysterError
from oyster_jax.models.atlas import Explorer
from oyster_jax.models.audio_tokenizer import AudioTokenizer
from oyster_jax.models.dynamics import Dynamics
from oyster_jax.models.latent_action import LatentActionModel
from oyster_jax.models.video_tokenizer import VideoTokenizer

SCHEMA = 6  # of the parameters that models have; 6: the dynamics see what is next door in the last two frames
WORLD_FILE, PARAMS_FILE = "world.json", "params.safetensors"
SHIPPED = Path(__file__).parent.parent / "worlds"


MODULES = {
    "video_tokenizer": lambda c: VideoTokenizer(c.video_tokenizer),
    "audio_tokenizer": lambda c: AudioTokenizer(c.audio_tokenizer),
    "latent_action": lambda c: LatentActionModel(c.latent_action),
    "atlas": lambda c: Explorer(c.dynamics),
    "dynamics": lambda c: Dynamics(c.dynamics),
}


@dataclass(frozen=True)
class World:
    """A pytree: `params` are its leaves, `{"video_tokenizer": …, "dynamics": …}`; `config` is static and hashable.

    An atlas is a part of its own only until there are dynamics that it is a part of. Beside the parts of MODULES,
    `params` may hold `controls`, which name latent codes, and `seen`, which codes a picture's places may show.
    """

    params: dict
    config: WorldConfig

    def apply(self, name: str, *args, method: str = "__call__", **kwargs):
        """Runs `method` of the part called `name` (a key of MODULES) with its parameters."""
        if name not in self.params:
            raise OysterError(f"this world has no trained {name}; train that stage and export again")
        return MODULES[name](self.config).apply({"params": self.params[name]}, *args, method=method, **kwargs)


jax.tree_util.register_dataclass(World, data_fields=["params"], meta_fields=["config"])


def unroll_layers(world: World) -> World:
    """The same world with each layer's weights apart, as a rollout wants them: a stack trained with `scan_layers` would
    be sliced, and so copied, in every MaskGIT step."""

    def unroll(tree):
        if not isinstance(tree, dict):
            return tree
        out = {k: unroll(v) for k, v in tree.items() if k != "blocks"}
        if "blocks" in tree:
            count = len(jax.tree.leaves(tree["blocks"])[0])
            out |= {f"block_{i}": jax.tree.map(lambda x, i=i: x[i], tree["blocks"]) for i in range(count)}
        return out

    def apart(config):
        if isinstance(config, TransformerConfig):
            return dataclasses.replace(config, scan_layers=False)
        if not dataclasses.is_dataclass(config):
            return config
        parts = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
        changed = {k: apart(v) for k, v in parts.items()}
        return dataclasses.replace(config, **{k: v for k, v in changed.items() if v is not parts[k]})

    return World(unroll(world.params), apart(world.config))


def save_world(world: World, folder: str | Path, training: dict | None = None, half: bool = False) -> None:
    """Writes the folder that `load` reads: `world.json` and `params.safetensors`. `training` describes the data.

    half: floating-point numbers in half the bytes, rounded to float16 (they are float32 again when loaded).
    """
    from safetensors.numpy import save

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    flat = _flatten(world.params)
    if half:
        flat = {k: v.astype(np.float16) if v.dtype == np.float32 else v for k, v in flat.items()}
    raw = save(flat)
    info = {
        "schema": SCHEMA,
        "config": to_dict(world.config),
        "training": training or {},
        "sha256": {PARAMS_FILE: hashlib.sha256(raw).hexdigest()},
    }
    _replace_files({folder / PARAMS_FILE: raw, folder / WORLD_FILE: json.dumps(info, indent=1).encode()})


def load(folder: str | Path) -> World:
    """Loads a world: a folder made by `oyster train`, or one that comes with the package, by its name ("reef").

    Raises OysterError if there is none, or if its files are damaged or of another schema.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as load_safetensors

    name, folder = str(folder), Path(folder)
    if name in shipped() and not (folder / WORLD_FILE).exists():
        folder = SHIPPED / name
    try:
        info = json.loads((folder / WORLD_FILE).read_text())
        raw = (folder / PARAMS_FILE).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise OysterError(
            f"no world at {folder}: it needs {WORLD_FILE} and {PARAMS_FILE}, as `oyster train` exports; "
            f"with the package come: {', '.join(shipped())}"
        ) from None
    except ValueError as e:
        raise OysterError(f"{folder / WORLD_FILE} is not readable JSON ({e}); export the world again") from None
    if not isinstance(info, dict) or info.get("schema") != SCHEMA:
        raise OysterError(f"{folder} is not a world of schema {SCHEMA}; train it again with this version")
    hashes = info.get("sha256")
    if not isinstance(hashes, dict) or PARAMS_FILE not in hashes or "config" not in info:
        raise OysterError(f"{folder / WORLD_FILE} is incomplete; export the world again")
    if hashlib.sha256(raw).hexdigest() != hashes[PARAMS_FILE]:
        raise OysterError(f"{folder / PARAMS_FILE} does not match its hash in {WORLD_FILE}; export the world again")
    try:
        params = _unflatten(load_safetensors(raw))
    except SafetensorError as e:
        raise OysterError(f"{folder / PARAMS_FILE} is not readable ({e}); export the world again") from None
    return World(params, from_dict(WorldConfig, info["config"], str(folder / WORLD_FILE)))


def shipped() -> list[str]:
    """The names of the worlds that come with the package."""
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{WORLD_FILE}"))


def _replace_files(files: dict[Path, bytes]) -> None:
    """Writes all of them beside the old ones before any is replaced: a full disk leaves the old world whole."""
    beside = {path: path.with_name(path.name + ".tmp") for path in files}
    try:
        for path, raw in files.items():
            beside[path].write_bytes(raw)
        for path, tmp in beside.items():
            os.replace(tmp, path)
    except OSError:
        for tmp in beside.values():
            with contextlib.suppress(OSError):
                tmp.unlink()
        raise


def _flatten(tree: dict, prefix: str = "") -> dict[str, np.ndarray]:
    flat = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        flat |= _flatten(value, path + "/") if isinstance(value, dict) else {path: np.asarray(value)}
    return flat


def _unflatten(flat: dict[str, np.ndarray]) -> dict:
    tree: dict = {}
    for path, value in flat.items():
        *parents, leaf = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = jax.numpy.asarray(value, np.float32 if value.dtype == np.float16 else value.dtype)
    return tree
