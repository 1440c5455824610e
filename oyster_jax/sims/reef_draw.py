"""The reef's picture: soft discs over a painted bay, then the light of the hour. Colours are 0 to 1, [3, 64, 64]."""

import jax
import jax.numpy as jnp
import numpy as np

from oyster_jax.sims.reef_map import BODY_RADIUS, FISH_RADIUS, PEARL_RADIUS, PEARLS, ROCKS, SAMPLES, SHORE, SIZE, X, Y
from oyster_jax.sims.reef_state import CALL, CHIME, LIGHT, MOVES, RIPE, ReefState


def _rgb(*hexes: str) -> np.ndarray:
    """Colours f32[n,3,1,1] from "rrggbb"."""
    return np.array([[int(h[i : i + 2], 16) / 255 for i in (0, 2, 4)] for h in hexes], np.float32)[..., None, None]


_SHALLOW = _rgb("7cc4f2", "8fdba0", "8ff5e6")  # blue, green, turquoise
_DEEP = _rgb("1c5fb8", "1f7a48", "12a3ab")
_SAND, _WET, _FOAM, _ROCK, _MOSS = _rgb("f3dfa8", "d8bb82", "ffffff", "6d6a75", "a3a1ab")
_CORAL, _RIM, _GOLD = _rgb("ff7a5c", "b83f33", "ffd94a")
_WHITE, _INK, _YELLOW, _STRIPE = _rgb("ffffff", "1d1b2e", "ffd23a", "f08a24")
_PEARL, _SHEEN = _rgb("f6ecff", "ffffff")
_HOUR = _rgb("ffffff", "f0aeb4", "4c5c9c")  # the light by day, at dusk, at night
_LAMP = _rgb("ffdf9e")[0]
_MIST = _rgb("8d9aa8")[0]


def _cover(distance, radius):
    """How much of each pixel a disc covers, 0 to 1, from the distance to its centre."""
    return jnp.clip(radius + 0.5 - distance, 0, 1)


def _paint(picture, colour, alpha):
    return picture + (colour - picture) * alpha


def _backdrop() -> np.ndarray:
    """Water, shore and rocks by full daylight for each colour of water, f32[3,3,64,64]."""
    depth = np.clip((SHORE - 1) / 18, 0, 1) ** 0.8
    ripples = np.sin(0.55 * X + 1.5 * np.sin(0.23 * Y)) * np.sin(0.47 * Y + 1.3 * np.sin(0.31 * X))
    water = _paint(_SHALLOW, _DEEP, depth) + 0.035 * ripples * depth
    picture = _paint(water, _WET, np.clip(0.5 - SHORE, 0, 1))
    picture = _paint(picture, _SAND, np.clip(-0.5 - SHORE, 0, 1))
    picture = _paint(picture, _FOAM, 0.8 * np.clip(1.2 - np.abs(SHORE - 0.6), 0, 1))
    for x, y, r in ROCKS:
        distance = np.hypot(X - x, Y - y)
        lit = np.hypot(X - x + 0.3 * r, Y - y + 0.35 * r)
        picture = _paint(picture, _FOAM, 0.45 * np.clip(r + 1.8 - distance, 0, 1))
        stone = _paint(_ROCK, _MOSS, np.clip(1 - lit / r, 0, 1))
        picture = _paint(picture, stone, np.clip(r + 0.5 - distance, 0, 1))
    return np.clip(picture, 0, 1).astype(np.float32)


