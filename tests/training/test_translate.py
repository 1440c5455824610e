"""Dynamics know codes by their numbers; another tokenizer's numbers are told apart by where they stand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oyster_jax.data.pipeline import open_clips
from oyster_jax.models.world_model import World
from oyster_jax.sampling.rollout import encode
from oyster_jax.training.tasks.dynamics import two_streams
from oyster_jax.training.translate import together, translate


@pytest.fixture(scope="module")
def renumbered(world):
    """(the world with the vectors of its sound's codes in another order, which old code each new one is)."""
    tokenizer = world.params["audio_tokenizer"]
    book = tokenizer["quantizer"]["codebook"]
    order = np.random.default_rng(0).permutation(len(book))
    other = tokenizer | {"quantizer": {"codebook": book[order]}}
    return World(world.params | {"audio_tokenizer": other}, world.config), order


def test_the_same_tokens_by_other_numbers_are_told_the_same_future(world, renumbered, data_folder, clip):
    new, order = renumbered
    dynamics = translate(world.params["dynamics"], world, new, open_clips(data_folder))
    old_tokens, tokens = encode(world, clip), encode(new, clip)
    np.testing.assert_array_equal(order[tokens.audio], old_tokens.audio)
    batch = {"action": clip.action, "prompt": clip.prompt, "prompt_id": clip.prompt_id}
    seen = together(world, new, open_clips(data_folder), 480).audio.sum(1) > 0
    # A code that no clip of the data has is unknown: in these tokens there shall be none.
    at = np.flatnonzero(seen)
    known = lambda t, numbers: t._replace(audio=jnp.asarray(numbers)[t.audio % len(at)])

    def logits(params, tokens):
        hidden = jax.tree.map(lambda x: x == x, tokens)
        return jax.jit(lambda params: two_streams(world.config, params, batch, tokens, hidden))(params)

    was = logits(world.params["dynamics"], known(tokens, order[at]))
    now = logits(dynamics, known(tokens, at))
    np.testing.assert_allclose(now.video, was.video, atol=1e-4)
    np.testing.assert_allclose(now.audio[..., at], was.audio[..., order[at]], atol=1e-4)
    assert not np.allclose(now.audio, was.audio, atol=1e-2)


def test_a_code_for_two_takes_their_mean_by_how_often_each_stood_there():
    from oyster_jax.training.translate import _mixed

    seen = np.array([[3, 1, 0], [0, 0, 2], [0, 0, 0]])
    rows = np.array([[0.0], [4.0], [6.0], [9.0]])  # the last one is "no frame"
    np.testing.assert_allclose(_mixed(rows, seen, 0)[:, 0], [1, 6, (3 * 0 + 1 * 4 + 2 * 6) / 6, 9], atol=1e-5)


def test_dynamics_of_the_same_tokenizers_stay_as_they_are(world, data_folder):
    assert translate(world.params["dynamics"], world, world, open_clips(data_folder)) is world.params["dynamics"]
