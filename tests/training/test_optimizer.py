"""Learning rates rise, hold and fall where the stage says; only matrices decay."""

import jax.numpy as jnp
import numpy as np

from oyster_jax.config_experiment import StageConfig
from oyster_jax.training.optimizer import make_optimizer, schedule


def test_wsd_warms_up_holds_and_decays_over_the_last_fifth():
    rate = schedule(StageConfig(steps=100, warmup=10, learning_rate=2.0, schedule="wsd"))
    at = [float(rate(t)) for t in (0, 5, 10, 50, 80, 90, 100)]
    np.testing.assert_allclose(at, [0, 1, 2, 2, 2, 1, 0], atol=1e-6)


def test_cosine_falls_to_a_tenth():
    rate = schedule(StageConfig(steps=100, warmup=10, learning_rate=2.0))
    values = np.array([float(rate(t)) for t in range(101)])
    np.testing.assert_allclose(values[[0, 5, 10, 55, 100]], [0, 1, 2, 1.1, 0.2], atol=1e-6)
    assert (np.diff(values[10:]) < 0).all()


def test_a_short_run_still_reaches_its_rate():
    """Ten steps with a warm-up of a hundred: the warm-up is cut to half of them."""
    rate = schedule(StageConfig(steps=10, warmup=100, learning_rate=2.0, schedule="wsd"))
    assert float(rate(5)) == 2.0


def test_weight_decay_leaves_vectors_alone():
    optimizer = make_optimizer(StageConfig(steps=10, warmup=0, weight_decay=0.5, learning_rate=0.1, schedule="wsd"))
    params = {"matrix": jnp.ones((2, 2)), "vector": jnp.ones(2)}
    state = optimizer.init(params)
    zero = {k: jnp.zeros_like(v) for k, v in params.items()}
    _, state = optimizer.update(zero, state, params)  # the warm-up's first rate is 0
    updates, _ = optimizer.update(zero, state, params)
    assert (updates["matrix"] < 0).all() and (updates["vector"] == 0).all()
