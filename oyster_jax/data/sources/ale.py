"""Atari games with their sound: `ale:GAME`, played by a tracking policy (Breakout, Pong) or by sticky random actions.

A step is four emulator frames. Frame `t` is the screen after the first of them, flicker taken as the maximum with the
second; `audio[t]` is the sound of all four. Truth is the console's memory after the first of the four.
"""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from ale_py import ALEInterface, LoggerMode, roms
from scipy.signal import firwin, lfilter, upfirdn

from oyster_jax.config import ActionFactor, ActionSpace, MediaSpec
from oyster_jax.data.sources.base import RawClip, SourceOptions
from oyster_jax.data.sources.pixels import AreaDownscale
from oyster_jax.errors import OysterError

FPS, SAMPLE_RATE = 15, 15360
EPISODE_FRAMES = 1000
_EMULATOR_FRAMES = 4  # a step
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
        self._court = _COURTS.get(game) if options.policy is None else None

    def notes(self) -> list[str]:
        return []

    def episode(self, index: int, clip_frames: int) -> Iterator[RawClip]:
        """Plays from a few random NOOPs until the game is over or 1,000 frames have passed."""
        seeds = np.random.SeedSequence((self._options.seed, index))
        rng = np.random.default_rng(seeds)
        console = self._console(int(seeds.generate_state(1)[0] >> 1))
        player = _Player(self._court, self.actions.size, self._options.random_share)
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
    if not 0 <= options.random_share <= 1:
        raise OysterError(f"random_share is a share between 0 and 1, got {options.random_share}")


def _step(console: ALEInterface, code) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Four emulator frames: (screen uint8 [H, W, 3], sound uint8 [2048], RAM uint8 [128])."""
    screens, sounds, ram = [], [], None
    for i in range(_EMULATOR_FRAMES):
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


# ---------------------------------------------------------------------------- who plays


class _Player:
    """Takes turns between a tracker and sticky random actions, so that at least `share` of all frames are random.

    Each turn of random play pays for the tracker's turn that follows it.
    """

    def __init__(self, court: "_Court | None", actions: int, share: float):
        self._tracker = _Tracker(court) if court and share < 1 else None
        self._actions, self._share = actions, share
        self._random_left = self._tracked_left = 0  # of the present turns
        self._held = self._hold = 0

    def __call__(self, ram: np.ndarray, playing: int, rng: np.random.Generator) -> int:
        """The action chosen on seeing `ram` uint8 [128] while the action `playing` goes on."""
        if self._tracker is None:
            return self._sticky(rng)
        wanted = self._tracker(ram, playing, rng)  # it watches in random turns too, to know where the ball goes
        if self._random_left + self._tracked_left == 0 and self._share:
            self._random_left = int(rng.integers(8, 60))
            self._tracked_left = int(self._random_left * (1 / self._share - 1))
        if self._random_left:
            self._random_left -= 1
            return self._sticky(rng)
        self._tracked_left = max(0, self._tracked_left - 1)
        return wanted

    def _sticky(self, rng: np.random.Generator) -> int:
        """Holds an action for 1 to 8 frames, as a thumb does."""
        if self._hold == 0:
            self._held, self._hold = int(rng.integers(self._actions)), int(rng.integers(1, 9))
        self._hold -= 1
        return self._held


@dataclass(frozen=True)
class _Court:
    """Where a game keeps its ball and its paddle in RAM, and the geometry of the field in those units."""

    along: int  # address of the ball's way towards the paddle
    across: int
    line: int  # `along` where the ball meets the paddle
    walls: tuple[int, int]  # `across` where the ball bounces
    knob: int  # address of the turning knob as the game reads it: ahead of the paddle, and free to turn too far
    turn: int  # 1 or -1: which way the paddle goes when the knob's number grows
    rest: float  # where the paddle comes to rest when the knob stands at 0
    coast: int  # how far a press goes on from its first emulator frame to its last, and after
    ends: tuple[int, int]  # the paddle's reach
    middle: float  # paddle minus ball when the ball hits the paddle's middle
    more: int  # the action that raises the paddle's number
    less: int
    serve: int  # the action while no ball is in play


_COURTS = {
    "breakout": _Court(101, 99, 179, (55, 201), 70, -1, 235, 17, (55, 191), -8, more=2, less=3, serve=1),
    "pong": _Court(49, 54, 192, (44, 207), 60, 1, 0, 24, (38, 203), -5.5, more=3, less=2, serve=0),
}


class _Tracker:
    """Meets the ball where it will cross the paddle's line, each time with another part of the paddle.

    A step moves the paddle by more than its width, so where no rest position reaches the ball, the last step sweeps
    the paddle under it.
    """

    MOVED = (0, 0, 3, 8, 12, 17, 20, 21, 22)  # by one pressed step, emulator frames after its beginning

    def __init__(self, court: _Court):
        self._court = court
        self._ball, self._aim = (0, 0), 0.0

    def __call__(self, ram: np.ndarray, playing: int, rng: np.random.Generator) -> int:
        """The action for the next step, seeing `ram` after the first emulator frame of the present one, `playing`."""
        c = self._court
        ball = int(ram[c.along]), int(ram[c.across])
        along, across = ((new - old) / _EMULATOR_FRAMES for new, old in zip(ball, self._ball))
        self._ball = ball
        if ball[0] == 0 or along <= 0:
            self._aim = rng.uniform(-6, 6)
        if ball[0] == 0:
            return c.serve
        target, frames = ball[1], 99.0
        if along > 0 and ball[0] < c.line:
            frames = (c.line - ball[0]) / along
            target = _bounce(ball[1] + across * frames, c.walls)
        rest = c.rest + c.turn * int(ram[c.knob]) + c.coast * {c.more: 1, c.less: -1}.get(playing, 0)
        error = np.clip(target + c.middle + self._aim, *c.ends) - rest
        moved = np.interp(frames - (_EMULATOR_FRAMES - 1), range(len(self.MOVED)), self.MOVED)
        return min((abs(error), 0), (abs(error - moved) + 1, c.more), (abs(error + moved) + 1, c.less))[1]


def _bounce(x: float, walls: tuple[int, int]) -> float:
    """Folds a straight path back between two walls."""
    low, width = walls[0], walls[1] - walls[0]
    x = (x - low) % (2 * width)
    return low + min(x, 2 * width - x)
