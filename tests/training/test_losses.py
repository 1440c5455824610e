"""The losses with a known answer."""

import jax.numpy as jnp
import numpy as np

from oyster_jax.nn.quantizers import Quantized
from oyster_jax.training.losses import motion_weights, steadiness_loss


def test_a_lone_moving_pixel_weighs_more_than_one_of_a_crowd():
    video = np.zeros((1, 2, 32, 32, 3), np.uint8)
    video[0, 1, 4, 4] = 255  # a ball
    video[0, 1, 20:24, 16:28] = 255  # a wall
    weights = np.asarray(motion_weights(video, weight=3.0))[0, 1, :, :, 0]
    assert weights[4, 4] > 5 * weights[22, 22] > 5 * weights[0, 31] == 5.0


def test_steadiness_counts_flips_of_still_patches_alone():
    """Two patches of two frames: the left one moves, the right one stays. Only what the right one does counts."""
    video = np.zeros((1, 2, 8, 16, 3), np.uint8)
    video[0, 1, :, :8] = 200

    def loss(left, right):
        z = jnp.array([[[[1.0], [-1.0]], [[left], [right]]]])  # [B, T, N, code_dim]
        return float(steadiness_loss(video, Quantized(jnp.round(z), z, z[..., 0].astype(int), jnp.zeros(())), patch=8))

    assert loss(left=-1.0, right=-1.0) == loss(left=1.0, right=-1.0) == 0
    assert loss(left=1.0, right=0.0) > 0.5
    # Relative to the spread: latents ten times as small that stray ten times less are no better.
    small = jnp.array([[[[0.1], [-0.1]], [[0.1], [0.0]]]])
    scaled = steadiness_loss(video, Quantized(small, small, jnp.zeros((1, 2, 2), int), jnp.zeros(())), patch=8)
    assert float(scaled) > 0.2
