"""Atari: what belongs to which frame, on a console that betrays it and on the real one."""

import itertools

import numpy as np
import pytest

ale_py = pytest.importorskip("ale_py")

from oyster_jax.data.sources import SourceOptions, make_source  # noqa: E402
from oyster_jax.data.sources import ale as module  # noqa: E402
from oyster_jax.data.sources.ale_player import FIELDS, Player  # noqa: E402
from oyster_jax.data.sources.pixels import AreaDownscale  # noqa: E402
from oyster_jax.errors import OysterError  # noqa: E402

NOOP, FIRE, RIGHT, LEFT = range(4)  # of Breakout
BALL_Y, PADDLE, KNOB = 101, 72, 70  # addresses


def play(source, index=0, clip_frames=50, frames=300):
    """The first frames of an episode: (video, audio, action, ram)."""
    clips = itertools.islice(source.episode(index, clip_frames), -(-frames // clip_frames))
    parts = zip(*((c.video, c.audio, c.action, c.truth["ram"]) for c in clips))
    return tuple(np.concatenate(p)[:frames] for p in parts)


@pytest.fixture(scope="module")
def random_breakout():
    return play(make_source("ale:breakout", SourceOptions(policy="random")), frames=400)


class FlashAndClick:
    """A console whose screen and memory count its frames; every `PERIOD`-th frame begins with a click."""

    PERIOD = 23

    def __init__(self):
        self.codes = []
        FlashAndClick.latest = self

    def ignore(self, *_):
        return None

    setInt = setFloat = setBool = loadROM = ignore
    setLoggerMode = staticmethod(lambda level: None)
    isSupportedROM = staticmethod(lambda path: "some game")
    getMinimalActionSet = staticmethod(lambda: [ale_py.Action(i) for i in (0, 1, 3, 4)])
    getScreenDims = staticmethod(lambda: (210, 160))
    game_over = staticmethod(lambda: False)

    def act(self, code):
        self.codes.append(code if code == 0 else code.value)

    def getScreenRGB(self):
        return np.full((210, 160, 3), len(self.codes) % 200, np.uint8)

    def getRAM(self):
        return np.full(128, len(self.codes) % 200, np.uint8)

    def getAudio(self):
        sound = np.full(512, 128, np.uint8)
        sound[:2] += 120 * (len(self.codes) % self.PERIOD == 0)
        return sound


def test_frame_sound_and_action_belong_together(monkeypatch):
    monkeypatch.setattr(module, "ALEInterface", FlashAndClick)
    video, audio, action, ram = play(make_source("ale:breakout", SourceOptions(policy="random")), frames=40)
    codes = FlashAndClick.latest.codes
    start = int(ram[0, 0]) - 1  # console frames before frame 0

    count = start + 1 + 4 * np.arange(40)  # the console frame after which frame t is seen
    np.testing.assert_array_equal(ram[:, 0], count % 200)
    np.testing.assert_array_equal(video[:, 0, 0, 0], (count + 1) % 200)  # the maximum with the one after it
    assert codes[: start + 4] == [0] * (start + 4)  # frame 0 is the NOOP step
    for t in range(39):
        assert codes[start + 4 * (t + 1) : start + 4 * (t + 2)] == [(0, 1, 3, 4)[action[t, 0]]] * 4

    clicks = [n for n in range(start + 1, start + 161) if n % FlashAndClick.PERIOD == 0]
    wave = audio.reshape(-1)
    for n in clicks:
        heard = np.argmax(wave[(at := (n - start - 1) * 256) : at + 256]) / 15360
        assert 0 <= heard < 0.001, f"the click of console frame {n} is heard {heard} s late"


def test_paddle_answers_in_the_next_frame_and_not_before(random_breakout):
    video, _, action, ram = random_breakout
    action, paddle, knob = action[:, 0], ram[:, PADDLE].astype(int), ram[:, KNOB].astype(int)
    row = video[:, 58].astype(int).sum(-1)  # of the paddle

    def onsets(action):
        """Frames at which a press follows four idle ones, the knob not being turned against its stop."""
        idle = np.isin(action, (NOOP, FIRE))
        free = {RIGHT: (knob > 50) & (knob < 180), LEFT: (knob < 170) & (knob > 44)}
        return [t for t in range(4, len(action) - 1) if idle[t - 4 : t].all() and free.get(action[t], idle * 0)[t]]

    def aligned(action):
        """The game reads the knob after one emulator frame and draws the paddle after the second."""
        before = all(knob[t] == knob[t - 1] and (row[t] == row[t - 1]).all() for t in onsets(action))
        return before and all(knob[t + 1] != knob[t] and (row[t + 1] != row[t]).any() for t in onsets(action))

    assert len(onsets(action)) >= 3 and len(set(paddle)) > 20
    assert aligned(action)
    assert not aligned(np.roll(action, 1)) and not aligned(np.roll(action, -1))


def test_picture_and_memory_are_of_the_same_moment(random_breakout):
    video, _, _, ram = random_breakout
    row = video[:, 58, 3:61].max(-1)  # the paddle's row between the walls
    seen, paddle = row.argmax(1), ram[:, PADDLE].astype(int)  # its left edge
    inside = (paddle > 60) & (paddle < 180)

    def misfit(shift):
        error = (np.roll(paddle, shift) - 47) * 64 / 160 - 3 - seen
        return np.abs(error[5:-5][inside[5:-5]]).mean()

    assert misfit(0) < 1.5
    assert misfit(0) < 0.6 * min(misfit(-1), misfit(1))


def test_shapes_and_sound(random_breakout):
    video, audio, action, ram = random_breakout
    n = len(video)
    assert video.shape == (n, 64, 64, 3) and video.dtype == np.uint8
    assert audio.shape == (n, 1024) and audio.dtype == np.float32
    assert action.shape == (n, 1) and action.dtype == np.int32
    assert ram.shape == (n, 128) and ram.dtype == np.uint8
    loud = np.abs(audio).max(1) > 0.05
    assert 0.02 < loud.mean() < 0.9 and np.abs(audio).max() <= 1
    source = make_source("ale:breakout")
    assert source.actions.factors[0].labels == ("NOOP", "FIRE", "RIGHT", "LEFT")
    source.actions.check(action)
    assert source.media.fps == 15 and source.media.samples_per_frame == 1024
    assert source.episodes is None and source.notes() == []
    assert next(source.episode(0, 2)).prompts == ("atari breakout",)


def test_an_episode_is_determined_by_seed_and_index():
    source = make_source("ale:breakout", SourceOptions(seed=3))
    first, again = play(source, 1, frames=100), play(source, 1, clip_frames=7, frames=100)
    for a, b in zip(first, again):  # whatever the length of the clips
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[2], play(source, 2, frames=100)[2])
    assert not np.array_equal(first[2], play(make_source("ale:breakout"), 1, frames=100)[2])


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.7, 1.0])
def test_random_share_is_kept_at_every_moment(share):
    player = Player(FIELDS["ale:breakout"], 4, share)
    player._sticky = lambda rng: -1
    rng, ram = np.random.default_rng(0), np.zeros(128, np.uint8)
    random = np.array([player(ram, 0, rng) == -1 for _ in range(20000)])
    so_far = np.cumsum(random) / np.arange(1, len(random) + 1)
    assert (so_far >= share - 1e-3).all()
    assert so_far[-1] <= share + 0.02


