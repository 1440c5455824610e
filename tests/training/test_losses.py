"""The losses with a known answer."""

import jax.numpy as jnp
import numpy as np

from oyster_jax.training.losses import motion_weights, picture_loss, pool, steadiness_loss, still_patches


def test_a_lone_moving_pixel_weighs_more_than_one_of_a_crowd():
    video = np.zeros((1, 2, 32, 32, 3), np.uint8)
    video[0, 1, 4, 4] = 255  # a ball
    video[0, 1, 20:24, 16:28] = 255  # a wall
    weights = np.asarray(motion_weights(video, weight=3.0, patch=8))[0, 1, :, :, 0]
    assert weights[4, 4] > 5 * weights[22, 22] > 5 * weights[0, 31] == 5.0


def test_the_patch_of_a_lone_moving_pixel_weighs_as_much_as_the_pixel():
    """Ghosts of a ball, elsewhere in its patch, are not to be had for nothing."""
    video = np.zeros((1, 2, 32, 32, 3), np.uint8)
    video[0, 1, 4, 4] = 255
    extra = np.asarray(motion_weights(video, weight=3.0, patch=8))[0, 1, :, :, 0] - 1
    ball, ghosts = extra[4, 4], extra[:8, :8].sum() - extra[4, 4]
    np.testing.assert_allclose(ball / ghosts, 65 / 63, rtol=1e-5)
    assert not extra[8:].any() and not extra[:, 8:].any()
    np.testing.assert_allclose(extra.mean(), 3, rtol=1e-5)


def test_a_near_miss_of_a_ball_costs_less_than_a_far_one_and_a_blur_less_than_nothing():
    """In squared pixels alone all misses are alike, and worse than no ball."""
    picture = lambda row, column: (
        np.zeros((1, 1, 16, 16, 3), np.float32)
        + (np.arange(16)[:, None, None] == row) * (np.arange(16)[:, None] == column)
    )
    truth, even = (picture(4, 4) * 255).astype(np.uint8), jnp.ones((1, 1, 16, 16, 1))
    loss = lambda pixels: float(picture_loss(jnp.asarray(pixels), truth, even))
    assert loss(picture(4, 4)) == 0 < loss(picture(4, 5)) < loss(picture(4, 6)) < loss(picture(4, 12))
    half_patch = sum(picture(r, c) for r in range(4, 8) for c in range(0, 8)) / 32
    assert loss(half_patch) < 0.8 * loss(picture(40, 40))


def test_pooling_takes_means_of_blocks_and_drops_the_rest():
    x = np.random.default_rng(0).normal(size=(2, 6, 7, 3))
    y = pool(x, 2)
    assert y.shape == (2, 3, 3, 3)
    np.testing.assert_allclose(y[1, 2, 1], x[1, 4:6, 2:4].mean((0, 1)))


def test_steadiness_counts_flips_of_still_patches_alone():
    """Two patches of two frames: the left one moves, the right one stays. Only what the right one does counts."""
    video = np.zeros((1, 2, 8, 16, 3), np.uint8)
    video[0, 1, :, :8] = 200

    def loss(left, right):
        z = jnp.array([[[[1.0], [-1.0]], [[left], [right]]]])  # [B, T, N, code_dim]
        return float(steadiness_loss(z, jnp.round(z), still_patches(video, patch=8)))

    assert loss(left=-1.0, right=-1.0) == loss(left=1.0, right=-1.0) == 0
    assert loss(left=1.0, right=0.0) > 0.5
    # Relative to the spread: latents ten times as small that stray ten times less are no better.
    small = jnp.array([[[[0.1], [-0.1]], [[0.1], [0.0]]]])
    assert float(steadiness_loss(small, small, still_patches(video, patch=8))) > 0.2
