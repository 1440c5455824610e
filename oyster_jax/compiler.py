"""What XLA is told beside its own defaults, measured on the programs of this package."""

import jax


def compiler_options(platform: str | None = None) -> dict[str, str]:
    """For `jax.jit(…, compiler_options=…)` and `lowered.compile(…)` on a platform, by default the one that JAX runs on.

    On a CPU matrix products and sums are left to Eigen and to XLA's own loops, not to YNNPACK, XLA's choice: with the
    few rows of a frame a step took 0.89, 0.90 and 0.96 of the time without its products, in three runs by turns on two
    cores, and at 16 sessions 0.96 without its sums. Made for programs of playing, whose sums have no more than some
    thousand terms: a mean of 150,000 numbers is off by 1e-5 of itself, with YNNPACK by 1e-7.
    """
    platform = platform or jax.default_backend()
    return {"xla_cpu_experimental_ynn_fusion_type": ""} if platform == "cpu" else {}
