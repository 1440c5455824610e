"""Doom: every tic's sound once, actions in time, and one engine for many episodes."""

import ctypes.util

import numpy as np
import pytest

vizdoom = pytest.importorskip("vizdoom")

from oyster_jax.data.sources import SourceOptions, make_source  # noqa: E402
from oyster_jax.data.sources import vizdoom as module  # noqa: E402
from oyster_jax.errors import OysterError  # noqa: E402

needs_openal = pytest.mark.skipif(ctypes.util.find_library("openal") is None, reason="OpenAL is not installed")


def play(source, index=0, clip_frames=32):
    """A whole episode: (video, audio, action, truth)."""
    clips = list(source.episode(index, clip_frames))
    truth = {k: np.concatenate([c.truth[k] for c in clips]) for k in clips[0].truth}
    return *(np.concatenate([getattr(c, k) for c in clips]) for k in ("video", "audio", "action")), truth


@pytest.fixture(scope="module")
def source():
    return make_source("vizdoom:health_gathering", SourceOptions(seed=2))


class TicByTic:
    """An engine that goes one tic at a time and keeps each tic's sound and picture."""

    def __init__(self, game):
        self._game, self.sounds, self.screens = game, [], []

    def __getattr__(self, name):
        return getattr(self._game, name)

    def make_action(self, buttons, tics):
        for _ in range(tics):
            self._game.make_action(buttons, 1)
            if state := self._game.get_state():
                self.sounds.append(state.audio_buffer[-630:].copy())
                self.screens.append(state.screen_buffer.copy())


@needs_openal
def test_every_tic_sounds_once_and_the_frame_is_the_first_of_four(source, monkeypatch):
    plain = play(source)
    tics = TicByTic(source._game)
    monkeypatch.setattr(source, "_game", tics)
    video, audio, action, _ = play(source)
    for a, b in zip(plain, (video, audio, action)):  # the same game, however its tics are asked for
        np.testing.assert_array_equal(a, b)

    samples = 2520 * len(audio)
    heard = np.concatenate(tics.sounds).mean(1, dtype=np.float32)[:samples] / 32768
    np.testing.assert_array_equal(audio.reshape(-1), heard)
    for t in range(len(video)):
        np.testing.assert_array_equal(video[t], source._downscale(tics.screens[4 * t]))


@needs_openal
def test_turning_shows_in_the_next_frame_and_not_before(source):
    _, _, action, truth = play(source)
    names = [f.name for f in source.actions.factors]
    turn = np.array([0, 1, -1])[action[:, names.index("turn")]]  # none, left (angles grow), right
    moved = (np.diff(truth["angle"]) + 180) % 360 - 180  # from frame t to t + 1

    def aligned(turn):
        """From t to t + 1, action[t] has one tic and action[t-1] three."""
        rest = (turn[1:-1] == 0) & (turn[:-2] == 0)
        onset = (turn[1:-1] != 0) & (turn[:-2] == 0)
        assert rest.sum() > 5 and onset.sum() > 5
        still, answers = moved[1:][rest] == 0, np.sign(moved[1:][onset]) == turn[1:-1][onset]
        return still.all() and answers.all()

    assert aligned(turn)
    assert not aligned(np.roll(turn, 1)) and not aligned(np.roll(turn, -1))


@needs_openal
def test_an_episode_is_determined_by_seed_and_index(source):
    first, other, again = play(source, 1), play(source, 2), play(source, 1, clip_frames=7)
    for a, b in zip(first[:3], again[:3]):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[2][:50], other[2][:50])


@needs_openal
def test_shapes_and_sound(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = make_source("vizdoom:basic_audio", SourceOptions(size=48))
    clip = next(source.episode(2, 40))
    n = len(clip.video)
    assert clip.video.shape == (n, 48, 48, 3) and clip.video.dtype == np.uint8
    assert clip.audio.shape == (n, 2520) and clip.audio.dtype == np.float32
    assert clip.action.shape == (n, 2) and clip.action.dtype == np.int32
    source.actions.check(clip.action)
    assert clip.prompts == ("doom basic audio",)
    assert clip.video.std() > 5 and 0.01 < np.abs(clip.audio).max() <= 1
    assert all(v.shape == (n,) for v in clip.truth.values())
    assert str(source.media.fps) == "35/4" and source.media.samples_per_frame == 2520
    assert not list(tmp_path.iterdir())  # the engine litters the folder where it starts


def test_buttons_that_exclude_each_other_share_a_factor():
    names = ("ATTACK", "MOVE_LEFT", "MOVE_RIGHT", "STRAFE", "TURN_LEFT_RIGHT_DELTA")
    names += ("SELECT_WEAPON2", "SELECT_NEXT_WEAPON")
    space, presses = module._controls([vizdoom.Button.__members__[n] for n in names])
    assert {f.name: f.labels for f in space.factors} == {
        "strafe": ("none", "left", "right"),
        "turn": ("none", "-6", "-2", "+2", "+6"),
        "weapon": ("none", "2", "next"),
        "attack": ("off", "on"),
    }
    assert all((press[0] == 0).all() and (np.count_nonzero(press[1:], axis=1) == 1).all() for press in presses)


def test_missing_openal_is_named(monkeypatch):
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    with pytest.raises(OysterError, match="libopenal1"):
        make_source("vizdoom:basic_audio")


@needs_openal
@pytest.mark.parametrize(
    "scenario, options, says",
    [
        ("basic_audo", {}, "basic_audio"),
        ("multi_duel", {}, "unknown"),
        ("basic", {"fps": "15"}, "35/4"),
        ("basic", {"sample_rate": 44100}, "22050"),
        ("basic", {"size": 512}, "120"),
        ("basic", {"policy": "expert"}, "random"),
    ],
)
def test_mistakes_are_named(scenario, options, says):
    with pytest.raises(OysterError, match=says):
        make_source(f"vizdoom:{scenario}", SourceOptions(**options))
