"""Gymnasium's own checker is content; a seed decides an episode; what is refused costs nothing."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from oyster_jax.errors import OysterError
from oyster_jax.models.world_model import save_world
from oyster_jax.sampling.gym import GymWorld

FRAMES = 3


def brightness(obs):
    return obs.video.mean() / 255


@pytest.fixture(scope="module")
def env(world):
    """Made by `gymnasium.make`, without its wrappers."""
    kwargs = dict(world=world, reward_fn=brightness, prompt="night", max_frames=FRAMES, render_mode="rgb_array")
    return gymnasium.make(gymnasium.envs.registration.EnvSpec("Echo-v0", entry_point=GymWorld, kwargs=kwargs)).unwrapped


def episode(env, seed, actions=((1, 0), (2, 1), (0, 1)), **options):
    first, _ = env.reset(seed=seed, options=options)
    return [first, *(env.step(np.array(a))[0] for a in actions)]


def same(a, b):
    return all(np.array_equal(x[k], y[k]) for x, y in zip(a, b, strict=True) for k in ("video", "audio"))


def test_gymnasiums_checker_has_nothing_to_say(env, recwarn):
    check_env(env)
    assert not [str(w.message) for w in recwarn]


def test_a_seed_and_the_actions_decide_an_episode(env):
    once = episode(env, 1)
    assert same(once, episode(env, 1))
    assert not same(once[:1], episode(env, 2, ()))
    assert not same(once[:1], episode(env, None, ()))  # the next episode of the same seed
    assert not same(episode(env, 1, [(0, 0)] * 8), episode(env, 1, [(2, 0)] * 8))


def test_an_episode_is_cut_off_after_max_frames(env):
    env.reset(seed=0)
    for t in range(1, FRAMES + 1):
        obs, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        assert type(reward) is float and reward == pytest.approx(obs["video"].mean() / 255)
        assert terminated is False and truncated is (t == FRAMES)


def test_the_last_frame_is_rendered_at_the_worlds_rate(env, world):
    first, _ = env.reset(seed=0)
    np.testing.assert_array_equal(env.render(), first["video"])
    shown = env.step([1, 1])[0]["video"]
    kept = shown.copy()
    shown[:] = 0  # an observation is the caller's
    np.testing.assert_array_equal(env.render(), kept)
    assert env.metadata["render_fps"] == 7.5 and GymWorld.metadata["render_fps"] == 15
    with pytest.raises(OysterError, match=r"render_mode must be one of \['rgb_array'\] or None, got 'human'"):
        GymWorld(world, brightness, render_mode="human")


@pytest.mark.parametrize(
    "action, message",
    [
        ([3, 0], r"'move' takes 0\.\.2 \(or -1 for none\), got 3"),
        ([0, 0, 0], r"2 whole numbers, one for each factor, got int64 \(3,\)"),
        ([[0, 0]], r"got int64 \(1, 2\)"),
        (1, r"got int64 \(\)"),
        ([0.5, 1.0], "got float64"),
        (["left", "on"], "whole numbers"),
    ],
)
def test_a_bad_action_is_refused_and_costs_nothing(env, action, message):
    expected = episode(env, 4)
    env.reset(seed=4)
    with pytest.raises(ValueError, match=message):
        env.step(action)
    assert same(expected[1:], [env.step(np.array(a))[0] for a in ((1, 0), (2, 1), (0, 1))])


def test_options_begin_one_episode(env, clip):
    image = np.asarray(clip.video[0, 0])
    plain = episode(env, 5)
    assert not same(plain, episode(env, 5, prompt="a calm reef"))
    assert same(plain, episode(env, 5, prompt="night"))
    pictured, *others = (episode(env, seed, (), image=image)[0] for seed in range(5, 9))
    assert not np.array_equal(pictured["video"], plain[0]["video"])
    for again in others:
        np.testing.assert_array_equal(pictured["video"], again["video"])
    assert any(not np.array_equal(pictured["audio"], again["audio"]) for again in others)
    assert same(plain, episode(env, 5))


def test_bad_options_are_refused_and_the_session_goes_on(env, clip):
    expected = episode(env, 7)
    env.reset(seed=7)
    for options, message in (
        ({"promt": "night"}, "takes the options 'prompt' and 'image', got 'promt'"),
        ({"prompt": "x" * 257}, "257 bytes"),
        ({"image": np.zeros((16, 48, 3), np.uint8)}, r"uint8 \(32, 48, 3\)"),
    ):
        with pytest.raises(OysterError, match=message):
            env.reset(options=options)
    assert same(expected[1:], [env.step(np.array(a))[0] for a in ((1, 0), (2, 1), (0, 1))])


def test_nothing_comes_before_a_reset(world, tmp_path):
    save_world(world, tmp_path)
    env = GymWorld(tmp_path, brightness, render_mode="rgb_array")
    for early in (env.render, lambda: env.step([0, 0])):
        with pytest.raises(gymnasium.error.ResetNeeded):
            early()
    env.close()
