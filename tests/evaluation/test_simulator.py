"""Figures of a match that are known: a perfect world, a shifted one, a frozen one, noise."""

import json

import jax
import numpy as np
import pytest

import oyster_jax as oyster
from oyster_jax.data.sources import reef as source
from oyster_jax.errors import OysterError
from oyster_jax.evaluation import effects, simulator
from oyster_jax.sims import reef
from oyster_jax.types import Observation

FPS = 15


@pytest.fixture(scope="module")
def match():
    """Two worlds of 30 frames that were played to perfection."""
    played = jax.device_get([source.play(jax.random.key(i), 0.5, 31) for i in range(2)])
    played = jax.tree.map(lambda *x: np.stack(x), *played)
    return simulator.made_match(played, 1, Observation(played.video[:, 1:], played.audio[:, 1:]))


def test_a_perfect_world_is_perfect(match):
    pictures = simulator.picture_curves(match.truth.video, match, simulator.bare_frames(match))
    assert (pictures["psnr"] == 100).all() and (pictures["psnr_moving"] == 100).all()
    for name in ("ssim", "ssim_moving"):
        np.testing.assert_allclose(pictures[name], 1, atol=1e-9)
    objects = simulator.object_curves(match.truth.video, match)
    for name in ("body_recall", "creature_recall", "object_recall", *reef.ATTRIBUTES):
        assert objects[name].all(), name
    assert objects["body_error"].max() == 0 and objects["creature_error"].max() == 0
    shown = ~np.isnan(objects["pearl_recall"])
    assert shown.mean() > 0.5 and (objects["pearl_recall"][shown] == 1).all()
    assert (objects["pearl_precision"][shown] == 1).all()
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
    for name in ("psnr", "psnr_moving", "ssim", "ssim_moving"):
        means = [curves[name].mean() for curves in order]
        assert means == sorted(means, reverse=True), name
    assert simulator.statistics_curves(frozen)["change"].max() == 0
    sharpness = lambda video: simulator.statistics_curves(video)["sharpness"]
    assert sharpness(noise).min() > 2 * sharpness(frozen).max()
    x = frozen.astype(float)
    blurred = ((x + np.roll(x, 1, 2) + np.roll(x, 1, 3) + np.roll(x, (1, 1), (2, 3))) / 4).astype(np.uint8)
    assert (sharpness(blurred) < 0.8 * sharpness(frozen)).all()
    of_noise, of_frozen = simulator.object_curves(noise, match), simulator.object_curves(frozen, match)
    assert of_noise["body_recall"].max() == 0 and np.nanmax(of_noise["pearl_recall"]) == 0
    assert np.nanmin(of_frozen["pearl_precision"]) < 1
    assert of_noise["object_recall"].max() == 0


def test_all_things_count_alike(match):
    """Where swimmer and creature should be elsewhere, the pearls are still recalled, each as much as one of them."""
    pearls = match.pearls.sum((-2, -1))
    astray = match._replace(places={name: np.zeros_like(place) for name, place in match.places.items()})
    curves = simulator.object_curves(match.truth.video, astray)
    np.testing.assert_allclose(curves["object_recall"], pearls / (pearls + 2))


def test_a_world_that_greys_or_changes_its_colours_is_told_by_them(match):
    video = match.truth.video
    grey = np.broadcast_to(video.mean(-1, keepdims=True).astype(np.uint8), video.shape)
    turned = video[..., [1, 2, 0]]  # as bright, as sharp
    colours, greys, turns = map(simulator.statistics_curves, (video, grey, turned))
    assert greys["colourfulness"].max() < 1e-3 < 10 < colours["colourfulness"].min()
    np.testing.assert_allclose(turns["red"], colours["green"])
    assert np.max([np.abs(turns[name] - colours[name]) for name in ("red", "green", "blue")], 0).min() > 2


def test_a_summary_is_by_the_second():
    curve = np.repeat(np.arange(10.0), FPS)[None]
    told = simulator.summary(curve, FPS)
    assert told["1_s"] == 0 and told["2_s"] == 1 and told["10_s"] == 9 and "30_s" not in told
    assert told["mean"] == 4.5 and told["p5"] == 0 and told["p95"] == 9
    seconds = simulator.by_the_second(curve, FPS)
    assert seconds["mean"] == seconds["p5"] == seconds["p95"] == list(range(10))
    curve[0, :FPS] = np.nan  # not seen for a second
    told = simulator.summary(curve, FPS)
    assert np.isnan(told["1_s"]) and told["2_s"] == 1 and told["mean"] == 5


def test_hour_and_weather_are_heard_in_the_reef_and_not_in_silence():
    played = jax.device_get([source.play(jax.random.key(i), 0.5, 192) for i in range(10, 16)])
    played = jax.tree.map(lambda *x: np.stack(x), *played)
    curves = simulator.heard_curves(played.audio, played.state.scene)
    for name in ("heard_time", "heard_weather"):
        known = curves[name][~np.isnan(curves[name])]
        assert known.size > 400 and known.mean() > 0.97, (name, known.mean())
        assert np.isnan(curves[name]).any()  # where it changes
    silent = simulator.heard_curves(np.zeros_like(played.audio), played.state.scene)
    assert np.nanmax(silent["heard_time"]) == 0


def test_the_shipped_world_follows_actions_and_prompts_for_a_second(tmp_path, monkeypatch):
    """An action or a prompt given a frame early or late would lose the swimmer, or the hour, at once."""
    monkeypatch.setattr(simulator, "MOMENTS", 1)
    monkeypatch.setattr(effects, "FRAMES", 2)  # to be quick: enough for a lantern and a song
    told = simulator.evaluate_match(oyster.load("reef"), tmp_path, simulator.MatchOptions(worlds=3, seconds=1, seed=3))
    for name in ("body_recall", "time", "weather", "water"):
        assert told["world"][name]["mean"] > 0.9, name
        assert told["tokenizer"][name]["mean"] == told["truth"][name]["mean"] == 1
    assert told["world"]["psnr_moving"]["mean"] > told["frozen"]["psnr_moving"]["mean"]
    assert told["world"]["body_error"]["p5"] <= told["world"]["body_error"]["p95"]
    for name in ("light", "call"):  # three moments are too few to be sure of any one value
        assert np.mean(told["effects"][name]["accuracy"]) > 0.6, name
    curves = json.loads((tmp_path / "curves.json").read_text())
    assert len(curves["world"]["ssim"]["mean"]) == 1
    assert curves["world"]["ssim"]["mean"][0] == pytest.approx(told["world"]["ssim"]["mean"])
    page = (tmp_path / "index.html").read_text()
    for file in ("match_sheet.png", "match_sound.png", "match.png", "match_0.mp4"):
        assert (tmp_path / file).stat().st_size > 1000 and file in page


def test_another_world_is_refused(world):
    with pytest.raises(OysterError, match="other sizes"):
        simulator.play_match(world)
