"""Figures of a match that are known: a perfect world, a shifted one, a frozen one, noise."""

import jax
import numpy as np
import pytest

from oyster_jax.data.sources import reef as source
from oyster_jax.errors import OysterError
from oyster_jax.evaluation import simulator
from oyster_jax.sims import reef
from oyster_jax.types import Observation

FPS = 15


@pytest.fixture(scope="module")
def match():
    """Two worlds of 30 frames that were played to perfection."""
    played = jax.device_get([source.play(jax.random.key(i), 0.5, 31) for i in range(2)])
    played = jax.tree.map(lambda *x: np.stack(x)[:, 1:], *played)
    shown = Observation(played.video, played.audio)
    places = {name: played.truth[name] for name in ("camera", "body", "creature")}
    return simulator.Match(shown, shown, played.video[:, 0], played.state.scene, places)


def test_a_perfect_world_is_perfect(match):
    pictures = simulator.picture_curves(match.truth.video, match, simulator.bare_frames(match))
    assert (pictures["psnr"] == 100).all() and (pictures["psnr_moving"] == 100).all()
    np.testing.assert_allclose(pictures["ssim"], 1, atol=1e-9)
    objects = simulator.object_curves(match.truth.video, match)
    for name in ("body_recall", "creature_recall", *reef.ATTRIBUTES):
        assert objects[name].all(), name
    assert objects["body_error"].max() == 0 and objects["creature_error"].max() == 0
    sounds = simulator.sound_curves(match.truth.audio, match.truth.audio, 15_360, FPS)
    assert all(curve.shape == (2, 30) and (curve == 0).all() for curve in sounds.values())


def test_a_shifted_world_is_off_by_its_shift(match):
    aside = np.roll(match.truth.video, 8, axis=3)
    objects = simulator.object_curves(aside, match)
    seen = ~np.isnan(objects["body_error"])
    assert seen.mean() > 0.5 and np.median(objects["body_error"][seen]) == 8
    further = simulator.object_curves(np.roll(aside, 8, axis=3), match)
    assert further["body_recall"].max() == 0  # 16 pixels away is not where it should be


def test_a_frozen_world_and_noise_score_lower(match):
    bare = simulator.bare_frames(match)
    frozen = np.broadcast_to(match.frozen[:, None], match.truth.video.shape)
    noise = np.random.default_rng(0).integers(0, 256, match.truth.video.shape, np.uint8)
    order = [simulator.picture_curves(x, match, bare) for x in (match.truth.video, frozen, noise)]
    for name in ("psnr", "psnr_moving", "ssim"):
        means = [curves[name].mean() for curves in order]
        assert means == sorted(means, reverse=True), name
    assert simulator.statistics_curves(frozen)["change"].max() == 0
    assert (
        simulator.statistics_curves(noise)["sharpness"].min()
        > 2 * simulator.statistics_curves(frozen)["sharpness"].max()
    )
    assert simulator.object_curves(noise, match)["body_recall"].max() == 0


def test_a_prompt_is_followed_from_the_first_frame_that_shows_all_of_it():
    scene = reef.Scene(*np.zeros((5, 1, 12), int))
    scene.time[0, 4:8] = 1  # changes at 4 and at 8
    curves = {name: np.ones((1, 12)) for name in reef.ATTRIBUTES}
    curves["water"][0, 4:6] = 0  # at 4 it takes two frames
    curves["creature"][0, 8:] = 0  # at 8 it never comes
    told = simulator.frames_until_followed(curves, scene)
    assert told == {"changes": 2, "followed": 0.5, "median_frames": 2.0}


def test_a_summary_is_by_the_second():
    curve = np.repeat(np.arange(10.0), FPS)[None]
    told = simulator.summary(curve, FPS)
    assert told["1_s"] == 0 and told["2_s"] == 1 and told["10_s"] == 9 and "30_s" not in told
    assert told["mean"] == 4.5
    curve[0, :FPS] = np.nan  # not seen for a second
    told = simulator.summary(curve, FPS)
    assert np.isnan(told["1_s"]) and told["2_s"] == 1 and told["mean"] == 5


def test_another_world_is_refused(world):
    with pytest.raises(OysterError, match="other sizes"):
        simulator.play_match(world)
