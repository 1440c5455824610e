"""The reef: a small bay with a swimmer to steer, a fish, pearls and rocks, drawn and sounded in pure JAX.

Every function is pure, jittable and vmappable. A `ReefState` is the world at the instant a frame is shown; the frame,
the sound of the interval that it opens and the events in it are functions of that state alone:

    state, obs = reset(key, scene)
    state, obs = step(state, action)        # == (s := advance(state, action)), observe(s)

`advance` first lets the present interval pass (everything moves), then sets the controls. So `action[t-1]`'s light,
heading and call are seen and heard from the start of frame t, and its motion shows in frame t+1.
Everything moves by whole pixels and nothing is random after `reset` but the hiss of the rain.
"""

import jax
import jax.numpy as jnp
import numpy as np

from oyster_jax.sims import reef_sound
from oyster_jax.sims.reef_draw import draw
from oyster_jax.sims.reef_map import (
    BODY_FREE,
    BODY_RADIUS,
    FISH_FREE,
    FISH_RADIUS,
    MEDIA,
    PEARL_RADIUS,
    PEARLS,
    SAMPLES,
)
from oyster_jax.sims.reef_state import (
    ACTIONS,
    CALL,
    CALLED,
    CHIME,
    EVENTS,
    HEADING,
    LIGHT,
    MOVES,
    PIXELS,
    RIPE,
    SCENES,
    SPEED,
    TOUCH,
    ReefState,
    Scene,
    caption,
    random_scene,
    scene_of,
)
from oyster_jax.types import Observation

