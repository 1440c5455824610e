"""What XLA is told beside its own defaults, measured on the programs of this package."""

import jax


def compiler_options(platform: str | None = None) -> dict[str, str]:
    """For `jax.jit(…, compiler_options=…)` and `lowered.compile(…)` on a platform, by default the one that JAX runs on.

    On a CPU matrix products are left to Eigen instead of YNNPACK, XLA's choice: with the few rows of a frame a step
    then took 0.89, 0.90 and 0.96 of the time, in three runs by turns on two cores. Reductions stay with YNNPACK:
    without it a picture loss was off by 1e-4 of itself.
    """
    platform = platform or jax.default_backend()
    return {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE"} if platform == "cpu" else {}
