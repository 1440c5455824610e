"""A world goes on in more layers where it was, and learns in them."""

import dataclasses

import jax
import numpy as np
import pytest

from oyster_jax.config_experiment import TrainConfig
from oyster_jax.errors import OysterError
from oyster_jax.sampling.rollout import encode
from oyster_jax.training.deepen import deepened
from oyster_jax.training.tasks import make_tasks
from oyster_jax.training.tasks.dynamics import two_streams
from oyster_jax.training.train import initial_parts


def with_layers(config, layers, **changes):
    transformer = dataclasses.replace(config.dynamics.transformer, layers=layers, **changes)
    return dataclasses.replace(config, dynamics=dataclasses.replace(config.dynamics, transformer=transformer))


def dynamics_task(config):
    return {task.name: task for task in make_tasks(config, TrainConfig())}["dynamics"]


@pytest.mark.parametrize("times", [2, 3])
def test_a_deeper_model_begins_as_the_shallower_and_all_its_outputs_learn(world, clip, times):
    have = world.config.dynamics.transformer.layers
    config = with_layers(world.config, have * times)
    deep = initial_parts(dynamics_task(config), world)
    batch = {"action": clip.action, "prompt": clip.prompt, "prompt_id": clip.prompt_id}
    tokens = encode(world, clip)
    hidden = jax.tree.map(lambda x: x == x, tokens)

    def logits(config):
        return jax.jit(lambda params: two_streams(config, params, batch, tokens, hidden))

    was, now = logits(world.config)(world.params["dynamics"]), logits(config)(deep)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), was, now)
    slopes = jax.jit(jax.grad(lambda params: logits(config)(params).video.var()))(deep)["transformer"]
    new = set(slopes) - set(world.params["dynamics"]["transformer"])
    assert len(new) == have * (times - 1)
    for block in new:
        for part, adds in (("spatial", "out"), ("temporal", "out"), ("mlp", "down")):
            assert np.abs(slopes[block]["layer_0"][part][adds]["kernel"]).max() > 0


def test_who_has_all_layers_stays_as_it_is(world):
    assert deepened(world.params["dynamics"], world.params["dynamics"]) is world.params["dynamics"]


def test_a_shallower_model_or_one_of_another_width_is_refused(world):
    layers = world.config.dynamics.transformer.layers
    for config in (with_layers(world.config, 1), with_layers(world.config, 2 * layers, mlp_ratio=3)):
        with pytest.raises(OysterError, match="another dynamics than the config"):
            initial_parts(dynamics_task(config), world)
