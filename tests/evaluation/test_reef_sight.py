"""Detectors are right on the simulator's own frames, wherever things are, however they look, and see nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oyster_jax.evaluation import reef_sight
from oyster_jax.sims import reef
from oyster_jax.sims.reef_draw import HAPPY, draw_bare
from oyster_jax.sims.reef_map import SIZE
from oyster_jax.sims.reef_sound import SAMPLES
from oyster_jax.sims.reef_state import CHIME


@pytest.fixture(scope="module")
def played():
    """States and frames of 24 scenes under random actions, 12 frames each."""
    scenes = reef.Scene(*np.array(reef.ALL_SCENES[::3]).T)

    @jax.jit
    def play(key):
        begin, act = jax.random.split(key)
        start, _ = jax.vmap(reef.reset)(jax.random.split(begin, len(scenes.time)), scenes)
        actions = jax.random.randint(act, (12, len(scenes.time), 5), 0, jnp.array(reef.ACTIONS.sizes))
        states = jax.lax.scan(lambda s, a: (jax.vmap(reef.advance)(s, a),) * 2, start, actions)[1]
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), states)
        return flat, jax.vmap(reef.draw)(flat)

    return jax.device_get(play(jax.random.key(3)))


def test_things_are_where_the_simulator_has_them_and_look_as_they_do(played):
    states, video = played
    body = reef_sight.find(video, reef_sight.swimmer(), states.scene.time)
    creature = reef_sight.find(video, reef_sight.creatures(), states.scene.time)
    corner = np.array([reef.camera(body) for body in states.body])
    np.testing.assert_array_equal(body.place, states.body - corner)
    shows = ((states.creature >= corner) & (states.creature < corner + SIZE)).all(-1)
    np.testing.assert_array_equal(creature.place[shows], (states.creature - corner)[shows])
    np.testing.assert_array_equal(creature.look[shows], states.scene.creature[shows])
    faces = states.bumped, states.age[:, CHIME] < HAPPY * SAMPLES, states.controls[:, reef.CALL] > 0
    np.testing.assert_array_equal(np.array(reef_sight.FACES)[body.look], np.stack(faces, -1))
    assert body.seen.all() and shows.mean() > 0.6
    np.testing.assert_array_equal(creature.seen, shows)
    ripe = np.asarray(jax.vmap(reef.pearl_ages)(states)) >= reef.RIPE
    np.testing.assert_array_equal(reef_sight.find_all(video, reef_sight.pearl(), states.scene.time), ripe)
    assert np.any(ripe) and len(np.unique(ripe.sum((1, 2)))) > 3


def test_hour_weather_and_water_are_read(played):
    states, video = played
    np.testing.assert_array_equal(reef_sight.scenery(video), np.stack(states.scene[:3], -1))


def test_nothing_is_seen_where_nothing_is():
    scenes = np.array(reef.at(reef.BAY), np.int32)
    bare = np.asarray(jax.vmap(draw_bare)(reef.Scene(*scenes.T)))
    noise = np.random.default_rng(0).uniform(0, 255, bare.shape)
    hours = scenes[:, 0]
    np.testing.assert_array_equal(reef_sight.scenery(bare), scenes[:, :3])
    for video in (bare, noise):
        for looks in (reef_sight.swimmer(), reef_sight.creatures()):
            assert not reef_sight.find(video.astype(np.uint8), looks, hours).seen.any()
        assert not reef_sight.find_all(video.astype(np.uint8), reef_sight.pearl(), hours).any()
