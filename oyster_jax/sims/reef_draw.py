"""The reef's picture: soft discs over tiles, then the light of the hour. Colours are 0 to 1, [3, H, W]."""

import jax
import jax.numpy as jnp
import numpy as np

from oyster_jax.sims.reef_map import (
    OFFSHORE,
    PEARL_OF,
    PEARL_RADIUS,
    SIZE,
    TILE,
    TILES,
    WATERY,
    X,
    Y,
    camera,
    tiled,
)
from oyster_jax.sims.reef_sound import SAMPLES
from oyster_jax.sims.reef_state import CALL, CHIME, LIGHT, MOVES, RIPE, ReefState


def _rgb(*hexes: str) -> np.ndarray:
    """Colours f32[n,3,1,1] from "rrggbb"."""
    return np.array([[int(h[i : i + 2], 16) / 255 for i in (0, 2, 4)] for h in hexes], np.float32)[..., None, None]


_WATER = _rgb("2f86d8", "2f9d5c", "24c8b0", "9a58c8")  # blue, green, turquoise, violet
_GLINT = _rgb("5aa8ec", "5cbf80", "66e4d0", "bb80e4")
_SAND, _WET, _FOAM, _ROCK, _MOSS, _SHELL = _rgb("f3dfa8", "d8bb82", "ffffff", "6d6a75", "a3a1ab", "e88d9a")
_CORAL, _RIM, _GOLD, _SONG = _rgb("ff7a5c", "b83f33", "ffd94a", "ffffff")
_WHITE, _INK, _YELLOW, _STRIPE = _rgb("ffffff", "1d1b2e", "ffd23a", "f08a24")
_SHIELD, _LEG, _BELL, _ARM = _rgb("9a5b2e", "b7d36c", "f3a6d8", "c76fb6")
_REEF, _POLYP, _WEED, _FROND, _BANK, _BUOY = _rgb("e2568a", "ffb3c7", "1f6b3a", "4fb05a", "d9c48a", "f2f2f2")
_PEARL, _SHEEN, _POST = _rgb("f6ecff", "ffffff", "5a4634")
_LAMP = _rgb("3a3540", "fff6dc", "ff5a4c", "ff9a3a", "ffe14d", "5fe06a", "5aa2ff", "c77dff")  # by the light's colour
_HOUR = _rgb("ffffff", "f0aeb4", "6a78b4")  # the light by day, at dusk, at night
HAPPY = 2  # frames that it glows after a pearl
_RAIN_FRAMES, _RAIN_TURNS = 2, 10  # that a splash lasts, and after which all is as before


def _cover(distance, radius):
    """How much of each pixel a disc covers, 0 to 1, from the distance to its centre."""
    return jnp.clip(radius + 0.5 - distance, 0, 1)


def _paint(picture, colour, alpha):
    return picture + (colour - picture) * alpha


_MAP_Y, _MAP_X = np.mgrid[: TILES.shape[0] * TILE, : TILES.shape[1] * TILE].astype(np.float32) + 0.5


def _far(kinds: str, x: float = 0, y: float = 0) -> np.ndarray:
    """How far each of the map's pixels is from a point of its tile, (x, y) from the centre, if it is of these kinds."""
    dx, dy = _MAP_X % TILE - TILE / 2 - x, _MAP_Y % TILE - TILE / 2 - y
    return np.where(tiled(kinds), np.hypot(dx, dy), np.inf)


def _discs(kinds: str, radius: float, x: float = 0, y: float = 0) -> np.ndarray:
    """Cover of one disc on each tile of these kinds, f32[224,160]."""
    return np.clip(radius + 0.5 - _far(kinds, x, y), 0, 1)


def _water() -> np.ndarray:
    """Water alone in each of its colours, f32[4,3,224,160]. One ripple a tile: all water looks the same."""
    x, y = _MAP_X % TILE, _MAP_Y % TILE
    ripple = np.clip(1.2 - np.abs(y - 3.5 - 0.9 * np.sin(x * 2 * np.pi / TILE)), 0, 1)
    return _paint(_WATER, _GLINT, 0.45 * ripple).astype(np.float32)


