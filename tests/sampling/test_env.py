"""An environment is the same alone, among others and in a scan; its key and its action decide what it shows."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oyster_jax.errors import OysterError
from oyster_jax.models.world_model import World
from oyster_jax.sampling import rollout
from oyster_jax.sampling.env import WorldEnv, _if_any

FRAMES, STEPS = 3, 4
AGES = jnp.array([0, 1, 2])  # of three environments, whose episodes then end at different steps


def reward(obs):
    """Of one frame without batch axis."""
    assert obs.video.ndim == 3 and obs.audio.ndim == 1
    return obs.video[..., 0].mean() + obs.audio[0]


@pytest.fixture(scope="module")
def env(world):
    return WorldEnv(world, reward, prompt="night", max_frames=FRAMES)


@pytest.fixture(scope="module")
def begun(env):
    """The first frames of three environments, and their states."""
    obs, state = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 3))
    return obs, state._replace(time=AGES)


@pytest.fixture(scope="module")
def keys():
    return jax.random.split(jax.random.key(1), (STEPS, 3))


@pytest.fixture(scope="module")
def actions(env):
    """[STEPS, 3, A]"""
    draw = jax.vmap(jax.vmap(env.sample_action))
    return draw(jax.random.split(jax.random.key(2), (STEPS, 3)))


@pytest.fixture(scope="module")
def played(env, begun, keys, actions):
    """The last state, and (obs, reward, done, info) of each step, [STEPS, 3, ...]."""

    @jax.jit
    def play(params, state, keys, actions):
        def go(state, now):
            key, action = now
            obs, state, *rest = jax.vmap(env.step, (0, 0, 0, None))(key, state, action, params)
            return state, (obs, *rest)

        return jax.lax.scan(go, state, (keys, actions))

    return play(env.default_params, begun[1], keys, actions)


def pick(tree, *i):
    return jax.tree.map(lambda x: x[i], tree)


def assert_close(a, b):
    """Up to rounding: a level of a pixel, 1e-4 of anything else."""

    def close(x, y):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        atol = 1 if x.dtype == jnp.uint8 else 1e-4
        np.testing.assert_allclose(np.asarray(x, np.float64), np.asarray(y, np.float64), atol=atol, rtol=1e-5)

    jax.tree.map(close, a, b)


def differ(a, b):
    return not (np.array_equal(a.video, b.video) and np.array_equal(a.audio, b.audio))


def test_vmapped_and_scanned_equals_each_alone(env, begun, keys, actions, played):
    """New episodes included, which these environments begin at different steps."""
    for i in range(3):
        state = pick(begun[1], i)
        for t in range(STEPS):
            obs, state, score, done, info = env.step(keys[t, i], state, actions[t, i])
            shown, *others = pick(played[1], t, i)
            assert_close((obs, done, info), (shown, *others[1:]))
            np.testing.assert_allclose(score, others[0], atol=1)
        assert_close(state, pick(played[0], i))


def test_an_episode_ends_after_max_frames_and_the_next_begins(env, keys, played):
    state, (obs, _, done, info) = played
    age = AGES + 1 + np.arange(STEPS)[:, None]
    np.testing.assert_array_equal(done, age % FRAMES == 0)
    np.testing.assert_array_equal(state.time, age[-1] % FRAMES)
    for t, i in np.argwhere(done):
        first, fresh = env.reset(jax.random.split(keys[t, i])[1])
        assert_close(pick(obs, t, i), first)
        assert differ(first, pick(info["obs"], t, i)) and fresh.time == 0
    for t, i in np.argwhere(~np.asarray(done)):
        assert not differ(pick(obs, t, i), pick(info["obs"], t, i))
    begun_at = [max(t for t in range(STEPS) if done[t, i]) for i in range(3)]
    np.testing.assert_array_equal(state.rollout.position[:, 0], STEPS - np.array(begun_at))


def test_the_reward_is_of_the_frame_that_the_action_led_to(played):
    _, (_, score, _, info) = played
    assert score.dtype == jnp.float32
    np.testing.assert_allclose(score, jax.vmap(jax.vmap(reward))(info["obs"]), rtol=1e-5)


def test_key_and_action_decide_the_frame(env, begun, keys, actions):
    state, key, action = pick(begun[1], 0), keys[0, 0], actions[0, 0]
    show = lambda key, action: env.step(key, state, jnp.array(action))[0]
    assert not differ(show(key, action), show(key, action))
    assert differ(show(key, action), show(keys[0, 1], action))
    # In a world of so few tokens an action changes a third of the frames.
    assert any(differ(show(k, (0, 0)), show(k, other)) for k in keys.flatten() for other in np.ndindex(3, 2))
    assert not differ(env.reset(key)[0], env.reset(key)[0]) and differ(env.reset(key)[0], env.reset(keys[0, 1])[0])


def test_a_step_is_the_rollouts_step(env, world, begun, keys, actions):
    state, key = pick(begun[1], 0), keys[0, 0]
    now = state.rollout._replace(key=jax.random.split(key)[:1])
    _, obs = jax.jit(rollout.step)(world, now, actions[0, :1])
    assert_close(env.step(key, state, actions[0, 0])[0], pick(obs, 0))


def test_a_new_episode_is_computed_only_where_one_begins():
    """In a batch too, and in a batch of batches."""
    ran = []

    def begin(done, x, y):
        jax.debug.callback(lambda _: ran.append(1), x)
        return jnp.where(done, y, x)

    each = jax.vmap(lambda done, x, y: _if_any(done, begin, lambda done, x, y: x, (done, x, y)), (0, 0, None))
    for many, shape in ((each, (6,)), (jax.vmap(each, (0, 0, None)), (2, 3))):
        x, many = jnp.arange(6).reshape(shape), jax.jit(many)
        for done in (x == 4, x == 9):
            np.testing.assert_array_equal(many(done, x, 10), jnp.where(done, 10, x))
            jax.effects_barrier()
            assert bool(ran) == done.any()
            ran.clear()


def test_actions_are_drawn_from_the_whole_space(env):
    drawn = jax.vmap(env.sample_action)(jax.random.split(jax.random.key(0), 200))
    assert drawn.dtype == jnp.int32 and env.action_sizes == (3, 2) and env.num_actions == 6
    assert {tuple(a) for a in drawn.tolist()} == set(np.ndindex(env.action_sizes))


def test_keys_of_the_old_kind_serve(env):
    old = jax.random.PRNGKey(5)
    np.testing.assert_array_equal(env.sample_action(old), env.sample_action(jax.random.key(5)))
    state = jax.eval_shape(env.reset, jax.random.key(5))[1]
    assert jax.eval_shape(env.reset, old)[1] == state
    assert jax.eval_shape(env.step, old, state, jnp.zeros(2, jnp.int32))[1] == state


def test_prompt_and_image_begin_the_episode(env, world, clip):
    told = dataclasses.replace(env, prompt=rollout.encode_prompt(world, "night"))
    assert_close(told.reset(jax.random.key(0)), env.reset(jax.random.key(0)))
    pictured = dataclasses.replace(env, image=clip.video[0, 0])
    a, *others = (pictured.reset(jax.random.key(i))[0] for i in range(4))
    for b in others:
        np.testing.assert_array_equal(a.video, b.video)
    assert any(not np.array_equal(a.audio, b.audio) for b in others)
    assert not np.array_equal(a.video, env.reset(jax.random.key(0))[0].video)
    other = dataclasses.replace(env, prompt=rollout.encode_prompt(world, "a calm reef"))
    assert any(differ(*(e.reset(jax.random.key(i))[0] for e in (env, other))) for i in range(4))


def test_bad_settings_are_refused(env, world, begun):
    with pytest.raises(OysterError, match="max_frames must be positive, got 0"):
        WorldEnv(world, reward, max_frames=0)
    with pytest.raises(OysterError, match=r"scalar, got shape \(256,\)"):
        dataclasses.replace(env, reward_fn=lambda obs: obs.audio).step(
            jax.random.key(0), pick(begun[1], 0), jnp.zeros(2, jnp.int32)
        )


def test_another_worlds_parameters_read_the_text_for_themselves(env, world, keys):
    other = World(jax.tree.map(lambda x: x * 1.1, world.params), world.config)
    own = WorldEnv(other, reward, prompt="night", max_frames=FRAMES)
    assert_close(env.reset(keys[0, 0], other), own.reset(keys[0, 0]))
