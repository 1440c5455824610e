"""Doom scenarios with their sound: `vizdoom:SCENARIO`, played by sticky random actions.

A step is four of Doom's tics. Frame `t` is the screen after the first of them and `audio[t]` the sound of all four.
"""

import contextlib
import ctypes.util
import difflib
import tempfile
import weakref
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import vizdoom
from vizdoom import Button, GameVariable

from oyster_jax.config import ActionFactor, ActionSpace, MediaSpec
from oyster_jax.data.sources.base import RawClip, SourceOptions
from oyster_jax.data.sources.pixels import AreaDownscale
from oyster_jax.errors import OysterError

FPS, SAMPLE_RATE = Fraction(35, 4), 22050
EPISODE_FRAMES = 525  # one minute
_TICS = 4  # a step
_SCREEN = (120, 160)

# Controls of which one at most is pressed: factor -> (label, button, amount) for every value but "none".
_EXCLUSIVE = {
    "move": (("forward", "MOVE_FORWARD", 1), ("back", "MOVE_BACKWARD", 1)),
    "strafe": (("left", "MOVE_LEFT", 1), ("right", "MOVE_RIGHT", 1)),
    "turn": (("left", "TURN_LEFT", 1), ("right", "TURN_RIGHT", 1)),
    "rise": (("up", "MOVE_UP", 1), ("down", "MOVE_DOWN", 1)),
    "look": (("up", "LOOK_UP", 1), ("down", "LOOK_DOWN", 1)),
    "weapon": tuple((str(i), f"SELECT_WEAPON{i}", 1) for i in range(10))
    + (("next", "SELECT_NEXT_WEAPON", 1), ("previous", "SELECT_PREV_WEAPON", 1)),
}
# The mouse, where a scenario has no keys for the same factor; degrees (or units) a tic.
_MOUSE = {
    "move": (("back", "MOVE_FORWARD_BACKWARD_DELTA", -10), ("forward", "MOVE_FORWARD_BACKWARD_DELTA", 10)),
    "strafe": (("left", "MOVE_LEFT_RIGHT_DELTA", -10), ("right", "MOVE_LEFT_RIGHT_DELTA", 10)),
    "rise": (("down", "MOVE_UP_DOWN_DELTA", -10), ("up", "MOVE_UP_DOWN_DELTA", 10)),
    "turn": tuple((f"{n:+d}", "TURN_LEFT_RIGHT_DELTA", n) for n in (-6, -2, 2, 6)),
    "look": tuple((f"{n:+d}", "LOOK_UP_DOWN_DELTA", n) for n in (-3, 3)),
}
_TRUTH = {
    "x": GameVariable.POSITION_X,
    "y": GameVariable.POSITION_Y,
    "angle": GameVariable.ANGLE,  # degrees
    "health": GameVariable.HEALTH,
}
_UNUSED = {"STRAFE"}  # only turns "turn" into "strafe"
_MULTIPLAYER = ("cig", "multi", "multi_duel")  # the engine crashes on these when nobody else joins


def make(argument: str, options: SourceOptions) -> "VizdoomSource":
    """The source `vizdoom:argument`.

    Raises OysterError for an unknown scenario, for rates that the engine cannot give and where OpenAL is missing.
    """
    return VizdoomSource(argument, options)


