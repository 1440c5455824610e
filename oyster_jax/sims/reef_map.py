"""The reef's geography: sizes, rates, tiles, and where things may be. Pixels, x to the right, y down.

The bay is laid with tiles of 8 x 8 pixels, and everything that moves does so by STEP = 4 pixels. So a patch of 8 x 8
pixels holds one of a few thousand pictures, which is what makes this world small enough to be learnt on a CPU.
"""

from fractions import Fraction

import numpy as np

from oyster_jax.config import MediaSpec

MEDIA = MediaSpec(fps=Fraction(15), sample_rate=15_360, height=64, width=64)
SIZE = MEDIA.height
SAMPLES = MEDIA.samples_per_frame
TILE, STEP = 8, 4

# ~ water, s sand, * sand with a shell, r rock, L a lantern's post
_MAP = """
    Lssss*sL
    s~~~~~~s
    s~~~~~~s
    s~~~~~~s
    s~~~~~~*
    r~~~~~~s
    rr~~~~~s
    Lrs*sssL
"""
TILES = np.array([list(row) for row in _MAP.split()])

BODY_RADIUS = 6.0  # of the swimmer and of the creature, and half the square that keeps off the shore
PEARL_RADIUS = 3.5

# The cycle of pearls, centres of tiles. Neighbours lie far apart, so that following it leads through the whole bay.
PEARLS = np.array([(12, 12), (52, 44), (28, 12), (36, 52), (12, 28), (52, 28), (20, 44), (52, 12)], np.int32)

Y, X = np.mgrid[:SIZE, :SIZE].astype(np.float32) + 0.5  # centres of pixels


def tiled(kind: str) -> np.ndarray:
    """Which pixels lie on tiles of this kind, bool[64,64]."""
    return np.kron(kind == TILES, np.ones((TILE, TILE), bool))


def _free() -> np.ndarray:
    """Where the centre of a swimmer or a creature may be, bool[16,16] by y and x in STEPs: its square is all water."""
    dry = np.pad(~tiled("~"), TILE, constant_values=True)
    free = np.zeros((SIZE // STEP, SIZE // STEP), bool)
    reach = int(BODY_RADIUS)
    for y, x in np.ndindex(free.shape):
        top, left = TILE + STEP * y - reach, TILE + STEP * x - reach
        free[y, x] = not dry[top : top + 2 * reach, left : left + 2 * reach].any()
    return free


FREE = _free()
