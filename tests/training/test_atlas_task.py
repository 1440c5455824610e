"""What comes into view is learnt, and read on by the dynamics."""

import dataclasses
from fractions import Fraction

import flax.linen as nn
import jax
import numpy as np
import pytest

from oyster_jax.config import (
    ActionFactor,
    ActionSpace,
    DynamicsConfig,
    MediaSpec,
    QuantizerConfig,
    VideoTokenizerConfig,
)
from oyster_jax.config_experiment import ExperimentConfig, StageConfig, TrainConfig, resolve
from oyster_jax.errors import OysterError
from oyster_jax.models.world_model import World
from oyster_jax.sampling.rollout import encode
from oyster_jax.training.deepen import READS_ATLAS
from oyster_jax.training.loop import init_state, make_train_step
from oyster_jax.training.tasks import make_tasks
from oyster_jax.training.tasks.dynamics import two_streams
from oyster_jax.training.train import initial_parts

MAP, VIEW, MOVES = 12, 5, np.array([(0, 1), (1, 0), (0, -1), (-1, 0)])  # right, down, left, up, as row and column


def tasks_of(config, atlas, steps=1):
    config = dataclasses.replace(config, dynamics=dataclasses.replace(config.dynamics, atlas=atlas))
    stage = StageConfig(steps=steps, batch=16, frames=8, learning_rate=1e-2)
    return {task.name: task for task in make_tasks(config, TrainConfig(atlas=stage))}


def walks(rng, land, count, frames):
    """Windows on a map, [count, frames, VIEW * VIEW], which go a tile each frame, and stop at its edges."""
    place = rng.integers(0, MAP - VIEW + 1, (count, 2))
    tokens, action = [], rng.integers(0, len(MOVES), (count, frames))
    for t in range(frames):
        tokens.append([land[y : y + VIEW, x : x + VIEW].ravel() for y, x in place])
        place = np.clip(place + MOVES[action[:, t]], 0, MAP - VIEW)
    return {"video_tokens": np.stack(tokens, 1), "action": action[..., None].astype(np.int32)}


def walker():
    """The atlas stage of a world of six kinds of tiles, seen VIEW by VIEW, in which one goes right, down, left, up."""
    media = MediaSpec(Fraction(15), 15_360, height=8 * VIEW, width=8 * VIEW)
    actions = ActionSpace((ActionFactor("go", ("right", "down", "left", "up")),))
    experiment = ExperimentConfig(
        video_tokenizer=VideoTokenizerConfig(quantizer=QuantizerConfig("vq", codes=6)),
        dynamics=DynamicsConfig(atlas=14),
    )
    return tasks_of(resolve(experiment, media, actions), 14, steps=300)["atlas"]


def test_what_comes_into_view_is_learnt():
    """On a map of few kinds of tiles at random, from walks that never saw all of it at once."""
    task, rng = walker(), np.random.default_rng(1)
    land = rng.integers(0, 6, (MAP, MAP))
    state, step = nn.unbox(init_state(task, jax.random.key(0))), jax.jit(make_train_step(task))
    for _ in range(300):
        state, _ = step(state, walks(rng, land, 16, 8), jax.random.key(1))
    metrics, _ = jax.jit(task.evaluate)(state.params, walks(rng, land, 64, 8), jax.random.key(2))
    assert metrics["told_of_new"] > 0.9  # by chance 1/6


def test_it_is_learnt_from_pictures_that_scroll_while_there_are_some():
    """Of a quarter of windows that scroll and the rest, which stand still, the rest tells nothing."""
    task, rng = walker(), np.random.default_rng(1)
    land = rng.integers(0, 6, (MAP, MAP))
    params = nn.unbox(task.init(jax.random.key(0)))
    right = np.stack([[land[y : y + VIEW, x : x + VIEW].ravel() for x in range(MAP - VIEW + 1)] for y in range(4)])
    still = np.broadcast_to(right[:1, :1], (12, *right.shape[1:]))
    loss = jax.jit(
        lambda tokens: task.loss(params, {"video_tokens": tokens, "action": action}, jax.random.key(2), 0)[0]
    )
    action = np.zeros((16, right.shape[1], 1), np.int32)
    other = loss(np.concatenate([right, (still + 1) % 6]))
    np.testing.assert_allclose(loss(np.concatenate([right, still])), other, rtol=1e-6)
    assert abs(loss(np.concatenate([(right + 1) % 6, still])) - other) > 1e-3


def test_dynamics_read_the_map_that_was_learnt_and_begin_as_those_without_one(world, clip):
    """A world whose dynamics read none goes on with one: as it was at first, and it can learn to read it."""
    tasks = tasks_of(world.config, 6)
    without = {k: v for k, v in world.params["dynamics"].items() if k not in ("explorer", *READS_ATLAS)}
    config = dataclasses.replace(world.config, dynamics=dataclasses.replace(world.config.dynamics, atlas=0))
    world = World(world.params | {"dynamics": without}, config)
    with pytest.raises(OysterError, match="train the stage atlas"):
        initial_parts(tasks["dynamics"], world)
    learnt = nn.unbox(tasks["atlas"].init(jax.random.key(3)))
    task = dataclasses.replace(tasks["dynamics"], atlas=learnt)
    begin = initial_parts(task, world)
    fresh = nn.unbox(task.init(jax.random.key(4)))
    for params in (begin, fresh):
        jax.tree.map(np.testing.assert_array_equal, params["explorer"], learnt)
    assert initial_parts(task, dataclasses.replace(world, params=world.params | {"dynamics": begin})) is begin

    batch = {"action": clip.action, "prompt": clip.prompt, "prompt_id": clip.prompt_id}
    tokens = encode(world, clip)
    hidden = jax.tree.map(lambda x: x == x, tokens)
    logits = lambda config: jax.jit(lambda params: two_streams(config, params, batch, tokens, hidden))
    was, now = logits(world.config)(world.params["dynamics"]), logits(task.world)(begin)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), was, now)
    slopes = jax.jit(jax.grad(lambda params: logits(task.world)(params).video.var()))(begin)
    assert all(np.abs(slopes[name]["kernel"]).max() > 0 for name in READS_ATLAS)
