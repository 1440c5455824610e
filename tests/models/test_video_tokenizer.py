"""The video tokenizer is causal, and frame by frame it computes what it computes on a whole clip."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oyster_jax.config import QuantizerConfig
from oyster_jax.models.video_tokenizer import VideoTokenizer, frame_positions, patchify, unpatchify
from oyster_jax.sampling import cache


def run(world, method, x, position, past=None, past_mask=None):
    return world.apply("video_tokenizer", x, position, past, past_mask, method=method)


whole = jax.jit(lambda world, method, x: run(world, method, x, frame_positions(*x.shape[:2]))[0], static_argnums=1)


def inputs(world, clip, method):
    c = world.config.video_tokenizer
    if method == "latents":
        return clip.video, c.encoder
    tokens = np.random.default_rng(2).integers(0, c.quantizer.codebook_size, (3, 12, c.tokens))
    return jnp.asarray(tokens, jnp.int32), c.decoder


@pytest.mark.parametrize("method", ["latents", "decode"])
def test_no_frame_sees_its_future(world, clip, method):
    x, transformer = inputs(world, clip, method)
    frame = 4
    changed = x.at[:, frame].set(x[:, frame] // 2 + 1)
    moved = jnp.abs(whole(world, method, x) - whole(world, method, changed)).reshape(3, 12, -1).max(axis=(0, 2))
    reach = transformer.layers * (transformer.window - 1)
    assert (moved[:frame] == 0).all()
    assert (moved[frame : frame + reach + 1] > 1e-4).all()  # it does see its past, as far as its windows reach
    assert (moved[frame + reach + 1 :] == 0).all()


@pytest.mark.parametrize("method", ["latents", "decode"])
def test_streaming_equals_the_whole_clip(world, clip, method):
    x, transformer = inputs(world, clip, method)

    def frame(past, step):
        x, t = step
        position = jnp.full(3, t)
        mask = cache.past_mask(position, transformer.window)
        y, present = run(world, method, x[:, None], position[:, None], past, mask)
        return cache.write(past, present, position, jnp.ones(3, bool), y), y[:, 0]

    empty = cache.init_cache(transformer, 3, world.config.video_tokenizer.patches)
    _, streamed = jax.jit(lambda x: jax.lax.scan(frame, empty, (x.swapaxes(0, 1), jnp.arange(12))))(x)
    np.testing.assert_allclose(streamed.swapaxes(0, 1), whole(world, method, x), atol=1e-4)


@pytest.mark.parametrize("mean", [True, False])
def test_without_transformer_layers_a_patch_sees_itself_and_its_frame(config, clip, mean):
    """Tokens of one frame, decoded without a memory; another patch counts through the frame's mean, if that is told."""
    c = config.video_tokenizer
    still = dataclasses.replace(c.encoder, layers=0)
    c = dataclasses.replace(
        c,
        patch_layers=1,
        patch_mean=mean,
        frame_codes=0,
        encoder=still,
        decoder=still,
        quantizer=QuantizerConfig("vq", codes=32, dim=6),
    )
    model = VideoTokenizer(c)
    params = nn.unbox(model.init(jax.random.key(0), clip.video))
    position = frame_positions(*clip.video.shape[:2])
    latents = jax.jit(lambda x: model.apply(params, x, position, method="latents"))
    z, present = latents(clip.video)
    assert present == ()
    moved, _ = latents(clip.video.at[:, 4].set(255 - clip.video[:, 4]))
    changed = jnp.abs(moved - z).max((0, 2, 3))
    assert changed[4] > 1e-3 and changed.at[4].set(0).max() == 0
    corner = clip.video.at[:, 4, : c.patch, : c.patch].add(100)
    changed = jnp.abs(latents(corner)[0] - z)[:, 4].max((0, 2))
    assert changed[0] > 3 * changed[1:].max()
    assert (changed[1:].max() > 0) == mean


