"""What can be seen in frames of the reef: hour, weather and water, where its swimmer, its creature and its pearls are,
and how they look.

Nothing is trained. The reef is a board, so every tile of 8 x 8 pixels is compared with the simulator's own drawings.
Hour and water are those whose water the most watery tiles of a frame are nearest to. A thing is on the tile that one of
its looks fits best, and it is *seen* if that fit is at most half as bad as the best that the look finds in true frames
where the thing is not. Pearls, of which there are several, are on all tiles where one is seen. The mask of a look is
what the simulator draws the same whatever the water behind it.
"""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from oyster_jax.sims import reef
from oyster_jax.sims.reef_draw import draw_bare
from oyster_jax.sims.reef_map import FREE, PEARLS, SIZE, TILE, centre
from oyster_jax.sims.reef_state import CHIME, RIPE, SCENES, ReefState

_SEEN = 0.5  # the worst fit of a thing that is seen, see above
_WATERY = 12  # tiles that tell hour and water: bodies, pearl and shore leave more than so many
_STARTS = 8  # frames of each scene that detectors are made from
_FAR = np.array([12, 12], np.int32)  # where another thing is while a look is drawn
_AT = np.array([36, 36], np.int32)  # where the thing is: open water all around
_COLUMNS = SIZE // TILE  # of a frame, as many as rows
_BATCH = 256  # frames that are looked at together


class Face(NamedTuple):
    """What the swimmer's face tells, bool or 0 and 1 each. Whichever way it looks, that is no news."""

    squints: bool
    glows: bool
    sings: bool


FACES = tuple(Face(*told) for told in np.ndindex(2, 2, 2))


class Looks(NamedTuple):
    """The looks of one kind of thing: what is drawn on its tile, and the pixels that are it."""

    pixels: np.ndarray  # float32 [n, TILE * TILE * 3] in 0 .. 1
    mask: np.ndarray  # float32 of the same shape, 0 or 1
    hour: np.ndarray  # int [n], at which it looks like that
    name: np.ndarray  # int [n], what the look says: an index into FACES, or into SCENES.creature
    nearest: np.ndarray  # float32 [n], mean squared error of its best fit where the thing is not


class Seen(NamedTuple):
    """One thing in each of T frames."""

    place: np.ndarray  # float [T, 2], its centre as (x, y) in pixels; the best guess where it is not seen
    look: np.ndarray  # int [T], which of the names
    seen: np.ndarray  # bool [T]


def scenery(video: np.ndarray) -> np.ndarray:
    """Hour, weather and water of frames uint8 [T, H, W, 3], int [T, 3], indices into the first fields of SCENES.

    It rains if more than a twelfth of the tiles that are clearly water show a splash; in true rain a fifth or a third
    of them do.
    """
    dry, wet = _water()  # [hour * water, TILE * TILE * 3]
    everything = np.ones_like(dry)
    found = []
    for tiles in _tiled(video):
        calm, splash = _errors(tiles, dry, everything), _errors(tiles, wet, everything)  # [T, tiles, hour * water]
        nearer = np.minimum(calm, splash)
        best = np.sort(nearer, axis=1)[:, :_WATERY].mean(1).argmin(-1)
        calm, splash, nearer = (np.take_along_axis(x, best[:, None, None], 2)[..., 0] for x in (calm, splash, nearer))
        clear = nearer < ((dry - wet) ** 2).mean(-1)[best, None] / 4
        rains = (clear & (splash < calm)).sum(1) > clear.sum(1) / 12
        hour, water = np.divmod(best, len(SCENES.water))
        found.append(np.stack([hour, rains, water], -1))
    return np.concatenate(found)


