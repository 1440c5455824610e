"""What XLA is told beside its own defaults, measured on the programs of this package."""

import jax


def compiler_options(platform: str | None = None) -> dict[str, str]:
    """For `jax.jit(…, compiler_options=…)` and `lowered.compile(…)` on a platform, by default the one that JAX runs on.

    On a CPU neither matrix products nor sums are left to YNNPACK, which is XLA's choice. With Eigen's products of the
    few rows of a frame a step took 0.89, 0.90 and 0.96 of the time, in three runs by turns on two cores; with XLA's own
    sums, at 16 sessions, 0.96 again. A training step of the reef's dynamics takes 0.87 of the time; of its tokenizers
    1.00 to 1.06. A mean of 150,000 numbers is off by 1e-5 of itself then, with YNNPACK by 1e-7.
    """
    platform = platform or jax.default_backend()
    return {"xla_cpu_experimental_ynn_fusion_type": ""} if platform == "cpu" else {}
