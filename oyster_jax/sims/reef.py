"""The reef: a bay or open water, a swimmer to steer, a creature, pearls and lanterns, drawn and sounded in pure JAX.

Every function is pure, jittable and vmappable. A `ReefState` is the world at the instant a frame is shown; the frame,
the sound of the interval that it opens and the events that begin with it are functions of that state alone:

    state, obs = reset(key, scene)
    state, obs = step(state, action)        # == (s := advance(state, action)), observe(s)

What `action[t-1]` does is seen in frame t and heard from its first sample on. Nothing is random after `reset`. The
rules can all be seen. The swimmer moves by a tile every third, second or single frame, slides along the shore, and
picks up a ripe pearl by coming to it, unless the last one still rings; between two notes it takes a breath, a frame
without a song. A pearl is gone while anybody is on its tile, and grows anew as soon as it is alone. The fish keeps a
tile to the west of the swimmer, the turtle a tile to the south-east, the jellyfish a tile to the north, each on the
other side by a shore. Who is swum into changes places with the swimmer. So whatever was before, where a creature is and
which pearls are ripe soon depends on the swimmer alone, and where that is on what it last swam against: no error is
carried on for ever.
"""

import jax
import jax.numpy as jnp
import numpy as np

from oyster_jax.sims import reef_sound
from oyster_jax.sims.reef_draw import draw, pearl_ages
from oyster_jax.sims.reef_map import FREE, MEDIA, OFFSHORE, PEARLS, SAMPLES, TILE, camera, centre
from oyster_jax.sims.reef_state import (
    ACTIONS,
    ALL_SCENES,
    ATTRIBUTES,
    BAY,
    BEAT,
    CALL,
    CHIME,
    DRUM,
    EVENTS,
    HEADING,
    HELD_OUT,
    LIGHT,
    MOVES,
    OPEN,
    PLACES,
    RESTED,
    RIPE,
    SCENES,
    SEEN,
    SPEED,
    STROKES,
    ReefState,
    Scene,
    at,
    caption,
    random_scene,
    scene_of,
)
from oyster_jax.types import Observation

__all__ = [
    "ACTIONS",
    "ALL_SCENES",
    "ATTRIBUTES",
    "BAY",
    "CALL",
    "DRUM",
    "EVENTS",
    "HEADING",
    "HELD_OUT",
    "LIGHT",
    "MEDIA",
    "MOVES",
    "OPEN",
    "PLACES",
    "RIPE",
    "SCENES",
    "SEEN",
    "SPEED",
    "STROKES",
    "ReefState",
    "Scene",
    "advance",
    "at",
    "camera",
    "caption",
    "draw",
    "events",
    "observe",
    "pearl_ages",
    "random_scene",
    "reset",
    "scene_of",
    "set_scene",
    "sound",
    "step",
]

_APART, _IN_SIGHT = 2 * TILE, 3 * TILE  # how far creatures are from swimmers at first, at least and, offshore, at most
_BEFORE_DRUMS = len(reef_sound.STRUCK) - ACTIONS.sizes[DRUM] + 1  # struck sounds that are events: thud, chime
_COMPANY = TILE * np.array([(-1, 0), (1, 1), (0, -1)], np.int32)  # from a swimmer to where its fish, turtle ... keeps
_SPOTS = centre(np.argwhere(FREE)[:, ::-1]).astype(np.int32)


def reset(key, scene: Scene) -> tuple[ReefState, Observation]:
    """A new bay or open reef, everything at a random place, controls at rest, and its frame 0; consumes `key`.

    In the open reef creatures begin where they can be seen.
    """
    body_key, creature_key, facing_key, way_key, clock_key = jax.random.split(key, 5)
    scene = Scene(*(jnp.asarray(i, jnp.int32) for i in scene))
    spots = jnp.asarray(_SPOTS)
    here = (spots[:, 1] >= OFFSHORE) == (scene.place == OPEN)
    body = jax.random.choice(body_key, spots, p=here / here.sum())
    apart = here & (_far(spots, body) >= _APART) & ((scene.place == BAY) | (_far(spots, body) <= _IN_SIGHT))
    creature = jax.random.choice(creature_key, spots, p=apart / apart.sum())
    clock = jax.random.randint(clock_key, (), 0, 64)
    state = ReefState(
        scene=scene,
        next_scene=scene,
        clock=clock,
        rained=clock,
        controls=jnp.zeros(len(ACTIONS.factors), jnp.int32),
        facing=jax.random.randint(facing_key, (), 1, len(MOVES)),
        body=body,
        creature=creature,
        creature_facing=2 * jax.random.randint(way_key, (), 0, 2) - 1,
        rested=jnp.int32(RESTED),
        bumped=jnp.bool_(False),
        pearls=jnp.where(_covered(body, creature), 0, jnp.int32(RIPE)),
        level=_targets(scene, jnp.int32(0)),
        age=jnp.full(len(reef_sound.STRUCK), reef_sound.SILENT, jnp.int32),
        began=jnp.zeros(len(EVENTS), bool),
    )
    return state, observe(state)


def step(state: ReefState, action) -> tuple[ReefState, Observation]:
    """One interval of 1/15 s under `action` i32[5]; -1 leaves a control as it is.

    A note asked for while another one sounds begins a frame later, if it is still asked for then.
    """
    state = advance(state, action)
    return state, observe(state)


def observe(state: ReefState) -> Observation:
    """What `state` shows: video u8[64,64,3], and the sound of the interval that it opens, f32[1024]."""
    return Observation(draw(state), sound(state))


