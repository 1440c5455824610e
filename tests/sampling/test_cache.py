"""What the sampler computes from its ring buffers is what training computes over the whole history."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oyster_jax.models.dynamics import leading_action
from oyster_jax.sampling import cache, rollout
from oyster_jax.training.tasks.dynamics import Conditions, two_streams
from oyster_jax.types import KV, TokenFrame

FRAMES = 12  # twice the reach, as in `clip`, whose session 0 changes its prompt at frame 5
STARTS = (0, 4086, 10**6)  # the second wraps its rotary angles on the way


@pytest.fixture(scope="module")
def history(config):
    """Three sessions' tokens, which of them are hidden in the frame that is predicted, and the actions."""
    rng, c = np.random.default_rng(6), config.dynamics
    draw = lambda n, *shape: jnp.asarray(rng.integers(0, n, (3, FRAMES, *shape)), jnp.int32)
    tokens = TokenFrame(draw(c.video_codes, c.video_tokens), draw(c.audio_codes, c.audio_tokens))
    return tokens, jax.tree.map(lambda x: x % 3 > 0, tokens), draw(np.array(c.action_sizes), 2)


@pytest.fixture(scope="module")
def sampled(world, history, prompts_TBMLP):
    """The sampler's logits of every frame [B, T, ...], each one seen before it is committed."""

    def frame(state, now):
        tokens, masked, action, prompt = now
        state = rollout.set_prompt(state, prompt)
        logits, _ = rollout._forward(world, state, tokens, masked, action[:, None])
        # The decoders have their own tests: here they are given nothing.
        video = jax.tree.map(lambda x: jnp.zeros_like(x[:, :, :, :1]), state.video)
        pending = rollout.Pending(tokens, action, state.key, video, state.audio, logits.audio)
        return rollout.commit(world, state, pending), logits

    tokens, masked, action = history
    steps = (*jax.tree.map(lambda x: x.swapaxes(0, 1), (tokens, masked, leading_action(action))), prompts_TBMLP)
    state = rollout.init_state(world, jax.random.key(0), batch=3)._replace(position=jnp.array(STARTS))
    state, logits = jax.jit(lambda state, steps: jax.lax.scan(frame, state, steps))(state, steps)
    assert (state.position == jnp.array(STARTS) + FRAMES).all()
    return jax.tree.map(lambda x: x[:, :, 0].swapaxes(0, 1), logits)


@pytest.fixture(scope="module")
def trained(world, clip, history):
    """Training's logits of every frame under the banded mask; what a frame is told can differ from its commit."""

    @jax.jit
    def run(prompt_id, action, told):
        tokens, masked, _ = history
        batch = {"action": action, "prompt": clip.prompt, "prompt_id": prompt_id}
        return two_streams(world.config, world.params["dynamics"], batch, tokens, masked, conditions=told)

    def call(prompt_id, action, told=None):
        return run(prompt_id, action, told or conditions(leading_action(action), prompt_id))

    return call


def conditions(action, prompt_id, alone=()):
    """Frames `alone` are told nothing of the past."""
    return Conditions(action, prompt_id, jnp.zeros(prompt_id.shape, bool).at[:, list(alone)].set(True))


def difference(a, b):
    """float [B, T], the larger of the two modalities'."""
    return np.maximum(*(jnp.abs(x - y).max(axis=(2, 3)) for x, y in zip(a, b)))


def test_the_samplers_logits_are_the_training_logits(sampled, trained, history, clip):
    """At every frame: before the window is full, at its edge, and after the ring has gone around more than once."""
    assert difference(sampled, trained(clip.prompt_id, history[2]))[0].max() < 1e-4


def test_a_late_start_changes_nothing_once_its_past_is_real(sampled, trained, history, clip, config):
    """Positions in the thousands and millions, across the rotary period."""
    t = config.dynamics.transformer
    reach = t.layers * (t.window - 1)  # until then these sessions remember an empty ring as if it were frames
    error = difference(sampled, trained(clip.prompt_id, history[2]))[1:]
    assert error[:, reach:].max() < 1e-4 and error[:, :reach].min() > 1e-4


