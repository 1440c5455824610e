"""Layers looped over compute what layers apart do, and those that do not look back have no memory to keep."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oyster_jax.errors import OysterError
from oyster_jax.models.world_model import World, unroll_layers
from oyster_jax.nn.transformer import STTransformer
from oyster_jax.sampling import cache
from oyster_jax.types import KV

FRAMES = 12


@pytest.fixture(scope="module", params=[1, 2], ids=["every layer looks back", "every second layer looks back"])
def deep(config, lively, request):
    """(config of four layers, parameters, x [2, T, 3, D], position, prompt K/V that differ from layer to layer)."""
    c = dataclasses.replace(config.dynamics.transformer, layers=4, temporal_every=request.param, scan_layers=True)
    rng = np.random.default_rng(7)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    x, position = draw(2, FRAMES, 3, c.width), jnp.broadcast_to(jnp.arange(FRAMES), (2, FRAMES))
    prompt = KV(*(draw(2, FRAMES, c.layers, 2, c.groups, c.head_dim) for _ in "kv"))
    shapes = jax.eval_shape(STTransformer(c).init, jax.random.key(0), x, position, None, None, prompt)
    return c, lively(shapes)["params"], x, position, prompt


@pytest.fixture(scope="module")
def unrolled(deep, world):
    """The same with its layers apart: (config, apply(x, position, past, mask, prompt))."""
    c, params, *_ = deep
    dynamics = dataclasses.replace(world.config.dynamics, transformer=c)
    scanned = World({"dynamics": params}, dataclasses.replace(world.config, dynamics=dynamics))
    apart = unroll_layers(scanned)
    c = apart.config.dynamics.transformer
    module = STTransformer(c)
    return c, lambda *args: module.apply({"params": apart.params["dynamics"]}, *args)


def test_layers_in_a_loop_cannot_leave_tokens_out(deep):
    c, params, x, position, prompt = deep
    with pytest.raises(OysterError, match="unroll_layers"):
        STTransformer(c).apply({"params": params}, x, position, prompt=prompt, rows=jnp.zeros((2, 1), jnp.int32))


def test_tokens_asked_for_alone_are_those_among_all(deep, unrolled):
    """Without a past (with one: `tests/sampling/test_rollout.py`), and each session's own."""
    _, _, x, position, prompt = deep
    rows = jnp.array([[2, 0], [1, 2]])
    every, _ = jax.jit(unrolled[1])(x, position, None, None, prompt)
    some, present = jax.jit(unrolled[1])(x, position, None, None, prompt, None, rows)
    np.testing.assert_allclose(some, jnp.take_along_axis(every, rows[:, None, :, None], axis=2), atol=1e-4)
    assert present[-1].k.shape[1] == 2


def test_layers_apart_compute_what_a_loop_does(deep, unrolled):
    c, params, x, position, prompt = deep
    looped, kv = jax.jit(STTransformer(c).apply)({"params": params}, x, position, None, None, prompt)
    flat, apart = jax.jit(unrolled[1])(x, position, None, None, prompt)
    np.testing.assert_allclose(looped, flat, atol=1e-4)
    assert len(apart) == c.temporal_layers == 4 // c.temporal_every
    for i, layer in enumerate(apart):
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, atol=1e-4), kv, layer)


def test_frame_by_frame_they_compute_what_they_do_on_the_whole_history(deep, unrolled):
    _, _, x, position, prompt = deep
    c, apply = unrolled

    def frame(memory, now):
        x, position, k, v = now
        mask = cache.past_mask(position, c.window)
        y, present = apply(x[:, None], position[:, None], memory, mask, KV(k[:, None], v[:, None]))
        return cache.write(memory, present, position, jnp.ones(2, bool), y), y[:, 0]

    steps = jax.tree.map(lambda a: a.swapaxes(0, 1), (x, position, *prompt))
    _, streamed = jax.jit(lambda steps: jax.lax.scan(frame, cache.init_cache(c, 2, 3), steps))(steps)
    whole, _ = jax.jit(apply)(x, position, None, None, prompt)
    np.testing.assert_allclose(streamed.swapaxes(0, 1), whole, atol=1e-4)


def test_only_layers_that_look_back_reach_into_the_past(deep, unrolled):
    _, _, x, position, prompt = deep
    c, apply = unrolled
    moved, _ = jax.jit(apply)(x.at[:, 2].add(1.0), position, None, None, prompt)
    same, _ = jax.jit(apply)(x, position, None, None, prompt)
    frames = np.abs(moved - same).max((0, 2, 3))
    last = 2 + c.temporal_layers * (c.window - 1)
    assert (frames[:2] == 0).all() and (frames[2 : last + 1] > 1e-4).all() and (frames[last + 1 :] == 0).all()


def test_a_loop_of_layers_is_not_rolled_out(deep):
    with pytest.raises(OysterError, match="unroll_layers"):
        cache.init_cache(deep[0], 1, 3)
    with pytest.raises(OysterError, match="not a multiple of temporal_every 3"):
        dataclasses.replace(deep[0], temporal_every=3)
