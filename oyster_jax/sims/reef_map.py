"""The reef's geography: sizes, rates, tiles, and where things may be. Pixels, x to the right, y down.

The bay is laid with tiles of 8 x 8 pixels. Whatever moves fills a tile and goes from tile to tile, as pieces do on a
board. So a patch of 8 x 8 pixels holds one of some hundred pictures, and what comes into a patch comes from next door
as it was: that makes this world small enough to be learnt on a CPU, and to hold for a minute. The water is a rectangle,
so that whoever swims against the shore is soon where anybody else would be who did the same.
"""

from fractions import Fraction

import numpy as np

from oyster_jax.config import MediaSpec

MEDIA = MediaSpec(fps=Fraction(15), sample_rate=15_360, height=64, width=64)
SIZE = MEDIA.height
SAMPLES = MEDIA.samples_per_frame
TILE = 8

# ~ water, s sand, * sand with a shell, r rock, L a lantern's post
_MAP = """
    Lssss*sL
    s~~~~~~s
    s~~~~~~s
    s~~~~~~s
    s~~~~~~*
    r~~~~~~s
    r~~~~~~s
    Lrs*sssL
"""
TILES = np.array([list(row) for row in _MAP.split()])

PEARL_RADIUS = 3.5

# The cycle of pearls, centres of tiles. Neighbours lie far apart, so that following it leads through the whole bay.
PEARLS = np.array([(12, 12), (52, 44), (28, 12), (36, 52), (12, 28), (52, 28), (20, 44), (52, 12)], np.int32)

Y, X = np.mgrid[:SIZE, :SIZE].astype(np.float32) + 0.5  # centres of pixels


def tiled(kind: str) -> np.ndarray:
    """Which pixels lie on tiles of this kind, bool[64,64]."""
    return np.kron(kind == TILES, np.ones((TILE, TILE), bool))


FREE = TILES == "~"  # where a swimmer or a creature may be, bool[8,8] by row and column


def centre(column_row):
    """The centre of tiles [..., 2] in pixels, as x and y."""
    return column_row * TILE + TILE // 2