__all__ = [
    "ACTIONS",
    "CALL",
    "EVENTS",
    "HEADING",
    "LIGHT",
    "MEDIA",
    "MOVES",
    "PIXELS",
    "SCENES",
    "SPEED",
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
_REACH = BODY_RADIUS + PEARL_RADIUS - 0.5
_SHY = BODY_RADIUS + FISH_RADIUS + 1.0
_BODY_SPOTS, _FISH_SPOTS = (np.argwhere(free)[:, ::-1].astype(np.int32) for free in (BODY_FREE, FISH_FREE))


def reset(key, scene: Scene) -> tuple[ReefState, Observation]:
    """A new bay, everything at a random place, controls at rest, and its frame 0; consumes `key`."""
    keys = jax.random.split(key, 6)
    scene = Scene(*(jnp.asarray(i, jnp.int32) for i in scene))
    body, fish = (jax.random.choice(k, jnp.asarray(spots)) for k, spots in zip(keys, (_BODY_SPOTS, _FISH_SPOTS)))
    state = ReefState(
        scene=scene,
        next_scene=scene,
        seed=jax.random.bits(keys[2]),
        clock=jnp.int32(0),
        controls=jnp.zeros(len(ACTIONS.factors), jnp.int32),
        facing=jax.random.randint(keys[3], (), 1, len(MOVES)),
        touching=jnp.int32(0),
        called=jnp.int32(0),
        body=body,
        fish=fish,
        fish_way=2 * jax.random.randint(keys[4], (2,), 0, 2) - 1,
        pearl=jax.random.randint(keys[5], (), 0, len(PEARLS)),
        pearl_age=jnp.int32(RIPE),
        level=_targets(scene, jnp.int32(0)),
        age=jnp.full(len(reef_sound.STRUCK), reef_sound.SILENT, jnp.int32),
    )
    return state, observe(state)


def step(state: ReefState, action) -> tuple[ReefState, Observation]:
    """One interval of 1/15 s under `action` i32[4]; -1 leaves a control as it is."""
    state = advance(state, action)
    return state, observe(state)


def observe(state: ReefState) -> Observation:
    """What `state` shows: video u8[64,64,3], and the sound of the interval that it opens, f32[1024]."""
    return Observation(draw(state), sound(state))


def advance(state: ReefState, action) -> ReefState:
    """`step` without the picture and the sound."""
    state, _ = _pass_interval(state)
    controls = jnp.where(action < 0, state.controls, action).astype(jnp.int32)
    facing = jnp.where(controls[HEADING] > 0, controls[HEADING], state.facing)
    return state._replace(controls=controls, facing=facing)


def events(state: ReefState) -> jax.Array:
    """The sample of this interval at which each of `EVENTS` begins, i32[3]; -1: it does not."""
    return _pass_interval(state)[1]


def sound(state: ReefState) -> jax.Array:
    """The sound of the interval that `state` opens, f32[1024] in [-1, 1]."""
    target = _targets(state.scene, state.controls[CALL])
    key = jax.random.key(state.seed)
    return reef_sound.sound(state.level, target, state.age, events(state)[:CALLED], state.clock, key)


def set_scene(state: ReefState, scene: Scene) -> ReefState:
    """From the next frame on the bay looks and sounds like `scene`."""
    return state._replace(next_scene=Scene(*(jnp.asarray(i, jnp.int32) for i in scene)))


# ---------------------------------------------------------------------------- how it moves


def _targets(scene: Scene, call) -> jax.Array:
    """Loudness that the held sounds glide towards, f32[7]."""
    calls = jnp.arange(1, reef_sound.CALLS + 1) == call
    times = jnp.arange(len(SCENES.time)) == scene.time
    return jnp.concatenate([calls, times, scene.weather[None] == 1]).astype(jnp.float32)


def _pass_interval(state: ReefState) -> tuple[ReefState, jax.Array]:
    """The state at the end of the interval under the same controls, and the events' onsets, i32[3]."""
    call = state.controls[CALL]
    pixels = jnp.asarray(PIXELS)[state.controls[SPEED]]
    path, blocked = _swim(state.body, state.controls[HEADING], pixels)
    pearl = jnp.asarray(PEARLS)[state.pearl]
    reached = (jnp.sum((path[:-1] - pearl) ** 2, axis=-1) <= _REACH**2) & (state.pearl_age >= RIPE)

    def first(happens):  # pixel i is left behind at i/pixels of the interval
        return jnp.where(jnp.any(happens), jnp.argmax(happens).astype(jnp.int32) * SAMPLES // pixels, -1)

    underway = jnp.arange(len(path) - 1) < pixels
    onset = jnp.stack(
        [
            jnp.where(state.touching > 0, -1, first(blocked)),
            first(reached & underway),
            jnp.where((call > 0) & (call != state.called), 0, -1),
        ]
    )
    picked = onset[CHIME] >= 0
    fish, fish_way = _wander(state.fish, state.fish_way, state.body)
    later = state._replace(
        scene=state.next_scene,
        clock=state.clock + 1,
        touching=jnp.where(jnp.any(blocked), TOUCH, jnp.maximum(state.touching - 1, 0)),
        called=call,
        body=path[-1],
        fish=fish,
        fish_way=fish_way,
        pearl=jnp.where(picked, (state.pearl + 1) % len(PEARLS), state.pearl),
        pearl_age=jnp.where(picked, 0, jnp.minimum(state.pearl_age + 1, RIPE)),
        level=reef_sound.glide(state.level, _targets(state.scene, call))[:, -1],
        age=reef_sound.aged(state.age, onset[:CALLED]),
    )
    return later, onset


def _free(where: np.ndarray, at) -> jax.Array:
    return jnp.asarray(where)[at[1], at[0]]


def _swim(body, heading, pixels) -> tuple[jax.Array, jax.Array]:
    """Pixel by pixel along `heading`, 45 degrees aside where that is blocked: path i32[4,2]; blocked, bool[3]."""
    ways = jnp.asarray(MOVES)[jnp.asarray(_WAYS)[heading]]
    path, blocked = [body], []
    for i in range(int(PIXELS.max())):
        going = i < pixels
        passable = jnp.stack([_free(BODY_FREE, body + way) for way in ways])
        taken = jnp.where(jnp.any(passable), ways[jnp.argmax(passable)], 0)
        body = jnp.where(going, body + taken, body)
        path.append(body)
        blocked.append(going & ~passable[0])
    return jnp.stack(path), jnp.stack(blocked)


def _wander(fish, way, body) -> tuple[jax.Array, jax.Array]:
    """The fish's next place and way: one pixel diagonally, off the shore and the rocks, away from the swimmer."""
    apart = fish - body
    shy = jnp.sum(apart**2) < _SHY**2
    way = jnp.where(shy & (apart != 0), jnp.sign(apart), way)
    ways = way * jnp.array([(1, 1), (-1, 1), (1, -1), (-1, -1)])  # it turns as little as it must
    passable = jnp.stack([_free(FISH_FREE, fish + turned) for turned in ways])
    turned = jnp.where(shy, way, ways[jnp.argmax(passable)])
    there = fish + turned
    return jnp.where(_free(FISH_FREE, there), there, fish), turned