def test_the_tracker_keeps_the_ball_in_play(random_breakout):
    ram = play(make_source("ale:breakout", SourceOptions(random_share=0.0)))[3]

    def lost(ram):
        y = ram[:, BALL_Y]
        return int(((y[1:] == 0) & (y[:-1] > 0)).sum()) / len(ram)

    assert lost(ram) < 0.5 * lost(random_breakout[3])


def test_sound_filter_passes_tones_stops_aliases_and_levels():
    def loudness(wave):
        sound = module._Sound()
        out = np.concatenate([sound(part) for part in np.split(wave.astype(np.uint8), 8)])
        return np.abs(out[1024:]).max()

    time = np.arange(8 * 2048) / 30720
    assert loudness(128 + 100 * np.sin(2 * np.pi * 1000 * time)) == pytest.approx(100 / 128, rel=0.05)
    assert loudness(128 + 100 * np.sin(2 * np.pi * 11000 * time)) < 0.02
    assert loudness(np.full(len(time), 190)) < 1e-3


def test_area_downscale_is_the_mean_of_what_lies_under_a_pixel():
    picture = np.random.default_rng(0).integers(0, 256, (128, 192, 3), dtype=np.uint8)
    cropped = AreaDownscale((128, 192), 64, crop=True)(picture).astype(float)
    middle = picture[:, 32:160].reshape(64, 2, 64, 2, 3).mean((1, 3))
    assert np.abs(cropped - middle).max() <= 0.5
    whole = AreaDownscale((128, 192), 64)(picture).astype(float)
    assert np.abs(whole - picture.reshape(64, 2, 64, 3, 3).mean((1, 3))).max() <= 0.5


@pytest.mark.parametrize(
    "game, options, says",
    [
        ("brekout", {}, "breakout"),
        ("combat", {}, "two players"),
        ("pong", {"fps": "30"}, "15 frames a second"),
        ("pong", {"sample_rate": 44100}, "15360"),
        ("pong", {"size": 512}, "160"),
        ("pong", {"policy": "expert"}, "random"),
        ("pong", {"random_share": 1.5}, "between 0 and 1"),
    ],
)
def test_mistakes_are_named(game, options, says):
    with pytest.raises(OysterError, match=says):
        make_source(f"ale:{game}", SourceOptions(**options))
