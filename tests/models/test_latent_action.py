"""A code names the change that it follows: later frames and what stands still say nothing to it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oyster_jax.models.latent_action import LatentActionModel, last_seen, narrowness

FRAMES = 6


@pytest.fixture(scope="module")
def clip(config):
    rng = np.random.default_rng(0)
    m = config.media
    video = rng.integers(0, 200, (1, FRAMES, m.height, m.width, 3)).astype(np.uint8)
    return video, rng.normal(size=(1, FRAMES, m.samples_per_frame)).astype(np.float32) * 0.2


@pytest.fixture(scope="module")
def model(config, lively, clip):
    """(video, audio) to (latents, what a training pass gives)."""
    module = LatentActionModel(config.latent_action)
    params = lively(jax.eval_shape(module.init, jax.random.key(0), *map(jnp.asarray, clip)))
    latents = jax.jit(lambda v, a: module.apply(params, v, a, method="latents"))
    predict = jax.jit(lambda v, a: module.apply(params, v, a))
    return lambda video, audio: (latents(video, audio), predict(video, audio))


@pytest.mark.parametrize("sense", ["picture", "sound"])
def test_a_frame_moves_nothing_of_the_transitions_before_it(model, clip, sense):
    video, audio = map(np.copy, clip)
    at = 4
    if sense == "picture":
        video[:, at] = 255 - video[:, at]
    else:
        audio[:, at] = audio[:, at] * 3 + 0.1
    (z, seen), (z_changed, seen_changed) = model(*clip), model(video, audio)
    np.testing.assert_allclose(z[:, : at - 1], z_changed[:, : at - 1], atol=1e-5)
    np.testing.assert_allclose(seen.video[:, : at - 1], seen_changed.video[:, : at - 1], atol=1e-5)
    np.testing.assert_allclose(seen.sound[:, : at - 1], seen_changed.sound[:, : at - 1], atol=1e-5)
    assert np.abs(z - z_changed)[:, at - 1].max() > 1e-2  # the transition into the frame


def test_what_stands_still_is_not_named(model, clip):
    """Other walls behind the same movements: the same latents. The prediction does see the walls."""
    video, audio = clip
    walls = np.random.default_rng(1).integers(0, 56, video.shape[2:]).astype(np.uint8)
    (z, seen), (z_walls, seen_walls) = model(video, audio), model(video + walls, audio)
    np.testing.assert_allclose(z, z_walls, atol=1e-4)
    assert np.abs(seen.video - seen_walls.video).max() > 0.1


def test_a_hidden_frame_is_stood_in_for_by_the_last_one_shown():
    x = jnp.arange(5.0)[None, :, None]
    hidden = jnp.array([[False, True, True, False, True]])
    assert last_seen(x, hidden)[0, :, 0].tolist() == [0, 0, 0, 3, 3]


def test_latents_that_hardly_differ_are_pulled_apart():
    """Filled space costs next to nothing; a narrow one costs more, and the pull apart does not vanish."""
    z = jnp.asarray(np.random.default_rng(0).normal(size=(100, 20, 2, 4)), jnp.float32)
    assert narrowness(1.1 * z) < 0.02
    assert narrowness(0.1 * z) > 0.8 and narrowness(z.at[..., 1].set(z[..., 0])) > 0.4
    pull = lambda scale: jax.grad(narrowness)(3 + scale * z)
    apart = lambda scale: jnp.std(pull(scale) - pull(scale).mean((0, 1)))
    assert apart(0.01) > 0.9 * apart(0.3) > 0
