"""What can be done in the reef, what a prompt can say of it, and the state that everything is computed from."""

from typing import NamedTuple

import jax
import numpy as np

from oyster_jax.config import ActionFactor, ActionSpace
from oyster_jax.errors import OysterError
from oyster_jax.sims.reef_sound import CHIME_FRAMES, DRUM_FRAMES, NOTES

# ---------------------------------------------------------------------------- what can be done

ACTIONS = ActionSpace(
    (
        ActionFactor("heading", ("stay", "E", "NE", "N", "NW", "W", "SW", "S", "SE")),
        ActionFactor("speed", ("slow", "normal", "fast")),
        ActionFactor("light", ("off", "white", "red", "orange", "yellow", "green", "blue", "violet")),
        ActionFactor("call", ("none", *NOTES)),
        ActionFactor("drum", ("none", "kick", "tom", "clap", "rattle")),
    )
)
HEADING, SPEED, LIGHT, CALL, DRUM = range(5)  # places in an action

MOVES = np.array([(0, 0), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1)], np.int32)
STROKES = np.array([3, 2, 1], np.int32)  # frames from one move to the next

EVENTS = ("thud", "chime", "call", "drum")
THUD, CHIME, CALLED, DRUMMED = range(4)

# ---------------------------------------------------------------------------- what it looks like


class Scene(NamedTuple):
    """What a prompt says: i32[] each, an index into the choices of `SCENES`."""

    time: jax.Array
    weather: jax.Array
    water: jax.Array
    creature: jax.Array
    place: jax.Array = 0


SCENES = Scene(
    time=("by day", "at dusk", "at night"),
    weather=("under a clear sky", "in the rain"),
    water=("blue", "green", "turquoise", "violet"),
    creature=("a fish", "a turtle", "a jellyfish"),
    place=("a bay", "an open reef"),
)
ATTRIBUTES = Scene._fields[:4]  # that may change at any frame; the place does not
FISH, TURTLE, JELLYFISH = range(3)
PLACES = ("bay", "open")  # short names of SCENES.place
BAY, OPEN = range(2)
ALL_SCENES = tuple(Scene(*choice) for choice in np.ndindex(*(len(choices) for choices in SCENES)))
# Never recorded, so that a world can be asked for what it was not taught; each single choice is seen often.
HELD_OUT = tuple(s for s in ALL_SCENES if (s.time + s.weather + s.water + 2 * s.creature) % 7 == 0)
SEEN = tuple(s for s in ALL_SCENES if s not in HELD_OUT)


def at(place: int, scenes: tuple[Scene, ...] = ALL_SCENES) -> tuple[Scene, ...]:
    """Those of `scenes` that are in the place."""
    return tuple(scene for scene in scenes if scene.place == place)


def caption(scene: Scene, said=(True,) * len(ATTRIBUTES)) -> str:
    """The prompt that describes `scene`, such as "a bay at night in the rain, green water, a turtle".

    said: bool[4], which of ATTRIBUTES it speaks of; the place it always says.
    """
    *parts, place = (choices[int(i)] for choices, i in zip(SCENES, scene))
    time, weather, water, creature = (part if told else "" for part, told in zip(parts, said))
    first = " ".join(filter(None, (place, time, weather)))
    return ", ".join(filter(None, (first, water and f"{water} water", creature)))


def scene_of(text: str) -> Scene:
    """The scene that a caption describes, -1 for what it does not speak of: the inverse of `caption`.

    Raises OysterError for any other text.
    """
    for scene in ALL_SCENES:
        for said in np.ndindex(*(2,) * len(ATTRIBUTES)):
            if caption(scene, said) == text:
                return Scene(*np.where((*said, 1), scene, -1).tolist())
    raise OysterError(f"the reef has no scene '{text}'; one reads '{caption(at(BAY, SEEN)[0])}'")


def random_scene(key, scenes: tuple[Scene, ...] = at(BAY, SEEN)) -> Scene:
    """One of `scenes`, all equally likely; consumes `key`."""
    return Scene(*jax.random.choice(key, np.array(scenes, np.int32)))


# ---------------------------------------------------------------------------- the state


class ReefState(NamedTuple):
    """The world at the instant a frame is shown. Positions are whole pixels of the map (x to the right, y down)."""

    scene: Scene
    next_scene: Scene  # what the next frame will show
    clock: jax.Array  # i32[], counts frames, from a random number on
    rained: jax.Array  # i32[], the same, but from 0 on when it begins to rain
    controls: jax.Array  # i32[5], the action that led here
    facing: jax.Array  # i32[], the last heading that was not "stay"
    body: jax.Array  # i32[2], the swimmer's centre
    creature: jax.Array  # i32[2]
    creature_facing: jax.Array  # i32[], -1 west or 1 east
    rested: jax.Array  # i32[], frames since the swimmer last moved, up to RESTED
    bumped: jax.Array  # bool[], whether it swims against the shore, and squints
    pearls: jax.Array  # i32[19], frames that each has grown, up to RIPE; 0 while somebody is there
    level: jax.Array  # f32[16], loudness of the held sounds as this frame's interval begins
    age: jax.Array  # i32[6], samples since each struck sound began; 0: it begins now
    began: jax.Array  # bool[4], which of EVENTS begin with this frame


RESTED = 8  # longer than from one move to the next
RIPE = CHIME_FRAMES  # frames that a pearl grows until it can be picked up
BEAT = DRUM_FRAMES + 1  # frames from beat to beat while a drum is played