def _streaks() -> np.ndarray:
    """Falling rain at each of 2 phases, f32[2,64,64]: it falls 8 pixels a frame and repeats every 16."""
    rng = np.random.default_rng(0)
    tile = np.zeros((16, SIZE), np.float32)
    for x, y in zip(rng.permutation(SIZE)[:14], rng.integers(0, 16, 20)):
        for i in range(5):
            tile[(y + i) % 16, (x - i // 2) % SIZE] = 0.3 + 0.14 * i
    rain = np.tile(tile, (SIZE // 16, 1))
    return np.stack([np.roll(rain, 8 * phase, axis=0) for phase in range(2)])


_BACKDROP = _backdrop()
_STREAKS = _streaks()
_LOOK = (MOVES / np.maximum(np.linalg.norm(MOVES, axis=1, keepdims=True), 1)).astype(np.float32)


def draw(state: ReefState) -> jax.Array:
    """The frame that `state` shows, u8[64,64,3]."""
    dx, dy = X - state.body[0], Y - state.body[1]
    away = jnp.sqrt(dx**2 + dy**2)
    rain = (state.scene.weather == 1).astype(jnp.float32)
    hour = jnp.asarray(_HOUR)[state.scene.time]
    lamp = state.controls[LIGHT] * _LAMP * jnp.exp(-((away / 13) ** 2))
    light = hour + (1.15 - hour) * lamp

    picture = _paint(jnp.asarray(_BACKDROP)[state.scene.water], _MIST, 0.25 * rain) * light + 0.18 * lamp
    # Whatever lives here shines a little by itself, so that no night hides it.
    brush = lambda picture, colour, alpha: _paint(picture, colour * (0.45 + 0.55 * light), alpha)
    picture = _pearl(picture, brush, state)
    picture = _fish(picture, brush, state)
    picture = _body(picture, brush, state, dx, dy)
    call = state.controls[CALL]
    ring = _cover(jnp.abs(away - (BODY_RADIUS + 1 + 1.5 * call)), 0.8)
    picture = _paint(picture, _WHITE, 0.75 * ring * (call > 0))
    picture = _paint(picture, _WHITE, 0.3 * rain * jnp.asarray(_STREAKS)[state.clock % 2])
    return (jnp.clip(picture, 0, 1) * 255 + 0.5).astype(jnp.uint8).transpose(1, 2, 0)


def _pearl(picture, brush, state):
    x, y = jnp.asarray(PEARLS)[state.pearl]
    grown = PEARL_RADIUS * state.pearl_age / RIPE
    picture = brush(picture, _INK, 0.35 * _cover(jnp.hypot(X - x - 0.7, Y - y - 1), grown))
    picture = brush(picture, _PEARL, _cover(jnp.hypot(X - x, Y - y), grown))
    return brush(picture, _SHEEN, _cover(jnp.hypot(X - x + 1, Y - y + 1), 0.3 * grown))


def _fish(picture, brush, state):
    dx, dy = (X - state.fish[0]) * state.fish_way[0], Y - state.fish[1]  # it looks where it goes
    fin = jnp.minimum(jnp.clip(-3.5 - dx, 0, 1), jnp.clip(dx + 8.5, 0, 1))
    picture = brush(picture, _STRIPE, fin * jnp.clip(-1.5 - 0.7 * dx - jnp.abs(dy), 0, 1))
    stripe = jnp.clip(1.5 - jnp.abs(dx + 1), 0, 1)
    body = _cover(jnp.hypot(dx, 1.3 * dy), FISH_RADIUS)
    picture = brush(picture, _paint(_YELLOW, _STRIPE, stripe), body)
    return brush(picture, _INK, _cover(jnp.hypot(dx - 2.6, dy + 0.8), 0.8))


def _body(picture, brush, state, dx, dy):
    happy = jnp.clip(3 - state.age[CHIME] / SAMPLES, 0, 1)  # it glows with each pearl
    skin = _paint(_CORAL, _GOLD, happy)
    skin = _paint(skin, _WHITE, 0.5 * jnp.clip(1 - jnp.hypot(dx + 1.5, dy + 2) / 4, 0, 1))
    away = jnp.hypot(dx, dy)
    picture = brush(picture, _RIM, _cover(away, BODY_RADIUS))
    picture = brush(picture, skin, _cover(away, BODY_RADIUS - 0.9))
    look = jnp.asarray(_LOOK)[state.facing]
    lid = jnp.where(state.touching > 0, 2.0, 1.0)  # it squints where it bumped
    x, y = dx - 2.2 * look[0], dy - 2.2 * look[1]
    picture = brush(picture, _WHITE, _cover(jnp.hypot(x, lid * y), 2.5))
    return brush(picture, _INK, _cover(jnp.hypot(x - 0.9 * look[0], lid * (y - 0.9 * look[1])), 1.3))
