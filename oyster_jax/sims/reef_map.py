"""The reef's geography: sizes, rates, tiles, and where things may be. Pixels, x to the right, y down.

Two places lie on one map: a *bay*, as large as the screen, and below it the open *reef*, six times as large, which is
seen through a camera that follows the swimmer. Coordinates are those of the map; those of a frame are less by `camera`.

Both are laid with tiles of 8 x 8 pixels. Whatever moves fills a tile and goes from tile to tile, as pieces do on a
board. So a patch of 8 x 8 pixels holds one of some hundred pictures, and what comes into a patch comes from next door
as it was: that makes this world small enough to be learnt on a CPU, and to hold for a minute. The water is a rectangle,
so that whoever swims against the shore is soon where anybody else would be who did the same.
"""

from fractions import Fraction

import jax.numpy as jnp
import numpy as np

from oyster_jax.config import MediaSpec

MEDIA = MediaSpec(fps=Fraction(15), sample_rate=15_360, height=64, width=64)
SIZE = MEDIA.height
SAMPLES = MEDIA.samples_per_frame
TILE = 8

# ~ water; in it c coral, w weed, o a bank of sand, b a buoy with a lantern: all can be swum over, and are hidden while
# they are. s sand, * sand with a shell, r rock, L a lantern's post: the shore.
_BAY = """
    Lssss*sL
    s~~~~~~s
    s~~~~~~s
    s~~~~~~s
    s~~~~~~*
    r~~~~~~s
    r~~~~~~s
    Lrs*sssL
"""
_OPEN = """
    Lss*sssssLsssrrssssL
    s~~~~~~~~~~~~~~~w~~s
    s~cc~~~~~w~~~~~~ww~s
    s~ccc~~~~ww~~~~~~w~s
    s~~c~~b~~~w~~~o~~~~r
    s~~~~~~~~~~~~oo~~~~r
    *~~~~o~~~~~~~~~~b~~s
    s~~~ooo~~~~c~~~~~~~s
    s~~~~o~~~~ccc~~~~~~s
    L~~~~~~~~~~c~~~~ww~L
    s~w~~~~~~~~~~~~~~w~s
    s~ww~~~~b~~~~~o~~~~s
    s~~w~~~~~~~~~ooo~~~*
    r~~~~~~~~~~~~~o~~~~s
    r~~~~~c~~~~w~~~~~~~s
    s~~~~cc~~~www~~~~~~s
    s~b~~~c~~~~w~~~~c~~s
    s~~~~~~~~~~~~~~cc~~s
    s~~~~~~~o~~~~~~~~~~s
    Ls*ssssssssLsrrsss*L
"""


def _atlas(*maps: str) -> np.ndarray:
    """Maps one below the other; # is nowhere."""
    rows = [row for one in maps for row in one.split()]
    return np.array([list(row.ljust(max(map(len, rows)), "#")) for row in rows])


TILES = _atlas(_BAY, _OPEN)
OFFSHORE = SIZE  # y from which on the open reef lies

PEARL_RADIUS = 3.5

# Where pearls grow, column and row on the map, in plain water: in the bay, and in the open reef.
_IN_THE_BAY = ((2, 1), (6, 2), (3, 3), (1, 5), (5, 6))
_OFFSHORE = ((3, 9), (13, 10), (18, 10), (8, 13), (2, 14), (17, 15), (8, 17))
_OFFSHORE += ((12, 20), (4, 21), (17, 22), (9, 25), (13, 25), (5, 26), (17, 26))
PEARLS = np.array(_IN_THE_BAY + _OFFSHORE, np.int32) * TILE + TILE // 2  # [19, 2], the centres of their tiles
PEARL_OF = np.full(TILES.shape, len(PEARLS))  # which pearl grows on a tile, int[28,20] by row and column; 19: none
PEARL_OF[tuple(PEARLS.T[::-1] // TILE)] = np.arange(len(PEARLS))

Y, X = np.mgrid[:SIZE, :SIZE].astype(np.float32) + 0.5  # centres of pixels of a frame


def tiled(kinds: str) -> np.ndarray:
    """Which pixels of the map lie on tiles of these kinds, bool[224,160]."""
    return np.kron(np.isin(TILES, list(kinds)), np.ones((TILE, TILE), bool))


WATERY = "~cwob"
FREE = np.isin(TILES, list(WATERY))  # where a swimmer or a creature may be, bool[28,20] by row and column
_SEEN_TILES = SIZE // TILE


def centre(column_row):
    """The centre of tiles [..., 2] in pixels, as x and y."""
    return column_row * TILE + TILE // 2


def camera(body):
    """The map's pixel, as x and y, in the upper left corner of the frame that shows a swimmer at `body` i32[2].

    It goes from tile to tile, and stops at the edge of the map.
    """
    rows, columns = TILES.shape
    first_row = OFFSHORE // TILE
    lowest = jnp.array([0, first_row])
    highest = jnp.array([columns - _SEEN_TILES, rows - _SEEN_TILES])
    tile = jnp.clip(body // TILE - _SEEN_TILES // 2, lowest, highest)
    return jnp.where(body[1] < OFFSHORE, 0, tile * TILE)