def test_the_comparison_notices_what_it_should(sampled, trained, history, clip):
    """A prompt or an action one frame late, or a past that forgets the prompt it was made under, shows."""
    action = history[2]
    told = conditions(leading_action(action), clip.prompt_id)
    late_prompt = jnp.roll(clip.prompt_id, 1, axis=1).at[:, 0].set(0)
    assert difference(sampled, trained(late_prompt, action))[0, 5] > 1e-2
    assert difference(sampled, trained(late_prompt, action, told))[0, 6] > 1e-2
    assert difference(sampled, trained(clip.prompt_id, jnp.roll(action, 1, axis=1)))[0, 2:].min() > 1e-2


def test_dropped_conditions_move_only_the_frame_that_they_are_dropped_from(trained, history, clip):
    """The null condition, as guidance uses it, never reaches what is committed."""
    action = leading_action(history[2])
    no_action = conditions(action.at[:, 5].set(-1), clip.prompt_id)
    no_prompt = conditions(action, clip.prompt_id.at[:, 5].set(clip.prompt.shape[1]))
    for told in (no_action, no_prompt):
        moved = difference(trained(clip.prompt_id, history[2]), trained(clip.prompt_id, history[2], told))
        assert moved[0, 5] > 1e-2  # the other sessions have no prompt there
        assert np.delete(moved, 5, axis=1).max() == 0


def test_a_frame_told_nothing_of_the_past_is_a_first_one_and_no_other_moves(world, trained, history, clip):
    action = leading_action(history[2])
    plain = trained(clip.prompt_id, history[2])
    alone = trained(clip.prompt_id, history[2], conditions(action.at[:, 5].set(-1), clip.prompt_id, alone=[5]))
    assert np.delete(difference(plain, alone), 5, axis=1).max() == 0 and difference(plain, alone)[:, 5].min() > 1e-2
    tokens, masked, action, prompt_id = jax.tree.map(lambda x: x[:, 5:6], (*history, clip.prompt_id))
    batch = {"action": action, "prompt": clip.prompt, "prompt_id": prompt_id}
    first = jax.jit(lambda: two_streams(world.config, world.params["dynamics"], batch, tokens, masked))()
    assert difference(jax.tree.map(lambda x: x[:, 5:6], alone), first).max() < 1e-4


def test_the_ring_keeps_the_last_frames_of_each_session():
    """Whether they are written one by one or many at once; a paused session's ring stays as it is."""
    slots, position = 3, jnp.array([0, 4])
    present = jnp.arange(2 * 5.0).reshape(2, 1, 1, 5, 1) + 1
    empty = (KV(*[jnp.full((2, 1, 1, slots, 1), -1.0)] * 2),)
    read, on = jnp.zeros(2), jnp.array([True, True])
    (at_once,) = cache.write(empty, (KV(present, present),), position, on, read)
    np.testing.assert_array_equal(at_once.k[:, 0, 0, :, 0], [[4, 5, 3], [8, 9, 10]])
    one_by_one = empty
    for t in range(5):
        now = present[:, :, :, t : t + 1]
        one_by_one = cache.write(one_by_one, (KV(now, now),), position + t, on, read)
    np.testing.assert_array_equal(one_by_one[0].k, at_once.k)
    (paused,) = cache.write(empty, (KV(present, present),), position, jnp.array([False, True]), read)
    assert (paused.k[0] == -1).all() and (paused.v[1] == at_once.v[1]).all()


def test_an_empty_slot_is_never_read():
    mask = cache.past_mask(jnp.array([0, 1, 2, 3, 50]), window=4)
    np.testing.assert_array_equal(mask[:, 0].sum(-1), [0, 1, 2, 3, 3])