def test_what_looks_alike_has_one_token_in_every_place_if_no_place_is_told(config, clip):
    """And is drawn alike: rolled by two patches, a picture's latents and its drawing are rolled, and are the same."""
    c = config.video_tokenizer
    still = dataclasses.replace(c.encoder, layers=0)
    alone = dict(patch_layers=1, patch_mean=False, encoder=still, decoder=still)

    def latents_and_pixels(place: bool, video):
        model = VideoTokenizer(dataclasses.replace(c, patch_place=place, **alone))
        params = nn.unbox(model.init(jax.random.key(0), clip.video))
        position = frame_positions(*video.shape[:2])
        z, _ = model.apply(params, video, position, method="latents")
        pixels, _ = model.apply(
            params, model.apply(params, video, position, method="encode")[0], position, method="decode"
        )
        return z[:, :, : c.patches].reshape(*z.shape[:2], *c.grid, -1), pixels

    rolled = jnp.roll(clip.video, 2 * c.patch, axis=3)
    for place in (False, True):
        (z, pixels), (moved_z, moved_pixels) = latents_and_pixels(place, clip.video), latents_and_pixels(place, rolled)
        assert np.allclose(jnp.roll(z, 2, axis=3), moved_z, atol=1e-5) != place
        assert np.allclose(jnp.roll(pixels, 2 * c.patch, axis=3), moved_pixels, atol=1e-5) != place


def test_patches_know_of_each_other_by_their_frames_code_alone(config, clip):
    """A corner that changes moves the frame's latent, and other patches' where the frame has another code for it."""
    c = config.video_tokenizer
    still = dataclasses.replace(c.encoder, layers=0)
    c = dataclasses.replace(c, patch_layers=1, patch_mean=False, encoder=still, decoder=still)
    model = VideoTokenizer(c)
    params = nn.unbox(model.init(jax.random.key(0), clip.video))
    position = frame_positions(*clip.video.shape[:2])
    latents = jax.jit(lambda x: model.apply(params, x, position, method="latents")[0])
    codes = lambda z: model.apply(params, z, method="quantize").code
    z, other = latents(clip.video), latents(clip.video.at[:, :, : c.patch, : c.patch].set(255))
    same = (codes(z) == codes(other))[..., -1]
    assert 0 < same.sum() < same.size, "frames of either kind, or nothing is tested"
    moved = jnp.abs(other - z).max(-1)
    assert (moved[..., 0] > 1e-4).all() and (moved[..., -1] > 1e-4).all()
    assert ((moved[..., 1:-1].max(-1) < 1e-5) == same).all()
    # And a frame's code is in every patch that is drawn.
    tokens, first = codes(z), c.quantizer.codebook_size
    other = tokens.at[..., -1].set((tokens[..., -1] - first + 1) % c.frame_codes + first)
    drawn, light = (model.apply(params, t, position, method="decode")[0] for t in (tokens, other))
    assert (jnp.abs(patchify(drawn - light, c.patch)).max(-1) > 1e-4).all()


def test_a_code_where_it_cannot_be_is_drawn_as_the_nearest_that_can(world):
    c = world.config.video_tokenizer
    tokens = np.random.default_rng(0).integers(0, c.codes, (2, 1, c.tokens)).astype(np.int32)
    fit = np.minimum(tokens, c.quantizer.codebook_size - 1)
    fit[..., -1] = np.maximum(tokens[..., -1], c.quantizer.codebook_size)
    assert (fit != tokens).any()
    drawn = whole(world, "decode", tokens)
    assert np.isfinite(drawn).all()
    np.testing.assert_array_equal(drawn, whole(world, "decode", fit))


def test_patches_are_in_reading_order(config):
    c = config.video_tokenizer
    image = np.zeros((1, 1, c.height, c.width, 3), np.float32)
    image[0, 0, 0, -1] = 1  # the top right pixel
    patches = patchify(jnp.asarray(image), c.patch)
    assert np.flatnonzero(np.asarray(patches[0, 0]).any(-1)).tolist() == [c.grid[1] - 1]
    np.testing.assert_array_equal(unpatchify(patches, c.patch, c.height, c.width), image)
