"""What can be done in the reef, what a prompt can say of it, and the state that everything is computed from."""

from typing import NamedTuple

import jax
import numpy as np

from oyster_jax.config import ActionFactor, ActionSpace
from oyster_jax.errors import OysterError
from oyster_jax.sims.reef_sound import CHIME_FRAMES, THUD_FRAMES

# ---------------------------------------------------------------------------- what can be done

ACTIONS = ActionSpace(
    (
        ActionFactor("heading", ("stay", "E", "NE", "N", "NW", "W", "SW", "S", "SE")),
        ActionFactor("speed", ("slow", "normal", "fast")),
        ActionFactor("light", ("off", "on")),
        ActionFactor("call", ("none", "low", "middle", "high")),
    )
)
HEADING, SPEED, LIGHT, CALL = range(4)  # places in an action

MOVES = np.array([(0, 0), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1)], np.int32)
PIXELS = np.array([1, 2, 3], np.int32)  # a frame, along each axis

EVENTS = ("thud", "chime", "call")
THUD, CHIME, CALLED = range(3)

# ---------------------------------------------------------------------------- what it looks like


class Scene(NamedTuple):
    """What a prompt says about the bay: i32[] each, an index into the choices of `SCENES`."""

    time: jax.Array
    weather: jax.Array
    water: jax.Array


SCENES = Scene(
    time=("by day", "at dusk", "at night"),
    weather=("under a clear sky", "in the rain"),
    water=("blue", "green", "turquoise"),
)


def caption(scene: Scene) -> str:
    """The prompt that describes `scene`, such as "a bay at night in the rain, green water"."""
    time, weather, water = (choices[int(i)] for choices, i in zip(SCENES, scene))
    return f"a bay {time} {weather}, {water} water"


def scene_of(text: str) -> Scene:
    """The scene that a caption describes: the inverse of `caption`. Raises OysterError for any other text."""
    for choice in np.ndindex(*(len(choices) for choices in SCENES)):
        if caption(scene := Scene(*choice)) == text:
            return scene
    raise OysterError(f"the reef has no scene '{text}'; one reads '{caption(Scene(0, 0, 0))}'")


def random_scene(key) -> Scene:
    """One of the 18 scenes, all equally likely; consumes `key`."""
    sizes = np.array([len(choices) for choices in SCENES])
    return Scene(*jax.random.randint(key, sizes.shape, 0, sizes))


# ---------------------------------------------------------------------------- the state


class ReefState(NamedTuple):
    """The world at the instant a frame is shown. Positions are whole pixels (x to the right, y down)."""

    scene: Scene
    next_scene: Scene  # what the next frame will show
    seed: jax.Array  # u32[], of the rain's hiss
    clock: jax.Array  # i32[], frames since reset
    controls: jax.Array  # i32[4], the last action
    facing: jax.Array  # i32[], the last heading that was not "stay"
    touching: jax.Array  # i32[], counts down after contact with shore or rock; it squints meanwhile
    called: jax.Array  # i32[], the call of the interval before
    body: jax.Array  # i32[2]
    fish: jax.Array  # i32[2]
    fish_way: jax.Array  # i32[2], -1 or 1 along each axis
    pearl: jax.Array  # i32[], place in the cycle
    pearl_age: jax.Array  # i32[], frames since it began to grow, up to RIPE
    level: jax.Array  # f32[7], loudness of the held sounds
    age: jax.Array  # i32[2], samples since each struck sound began


TOUCH = THUD_FRAMES + 1  # frames without contact before contact thuds again
RIPE = CHIME_FRAMES  # frames that a pearl grows before it can be picked up