def find(video: np.ndarray, looks: Looks, hour: np.ndarray) -> Seen:
    """Where a thing is in frames uint8 [T, H, W, 3] that show the hours int [T], indices into SCENES.time."""
    found = []
    for misfit in _misfits(video, looks, hour):
        misfit = misfit.reshape(len(misfit), -1)
        tile, look = np.divmod(misfit.argmin(-1), len(looks.name))
        place = centre(np.stack([tile % _COLUMNS, tile // _COLUMNS], -1))
        found.append(Seen(place.astype(np.float32), looks.name[look], misfit.min(-1) < _SEEN))
    return Seen(*(np.concatenate(x) for x in zip(*found)))


def find_all(video: np.ndarray, looks: Looks, hour: np.ndarray) -> np.ndarray:
    """On which tiles a thing is seen, bool [T, rows, columns], in frames as for `find`."""
    seen = np.concatenate([misfit.min(-1) < _SEEN for misfit in _misfits(video, looks, hour)])
    return seen.reshape(len(video), -1, _COLUMNS)


def _misfits(video: np.ndarray, looks: Looks, hour: np.ndarray):
    """Some frames after the other, how badly each look fits each tile, float32 [T, tiles, n]; 1: as the best fit where
    the thing is not."""
    hours = np.array_split(hour, range(_BATCH, len(video), _BATCH))
    for tiles, hour in zip(_tiled(video), hours):
        errors = _errors(tiles, looks.pixels, looks.mask) / looks.nearest
        yield np.where(hour[:, None, None] == looks.hour, errors, np.inf)


def _tiled(video: np.ndarray):
    """Some frames after the other, each as its tiles row by row, float32 [T, tiles, TILE * TILE * 3] in 0 .. 1."""
    for i in range(0, len(video), _BATCH):
        frames = video[i : i + _BATCH].astype(np.float32) / 255
        t, height, width, _ = frames.shape
        tiles = frames.reshape(t, height // TILE, TILE, width // TILE, TILE, 3).swapaxes(2, 3)
        yield tiles.reshape(t, -1, TILE * TILE * 3)


def _errors(tiles: np.ndarray, pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean squared errors over masks of tiles [T, tiles, TILE * TILE * 3] from drawings, float32 [T, tiles, n]."""
    squares = tiles**2 @ mask.T - 2 * (tiles @ (mask * pixels).T) + (mask * pixels**2).sum(-1)
    return np.maximum(squares, 0) / mask.sum(-1)


# ---------------------------------------------------------------------------- how things look


@cache
def _water() -> tuple[np.ndarray, np.ndarray]:
    """A tile of calm water and one with a splash at each hour in each colour, [hour * water, TILE * TILE * 3] each."""
    calm, splash = [], []
    for hour, water in np.ndindex(len(SCENES.time), len(SCENES.water)):
        still = np.stack([draw_bare(reef.Scene(hour, weather, water, 0)) for weather in (0, 1)])
        dry, wet = next(_tiled(still))[:, FREE[:_COLUMNS, :_COLUMNS].reshape(-1)]  # of the bay
        calm.append(dry[0])
        splash.append(wet[(wet != dry).any(-1).argmax()])
    return np.stack(calm), np.stack(splash)


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
    return _looks(rest._replace(body=_AT, creature=_FAR), changes, "body")


@cache
def creatures() -> Looks:
    """Fish, turtle and jellyfish, looking either way, at any hour. Names are SCENES.creature."""
    scene = _rest().scene
    kinds = np.ndindex(len(SCENES.creature), 2)
    look = lambda kind, east: {"scene": scene._replace(creature=np.int32(kind)), "creature_facing": np.int32(east)}
    changes = [(kind, look(kind, 2 * facing - 1)) for kind, facing in kinds]
    return _looks(_rest()._replace(creature=_AT, body=_FAR), changes, "creature")


@cache
def pearl() -> Looks:
    """A ripe pearl at any hour. Its name is 0."""
    return _looks(_rest(), [(0, {"pearls": np.full(len(PEARLS), RIPE)})], "pearl")


@cache
def _rest() -> ReefState:
    state, _ = reef.reset(jax.random.key(0), reef.Scene(0, 0, 0, 0))
    bare = {"pearls": jnp.zeros_like(state.pearls), "body": _FAR, "creature": _FAR, "facing": jnp.int32(1)}
    return jax.device_get(state._replace(**bare))


def _looks(rest: ReefState, changes: list[tuple[int, dict]], thing: str) -> Looks:
    """Draws a thing (its name, and how it differs from one at rest) at every hour on every water."""
    waters = [np.int32(i) for i in range(len(SCENES.water))]
    tile = _tile(_at(rest._replace(**changes[0][1]), thing)[0, 0])
    found = []
    for hour, (name, change) in ((h, c) for h in range(len(SCENES.time)) for c in changes):
        whole = rest._replace(**change)
        states = [whole._replace(scene=whole.scene._replace(time=np.int32(hour), water=w)) for w in waters]
        shown = next(_tiled(np.asarray(_draw(jax.tree.map(lambda *x: np.stack(x), *states)))))[:, tile]
        same = (shown == shown[0]).all(0).reshape(-1, 3).all(-1).repeat(3)
        found.append((shown[0], same.astype(np.float32), hour, name))
    looks = Looks(*(np.stack(x) for x in zip(*found)), nearest=np.zeros(0))
    return looks._replace(nearest=_nearest(looks, thing))


def _at(state: ReefState, thing: str) -> np.ndarray:
    """Where on the map things of this kind are, int [T, n, 2]; pearls that are not ripe: nowhere."""
    if thing == "pearl":
        return np.where(np.atleast_2d(state.pearls)[..., None] >= RIPE, PEARLS, -SIZE)
    return getattr(state, thing).reshape(-1, 1, 2)


_draw = jax.jit(jax.vmap(reef.draw))


def _tile(place: np.ndarray) -> np.ndarray:
    """Which tile of a frame, counted row by row, holds the places int [..., 2]."""
    return place[..., 1] // TILE * _COLUMNS + place[..., 0] // TILE


def _nearest(looks: Looks, thing: str) -> np.ndarray:
    """The error of each look's best fit in true frames of its hour on any tile but the thing's."""
    states, video = _true_frames()
    errors = np.concatenate([_errors(tiles, looks.pixels, looks.mask) for tiles in _tiled(video)])
    place = _at(states, thing) - np.stack([reef.camera(body) for body in states.body])[:, None]
    shows = ((place >= 0) & (place < SIZE)).all(-1)
    errors[np.nonzero(shows)[0], _tile(place[shows])] = np.inf
    errors = np.where(states.scene.time[:, None, None] == looks.hour, errors, np.inf)
    return errors.min((0, 1)).astype(np.float32)


@cache
def _true_frames() -> tuple[ReefState, np.ndarray]:
    """States and frames that detectors are made from, _STARTS of each scene; pearls are grown some more, some less."""
    scenes = np.repeat(np.array(reef.ALL_SCENES), _STARTS, axis=0)
    keys = jax.random.split(jax.random.key(1), len(scenes))
    states, _ = jax.device_get(jax.jit(jax.vmap(reef.reset))(keys, reef.Scene(*scenes.T)))
    grown = np.random.default_rng(1).integers(RIPE + 1, size=states.pearls.shape, dtype=np.int32)
    states = states._replace(pearls=np.minimum(states.pearls, grown))
    return states, np.asarray(_draw(states))
