"""The reef: a small bay with a swimmer to steer, a creature, pearls and lanterns, drawn and sounded in pure JAX.

Every function is pure, jittable and vmappable. A `ReefState` is the world at the instant a frame is shown; the frame,
the sound of the interval that it opens and the events that begin with it are functions of that state alone:

    state, obs = reset(key, scene)
    state, obs = step(state, action)        # == (s := advance(state, action)), observe(s)

What `action[t-1]` does is seen in frame t and heard from its first sample on. Nothing is random after `reset`. The
rules can all be seen. The swimmer moves by a tile every fourth, second or single frame, is stopped by the shore and
by the creature, and picks up a pearl by coming to it, whereupon the next one grows elsewhere. The fish follows the
swimmer, the turtle swims to the pearl and waits beside it, the jellyfish rises and sinks with the swimmer; all keep a
little away from it. So whatever was before, where a creature is soon depends on the swimmer and the pearl alone.
"""

import jax
import jax.numpy as jnp
import numpy as np

from oyster_jax.sims import reef_sound
from oyster_jax.sims.reef_draw import draw
from oyster_jax.sims.reef_map import FREE, MEDIA, PEARLS, SAMPLES, TILE, centre
from oyster_jax.sims.reef_state import (
    ACTIONS,
    ALL_SCENES,
    BEAT,
    BUMP,
    CALL,
    DRUM,
    EVENTS,
    HEADING,
    HELD_OUT,
    JELLYFISH,
    LIGHT,
    MOVES,
    RESTED,
    RIPE,
    SCENES,
    SEEN,
    SPEED,
    STROKES,
    TURTLE,
    ReefState,
    Scene,
    caption,
    random_scene,
    scene_of,
)
from oyster_jax.types import Observation

__all__ = [
    "ACTIONS",
    "ALL_SCENES",
    "CALL",
    "DRUM",
    "EVENTS",
    "HEADING",
    "HELD_OUT",
    "LIGHT",
    "MEDIA",
    "MOVES",
    "SCENES",
    "SEEN",
    "SPEED",
    "STROKES",
    "ReefState",
    "Scene",
    "advance",
    "caption",
    "draw",
    "events",
    "observe",
    "random_scene",
    "reset",
    "scene_of",
    "set_scene",
    "sound",
    "step",
]

_WAYS = np.array([(0, 0, 0)] + [(h, h % 8 + 1, (h - 2) % 8 + 1) for h in range(1, 9)])  # a heading, 45° left, 45° right
_SHY = 2 * TILE  # the distance that creatures keep
_BEFORE_DRUMS = len(reef_sound.STRUCK) - ACTIONS.sizes[DRUM] + 1  # struck sounds that are events: thud, chime
_CREATURE_STROKE = 2  # frames from one move of a creature to the next
_SPOTS = centre(np.argwhere(FREE)[:, ::-1]).astype(np.int32)


def reset(key, scene: Scene) -> tuple[ReefState, Observation]:
    """A new bay, everything at a random place, controls at rest, and its frame 0; consumes `key`."""
    body_key, creature_key, facing_key, way_key, pearl_key, clock_key = jax.random.split(key, 6)
    scene = Scene(*(jnp.asarray(i, jnp.int32) for i in scene))
    spots = jnp.asarray(_SPOTS)
    body = jax.random.choice(body_key, spots)
    apart = _far(spots, body) >= _SHY
    creature = jax.random.choice(creature_key, spots, p=apart / apart.sum())
    pearls = _open(body, creature)
    state = ReefState(
        scene=scene,
        next_scene=scene,
        clock=jax.random.randint(clock_key, (), 0, 64),
        controls=jnp.zeros(len(ACTIONS.factors), jnp.int32),
        facing=jax.random.randint(facing_key, (), 1, len(MOVES)),
        body=body,
        creature=creature,
        creature_facing=2 * jax.random.randint(way_key, (), 0, 2) - 1,
        rested=jnp.full(2, RESTED, jnp.int32),
        bumped=jnp.int32(0),
        pearl=jax.random.choice(pearl_key, len(PEARLS), p=pearls / pearls.sum()).astype(jnp.int32),
        pearl_age=jnp.int32(RIPE),
        level=_targets(scene, jnp.int32(0)),
        age=jnp.full(len(reef_sound.STRUCK), reef_sound.SILENT, jnp.int32),
        began=jnp.zeros(len(EVENTS), bool),
    )
    return state, observe(state)


def step(state: ReefState, action) -> tuple[ReefState, Observation]:
    """One interval of 1/15 s under `action` i32[5]; -1 leaves a control as it is."""
    state = advance(state, action)
    return state, observe(state)


def observe(state: ReefState) -> Observation:
    """What `state` shows: video u8[64,64,3], and the sound of the interval that it opens, f32[1024]."""
    return Observation(draw(state), sound(state))


