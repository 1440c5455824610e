"""What XLA is told may make programs faster, not less exact."""

import jax
import jax.numpy as jnp
import numpy as np

from oyster_jax.compiler import compiler_options


def test_sums_stay_exact():
    """Means as long as playing has them, over a model's width or all codes, to the precision of float32."""
    x = np.random.default_rng(0).normal(0.5, 0.4, (64, 4096)).astype(np.float32)
    mean = jax.jit(lambda x: jnp.mean(x**2, axis=-1), compiler_options=compiler_options())(x)
    np.testing.assert_allclose(mean, np.mean(x.astype(np.float64) ** 2, axis=-1), rtol=1e-6)
