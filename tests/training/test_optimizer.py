"""Learning rates rise, hold and fall where the stage says; only matrices decay; Muon turns those of transformers."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oyster_jax.config_experiment import StageConfig
from oyster_jax.training.optimizer import make_optimizer, matrices, schedule
from oyster_jax.training.tasks.dynamics import init_dynamics


@pytest.mark.parametrize(
    ("decay", "values"),
    [(0.2, [0, 1, 2, 2, 2, 1, 0]), (1.0, [0, 1, 2, 10 / 9, 4 / 9, 2 / 9, 0]), (0.0, [0, 1] + 5 * [2])],
)
def test_wsd_warms_up_holds_and_decays_over_the_share_of_its_steps_that_it_names(decay, values):
    rate = schedule(StageConfig(steps=100, warmup=10, learning_rate=2.0, schedule="wsd", decay=decay))
    np.testing.assert_allclose([float(rate(t)) for t in (0, 5, 10, 50, 80, 90, 100)], values, atol=1e-6)


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


@pytest.fixture(scope="module", params=[False, True], ids=["layers apart", "layers stacked"])
def abstract(config, request):
    """Boxed shapes of the dynamics' parameters."""
    transformer = dataclasses.replace(config.dynamics.transformer, scan_layers=request.param)
    world = dataclasses.replace(config, dynamics=dataclasses.replace(config.dynamics, transformer=transformer))
    return jax.eval_shape(lambda key: init_dynamics(world, key), jax.random.key(0))


def test_muon_turns_what_lies_within_layers_as_matrices_of_the_model_s_width(config, abstract):
    """Each axis of a kernel goes in, comes out, or counts layers, and one side is what the residual stream has."""
    t, turned = config.dynamics.transformer, 0
    params = nn.unbox(abstract)
    for path, p in jax.tree_util.tree_leaves_with_path(params):
        axes = matrices(params)
        for k in path:
            axes = axes[k.key]
        names = [k.key for k in path]
        if axes is None:
            assert names[0] != "transformer" or names[-1] != "kernel", names
            continue
        turned += 1
        stacked = 1 if "blocks" in names else 0
        assert sorted((*axes.reduction_axis, *axes.output_axis)) == list(range(stacked, p.ndim)), names
        side = axes.output_axis if names[-2] in ("out", "down") else axes.reduction_axis
        assert np.prod([p.shape[i] for i in side]) == t.width, names
    assert turned >= 10


def test_a_muon_step_is_a_rotation_of_the_size_that_adam_s_would_have():
    """Whatever the gradient's size and shape, each matrix moves by rate x 0.2 in every direction."""
    rng = np.random.default_rng(0)
    optimizer = make_optimizer(StageConfig(steps=10, warmup=0, weight_decay=0, learning_rate=0.1, optimizer="muon"))
    shapes = {
        "spatial": {"query": {"kernel": (32, 4, 8)}, "out": {"kernel": (4, 8, 32)}},
        "mlp": {"up": {"kernel": (32, 128)}},
    }
    params = jax.tree.map(lambda shape: jnp.zeros(shape), shapes, is_leaf=lambda x: isinstance(x, tuple))
    grads = jax.tree.map(lambda p: jnp.asarray(rng.normal(0, 1e-3, p.shape), jnp.float32), params)
    state = optimizer.init(params)
    for _ in range(2):  # the first rate is 0
        updates, state = optimizer.update(grads, state, params)
    for path, u in jax.tree_util.tree_leaves_with_path(updates):
        matrix = np.asarray(u).reshape(32, -1)
        values = np.linalg.svd(matrix, compute_uv=False) / (0.1 * 0.2 * max(matrix.shape) ** 0.5)
        assert values.min() > 0.6 and values.max() < 1.3, path