def advance(state: ReefState, action) -> ReefState:
    """`step` without the picture and the sound."""
    controls = jnp.where(action < 0, state.controls, action).astype(jnp.int32)
    heading, call, drum = controls[HEADING], controls[CALL], controls[DRUM]
    rested = jnp.minimum(state.rested + 1, RESTED)

    stroke = (heading > 0) & (rested[0] >= jnp.asarray(STROKES)[controls[SPEED]])
    body, blocked = _swim(state.body, jnp.where(stroke, heading, 0), state.creature)
    scene = state.next_scene
    creature = jnp.where(rested[1] >= _CREATURE_STROKE, _creature(state, scene.creature, body), state.creature)
    moved = jnp.stack([jnp.any(body != state.body), jnp.any(creature != state.creature)])
    east = jnp.sign(creature[0] - state.creature[0])

    covered = _far(jnp.asarray(PEARLS)[state.pearl], body) == 0
    ripe = state.pearl_age >= RIPE
    picked = ripe & covered
    # A pearl grows where nobody is, and only while nobody hides it: no pearl is ever out of sight.
    following = (state.pearl + jnp.arange(1, 4)) % len(PEARLS)
    following = following[jnp.argmax(_open(body, creature)[following])]
    grown = jnp.where(covered, 0, jnp.minimum(state.pearl_age + 1, RIPE))

    # A drum beats when it is taken up, and goes on to do so while it is played.
    age = jnp.minimum(state.age + SAMPLES, reef_sound.SILENT)
    wait = jnp.where(drum != state.controls[DRUM], reef_sound.DRUM_FRAMES, BEAT)  # never struck while it rings
    beats = (drum > 0) & (age[_BEFORE_DRUMS - 1 + drum] >= wait * SAMPLES)
    thud = blocked & (state.bumped == 0)
    began = jnp.stack([thud, picked, (call > 0) & (call != state.controls[CALL]), beats])
    drums = beats & (jnp.arange(1, ACTIONS.sizes[DRUM]) == drum)
    struck = jnp.concatenate([began[:_BEFORE_DRUMS], drums])
    return ReefState(
        scene=scene,
        next_scene=scene,
        clock=state.clock + 1,
        controls=controls,
        facing=jnp.where(heading > 0, heading, state.facing),
        body=body,
        creature=creature,
        creature_facing=jnp.where(east != 0, east, state.creature_facing),
        rested=jnp.where(moved, 0, rested),
        bumped=jnp.where(blocked, BUMP, jnp.maximum(state.bumped - 1, 0)),
        pearl=jnp.where(picked, following, state.pearl),
        pearl_age=jnp.where(picked, 0, grown),
        level=reef_sound.glide(state.level, _targets(state.scene, state.controls[CALL]))[:, -1],
        age=jnp.where(struck, 0, age),
        began=began,
    )


def events(state: ReefState) -> jax.Array:
    """The sample of this interval at which each of `EVENTS` begins, i32[4]: 0, or -1 if it does not."""
    return jnp.where(state.began, 0, -1)


def sound(state: ReefState) -> jax.Array:
    """The sound of the interval that `state` opens, f32[1024] in [-1, 1]."""
    return reef_sound.sound(state.level, _targets(state.scene, state.controls[CALL]), state.age, state.clock)


def set_scene(state: ReefState, scene: Scene) -> ReefState:
    """From the next frame on the bay looks and sounds like `scene`."""
    return state._replace(next_scene=Scene(*(jnp.asarray(i, jnp.int32) for i in scene)))


# ---------------------------------------------------------------------------- how it moves


def _targets(scene: Scene, call) -> jax.Array:
    """Loudness that the held sounds glide towards, f32[16]."""
    notes = jnp.arange(1, len(reef_sound.NOTES) + 1) == call
    times = jnp.arange(len(SCENES.time)) == scene.time
    return jnp.concatenate([notes, times, scene.weather[None] == 1]).astype(jnp.float32)


def _far(there, here) -> jax.Array:
    """The larger of the distances along x and y, i32[...]."""
    return jnp.max(jnp.abs(there - here), axis=-1)


def _passable(there, others) -> jax.Array:
    """Whether bodies may be at places i32[n,2], given where another is, bool[n]."""
    x, y = there.T // TILE
    return jnp.asarray(FREE)[y, x] & (_far(there, others) > 0)


def _open(body, creature) -> jax.Array:
    """At which of PEARLS nobody is, bool[8]."""
    return (_far(jnp.asarray(PEARLS), body) > 0) & (_far(jnp.asarray(PEARLS), creature) > 0)


def _swim(body, heading, creature) -> tuple[jax.Array, jax.Array]:
    """A step along `heading`, 45 degrees aside where that is blocked; the place, and whether the heading is blocked."""
    there = body + TILE * jnp.asarray(MOVES)[jnp.asarray(_WAYS)[heading]]
    passable = _passable(there, creature)
    blocked = (heading > 0) & ~passable[0]
    return jnp.where(jnp.any(passable) & (heading > 0), there[jnp.argmax(passable)], body), blocked


def _creature(state: ReefState, kind, body) -> jax.Array:
    """Where the creature goes: towards what its kind wants, as far as it may, and away from a swimmer who is near."""
    here = state.creature
    pearl = jnp.asarray(PEARLS)[state.pearl]
    wanted = jnp.where(kind == TURTLE, pearl, jnp.where(kind == JELLYFISH, jnp.stack([here[0], body[1]]), body))
    way = jnp.where(_far(here, body) < _SHY, jnp.sign(here - body), jnp.sign(wanted - here))
    there = here + TILE * way * jnp.array([(1, 1), (1, 0), (0, 1)])
    # It comes no nearer to the swimmer than it likes, unless it is nearer already.
    allowed = _passable(there, body) & (_far(there, body) >= jnp.minimum(_SHY, _far(here, body)))
    allowed &= _far(there, pearl) > 0
    return jnp.where(jnp.any(allowed), there[jnp.argmax(allowed)], here)