def advance(state: ReefState, action) -> ReefState:
    """`step` without the picture and the sound."""
    controls = jnp.where(action < 0, state.controls, action).astype(jnp.int32)
    held = state.controls[CALL]
    breathes = (held > 0) & (controls[CALL] != held)  # so that every note can be seen to begin
    controls = controls.at[CALL].multiply(~breathes)
    heading, call, drum = controls[HEADING], controls[CALL], controls[DRUM]
    rested = jnp.minimum(state.rested + 1, RESTED)

    body, bumped = _swim(state.body, heading, rested >= jnp.asarray(STROKES)[controls[SPEED]])
    scene = state.next_scene
    creature = _creature(state, scene.creature, body)
    east = jnp.sign(creature[0] - state.creature[0])

    # What is below somebody need not be remembered: whoever leaves a pearl, it begins to grow.
    age = jnp.minimum(state.age + SAMPLES, reef_sound.SILENT)
    picked = jnp.any(_covered(body) & (state.pearls >= RIPE)) & (age[CHIME] == reef_sound.SILENT)
    pearls = jnp.where(_covered(body, creature), 0, jnp.minimum(state.pearls + 1, RIPE))

    # Where the first splashes fall nobody could know, were it not always the same.
    rain_begins = (scene.weather == 1) & (state.scene.weather != 1)

    # A drum beats when it is taken up, and goes on to do so while it is played.
    wait = jnp.where(drum != state.controls[DRUM], reef_sound.DRUM_FRAMES, BEAT)  # never struck while it rings
    beats = (drum > 0) & (age[_BEFORE_DRUMS - 1 + drum] >= wait * SAMPLES)
    began = jnp.stack([bumped & ~state.bumped, picked, (call > 0) & (call != held), beats])
    drums = beats & (jnp.arange(1, ACTIONS.sizes[DRUM]) == drum)
    struck = jnp.concatenate([began[:_BEFORE_DRUMS], drums])
    return ReefState(
        scene=scene,
        next_scene=scene,
        clock=state.clock + 1,
        rained=jnp.where(rain_begins, 0, state.rained + 1),
        controls=controls,
        facing=jnp.where(heading > 0, heading, state.facing),
        body=body,
        creature=creature,
        creature_facing=jnp.where(east != 0, east, state.creature_facing),
        rested=jnp.where(jnp.any(body != state.body), 0, rested),
        bumped=bumped,
        pearls=pearls,
        level=reef_sound.glide(state.level, _targets(state.scene, state.controls[CALL]))[:, -1],
        age=jnp.where(struck, 0, age),
        began=began,
    )


def events(state: ReefState) -> jax.Array:
    """The sample of this interval at which each of `EVENTS` begins, i32[4]: 0, or -1 if it does not."""
    return jnp.where(state.began, 0, -1)


def sound(state: ReefState) -> jax.Array:
    """The sound of the interval that `state` opens, f32[1024] in [-1, 1]."""
    target = _targets(state.scene, state.controls[CALL])
    return reef_sound.sound(state.level, target, state.age, state.clock, state.rained)


def set_scene(state: ReefState, scene: Scene) -> ReefState:
    """From the next frame on it looks and sounds like `scene`, in the place where it is; -1 leaves what there is."""
    scene = Scene(*(jnp.where(jnp.asarray(i) < 0, old, i).astype(jnp.int32) for i, old in zip(scene, state.next_scene)))
    return state._replace(next_scene=scene._replace(place=state.scene.place))


# ---------------------------------------------------------------------------- how it moves


def _targets(scene: Scene, call) -> jax.Array:
    """Loudness that the held sounds glide towards, f32[16]."""
    notes = jnp.arange(1, len(reef_sound.NOTES) + 1) == call
    times = jnp.arange(len(SCENES.time)) == scene.time
    return jnp.concatenate([notes, times, scene.weather[None] == 1]).astype(jnp.float32)


def _far(there, here) -> jax.Array:
    """The larger of the distances along x and y, i32[...]."""
    return jnp.max(jnp.abs(there - here), axis=-1)


def _free(there) -> jax.Array:
    """Whether places i32[..., 2] lie in the water, bool[...]."""
    x, y = jnp.moveaxis(there // TILE, -1, 0)
    return jnp.asarray(FREE)[y, x]


def _covered(*bodies) -> jax.Array:
    """On which of PEARLS somebody is, bool[19]."""
    return jnp.any(_far(PEARLS[:, None], jnp.stack(bodies)) == 0, axis=1)


def _swim(body, heading, stroke) -> tuple[jax.Array, jax.Array]:
    """Where the swimmer is next, along the shore if there is one in its way; and whether there is.

    stroke: bool, whether it may move at all. It feels the shore in any case.
    """
    move = jnp.asarray(MOVES)[heading]
    there = body + TILE * move * jnp.array([(1, 1), (1, 0), (0, 1), (0, 0)])
    free = _free(there)
    return jnp.where(stroke, there[jnp.argmax(free)], body), ~free[0]


def _creature(state: ReefState, kind, body) -> jax.Array:
    """Where the creature is next: a tile nearer to the one that its kind keeps to, over the swimmer if it is in its
    way, unless somebody is or was there; or, swum into by a swimmer who is now at `body`, where that one came from.
    """
    here, swimmer, aside = state.creature, state.body, jnp.asarray(_COMPANY)[kind]
    aside = jnp.where(jnp.stack([_free(swimmer + aside * axis) for axis in np.eye(2, dtype=np.int32)]), aside, -aside)
    nearer = lambda place: place + TILE * jnp.sign(swimmer + aside - place)
    there = nearer(here)
    there = jnp.where(_far(there, swimmer) == 0, nearer(there), there)
    taken = jnp.any(_far(there, jnp.stack([swimmer, body])) == 0)
    return jnp.where(jnp.all(here == body), swimmer, jnp.where(taken, here, there))
