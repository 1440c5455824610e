"""Compiling for TPUs that are not there: the real XLA:TPU compiler, given shapes instead of arrays.

It comes with libtpu (`pip install 'oyster_jax[tpu]'`), which must find ENVIRONMENT set when JAX is first imported.
"""

import jax
from jax.experimental import topologies
from jax.sharding import Mesh, Sharding

from oyster_jax.config_experiment import MeshConfig
from oyster_jax.distributed.mesh import make_mesh
from oyster_jax.errors import OysterError

# Ask no cloud for its TPUs, run what is eager on the CPU, and share libtpu with other processes.
ENVIRONMENT = {"TPU_SKIP_MDS_QUERY": "1", "JAX_PLATFORMS": "cpu", "ALLOW_MULTIPLE_LIBTPU_LOAD": "true"}


def topology_mesh(topology: str, cfg: MeshConfig = MeshConfig(), slices: int = 1) -> Mesh:
    """The mesh of a TPU slice such as `v5e:4x4`, `v5p:2x2x1` or `v6e:1x1`, laid out as `make_mesh` does.

    Raises OysterError where there is no libtpu, no such slice, or another number of devices than the mesh needs.
    """
    options = {"num_slices": slices} if slices > 1 else {}
    if topology.startswith("v4:"):
        options["chip_config_name"] = "megacore"  # one device a chip
    if set(topology.partition(":")[2].split("x")) == {"1"}:
        options["chips_per_host_bounds"] = (1, 1, 1)  # a host has four chips unless told otherwise
    try:
        described = topologies.get_topology_desc(platform="tpu", topology_name=topology, **options)
    except Exception as e:  # libtpu has no exception type of its own
        raise OysterError(f"no TPU slice '{topology}' to compile for; names read v5e:4x4 ({_first_line(e)})") from None
    return make_mesh(cfg, list(described.devices))


def shapes(tree, shardings):
    """Arrays (or their shapes) as shapes that say where they lie. `shardings`: one for all, or one for each leaf."""
    lay = lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
    if isinstance(shardings, Sharding):
        return jax.tree.map(lambda x: lay(x, shardings), tree)
    return jax.tree.map(lay, tree, shardings)


def compile_ahead(jitted, *arguments) -> jax.stages.Compiled:
    """Compiles a jitted function for the devices on which its `arguments`, made by `shapes`, lie.

    The result cannot be run here; ask it for `memory_analysis()`, `cost_analysis()` and `as_text()`.
    Raises OysterError where the program does not fit into a device's memory.
    """
    try:
        return jitted.lower(*arguments).compile()
    except jax.errors.JaxRuntimeError as e:
        if "RESOURCE_EXHAUSTED" in str(e):
            raise OysterError(f"too large for one device: {_first_line(e)}") from None
        raise


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]
