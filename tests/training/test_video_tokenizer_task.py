"""What a patch shows and what its frame is like are told apart by changes of light alone, without labels."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oyster_jax.config import QuantizerConfig
from oyster_jax.config_experiment import StageConfig, TrainConfig
from oyster_jax.models.video_tokenizer import frame_positions
from oyster_jax.training.loop import TrainState, make_train_step
from oyster_jax.training.optimizer import make_optimizer
from oyster_jax.training.tasks.tokenizers import VideoTokenizerTask

LIGHTS = np.array([(1.0, 1.0, 1.0), (0.9, 0.5, 0.2), (0.1, 0.3, 0.6)])
STEPS, RENEW = 600, 60


@pytest.fixture(scope="module")
def shapes(config):
    """Eight patches of black and white, [8, patch, patch, 1]."""
    return np.random.default_rng(0).integers(0, 2, (8, config.video_tokenizer.patch, config.video_tokenizer.patch, 1))


def clips(rng, shapes, grid, count):
    """Two frames each of random patches, in two lights, uint8 [B, 2, H, W, 3]; which they are, [B, 2, N] and [B, 2]."""
    kinds = rng.integers(0, len(shapes), (count, 1, *grid)).repeat(2, 1)
    moved = rng.random(kinds.shape) < 0.1  # some do change, at the same time
    kinds = np.where(moved, rng.integers(0, len(shapes), kinds.shape), kinds)
    light = np.argsort(rng.random((count, len(LIGHTS))), axis=1)[:, :2]
    pixels = shapes[kinds].transpose(0, 1, 2, 4, 3, 5, 6)
    pixels = pixels.reshape(count, 2, grid[0] * shapes.shape[1], grid[1] * shapes.shape[2], 1)
    video = 255 * (0.2 + 0.8 * pixels) * LIGHTS[light][:, :, None, None]
    return video.astype(np.uint8), kinds.reshape(count, 2, -1), light


@pytest.fixture(scope="module")
def trained(config, shapes):
    """The task, and its parameters after some hundred steps."""
    c = config.video_tokenizer
    none = dataclasses.replace(c.encoder, layers=0)
    c = dataclasses.replace(
        c,
        patch_layers=1,
        patch_mean=False,
        patch_place=False,
        encoder=none,
        decoder=none,
        frame_codes=4,
        quantizer=QuantizerConfig("vq", codes=12, dim=6),
    )
    stage = StageConfig(steps=STEPS, batch=16, frames=2, learning_rate=5e-3, warmup=20)
    task = VideoTokenizerTask(dataclasses.replace(config, video_tokenizer=c), TrainConfig(video_tokenizer=stage))
    rng, key = np.random.default_rng(1), jax.random.key(0)
    batch = lambda count: {"video": jnp.asarray(clips(rng, shapes, c.grid, count)[0])}
    params = nn.unbox(jax.jit(task.init)(key))
    state = TrainState(jnp.zeros((), jnp.int32), params, make_optimizer(stage).init(params), None)
    step, renew = jax.jit(make_train_step(task)), jax.jit(task.renew)
    for i in range(STEPS):
        state, _ = step(state, batch(16), key)
        if i % RENEW == RENEW - 1 and i < 0.9 * STEPS:
            state = state._replace(params=renew(state.params, batch(128)))
    return task, state.params


def test_a_patch_keeps_its_code_when_the_light_changes(trained, shapes):
    task, params = trained
    c = task.world.video_tokenizer
    video, kinds, light = clips(np.random.default_rng(2), shapes, c.grid, 64)
    run = lambda x, method: task.model.apply({"params": params}, x, frame_positions(64, 2), method=method)[0]
    tokens = np.asarray(run(jnp.asarray(video), "encode"))
    same = kinds[:, 0] == kinds[:, 1]
    kept = tokens[:, 0, :-1] == tokens[:, 1, :-1]
    assert kept[same].mean() > 0.95 and kept[~same].mean() < 0.05
    of_frame = tokens[..., -1]
    assert all(len(np.unique(light[of_frame == code])) == 1 for code in np.unique(of_frame)), "it is its light"
    assert jnp.mean((run(tokens, "decode") - video / 255.0) ** 2) < 1e-3
