"""What can be seen in frames of the reef: hour, weather and water, where its swimmer and its creature are, and how they
look.

Nothing is trained. A frame's hour, weather and water are those of the nearest of the simulator's own median frames.
Things are found by the simulator's own drawings, slid over a frame: a thing is where one of its looks fits best, and it
is *seen* if that fit is at most half as bad as the best that the look finds in true frames where the thing is not. The
mask of a look is what the simulator draws the same whatever the water behind it.
"""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from oyster_jax.sims import reef
from oyster_jax.sims.reef_draw import RAIN_FRAMES
from oyster_jax.sims.reef_map import TILE
from oyster_jax.sims.reef_state import CHIME, SCENES, ReefState

REACH = TILE // 2  # pixels to each side of a thing's centre that a look covers: it fills its tile
_BATCH = 64  # frames that are looked at together
BACKGROUNDS = tuple(dict.fromkeys(scene._replace(creature=0) for scene in reef.ALL_SCENES))  # hour, weather, water
_STARTS = 8  # frames of each scene that detectors are made from
_FAR = np.array([12, 12], np.int32)  # where the other one is while a look is drawn
_AT = np.array([36, 36], np.int32)  # where the thing is: open water all around


class Face(NamedTuple):
    """What the swimmer's face tells, bool or 0 and 1 each. Whichever way it looks, that is no news."""

    squints: bool
    glows: bool
    sings: bool


FACES = tuple(Face(*told) for told in np.ndindex(2, 2, 2))


class Looks(NamedTuple):
    """The looks of one kind of thing: what is drawn, and the pixels that are it."""

    pixels: np.ndarray  # float32 [n, 2 * REACH, 2 * REACH, 3] in 0 .. 1
    mask: np.ndarray  # bool [n, 2 * REACH, 2 * REACH]
    hour: np.ndarray  # int [n], at which it looks like that
    name: np.ndarray  # int [n], what the look says: an index into FACES, or into SCENES.creature
    nearest: np.ndarray  # float [n], mean squared error of its best fit where the thing is not


class Seen(NamedTuple):
    """One thing in each of T frames."""

    place: np.ndarray  # float [T, 2], its centre as (x, y) in pixels; the best guess where it is not seen
    look: np.ndarray  # int [T], which of the names
    seen: np.ndarray  # bool [T]


def background(video: np.ndarray) -> np.ndarray:
    """Which of BACKGROUNDS frames uint8 [T, 64, 64, 3] show, int [T].

    Hour and water are those of the nearest still by the mean absolute difference. It rains if splashes can be seen: a
    quarter of what tells the rainy still from the dry one, counted on the tiles that are nearer to the rainy one (there
    are none around swimmer and creature, which may hide most of them).
    """
    shape = (len(SCENES.time), len(SCENES.weather), len(SCENES.water), 2)
    looks = stills().reshape(*shape, *stills().shape[2:])
    found = []
    for frame in video.astype(np.float32):
        hour, _, water, _ = np.unravel_index(np.abs(looks - frame).mean((-3, -2, -1)).argmin(), shape)
        dry, rainy = looks[hour, 0, water, 0], looks[hour, 1, water]
        nearer = _by_tile(np.abs(dry - frame)) - _by_tile(np.abs(rainy - frame))
        share = np.maximum(nearer, 0).sum((-2, -1)) / _by_tile(np.abs(rainy - dry)).sum((-2, -1))
        found.append(BACKGROUNDS.index(reef.Scene(hour, int(share.max() > 0.25), water, 0)))
    return np.array(found)


def _by_tile(x: np.ndarray) -> np.ndarray:
    """Means over tiles and channels, [..., H, W, 3] to [..., rows, columns]."""
    height, width = x.shape[-3] // TILE, x.shape[-2] // TILE
    return x.reshape(*x.shape[:-3], height, TILE, width, TILE, 3).mean((-4, -2, -1))


def find(video: np.ndarray, looks: Looks, hour: np.ndarray) -> Seen:
    """Where a thing is in frames uint8 [T, 64, 64, 3] that show the hours int [T], indices into SCENES.time."""
    found = Seen(np.zeros((len(video), 2), np.float32), np.zeros(len(video), int), np.zeros(len(video), bool))
    for now in np.unique(hour):
        at_this_hour = jax.tree.map(lambda x, own=looks.hour == now: x[own], looks)
        frames = np.flatnonzero(hour == now)
        for some in (frames[i : i + _BATCH] for i in range(0, len(frames), _BATCH)):
            # Always as many, whichever they are, for one program.
            place, look, fit = (x[: len(some)] for x in jax.device_get(_fit(video[np.resize(some, _BATCH)], at_this_hour)))
            found.place[some], found.look[some], found.seen[some] = place, at_this_hour.name[look], fit < 0.5
    return found