def _backdrop() -> np.ndarray:
    """What never moves, by full daylight for each colour of water, f32[4,3,224,160]."""
    picture = _water()
    wet = np.pad(tiled(WATERY), TILE)  # on land, how near is the water?
    height, width = _MAP_X.shape
    near = np.full(_MAP_X.shape, np.inf, np.float32)
    for dy, dx in np.ndindex(2 * TILE - 1, 2 * TILE - 1):
        there = wet[dy + 1 : dy + 1 + height, dx + 1 : dx + 1 + width]
        near = np.minimum(near, np.where(there, np.hypot(dy - TILE + 1, dx - TILE + 1), np.inf))
    land = ~tiled(WATERY)
    picture = _paint(picture, _SAND, land)
    picture = _paint(picture, _WET, land * np.clip(4.5 - near, 0, 1))
    picture = _paint(picture, _FOAM, 0.85 * land * np.clip(2.2 - near, 0, 1))
    stone = _paint(_ROCK, _MOSS, np.clip(1 - np.minimum(_far("r", -1.5, -1.5), 9) / 4, 0, 1))
    picture = _paint(picture, stone, _discs("r", 3.4))
    picture = _paint(picture, _SHELL, _discs("*", 1.8, 0, -1))
    for x, y in ((-2, -1.5), (2, -1.8), (0, 1.8)):
        picture = _paint(picture, _REEF, _discs("c", 1.7, x, y))
        picture = _paint(picture, _POLYP, _discs("c", 0.6, x, y))
    for x in (-2.4, 0, 2.4):
        blade = np.abs(_MAP_X % TILE - TILE / 2 - x - 0.8 * np.sin(_MAP_Y % TILE)) < 0.9
        picture = _paint(picture, _FROND if x else _WEED, tiled("w") * blade)
    picture = _paint(picture, _BANK, 0.8 * _discs("o", 3.2))
    picture = _paint(picture, _BUOY, _discs("b", 3.6))
    picture = _paint(picture, _POST, _discs("L", 3.8))
    return np.clip(picture, 0, 1).astype(np.float32)


