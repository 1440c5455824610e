"""The device mesh and the sharding rules: the one file that knows how logical axes lie on devices.

Models name the axes of their weights (`embed`, `heads`, `mlp`, `vocab`, `layers`); RULES says which mesh axis each one
is split over. Adding a mesh axis or another way to split touches nothing else.
"""

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from oyster_jax.config_experiment import MeshConfig
from oyster_jax.errors import OysterError

AXES = ("data", "fsdp", "context", "tensor")
RULES = (
    ("embed", "fsdp"),
    ("heads", "tensor"),
    ("mlp", "tensor"),
    ("vocab", "tensor"),
    ("head_dim", None),
    ("layers", None),
)
BATCH = PartitionSpec(("data", "fsdp"))  # the first axis of every batch


def make_mesh(cfg: MeshConfig = MeshConfig(), devices: list | None = None) -> Mesh:
    """A mesh over `devices` (default: all); raises OysterError if the axes do not multiply to their number."""
    devices = jax.devices() if devices is None else devices
    if cfg.context != 1:
        raise OysterError(f"nothing is split over the mesh axis context yet: leave it at 1, not {cfg.context}")
    sizes = np.array(cfg.sizes)
    known = int(np.prod(sizes[sizes > 0]))
    if (sizes == -1).sum() > 1 or len(devices) % known:
        raise OysterError(f"mesh {dict(zip(AXES, cfg.sizes))} does not divide {len(devices)} devices")
    sizes[sizes == -1] = len(devices) // known
    if sizes.prod() != len(devices):
        raise OysterError(f"mesh {dict(zip(AXES, cfg.sizes))} needs {sizes.prod()} devices, there are {len(devices)}")
    return Mesh(np.array(devices).reshape(sizes), AXES, axis_types=(AxisType.Auto,) * len(AXES))


def shardings(abstract, mesh: Mesh):
    """NamedShardings for a tree of boxed (`nn.with_logical_partitioning`) abstract arrays, as `jax.eval_shape` gives.

    A dimension that its mesh axes do not divide is replicated.
    """
    # Where an optimizer keeps nothing about a parameter, its box is there and holds no array.
    boxed = lambda x: isinstance(x, nn.meta.AxisMetadata)
    full = lambda x: x if not boxed(x) or hasattr(x.unbox(), "shape") else x.unbox()
    abstract = jax.tree.map(full, abstract, is_leaf=boxed)
    specs = nn.logical_to_mesh(nn.get_partition_spec(abstract), RULES)

    def fit(leaf, spec):
        spec = [*spec, *[None] * (leaf.ndim - len(spec))]
        split = lambda axis: int(np.prod([mesh.shape[a] for a in np.atleast_1d(axis)])) if axis else 1
        return NamedSharding(mesh, PartitionSpec(*[a if n % split(a) == 0 else None for n, a in zip(leaf.shape, spec)]))

    return jax.tree.map(fit, nn.unbox(abstract), specs)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """How a batch lies on the mesh: split over its first axis."""
    return NamedSharding(mesh, BATCH)


def replicated(mesh: Mesh) -> NamedSharding:
    """A value that every device holds."""
    return NamedSharding(mesh, PartitionSpec())


def put_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """This process's part of a batch as global arrays on the mesh."""
    sharding = batch_sharding(mesh)
    return {k: jax.make_array_from_process_local_data(sharding, v) for k, v in batch.items()}