class VizdoomSource:
    """One Doom scenario, without end; one engine plays one episode at a time."""

    episodes = None

    def __init__(self, scenario: str, options: SourceOptions):
        self._config = _config_file(scenario)
        _check(scenario, options)
        size = options.size or 64
        self.name = f"vizdoom:{scenario}"
        self.media = MediaSpec(FPS, SAMPLE_RATE, size, size)
        self.recipe = "policy random"
        self._scenario, self._seed = scenario, options.seed
        self._downscale = AreaDownscale(_SCREEN, size, crop=True)
        self._folder = tempfile.TemporaryDirectory(prefix="oyster-doom-")
        self._game = self._start()
        weakref.finalize(self, _stop, self._game, self._folder)
        self.actions, self._presses = _controls(self._game.get_available_buttons())

    def notes(self) -> list[str]:
        return []

    def episode(self, index: int, clip_frames: int) -> Iterator[RawClip]:
        """Plays until the scenario is over or a minute has passed."""
        seeds = np.random.SeedSequence((self._seed, index))
        rng = np.random.default_rng(seeds)
        self._game.set_seed(int(seeds.generate_state(1)[0]))
        self._game.new_episode()
        action, hold, frames = *np.zeros((2, len(self._presses)), np.int32), []
        for _ in range(EPISODE_FRAMES):
            seen = self._step(action)
            if seen is None:
                break
            action, hold = _sticky(action, hold, self.actions.sizes, rng)
            frames.append((*seen, action))
            if len(frames) == clip_frames:
                yield self._clip(frames)
                frames = []
        if frames:
            yield self._clip(frames)

    def _step(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """One interval: (frame uint8 [S, S, 3], sound float32 [2520], truth float32 [4]); None if the game ended."""
        buttons = sum(press[value] for press, value in zip(self._presses, action)).tolist()
        self._game.make_action(buttons, 1)
        if self._game.is_episode_finished():
            return None
        frame = self._downscale(self._game.get_state().screen_buffer)
        truth = np.array([self._game.get_game_variable(v) for v in _TRUTH.values()], np.float32)
        self._game.make_action(buttons, _TICS - 1)
        if self._game.is_episode_finished():
            return None
        # The buffer holds the last four tics: the first one, of the frame, and the three since.
        return frame, self._game.get_state().audio_buffer.mean(1, dtype=np.float32) / 32768, truth

    def _clip(self, frames: list[tuple]) -> RawClip:
        video, audio, truth, action = map(np.stack, zip(*frames))
        prompt = f"doom {self._scenario.replace('_', ' ')}"
        return RawClip(video, audio, action, (prompt,), truth=dict(zip(_TRUTH, truth.T.copy())))

    def _start(self) -> vizdoom.DoomGame:
        game = vizdoom.DoomGame()
        game.load_config(str(self._config))
        game.set_mode(vizdoom.Mode.PLAYER)
        game.set_window_visible(False)
        game.set_screen_resolution(vizdoom.ScreenResolution.RES_160X120)
        game.set_screen_format(vizdoom.ScreenFormat.RGB24)
        game.set_audio_buffer_enabled(True)
        game.set_audio_sampling_rate(vizdoom.SamplingRate.SR_22050)
        game.set_audio_buffer_size(_TICS)
        game.add_game_args("+snd_efx 0")  # with effects, OpenAL stops the engine on a failed assertion
        game.set_doom_config_path(str(Path(self._folder.name, "doom.ini")))
        try:
            with contextlib.chdir(self._folder.name):  # the engine leaves a folder where it starts
                game.init()
        except Exception as e:  # the engine's own exceptions share no base class
            raise OysterError(f"vizdoom:{self._scenario} did not start: {e}") from None
        return game


def _stop(game: vizdoom.DoomGame, folder: tempfile.TemporaryDirectory) -> None:
    game.close()  # writes its settings, so the folder must still be there
    folder.cleanup()


def _config_file(scenario: str) -> Path:
    """The scenario's cfg file; only scenarios for one player that bring their own map."""
    files = Path(vizdoom.scenarios_path).glob("*.cfg")
    known = {f.stem: f for f in sorted(files) if "doom_scenario_path" in f.read_text() and f.stem not in _MULTIPLAYER}
    if scenario not in known:
        names = difflib.get_close_matches(scenario.lower(), known) or known
        raise OysterError(f"unknown Doom scenario '{scenario}'; did you mean {', '.join(names)}?")
    return known[scenario]


def _check(scenario: str, options: SourceOptions) -> None:
    name = f"vizdoom:{scenario}"
    if ctypes.util.find_library("openal") is None:
        raise OysterError(f"{name} needs OpenAL for its sound: install the Debian package libopenal1")
    if options.fps not in (None, "35/4", "8.75"):
        raise OysterError(f"{name} runs at 35/4 frames a second (4 tics each), not {options.fps}")
    if options.sample_rate not in (None, SAMPLE_RATE):
        raise OysterError(f"{name} sounds at {SAMPLE_RATE} Hz, not {options.sample_rate}")
    if options.size is not None and not 8 <= options.size <= min(_SCREEN):
        raise OysterError(f"{name} gives frames of 8 to {min(_SCREEN)} pixels, not {options.size}")
    if options.policy not in (None, "random"):
        raise OysterError(f"{name} knows only the policy 'random', not '{options.policy}'")
    if options.random_share is not None:
        raise OysterError(f"{name} is played at random only; leave out random_share")


def _controls(buttons: list[Button]) -> tuple[ActionSpace, list[np.ndarray]]:
    """Groups buttons into factors: (action space, for each factor the buttons of each value [values, buttons])."""
    names = [b.name for b in buttons]
    grouped = {}
    for factor in _EXCLUSIVE:
        keys = [v for v in _EXCLUSIVE[factor] if v[1] in names]
        grouped[factor] = keys or [v for v in _MOUSE.get(factor, ()) if v[1] in names]
    spoken_for = _UNUSED | {v[1] for table in (_EXCLUSIVE, _MOUSE) for values in table.values() for v in values}
    grouped |= {n.lower(): [("on", n, 1)] for n in names if n not in spoken_for}
    grouped = {factor: values for factor, values in grouped.items() if values}

    presses = []
    for values in grouped.values():
        press = np.zeros((len(values) + 1, len(names)))
        for i, (_, button, amount) in enumerate(values, 1):
            press[i, names.index(button)] = amount
        presses.append(press)
    labels = {f: ("off" if v[0][0] == "on" else "none", *(label for label, _, _ in v)) for f, v in grouped.items()}
    return ActionSpace(tuple(ActionFactor(f, n) for f, n in labels.items())), presses


def _sticky(action, hold, sizes, rng) -> tuple[np.ndarray, np.ndarray]:
    """Lets each factor go on for 1 to 8 frames, then takes nothing (half of the time) or another value: int32 [A]."""
    over = hold == 0
    fresh = np.where(rng.random(len(sizes)) < 0.5, 0, rng.integers(0, sizes))
    hold = np.where(over, rng.integers(1, 9, len(sizes)), hold) - 1
    return np.where(over, fresh, action).astype(np.int32), hold