def _splashes() -> np.ndarray:
    """Rings of rain on plain water, f32[10,224,160], one turn after the other and round again.

    In the bay two thirds of its tiles take turns, in no order. The screen of the open reef moves, so there one tile in
    five has a ring, a knight's move from the next, and the wind drives all of them east: any nine tiles side by side
    tell where the rings beyond them are, and where each will be next.
    """
    plain, (row, column) = TILES == "~", np.indices(TILES.shape)
    spots = np.argwhere(plain & (row < OFFSHORE // TILE))
    thirds = np.array_split(spots[np.random.default_rng(1).permutation(len(spots))], 3)
    rings = np.zeros((_RAIN_TURNS, *TILES.shape))
    for turn, ring in enumerate(rings):
        ring[plain & (row >= OFFSHORE // TILE) & ((column + 2 * row - turn) % 5 == 0)] = 1
        ring[tuple(thirds[turn % 2].T)] = 1
    return (np.kron(rings, np.ones((TILE, TILE))) * np.clip(1 - np.abs(_far("~") - 2.2), 0, 1)).astype(np.float32)


_SEABED, _BACKDROP, _SPLASHES = _water(), _backdrop(), _splashes()
_LANTERNS = _discs("Lb", 2.4).astype(np.float32)
_LOOK = (MOVES / np.maximum(np.linalg.norm(MOVES, axis=1, keepdims=True), 1)).astype(np.float32)
_TILE_X, _TILE_Y = (axis // TILE * TILE + TILE / 2 for axis in (X, Y))  # of each pixel, the centre of its tile


def _tile_of(at) -> jax.Array:
    """Which pixels of a frame lie on the tile of a body at `at`, bool[64,64]."""
    return (at[0] == _TILE_X) & (at[1] == _TILE_Y)


def _from(at) -> tuple[jax.Array, jax.Array]:
    """How far pixels lie from a body's centre, in the units that bodies are drawn in: a tile is 12 wide."""
    return (X - at[0]) * (12 / TILE), (Y - at[1]) * (12 / TILE)


def draw(state: ReefState) -> jax.Array:
    """The frame that `state` shows, u8[64,64,3]."""
    corner = camera(state.body)
    pearls = jnp.repeat(jnp.repeat(pearl_ages(state), TILE, 0), TILE, 1)
    state = state._replace(body=state.body - corner, creature=state.creature - corner)
    # Nothing else is drawn on the tile of a body, so that patches hold one thing or the other.
    clear = ~(_tile_of(state.body) | _tile_of(state.creature))
    picture = _bare(state.scene, corner, state.rained, state.controls[LIGHT], clear)
    # Whatever lives here shines a little by itself, so that no night hides it.
    light = 0.4 + 0.6 * jnp.asarray(_HOUR)[state.scene.time]
    brush = lambda picture, colour, alpha: _paint(picture, colour * light, alpha)
    picture = jnp.where(clear, _pearl(picture, brush, pearls), picture)
    shapes = jnp.stack([kind(picture, brush, state) for kind in (_fish, _turtle, _jellyfish)])
    return _pixels(_body(shapes[state.scene.creature], brush, state))


def draw_bare(scene, corner=(0, 0)) -> jax.Array:
    """A scene with nobody and nothing in it, all lanterns out, u8[64,64,3]; see `camera` for the corner."""
    return _pixels(_bare(scene, corner, 0, 0, True))


def _bare(scene, corner, rained, light, clear):
    """What the camera shows of water, seabed and shore, of rain where it is `clear`, and of lanterns."""
    shown = lambda whole, *index: jax.lax.dynamic_slice_in_dim(
        jax.lax.dynamic_slice_in_dim(jnp.asarray(whole)[index], corner[1], SIZE, -2), corner[0], SIZE, -1
    )
    picture = jnp.where(clear, shown(_BACKDROP, scene.water), shown(_SEABED, scene.water))
    splash = shown(_SPLASHES, rained // _RAIN_FRAMES % _RAIN_TURNS)
    picture = _paint(picture, _WHITE, 0.6 * splash * clear * (scene.weather == 1))
    picture = picture * jnp.asarray(_HOUR)[scene.time]
    return _paint(picture, jnp.asarray(_LAMP)[light], shown(_LANTERNS) * clear)


def _pixels(picture) -> jax.Array:
    return (jnp.clip(picture, 0, 1) * 255 + 0.5).astype(jnp.uint8).transpose(1, 2, 0)


def pearl_ages(state: ReefState) -> jax.Array:
    """The pearls of the frame that `state` shows: how long each has grown, i32[8,8] by tile; 0 where none is."""
    row, column = camera(state.body)[::-1] // TILE
    shown = jax.lax.dynamic_slice(jnp.asarray(PEARL_OF), (row, column), (SIZE // TILE, SIZE // TILE))
    return jnp.append(state.pearls, 0)[shown]


def _pearl(picture, brush, age):
    x, y = X - _TILE_X, Y - _TILE_Y
    grown = PEARL_RADIUS * jnp.floor(4 * age / RIPE) / 4  # in four stages
    picture = brush(picture, _PEARL, _cover(jnp.hypot(x, y), grown - 0.5) * (grown > 0))
    return brush(picture, _SHEEN, _cover(jnp.hypot(x + 1, y + 1), 0.3 * grown) * (grown > 0))


def _fish(picture, brush, state):
    dx, dy = _from(state.creature)
    dx = dx * state.creature_facing + 0.5  # it looks where it goes
    fin = (dx > -5.5) & (dx < -1)
    picture = brush(picture, _STRIPE, fin * jnp.clip(-1.2 - 1.2 * dx - jnp.abs(dy), 0, 1))
    stripe = jnp.clip(1.5 - jnp.abs(dx), 0, 1)
    body = _cover(jnp.hypot(dx - 1, 1.1 * dy), 4.5)
    picture = brush(picture, _paint(_YELLOW, _STRIPE, stripe), body)
    return brush(picture, _INK, _cover(jnp.hypot(dx - 3.4, dy + 1), 0.9))


def _turtle(picture, brush, state):
    dx, dy = _from(state.creature)
    dx = dx * state.creature_facing
    for leg_x, leg_y in ((-3, -3.6), (-3, 3.6), (2.4, -3.6), (2.4, 3.6)):
        picture = brush(picture, _LEG, _cover(jnp.hypot(dx - leg_x, dy - leg_y), 1.4))
    picture = brush(picture, _LEG, _cover(jnp.hypot(dx - 4, dy), 1.5))
    picture = brush(picture, _SHIELD, _cover(jnp.hypot(dx + 0.8, dy), 3.9))
    picture = brush(picture, _LEG, _cover(jnp.abs(jnp.hypot(dx + 0.8, dy) - 1.8), 0.1))
    return brush(picture, _INK, _cover(jnp.hypot(dx - 4.6, dy + 0.6), 0.4))


def _jellyfish(picture, brush, state):
    dx, dy = _from(state.creature)
    for arm in (-3, -1, 1, 3):
        picture = brush(picture, _ARM, jnp.clip(1 - jnp.abs(dx - arm), 0, 1) * (dy > 0) * (dy < 5.5))
    bell = _cover(jnp.hypot(dx, dy + 0.5), 5.0) * (dy < 1)
    picture = brush(picture, _BELL, bell)
    return brush(picture, _WHITE, 0.7 * _cover(jnp.hypot(dx + 1.5, dy + 2.5), 1.2))


def _body(picture, brush, state):
    dx, dy = _from(state.body)
    away = jnp.hypot(dx, dy)
    happy = state.age[CHIME] < HAPPY * SAMPLES  # it glows after each pearl
    skin = _paint(jnp.where(happy, _GOLD, _CORAL), _WHITE, 0.5 * jnp.clip(1 - jnp.hypot(dx + 2, dy + 2.5) / 4, 0, 1))
    rim = jnp.where(state.controls[CALL] > 0, _SONG, _RIM)  # a song rings around it
    picture = brush(picture, rim, _cover(away, 5.5))
    picture = brush(picture, skin, _cover(away, 4.5))
    look = jnp.asarray(_LOOK)[state.facing]
    x, y = dx - 2 * look[0], dy - 2 * look[1]
    white, pupil = _cover(jnp.hypot(x, y), 2.6), _cover(jnp.hypot(x - look[0], y - look[1]), 1.3)
    lid = _cover(jnp.abs(dy + 1), 0.3) * (jnp.abs(dx) < 3)  # it squints where it bumps
    smile = _cover(jnp.abs(jnp.hypot(dx, dy - 0.5) - 2.4), 0.3) * (dy < -0.5)  # and smiles while it glows
    opened = ~(state.bumped | happy)
    picture = brush(picture, _WHITE, white * opened)
    return brush(picture, _INK, jnp.where(opened, pupil, jnp.where(state.bumped, lid, smile)))
