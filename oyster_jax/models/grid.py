"""A picture's tokens as the grid that they make, and what lies next to each."""

import jax
import jax.numpy as jnp
import numpy as np

from oyster_jax.config import DynamicsConfig

AROUND = 9  # places that a token of a picture may come from: its own, and those next to it


def next_door(x_BTNF: jax.Array, cfg: DynamicsConfig, beyond) -> jax.Array:
    """Of each of a picture's tokens what is there and around it, [B, T, N, AROUND, F]; `beyond` the edge, and around
    tokens that have no place."""
    grid = as_grid(x_BTNF, cfg)
    padded = jnp.pad(grid, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)), constant_values=beyond)
    near = around_each(padded)
    alone = x_BTNF[:, :, near.shape[2] :, None]
    sides = AROUND // 2
    alone = jnp.pad(alone, ((0, 0), (0, 0), (0, 0), (sides, sides), (0, 0)), constant_values=beyond)
    return jnp.concatenate([near, alone], axis=2)


def around_each(padded: jax.Array) -> jax.Array:
    """A grid with one place more on each side, [B, T, rows + 2, columns + 2, F], to what is at and around each of its
    inner places, in their order, [B, T, rows * columns, AROUND, F]."""
    rows, columns = padded.shape[2] - 2, padded.shape[3] - 2
    near = jnp.stack([padded[:, :, y : y + rows, x : x + columns] for y, x in np.ndindex(3, 3)], axis=-2)
    return near.reshape(*padded.shape[:2], rows * columns, AROUND, -1)


def as_grid(x_BTNF: jax.Array, cfg: DynamicsConfig) -> jax.Array:
    """A picture's tokens, but for those that have no place, as the grid [B, T, rows, columns, F] that they make."""
    b, t, n, f = x_BTNF.shape
    return x_BTNF[:, :, : n - cfg.video_shared].reshape(b, t, -1, cfg.video_columns, f)
