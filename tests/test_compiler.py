"""What XLA is told may make programs faster, not less exact."""

import jax
import jax.numpy as jnp
import numpy as np

from oyster_jax.compiler import compiler_options


def test_long_sums_stay_exact():
    """The mean over a batch of pictures, to the precision of float32."""
    x = np.random.default_rng(0).normal(0.5, 0.4, (8, 4, 32, 48, 3)).astype(np.float32)
    mean = jax.jit(lambda x: jnp.mean(x**2), compiler_options=compiler_options())(x)
    np.testing.assert_allclose(mean, np.mean(x.astype(np.float64) ** 2), rtol=2e-6)
