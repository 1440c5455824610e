"""What XLA is told beside its own defaults, measured on the programs of this package."""

import jax


def compiler_options(platform: str | None = None) -> dict[str, str]:
    """For `jax.jit(…, compiler_options=…)` and `lowered.compile(…)`: JAX's options for a platform, by default the one
    that it runs on.

    On a CPU matrix products are left to Eigen. YNNPACK, which XLA asks by default, packs the weights at every call and
    divides each product among threads of its own: at a frame's few rows a step takes a tenth longer (two cores).
    """
    platform = platform or jax.default_backend()
    return {"xla_cpu_experimental_ynn_fusion_type": ""} if platform == "cpu" else {}
