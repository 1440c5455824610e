"""Sessions are values: kept, forked, taken apart and joined, their futures stay what they were."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oyster_jax.errors import OysterError
from oyster_jax.models.world_model import World
from oyster_jax.sampling import rollout, session

step = jax.jit(rollout.step)


def raw(tree):
    typed = lambda x: jnp.issubdtype(jax.typeof(x).dtype, jax.dtypes.prng_key)
    return jax.tree.map(lambda x: np.asarray(jax.random.key_data(x) if typed(x) else x), tree)


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, raw(a), raw(b))


@pytest.fixture(scope="module")
def played(world, clip):
    """Three sessions after a clip, of different ages and prompts, the second of them paused."""
    state, _ = jax.jit(rollout.prefill)(world, jax.random.key(3), clip)
    return state._replace(position=jnp.array([12, 7, 3]), active=jnp.array([True, False, True]))


@pytest.fixture(scope="module")
def action():
    return jnp.array([[1, 0], [2, 1], [0, 1]])


def test_a_snapshot_comes_back_to_the_bit_and_goes_on_alike(world, played, action):
    kept = session.snapshot(world, played)
    back = session.restore(world, kept)
    assert jax.tree.structure(back) == jax.tree.structure(played)
    assert_same(back, played)
    assert_same(step(world, back, action), step(world, played, action))


def test_rewinding_replays_what_happened(world, played, action):
    kept = session.snapshot(world, played)
    state, first = step(world, played, action)
    step(world, state, action)
    assert_same(step(world, session.restore(world, kept), action), (state, first))


def test_what_is_no_snapshot_of_this_world_is_refused(world, played):
    kept = session.snapshot(world, played)
    half, begun = kept[: len(kept) // 2], kept[: len(session.MAGIC) + 9]
    for cut in (kept[:-1], half, begun, kept[:-1] + b"?", kept.replace(b'"world"', b'"worle"')):
        with pytest.raises(OysterError, match="cut short or damaged"):
            session.restore(world, cut)
    for other in (b"", b"PNG", kept[1:]):
        with pytest.raises(OysterError, match="no snapshot"):
            session.restore(world, other)
    trained = World(jax.tree.map(lambda x: x * 1.001, world.params), world.config)
    faster = dataclasses.replace(world, config=dataclasses.replace(world.config, sampling=rollout.SamplingConfig()))
    for another in (trained, faster):
        with pytest.raises(OysterError, match="another world"):
            session.restore(another, kept)
    with pytest.raises(OysterError, match="no session of this world"):
        session.snapshot(world, played._replace(video=played.video[:1]))


def test_keys_and_memories_of_any_kind_are_kept_to_the_bit(world):
    dynamics = world.config.dynamics
    half = dataclasses.replace(dynamics, transformer=dataclasses.replace(dynamics.transformer, dtype="bfloat16"))
    halved = dataclasses.replace(world, config=dataclasses.replace(world.config, dynamics=half))
    state = rollout.init_state(halved, jax.random.key(1, impl="rbg"), batch=2)
    fill = lambda x: jax.random.normal(jax.random.key(2), x.shape).astype(x.dtype)
    state = state._replace(dynamics=jax.tree.map(fill, state.dynamics))
    back = session.restore(halved, session.snapshot(halved, state))
    assert back.dynamics[0].k.dtype == jnp.bfloat16 and jax.random.key_impl(back.key) == "rbg"
    assert_same(back, state)


def test_futures_share_a_past_and_draw_for_themselves(world, played, action):
    forked = session.fork(played, 4)
    assert len(forked.position) == 12
    assert_same(
        forked._replace(key=played.key), jax.tree.map(lambda x: jnp.repeat(x, 4, 0), played)._replace(key=played.key)
    )
    assert_same(forked, session.fork(played, 4))
    keys = np.concatenate([jax.random.key_data(forked.key), jax.random.key_data(played.key)])
    assert len(np.unique(keys, axis=0)) == len(keys)
    _, obs = step(world, forked, jnp.repeat(action, 4, 0))
    assert len(np.unique(np.asarray(obs.video[:4]).reshape(4, -1), axis=0)) > 1
    with pytest.raises(OysterError, match="at least one future"):
        session.fork(played, 0)


def test_taken_apart_and_joined_sessions_are_the_same(world, played):
    parts = [session.take(played, i) for i in range(3)]
    assert [len(p.position) for p in parts] == [1, 1, 1]
    assert_same(session.join(*parts), played)
    assert_same(session.take(played, slice(1, None)), session.join(*parts[1:]))
    other = parts[0]._replace(video=parts[0].video[:1])
    with pytest.raises(OysterError, match="different worlds"):
        session.join(parts[0], other)
    for absent in (3, -4, jnp.array([0, 3])):
        with pytest.raises(OysterError, match="3 sessions to take from"):
            session.take(played, absent)
    assert session.state_bytes(played) == 3 * session.state_bytes(parts[0])
