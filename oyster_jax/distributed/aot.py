"""Compiling for TPUs that are not there: the real XLA:TPU compiler, fed with shapes instead of arrays.

It comes with libtpu (`pip install 'oyster_jax[tpu]'`), which must find ENVIRONMENT set when it is first loaded.
"""

from jax.experimental import topologies
import jax
from jax.sharding import Mesh, Sharding

from oyster_jax.config import MeshConfig
from oyster_jax.distributed.mesh import make_mesh
from oyster_jax.errors import OysterError

# Do not ask a cloud for its TPUs, run everything eager on the CPU, and share libtpu with other processes.
ENVIRONMENT = {"TPU_SKIP_MDS_QUERY": "1", "JAX_PLATFORMS": "cpu", "ALLOW_MULTIPLE_LIBTPU_LOAD": "true"}


def topology_mesh(topology: str, cfg: MeshConfig = MeshConfig(), slices: int = 1) -> Mesh:
    """The mesh of a TPU slice such as `v5e:4x4`, `v5p:2x2x1` or `v6e:1x1`, as `make_mesh` lays it out.

    Raises OysterError where there is no libtpu or no such slice.
    """
    options = {"num_slices": slices} if slices > 1 else {}
    if topology.startswith("v4:"):
        options["chip_config_name"] = "megacore"  # one device a chip
    if set(topology.partition(":")[2].split("x")) == {"1"}:
        options["chips_per_host_bounds"] = (1, 1, 1)  # a host has four chips unless told otherwise
    try:
        described = topologies.get_topology_desc(platform="tpu", topology_name=topology, **options)
    except Exception as e:  # libtpu has no exception type of its own
        raise OysterError(f"no TPU slice '{topology}' to compile for ({e}); names read v5e:4x4") from None
    return make_mesh(cfg, list(described.devices))


def shapes(tree, shardings):
    """Arrays, or shapes of arrays, as shapes that say where they lie; `shardings` is one, or a tree of them."""
    lay = lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s)
    if isinstance(shardings, Sharding):
        return jax.tree.map(lambda x: lay(x, shardings), tree)
    return jax.tree.map(lay, tree, shardings)
