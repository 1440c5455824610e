"""Rotary positions know distances only, and wrap without a trace; layers read a given past as they would their own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oyster_jax.nn.attention import ROTARY_PERIOD, SpatialAttention, banded_mask, grid_angles, rotary_angles, rotate
from oyster_jax.nn.transformer import STTransformer
from oyster_jax.types import KV


@pytest.fixture(scope="module")
def transformer(config, lively):
    """(x [2, 9, 3, D], apply(x, first position, past, mask) -> (y, present)) of the dynamics' transformer."""
    module = STTransformer(config.dynamics.transformer)
    x = jnp.asarray(np.random.default_rng(7).normal(size=(2, 9, 3, 32)), jnp.float32)
    position = jnp.zeros((2, 9), jnp.int32)
    params = lively(jax.eval_shape(module.init, jax.random.key(0), x, position))

    @jax.jit
    def apply(x, first, past=None, mask=None):
        position = jnp.broadcast_to(first + jnp.arange(x.shape[1]), x.shape[:2])
        return module.apply(params, x, position, past, mask)

    return x, apply


def test_angles_repeat_exactly_after_a_period():
    t = jnp.array([0, 1, 77, ROTARY_PERIOD - 1])
    for a, b in zip(rotary_angles(t, 16), rotary_angles(t + 250 * ROTARY_PERIOD, 16)):
        np.testing.assert_array_equal(a, b)


def test_every_distance_within_a_window_has_its_own_angles():
    cos, sin = rotary_angles(jnp.arange(64), 16)
    features = np.concatenate([cos, sin], -1)
    apart = np.abs(features[:, None] - features[None]).max(-1) + np.eye(64)
    assert apart.min() > 0.1


@pytest.mark.parametrize("first", [ROTARY_PERIOD - 4, 10**6, 2**31 - 10])
def test_only_differences_of_positions_matter(transformer, first):
    x, apply = transformer
    np.testing.assert_allclose(apply(x, first)[0], apply(x, 0)[0], atol=1e-4)


def test_positions_do_matter(transformer):
    """A frame more between the past and the present is seen."""
    x, apply = transformer
    _, past = apply(x[:, :3], 0)
    mask = jnp.ones((1, 1, 3), bool)
    near, far = apply(x[:, 3:4], 3, past, mask)[0], apply(x[:, 3:4], 4, past, mask)[0]
    assert jnp.abs(near - far).max() > 1e-2


def test_the_band_holds_the_window_less_the_present():
    mask = np.asarray(banded_mask(6, window=3)[0])
    assert mask[0].sum() == 0 and np.flatnonzero(mask[5]).tolist() == [3, 4]


def test_masked_past_is_as_good_as_none(transformer):
    x, apply = transformer
    _, past = apply(x[:, :3], 0)
    nothing, _ = apply(x[:, 3:4], 3, past, jnp.zeros((1, 1, 3), bool))
    np.testing.assert_allclose(nothing, apply(x[:, 3:4], 0)[0], atol=1e-5)


def test_on_a_grid_only_the_way_from_patch_to_patch_matters():
    """A query sees a key two rows up and one column left alike wherever they are; tokens without a place stay."""
    rng = np.random.default_rng(0)
    q, k = (
        jnp.broadcast_to(jnp.asarray(rng.normal(size=(1, 1, 1, 1, 16)), jnp.float32), (1, 1, 33, 1, 16)) for _ in "qk"
    )
    angles = grid_angles(5, 6, 1, 2, 16)
    seen = jnp.einsum("btnhd,btmhd->nm", rotate(q, angles), rotate(k, angles))
    np.testing.assert_array_equal(rotate(q, angles)[:, :, [0, 31, 32]], q[:, :, [0, 31, 32]])
    grid = np.asarray(seen[1:31, 1:31]).reshape(5, 6, 5, 6)
    here = [grid[y, x, y - 2, x - 1] for y in range(2, 5) for x in range(1, 6)]
    np.testing.assert_allclose(here, here[0], rtol=1e-4)
    other = grid[2, 2, np.arange(5)[:, None], np.arange(6)].ravel()
    assert len(np.unique(other.round(4))) == 30  # every way has its own angle


@pytest.mark.parametrize("length", [1.0, 1e6])
def test_tokens_of_a_prompt_share_attention_by_a_softmax(config, lively, length):
    """Two tokens of the same key, however long it is, count as two of their mean value would, and nothing overflows."""
    c = config.dynamics.transformer
    module, rng = SpatialAttention(c), np.random.default_rng(3)
    x = jnp.asarray(rng.normal(size=(1, 1, 5, c.width)), jnp.float32)
    key, values = (rng.normal(size=(1, 1, n, c.groups, c.head_dim)).astype(np.float32) for n in (1, 2))
    prompt = KV(jnp.asarray(np.tile(length * key, (1, 1, 2, 1, 1))), jnp.asarray(values))
    params = lively(jax.eval_shape(module.init, jax.random.key(0), x, prompt))
    out, alone = module.apply(params, x, prompt), module.apply(params, x)
    mean = prompt._replace(v=jnp.broadcast_to(prompt.v.mean(2, keepdims=True), prompt.v.shape))
    np.testing.assert_allclose(out, module.apply(params, x, mean), atol=1e-5)
    assert jnp.isfinite(out).all() and jnp.abs(out - alone).max() > 1e-3
