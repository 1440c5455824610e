"""A ball whose way is known: where it is seen, when it is hit, and whether that is when it sounds."""

import itertools

import numpy as np
import pytest

from oyster_jax.data.sources import SourceOptions
from oyster_jax.evaluation.ball_games import COURTS, Region, heard_hits, hits, persistence, seen_hits, track
from oyster_jax.evaluation.sync import compare

FPS, RATE, FRAMES = 15.0, 15_360, 240
BALL = Region((0.1, 0.9), (0.1, 0.9), 8)
COURT = {"ball": BALL}
RNG = np.random.default_rng(0)
COURT_COLOUR = np.array([144, 72, 17], np.uint8)
EMPTY = np.broadcast_to(COURT_COLOUR, (64, 64, 3))


def _bounce(speed, low, high, t):
    """A place that goes to and fro between two walls, and the times at which it turns."""
    way = (speed * t) % (2 * (high - low))
    turns = np.arange(1, int(t[-1] * speed / (high - low)) + 1) * (high - low) / speed
    return low + np.minimum(way, 2 * (high - low) - way), turns


@pytest.fixture(scope="module")
def game():
    """Frames, sound, and when the ball is hit (in ms): drawn 2 pixels wide with soft edges, a click for each hit."""
    t = np.arange(FRAMES)
    (y, up), (x, aside) = _bounce(1.3, 10.0, 50.0, t), _bounce(0.9, 8.0, 54.0, t)
    rows, columns = np.mgrid[:64, :64]
    cover = np.clip(1.6 - np.hypot(rows - y[:, None, None], columns - x[:, None, None]), 0, 1)[..., None]
    video = (EMPTY + cover * (236.0 - EMPTY)).astype(np.uint8)
    times = np.sort(np.concatenate([up, aside]))
    times = times[np.diff(times, prepend=-9) > 1]
    sound = np.zeros(FRAMES * 1024)
    for time in times[times < FRAMES - 2]:
        begin = round(time * 1024)
        sound[begin : begin + 900] += 0.3 * np.sin(np.arange(900) * 0.2)[: len(sound) - begin]
    return video, sound.reshape(FRAMES, 1024), times * 1000 / FPS, np.stack([y, x], -1)


def test_the_ball_is_tracked_to_a_fraction_of_a_pixel(game):
    video, _, _, way = game
    found = track(video, EMPTY, BALL)
    inside = ((way > 9) & (way < 55)).all(1)
    assert np.abs(found - way)[inside].max() < 0.3
    assert np.isnan(track(np.repeat(EMPTY[None], 3, 0), EMPTY, BALL)).all()
    blob = video.copy()
    blob[:, 20:40, 20:40] = 236  # larger than a ball
    assert np.isnan(track(blob, EMPTY, BALL)).all()


def test_hits_are_seen_and_heard_when_they_happen(game):
    video, sound, times, _ = game
    told = compare([seen_hits(video, EMPTY, COURT, FPS)], [heard_hits(sound, RATE)])
    assert told["heard_of_seen"] > 0.9 and told["seen_of_heard"] > 0.8
    assert told["median_ms"] < 5 and told["p95_ms"] < 20  # frames are 67 ms apart
    heard = heard_hits(sound, RATE).ms
    assert np.abs(heard - times[: len(heard)]).max() < 5


@pytest.mark.parametrize("samples", [-900, 700])
def test_sound_that_is_moved_is_off_by_as_much(game, samples):
    video, sound, _, _ = game
    moved = np.roll(sound.reshape(-1), samples).reshape(sound.shape)
    told = compare([seen_hits(video, EMPTY, COURT, FPS)], [heard_hits(moved, RATE)])
    assert abs(told["late_ms"] - samples * 1000 / RATE) < 5


def test_silence_noise_and_a_ball_that_jumps_about_tell_nothing(game):
    assert len(heard_hits(np.zeros((30, 1024)), RATE).ms) == 0
    assert len(heard_hits(RNG.normal(0, 0.1, (30, 1024)), RATE).ms) <= 1  # its beginning
    assert len(hits(np.full((30, 2), np.nan))) == 0
    assert len(hits(np.stack([np.arange(30.0), np.full(30, 5.0)], -1))) == 0  # one straight way


def test_persistence_is_told_by_the_second(game):
    video, *_ = game
    empty = np.broadcast_to(EMPTY, video.shape)
    halfway = np.where((np.arange(FRAMES) < FRAMES // 2)[:, None, None, None], video, empty)
    aside = np.roll(video, 5, axis=2)
    told = {
        name: persistence([(video, made), (video, made)], EMPTY, COURT, FPS)["ball"]
        for name, made in {"same": video, "gone": empty, "halfway": halfway, "aside": aside}.items()
    }
    assert len(told["same"]["there"]) == FRAMES // FPS and min(told["same"]["in_place"]) == 1
    assert told["same"]["seen"] == told["same"]["there"] and told["same"]["error_px"] == 0
    assert max(told["gone"]["seen"]) == max(told["gone"]["in_place"]) == 0 and np.isnan(told["gone"]["error_px"])
    assert told["halfway"]["in_place"] == [1.0] * 8 + [0.0] * 8
    assert max(told["aside"]["in_place"]) == 0 and abs(told["aside"]["error_px"] - 5) < 0.5


@pytest.mark.parametrize("game", ["breakout", "pong"])
def test_things_are_tracked_where_the_consoles_memory_has_them(game):
    ale = pytest.importorskip("oyster_jax.data.sources.ale")
    source = ale.make(game, SourceOptions())
    clips = list(itertools.islice(source.episode(0, 128), 5))
    video, ram = (np.concatenate(x) for x in ([c.video for c in clips], [c.truth["ram"] for c in clips]))
    background = np.median(video, axis=0)
    # Where each game keeps its things (Anand et al. 2019, arXiv 1906.08226), and along which axis they go.
    places = {
        "breakout": {"ball": (99, 1), "paddle": (72, 1)},
        "pong": {"ball": (54, 0), "opponent": (50, 0), "paddle": (51, 0)},
    }
    for name, region in COURTS[f"ale:{game}"].items():
        way = track(video, background, region)
        address, axis = places[game][name]
        seen = ~np.isnan(way[:, 0])
        line = np.polyfit(ram[seen, address].astype(float), way[seen, axis], 1)
        error = np.abs(np.polyval(line, ram[seen, address].astype(float)) - way[seen, axis])
        assert seen.mean() > 0.4 and np.quantile(error, 0.95) < 1.5, name