@jax.jit
def _fit(video, looks: Looks) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Of each frame the place [T, 2] and the look [T] of the best fit, and its error in parts of `nearest` [T]."""
    errors = _errors(video, looks)
    _, _, columns, n = errors.shape
    relative = (errors / looks.nearest).reshape(len(errors), -1)
    best = relative.argmin(-1)
    place = jnp.stack([best // n % columns, best // n // columns], -1) + REACH
    return place.astype(jnp.float32), best % n, relative.min(-1)


def _errors(video, looks: Looks) -> jax.Array:
    """Mean squared errors of looks wherever they fit into frames whole, float32 [T, rows, columns, n]."""
    frames = jnp.asarray(video, jnp.float32) / 255
    kernel = lambda x: jnp.moveaxis(x, 0, -1)
    slide = lambda x, k: jax.lax.conv_general_dilated(x, k, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    shape = jnp.broadcast_to(looks.mask[..., None], looks.pixels.shape).astype(jnp.float32)
    own = jnp.sum(shape * looks.pixels**2, (1, 2, 3))
    squares = slide(frames**2, kernel(shape)) - 2 * slide(frames, kernel(shape * looks.pixels)) + own
    return squares / shape.sum((1, 2, 3))


# ---------------------------------------------------------------------------- how things look


@cache
def swimmer() -> Looks:
    """The swimmer with every face, looking any way, at any hour. Names are FACES."""
    rest, changes = _rest(), []
    for name, face in enumerate(FACES):
        shown = {
            "bumped": np.bool_(face.squints),
            "age": np.where((np.arange(len(rest.age)) == CHIME) & face.glows, 0, rest.age),
            "controls": np.where(np.arange(len(rest.controls)) == reef.CALL, face.sings, 0),
        }
        ways = range(1, 2 if face.squints or face.glows else len(reef.MOVES))  # with its eye shut it looks nowhere
        changes += [(name, shown | {"facing": np.int32(facing)}) for facing in ways]
    return _looks(changes, "body", "creature")


@cache
def creatures() -> Looks:
    """Fish, turtle and jellyfish, looking either way, at any hour. Names are SCENES.creature."""
    scene = _rest().scene
    kinds = np.ndindex(len(SCENES.creature), 2)
    look = lambda kind, east: {"scene": scene._replace(creature=np.int32(kind)), "creature_facing": np.int32(east)}
    return _looks([(kind, look(kind, 2 * facing - 1)) for kind, facing in kinds], "creature", "body")


@cache
def _rest() -> ReefState:
    state, _ = reef.reset(jax.random.key(0), reef.Scene(0, 0, 0, 0))
    return jax.device_get(state._replace(pearl_age=jnp.int32(0), facing=jnp.int32(1)))


def _looks(changes: list[tuple[int, dict]], thing: str, other: str) -> Looks:
    """Draws a thing (its name, and how it differs from one at rest) at every hour on every water."""
    crop = np.s_[:, _AT[1] - REACH : _AT[1] + REACH, _AT[0] - REACH : _AT[0] + REACH]
    waters = [np.int32(i) for i in range(len(SCENES.water))]
    found = []
    for hour, (name, change) in ((h, c) for h in range(len(SCENES.time)) for c in changes):
        whole = _rest()._replace(**{thing: _AT, other: _FAR} | change)
        states = [whole._replace(scene=whole.scene._replace(time=np.int32(hour), water=w)) for w in waters]
        shown = np.asarray(_draw(jax.tree.map(lambda *x: np.stack(x), *states)))[crop]
        found.append((shown[0] / np.float32(255), (shown == shown[0]).all((0, -1)), hour, name))
    looks = Looks(*(np.stack(x) for x in zip(*found)), nearest=np.zeros(0))
    return looks._replace(nearest=_nearest(looks, thing))


_draw = jax.jit(jax.vmap(reef.draw))


@cache
def _starts() -> tuple[ReefState, np.ndarray]:
    """States [scenes, _STARTS] and frames uint8 [scenes, _STARTS, H, W, 3] of all the simulator's scenes."""
    reset = jax.jit(jax.vmap(jax.vmap(reef.reset, (0, None)), (None, 0)))
    keys = jax.random.split(jax.random.key(1), _STARTS)
    states, shown = jax.device_get(reset(keys, reef.Scene(*np.array(reef.ALL_SCENES).T)))
    return states, shown.video


@cache
def stills() -> np.ndarray:
    """The median frames of each of BACKGROUNDS, float32 [n, 2, H, W, 3]: rain splashes in two places by turns."""
    states, turns = _starts()[0], []
    of = np.array([BACKGROUNDS.index(scene._replace(creature=0)) for scene in reef.ALL_SCENES])
    states = states._replace(pearl_age=np.zeros_like(states.pearl_age))  # a pearl lies in one of few places
    for clock in (0, RAIN_FRAMES):
        video = np.asarray(jax.vmap(_draw)(states._replace(clock=np.full_like(states.clock, clock))))
        turns.append([np.median(np.concatenate(video[of == i]), axis=0) for i in range(len(BACKGROUNDS))])
    return np.stack(turns, axis=1)


def _nearest(looks: Looks, thing: str) -> np.ndarray:
    """The error of each look's best fit in true frames of its hour, a tile or more from the thing."""
    nearest = np.full(len(looks.name), np.inf)
    states, frames = _starts()
    for scene, places, video in zip(reef.ALL_SCENES, getattr(states, thing), frames):
        errors = np.asarray(_errors_jit(video, looks))
        x, y = np.meshgrid(*(np.arange(n) + REACH for n in errors.shape[2:0:-1]))
        away = np.maximum(abs(x - places[:, :1, None]), abs(y - places[:, 1:, None])) >= TILE
        nearest = np.where(looks.hour == scene.time, np.minimum(nearest, errors[away].min(0)), nearest)
    return nearest.astype(np.float32)


_errors_jit = jax.jit(_errors)
