"""The reef's geography: sizes, rates, the shore, the rocks, and where things may be. Pixels, x to the right, y down."""

from fractions import Fraction

import numpy as np

from oyster_jax.config import MediaSpec

MEDIA = MediaSpec(fps=Fraction(15), sample_rate=15_360, height=64, width=64)
SIZE = MEDIA.height
SAMPLES = MEDIA.samples_per_frame

BODY_RADIUS = 5.5
FISH_RADIUS = 5.0
PEARL_RADIUS = 3.5
ROCKS = ((25.0, 38.0, 6.0), (41.0, 25.0, 5.0))  # x, y, radius; placed so that the fish is trapped nowhere

# The cycle of pearls. Neighbours lie far apart, so that following it leads through the whole bay.
PEARLS = np.array([(13, 14), (49, 47), (27, 12), (38, 51), (11, 28), (51, 35), (13, 51), (51, 12)], np.int32)

Y, X = np.mgrid[:SIZE, :SIZE].astype(np.float32)


def _shore_distance() -> np.ndarray:
    """Distance from the shore in pixels f32[64,64], positive in the water: a square bay with round corners."""
    corner, half, centre = 14.0, 27.5, (SIZE - 1) / 2
    dx, dy = (np.abs(axis - centre) - (half - corner) for axis in (X, Y))
    outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0)
    return corner - outside


SHORE = _shore_distance()


def free(radius: float) -> np.ndarray:
    """Where the centre of a disc may be, bool[64,64] by y and x: off the sand and off the rocks."""
    open_water = radius <= SHORE
    for x, y, r in ROCKS:
        open_water &= np.hypot(X - x, Y - y) >= radius + r
    return open_water


BODY_FREE = free(BODY_RADIUS)
FISH_FREE = free(FISH_RADIUS + 1)  # room for its tail
