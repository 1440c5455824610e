"""Offsets of sound from sight that are known: none, some, nothing to be seen, nothing to be heard."""

import jax
import numpy as np
import pytest

from oyster_jax.data.sources import reef as source
from oyster_jax.evaluation.reef_hearing import SOUNDS, listen
from oyster_jax.evaluation.sync import Onsets, pair, seen_onsets, sync
from oyster_jax.sims.reef_map import MEDIA, SAMPLES
from oyster_jax.sims.reef_state import CALLED, CHIME, THUD

WORLDS, FRAMES = 3, 128


@pytest.fixture(scope="module")
def played():
    keys = jax.random.split(jax.random.key(7), WORLDS)
    return jax.device_get(jax.lax.map(lambda key: source.play(key, 0.3, FRAMES), keys))


def test_every_sound_is_heard_where_it_begins_and_no_other(played):
    """To 2 samples where it is struck; a note's attack alone takes 24 to rise by two thirds."""
    for audio, events in zip(played.audio, played.truth["events"]):
        heard = listen(audio)
        for kind, (event, near) in enumerate(((THUD, 2), (CHIME, 2), (CALLED, 60))):
            begun = np.flatnonzero(events[:, event] >= 0) * SAMPLES
            found = np.sort(heard.sample[heard.kind == kind])
            assert len(found) == len(begun), SOUNDS[kind]
            assert np.abs(found - begun).max(initial=0) <= near, SOUNDS[kind]
    assert np.bincount(heard.kind, minlength=3).sum() > 5


def test_nothing_is_heard_in_silence_and_in_noise():
    rng = np.random.default_rng(0)
    for audio in (np.zeros((30, SAMPLES)), rng.normal(0, 0.1, (30, SAMPLES)).clip(-1, 1)):
        assert len(listen(audio).kind) == 0


def test_the_simulator_is_in_sync_and_its_faces_sound(played):
    told = sync(played.video, played.audio)
    assert told["seen"] > 20 and told["heard_of_seen"] > 0.95 and told["seen_of_heard"] > 0.95
    assert told["median_ms"] < 3 and told["p95_ms"] < 5


@pytest.mark.parametrize("samples", [-700, 900])
def test_sound_that_comes_early_or_late_is_off_by_as_much(played, samples):
    moved = np.roll(played.audio.reshape(WORLDS, -1), samples, axis=1).reshape(played.audio.shape)
    told, ms = sync(played.video, moved), samples * 1000 / MEDIA.sample_rate
    assert abs(told["late_ms"] - ms) < 3 and abs(told["median_ms"] - abs(ms)) < 3


def test_a_world_without_sound_or_sight_has_no_sync(played):
    bare = np.zeros_like(played.video)
    for video, audio in ((played.video, 0 * played.audio), (bare, played.audio)):
        told = sync(video, audio)
        assert told["both"] == 0 and np.isnan(told["median_ms"])
    assert len(seen_onsets(bare[0]).ms) == 0


def test_pairs_are_the_nearest_of_a_kind_each_but_once():
    onsets = lambda *things: Onsets(*(np.array(x) for x in zip(*things)))
    seen = onsets((0, 100.0), (0, 150.0), (1, 100.0), (2, 900.0))
    heard = onsets((0, 140.0), (1, 320.0), (0, 90.0), (2, 750.0))
    assert sorted(pair(seen, heard)) == [(0, 2), (1, 0), (3, 3)]
