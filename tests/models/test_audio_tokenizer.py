"""The audio tokenizer is causal, streams exactly, and its hops and frames meet without a click."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oyster_jax.models.audio_tokenizer import initial_state

run = jax.jit(
    lambda world, method, x, state=None: world.apply("audio_tokenizer", x, state, method=method), static_argnums=1
)


def inputs(world, clip, method):
    c = world.config.audio_tokenizer
    if method == "latents":
        return clip.audio, c.context
    tokens = np.random.default_rng(2).integers(0, c.quantizer.codebook_size, (3, 12, c.tokens))
    return jnp.asarray(tokens, jnp.int32), c.overlap


@pytest.mark.parametrize("method", ["latents", "decode"])
def test_no_frame_hears_its_future(world, clip, method):
    x, _ = inputs(world, clip, method)
    frame = 4
    changed = x.at[:, frame].set((x[:, frame] + 1) / 2 if method == "latents" else x[:, frame] // 2)
    a, b = run(world, method, x)[0], run(world, method, changed)[0]
    moved = jnp.abs(a - b).reshape(3, 12, -1).max(axis=(0, 2))
    assert (moved[:frame] == 0).all()
    assert (moved[frame : frame + 2] > 1e-4).all()


@pytest.mark.parametrize("method", ["latents", "decode"])
def test_streaming_equals_the_whole_clip(world, clip, method):
    x, edge = inputs(world, clip, method)

    def frame(state, x):
        y, state = world.apply("audio_tokenizer", x[:, None], state, method=method)
        return state, y[:, 0]

    start = initial_state(world.config.audio_tokenizer, 3, edge)
    _, streamed = jax.jit(lambda x: jax.lax.scan(frame, start, x.swapaxes(0, 1)))(x)
    np.testing.assert_allclose(streamed.swapaxes(0, 1), run(world, method, x)[0], atol=1e-5)


def test_hops_and_frames_meet_without_a_click(world):
    """200 streamed frames of a decoder whose every hop is flat, at a level of its own: only the joints can jump."""
    c = world.config.audio_tokenizer
    params = dict(world.params["audio_tokenizer"])
    level = np.random.default_rng(3).normal(size=(c.width, 1)) * np.ones(c.hop + c.overlap)
    params["wave_out"] = {"kernel": jnp.asarray(level, jnp.float32), "bias": jnp.zeros(c.hop + c.overlap)}
    flat = dataclasses.replace(world, params=world.params | {"audio_tokenizer": params})
    tokens = np.random.default_rng(4).integers(0, c.quantizer.codebook_size, (200, 1, 1, c.tokens))

    def frame(state, tokens, forget):
        y, state = flat.apply("audio_tokenizer", tokens, state, method="decode")
        return state._replace(edge=state.edge * (1 - forget)), y[0, 0]

    start = initial_state(c, 1, c.overlap)
    play = jax.jit(lambda tokens, forget: jax.lax.scan(lambda s, x: frame(s, x, forget), start, tokens)[1])

    def clicks(sound, spacing):
        """Whether the largest jump between two stretches of `spacing` samples stands out from those within hops."""
        jump = np.abs(np.diff(np.asarray(sound).reshape(-1)))[c.samples_per_frame :]  # the first fades in from silence
        place = np.arange(len(jump)) + 1
        return jump[place % spacing == 0].max() > 1.5 * jump[place % c.hop != 0].max()

    sound = play(tokens, 0.0)
    assert np.abs(np.diff(sound[:, c.overlap :: c.hop])).max() > 0.5  # the hops do differ
    assert not clicks(sound, c.samples_per_frame) and not clicks(sound, c.hop)
    # The same measure finds the clicks of a decoder that forgets its tail between frames, and of one that never fades.
    assert clicks(play(tokens, 1.0), c.samples_per_frame)
    unfaded = np.repeat(np.asarray(sound)[:, c.hop - 1 :: c.hop], c.hop, axis=1)
    assert clicks(unfaded, c.samples_per_frame) and clicks(unfaded, c.hop)
