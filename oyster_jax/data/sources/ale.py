"""Atari games with their sound: `ale:GAME`, played by a tracking policy (Breakout, Pong) or by sticky random actions.

A step is four emulator frames. Frame `t` is the screen after the first of them, flicker taken as the maximum with the
second; `audio[t]` is the sound of all four. Truth is the console's memory after the first of the four.
"""

import difflib
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from ale_py import ALEInterface, LoggerMode, roms
from scipy.signal import firwin, lfilter, upfirdn

from oyster_jax.config import ActionFactor, ActionSpace, MediaSpec
from oyster_jax.data.sources.ale_player import EMULATOR_FRAMES, FIELDS, Player
from oyster_jax.data.sources.base import RawClip, SourceOptions
from oyster_jax.data.sources.pixels import AreaDownscale
from oyster_jax.errors import OysterError

FPS, SAMPLE_RATE = 15, 15360
EPISODE_FRAMES = 1000
_MAX_NOOPS = 30  # emulator frames before frame 0

# Half of the console's 30,720 Hz. 31 taps delay the sound by 15 of its samples, half a millisecond.
_LOW_PASS = firwin(31, 0.46).astype(np.float32)
# The sound chip only pushes upwards and parks on a constant level where a voice is "on" without a wave (half of all
# frames in Pitfall): inaudible, so it is blocked below 20 Hz as the television's capacitor did.
_DC_BLOCK = np.array([1, -1], np.float32), np.array([1, -(1 - 2 * np.pi * 20 / SAMPLE_RATE)], np.float32)


def make(argument: str, options: SourceOptions) -> "AleSource":
    """The source `ale:argument`; raises OysterError for an unknown game and for rates that the console cannot give."""
    return AleSource(argument, options)


class AleSource:
    """One Atari game, without end; episodes differ by their random seed and last at most 1,000 frames."""

    episodes = None

    def __init__(self, game: str, options: SourceOptions):
        _check(game, options)
        size = options.size or 64
        self.name = f"ale:{game}"
        self.media = MediaSpec(Fraction(FPS), SAMPLE_RATE, size, size)
        self.recipe = options.player
        self._game, self._options = game, options
        console = self._console(0)
        self.actions = ActionSpace((ActionFactor("action", tuple(a.name for a in console.getMinimalActionSet())),))
        self._downscale = AreaDownscale(console.getScreenDims(), size)
        self._field = FIELDS.get(self.name) if options.policy is None else None

    def notes(self) -> list[str]:
        return []

    def episode(self, index: int, clip_frames: int) -> Iterator[RawClip]:
        """Plays from a few random NOOPs until the game is over or 1,000 frames have passed."""
        seeds = np.random.SeedSequence((self._options.seed, index))
        rng = np.random.default_rng(seeds)
        console = self._console(int(seeds.generate_state(1)[0] >> 1))
        player = Player(self._field, self.actions.size, self._options.chance)
        sound = _Sound()
        for _ in range(rng.integers(1, _MAX_NOOPS)):
            console.act(0)
        sound(console.getAudio())  # so that the filter starts inside the sound

        codes = console.getMinimalActionSet()
        action, code, frames = 0, 0, []  # 0 is NOOP, even in games whose own actions do not hold it
        for _ in range(EPISODE_FRAMES):
            screen, chunk, ram = _step(console, code)
            if console.game_over():
                break
            action = player(ram, action, rng)
            code = codes[action]
            frames.append((self._downscale(screen), sound(chunk), action, ram))
            if len(frames) == clip_frames:
                yield self._clip(frames)
                frames = []
        if frames:
            yield self._clip(frames)

    def _clip(self, frames: list[tuple]) -> RawClip:
        video, audio, action, ram = map(np.stack, zip(*frames))
        prompt = f"atari {self._game.replace('_', ' ')}"
        return RawClip(video, audio, action.astype(np.int32)[:, None], (prompt,), truth={"ram": ram})

    def _console(self, seed: int) -> ALEInterface:
        """A console fresh from the box: nothing of an earlier episode is left in it."""
        ALEInterface.setLoggerMode(LoggerMode.Error)
        console = ALEInterface()
        console.setInt("random_seed", seed)
        console.setFloat("repeat_action_probability", 0.0)
        console.setBool("sound_obs", True)
        console.loadROM(roms.get_rom_path(self._game))
        return console


def _check(game: str, options: SourceOptions) -> None:
    known = roms.get_all_rom_ids()
    if game in known and ALEInterface.isSupportedROM(roms.get_rom_path(game)) is None:
        raise OysterError(f"the Atari game '{game}' needs two players; take another one")
    if game not in known:
        close = difflib.get_close_matches(game.lower(), known) or ["breakout", "pong", "ms_pacman"]
        raise OysterError(f"unknown Atari game '{game}'; did you mean {', '.join(close)}?")
    if options.fps is not None and options.fps != str(FPS):
        raise OysterError(f"ale:{game} runs at {FPS} frames a second (4 emulator frames each), not {options.fps}")
    if options.sample_rate is not None and options.sample_rate != SAMPLE_RATE:
        raise OysterError(f"ale:{game} sounds at {SAMPLE_RATE} Hz, not {options.sample_rate}")
    if options.size is not None and not 8 <= options.size <= 160:
        raise OysterError(f"ale:{game} gives frames of 8 to 160 pixels, not {options.size}")
    if options.policy not in (None, "random"):
        raise OysterError(f"ale:{game} knows the policy 'random' and its own (none given), not '{options.policy}'")
    if not 0 <= options.chance <= 1:
        raise OysterError(f"random_share is a share between 0 and 1, got {options.random_share}")


def _step(console: ALEInterface, code) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Four emulator frames: (screen uint8 [H, W, 3], sound uint8 [2048], RAM uint8 [128])."""
    screens, sounds, ram = [], [], None
    for i in range(EMULATOR_FRAMES):
        console.act(code)
        sounds.append(console.getAudio().copy())
        if i < 2:
            screens.append(console.getScreenRGB())
        if i == 0:
            ram = console.getRAM().copy()
    return np.maximum(*screens), np.concatenate(sounds), ram


class _Sound:
    """The console's uint8 samples at 30,720 Hz to float32 in [-1, 1] at 15,360 Hz, without a seam between calls."""

    def __init__(self):
        self._past = np.zeros(len(_LOW_PASS) - 1, np.float32)
        self._dc = None

    def __call__(self, chunk: np.ndarray) -> np.ndarray:
        wave = np.concatenate([self._past, (chunk.astype(np.float32) - 128) / 128])
        self._past = wave[-len(self._past) :]
        taps = len(_LOW_PASS)
        half = upfirdn(_LOW_PASS, wave, down=2)[taps // 2 : taps // 2 + len(chunk) // 2]
        if self._dc is None:  # settled on the first sample
            self._dc = -half[:1]
        half, self._dc = lfilter(*_DC_BLOCK, half, zi=self._dc)
        return np.clip(half, -1, 1).astype(np.float32)
