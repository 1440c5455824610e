"""A film is a session: every action and every event takes hold of its own frame, neither sooner nor later."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oyster_jax.config_sampling import Guidance
from oyster_jax.errors import OysterError
from oyster_jax.evaluation.dynamics import replay
from oyster_jax.sampling import rollout
from oyster_jax.sampling.film import film
from oyster_jax.types import Clip

step = jax.jit(rollout.step, static_argnums=3)


def by_hand(world, state, actions, prompts=(), sampling=None):
    """Frames of a loop of steps; `prompts`: (step, prompt) pairs, each set just before that step."""
    prompts, frames = dict(prompts), []
    for t, action in enumerate(actions):
        if t in prompts:
            state = rollout.set_prompt(state, rollout.encode_prompt(world, prompts[t]))
        state, obs = step(world, state, action[None], sampling)
        frames.append(np.asarray(obs.video[0], int))
    return np.stack(frames)


def assert_same_film(film, frames):
    assert np.abs(film.astype(int) - frames).max() <= 1


def test_actions_and_events_take_hold_of_their_own_frames(world):
    begin = jax.jit(rollout.reset)(world, jax.random.key(0), rollout.encode_prompt(world, "day"))
    actions = np.random.default_rng(0).integers(0, world.config.actions.sizes, (6, 2)).astype(np.int32)
    swayed = dataclasses.replace(world.config.sampling, guidance=Guidance(prompt=50.0))  # a word changes few tokens
    events = [(frame, f"scene {frame}") for frame in range(1, 7)]
    video, audio = film(world, begin, actions, events, swayed)
    hand = lambda late: by_hand(world, begin[0], jnp.asarray(actions), [(f - 1 + late, p) for f, p in events], swayed)
    assert len(video) == len(audio) == 7
    np.testing.assert_array_equal(video[0], begin[1].video[0])
    assert_same_film(video[1:], hand(late=0))
    for late in (-1, 1):  # such a world tells one frame from the next
        assert np.abs(hand(late) - video[1:]).max() > 1


def test_an_event_that_the_film_does_not_reach_is_refused(world):
    begin = jax.jit(rollout.reset)(world, jax.random.key(0))
    for frame in (0, 7):
        with pytest.raises(OysterError, match=f"at frame {frame}: give 1 to 6"):
            film(world, begin, np.zeros((6, 2), np.int32), [(frame, "night")])


def test_a_replay_plays_the_clips_own_actions_from_where_its_context_ends(world, clip):
    alone = Clip(*(x[:1] for x in clip))
    context = 5
    (truth, sound), (seen, heard) = replay(world, alone, context, seed=7)
    np.testing.assert_array_equal(truth, alone.video[0, context:])
    np.testing.assert_array_equal(sound, alone.audio[0, context:])
    state, _ = jax.jit(rollout.prefill)(world, jax.random.key(7), alone.first(context))
    assert len(seen) == len(heard) == len(truth)
    assert_same_film(seen, by_hand(world, state, alone.action[0, context - 1 : -1]))  # action[t-1] leads to frame t
