"""Compiled programs kept on disk, so that a second process answers at once.

Loading one skips tracing as well as compiling. They hold pickles, so they live in the user's private cache directory
and never in a world. A program's name is a digest of all that it is made from: this package's source, the versions of
JAX, the devices, the processor, every setting of JAX and XLA, and the shapes and settings of its arguments. Whatever of
it changes, another name is looked for, so that a wrong program is never run.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import logging
import os
import pickle
import platform
from collections.abc import Callable
from pathlib import Path

import jax
import platformdirs
from jax.experimental.serialize_executable import deserialize_and_load, serialize

from oyster_jax.compiler import compiler_options

KEPT = 64  # programs; the longest unused are removed

log = logging.getLogger(__name__)


def compile_or_load(
    lower: Callable[[], jax.stages.Lowered], name: tuple[str, ...], arguments, keep: bool = True
) -> jax.stages.Compiled:
    """What `lower` gives, compiled, or the same from disk where it has been kept.

    name: everything that the program is made from beside this package and this machine, see `describe`.
    arguments: a pytree like the tuple of its arguments; its first leaf is an array that lies where the program runs.
    """
    folder, options = cache_folder() if keep else None, compiler_options(_devices(arguments)[0].platform)
    if folder is None:
        return lower().compile(options)
    file = folder / hashlib.sha256("\0".join([*name, *_surroundings()]).encode()).hexdigest()
    loaded = _read(file, arguments)
    if loaded is None:
        loaded = lower().compile(options)
        _write(file, loaded)
    return loaded


def describe(arguments) -> str:
    """The structure, shapes and kinds of arrays (or of their shapes), in words."""
    leaves, tree = jax.tree.flatten(arguments)
    return f"{tree} {[(x.shape, str(x.dtype), str(getattr(x, 'sharding', None))) for x in leaves]}"


def cache_folder() -> Path | None:
    """The private folder of this user, made where there is none; None where it cannot be private or be made."""
    folder = platformdirs.user_cache_path("oyster_jax") / "executables"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        stat = folder.stat()
    except OSError as e:
        log.info("compiled programs are not kept: %s", e)
        return None
    if hasattr(os, "getuid") and (stat.st_uid != os.getuid() or stat.st_mode & 0o022):
        log.warning("compiled programs are not kept: others can write to %s", folder)
        return None
    return folder


def _surroundings() -> list[str]:
    """What a program depends on beside its arguments and settings."""
    devices = [(d.platform, d.device_kind, d.id) for d in jax.devices()]
    settings = {k: v for k, v in jax.config.values.items() if "cache" not in k and "dir" not in k}
    flags = [os.environ.get(name, "") for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS")]
    default = jax.config.jax_default_device
    versions = [importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax")]
    machine = [_processor(), str(devices), str(default), jax.devices()[0].client.platform_version]
    return [_source(), *machine, *versions, *flags, str(sorted(settings.items()))]


@functools.cache
def _source() -> str:
    """A digest of this package's source."""
    package = Path(__file__).parents[1]
    parts = [(f.relative_to(package).as_posix().encode(), f.read_bytes()) for f in sorted(package.rglob("*.py"))]
    return hashlib.sha256(b"".join(name + text for name, text in parts)).hexdigest()


_source()  # now: it is the source that is loaded, while a later one may be edited


@functools.cache
def _processor() -> str:
    """The processor's name and features: a program for one CPU may not run on another."""
    names = ("model name", "flags", "Features")
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return "\n".join(sorted({line for line in lines if line.startswith(names)}))
    return f"{platform.machine()} {platform.processor()}"


def _read(file: Path, arguments) -> jax.stages.Compiled | None:
    try:
        raw = file.read_bytes()
    except OSError:
        return None
    check, raw = raw[:32], raw[32:]
    if hashlib.sha256(raw).digest() != check:
        return None  # cut short: it is compiled and written again
    try:
        program, result = pickle.loads(raw)
        trees = jax.tree.structure((arguments, {})), jax.tree.structure(result)
        loaded = deserialize_and_load(program, *trees, execution_devices=_devices(arguments))
        os.utime(file)
        return loaded
    except Exception as e:  # whatever a pickle or a runtime may raise: compiling is always right
        log.info("a kept program could not be loaded (%s): compiling it again", e)
        return None


def _devices(arguments) -> list[jax.Device]:
    sharding = getattr(jax.tree.leaves(arguments)[0], "sharding", None)
    if sharding is None:  # NumPy's
        return [jax.config.jax_default_device or jax.devices()[0]]
    return list(sharding.mesh.devices.flat if isinstance(sharding, jax.NamedSharding) else sharding.device_set)


def _write(file: Path, compiled: jax.stages.Compiled) -> None:
    try:
        program, _, tree = serialize(compiled)
        raw = pickle.dumps((program, jax.tree.unflatten(tree, range(tree.num_leaves))))
        beside = file.with_name(f"{file.name}.{os.getpid()}.tmp")
        beside.write_bytes(hashlib.sha256(raw).digest() + raw)
        beside.replace(file)
        files = sorted(file.parent.iterdir(), key=lambda f: f.stat().st_mtime)
        for old in files[:-KEPT]:
            old.unlink(missing_ok=True)
    except Exception as e:  # a full disk, a backend that cannot serialize: the program runs all the same
        log.info("a compiled program is not kept: %s", e)
