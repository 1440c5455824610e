"""What the world of the package sounds like, streamed frame by frame."""

import jax
import numpy as np

import oyster_jax as oyster
from oyster_jax.sampling.script import sticky_random


def test_two_hundred_streamed_frames_meet_without_a_click():
    """Jumps from one frame into the next are no larger than within frames, nor on average than those beside them (the
    reef's notes are steep there). The same measure finds frames that lie 0.05 too high and too low by turns."""
    world = oyster.load("reef")
    begin, step = oyster.compile_reset(world, keep=False), oyster.compile_step(world, keep=False)
    state, _ = begin(jax.random.key(0), "a bay by day in the rain, blue water, a fish")
    sound = []
    for action in sticky_random(world.config.actions, 200, np.random.default_rng(0)):
        state, obs = step(state, action[None])
        sound.append(np.asarray(obs.audio[0]))

    def clicks(sound):
        across, within = np.abs(sound[1:, 0] - sound[:-1, -1]), np.abs(np.diff(sound, axis=1))
        beside = max(within[:, 0].mean(), within[:, -1].mean())
        return across.max() > within.max() or across.mean() > 1.25 * beside

    sound = np.stack(sound)
    assert not clicks(sound)
    assert clicks(sound + 0.05 * (-1) ** np.arange(200)[:, None])
