"""A session is a value: the same alone or among others, in a scan or by hand, from a clip or frame by frame."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oyster_jax.config_sampling import Guidance, Opening, Randomness, SamplingConfig
from oyster_jax.errors import OysterError
from oyster_jax.models.dynamics import leading_action
from oyster_jax.models.video_tokenizer import to_uint8
from oyster_jax.sampling import cache, rollout
from oyster_jax.sampling.compiled import compile_step

step = jax.jit(rollout.step)


@partial(jax.jit, static_argnums=1)
def session(state, i):
    """Session `i` of a state, as a batch of one."""
    return jax.tree.map(lambda x: x[i : i + 1], state)


def assert_same(a, b):
    """To the bit, in every leaf."""
    jax.tree.map(np.testing.assert_array_equal, raw(a), raw(b))


def assert_close(a, b):
    """To 1e-4 in every leaf; of shown pixels, which may lie between two levels, to the level."""
    near = lambda x, y: np.testing.assert_allclose(x.astype(float), y, atol=1 if x.dtype == np.uint8 else 1e-4)
    jax.tree.map(near, raw(a), raw(b))


def differ(a, b):
    return not (np.array_equal(a.video, b.video) and np.array_equal(a.audio, b.audio))


def raw(tree):
    typed = lambda x: jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    return jax.tree.map(lambda x: np.asarray(jax.random.key_data(x) if typed(x) else x), tree)


def copied(state):
    return jax.tree.map(jnp.copy, state)


@pytest.fixture(scope="module")
def started(world, clip):
    """Three sessions after `clip`, and what they show."""
    return jax.jit(rollout.prefill)(world, jax.random.key(3), clip)


@pytest.fixture(scope="module")
def one(started):
    return session(started[0], 0)


@pytest.fixture(scope="module")
def actions(config):
    return jnp.asarray(np.random.default_rng(8).integers(0, config.actions.sizes, (8, 3, 2)), jnp.int32)


def test_prefill_equals_committing_one_by_one(world, clip, started, prompts_TBMLP):
    c = world.config
    tokens, action = jax.jit(rollout.tokenize)(world, clip)

    def frame(state, now):
        tokens, action, prompt = now
        state = rollout.set_prompt(state, prompt)
        position = state.position[:, None]
        mask = cache.past_mask(state.position, c.video_tokenizer.decoder.window)
        pixels, video = world.apply(
            "video_tokenizer", tokens.video[:, None], position, state.video, mask, method="decode"
        )
        sound, audio = world.apply("audio_tokenizer", tokens.audio[:, None], state.audio, method="decode")
        pending = rollout.Pending(tokens, action, state.key, video, audio, pixels)
        return rollout.commit(world, state, pending), (to_uint8(pixels[:, 0]), jnp.clip(sound[:, 0], -1, 1))

    empty = rollout.init_state(world, jax.random.key(3), batch=3)
    frames = jax.tree.map(lambda x: x.swapaxes(0, 1), (tokens, leading_action(action)))
    state, shown = jax.jit(lambda s, x: jax.lax.scan(frame, s, x))(empty, (*frames, prompts_TBMLP))
    assert_close(state, started[0])
    assert np.abs(np.asarray(shown[0][-1], int) - np.asarray(started[1].video, int)).max() <= 1
    np.testing.assert_allclose(shown[1][-1], started[1].audio, atol=1e-4)


def test_sessions_of_different_ages_that_pause_equal_each_alone(world, actions):
    """Under prompts of their own; and while one is paused, its state and its rings do not change in a single bit."""
    awake = jnp.array([[1, 0, 1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 0, 1, 0], [1, 0, 0, 0, 0, 0, 1, 1]], bool).T
    prompts = [rollout.encode_prompt(world, text) for text in ("night", "", "rain")]
    prompt = jax.tree.map(lambda *x: jnp.concatenate(x), *prompts)
    state = rollout.init_state(world, jax.random.key(4), prompt, batch=3)
    alone = [session(state, i) for i in range(3)]
    for action, on in zip(actions, awake):
        before = state._replace(active=on)
        state, obs = step(world, before, action)
        for i in range(3):
            if not on[i]:
                assert_same(session(state, i), session(before, i))
                continue
            alone[i], own = step(world, alone[i], action[i : i + 1])
            assert np.abs(np.asarray(own.video[0], int) - np.asarray(obs.video[i], int)).max() <= 1
            np.testing.assert_allclose(own.audio[0], obs.audio[i], atol=1e-4)
    assert state.position.tolist() == [7, 3, 3]
    for i in range(3):
        assert_close(session(state, i)._replace(active=alone[i].active), alone[i])


def test_a_step_leaves_its_state_and_repeats_itself(world, one, actions):
    kept = raw(one)
    first, second = step(world, one, actions[0, :1]), step(world, one, actions[0, :1])
    assert_same(first, second)
    assert_same(one, kept)
    assert not np.array_equal(raw(first[0].key), kept.key)  # a key is used once


def test_key_and_action_decide_the_frame(world, started, actions):
    state, _ = started
    _, obs = step(world, state, actions[0])
    _, other_key = step(world, state._replace(key=jax.random.split(jax.random.key(99), 3)), actions[0])
    _, other_action = step(world, state, (actions[0] + 1) % 2)
    assert differ(obs, other_key) and differ(obs, other_action)


def test_what_does_not_fit_the_world_is_refused(world, started, actions):
    state, action = started[0], actions[0]
    for wrong, why in (
        (action[:, :1], "int32"),
        (action[:2], "int32"),
        (action + 9, "takes 0"),
        (action + 0.5, "whole"),
    ):
        with pytest.raises(OysterError, match=why):
            rollout.step(world, state, wrong)
    for other in (state._replace(video=state.video[:1]), tuple(state), state._replace(position=state.position[:2])):
        with pytest.raises(OysterError, match="no session of this world"):
            rollout.step(world, other, action)
    # Traced, values are not known: one that is no value is no action.
    assert_same(step(world, state, action.at[:, 0].set(99)), step(world, state, action.at[:, 0].set(-1)))


def test_a_compiled_step_that_donates_equals_step(world, one, actions):
    fast = compile_step(world, batch=1, donate=True, keep=False)
    mine = copied(one)
    slow = one
    for action in actions[:3, :1]:
        slow, obs = step(world, slow, action)
        used, (mine, fast_obs) = mine, fast(mine, action)
        assert_close(obs, fast_obs)
    assert_close(mine, slow)
    assert used.dynamics[0].k.is_deleted()  # written in place


def test_a_compiled_step_leaves_the_callers_prompt(world, one, actions):
    prompt = rollout.encode_prompt(world, "night")
    fast = compile_step(world, batch=1, donate=True, keep=False)
    for state in (rollout.init_state(world, jax.random.key(0), prompt), rollout.set_prompt(copied(one), prompt)):
        fast(state, actions[0, :1])
        assert not any(x.is_deleted() for x in jax.tree.leaves(prompt))


def test_a_rollout_is_a_loop_of_steps(world, one, actions):
    state, obs = jax.jit(rollout.rollout)(world, one, actions[:4, :1])
    by_hand, shown = one, []
    for action in actions[:4, :1]:
        by_hand, o = step(world, by_hand, action)
        shown.append(o)
    assert_close(state, by_hand)
    shown = jax.tree.map(lambda *x: np.stack(x), *shown)
    assert np.abs(shown.video.astype(int) - np.asarray(obs.video, int)).max() <= 1
    np.testing.assert_allclose(shown.audio, obs.audio, atol=1e-4)


def test_states_can_be_stacked_and_vmapped(world, started, actions):
    states = [session(started[0], i) for i in range(2)]
    stack = lambda *x: jax.tree.map(lambda *leaves: jnp.stack(leaves), *x)
    many, _ = jax.jit(jax.vmap(rollout.step, (None, 0, 0)))(world, stack(*states), actions[0, :2, None])
    assert_close(many, stack(*[step(world, s, actions[0, i : i + 1])[0] for i, s in enumerate(states)]))


def test_a_first_frame_is_drawn_as_pictures_are(world, started, actions):
    begin, go = jax.jit(rollout.reset, static_argnames="sampling"), jax.jit(rollout.step, static_argnums=3)
    ways = [dataclasses.replace(world.config.sampling, schedule=s, video_steps=4) for s in ("cosine", "geometric")]
    assert_same(*[begin(world, jax.random.key(0), sampling=s) for s in ways])
    assert differ(*[go(world, started[0], actions[0], s)[1] for s in ways])


def test_an_event_acts_on_the_next_frame_and_not_on_the_past(world, started, actions):
    state, _ = started
    night = rollout.set_prompt(state, rollout.encode_prompt(world, "night"))
    assert_same(night._replace(prompt=state.prompt), state)
    assert differ(step(world, state, actions[0])[1], step(world, night, actions[0])[1])
    with pytest.raises(OysterError, match="257 bytes"):
        rollout.encode_prompt(world, "x" * 257)


def test_an_image_is_kept_and_its_sound_is_sampled(world, clip):
    image = clip.video[0, 0]
    warm = SamplingConfig(opening=Opening(randomness=Randomness(temperature=4.0)))
    reset = jax.jit(rollout.reset, static_argnames=("batch", "sampling"))
    states, obs = reset(world, jax.random.key(5), image=image, batch=2, sampling=warm)
    pixels, _ = jax.jit(lambda world, x: world.apply("video_tokenizer", x))(world, image[None, None])
    for shown in obs.video:
        assert np.abs(np.asarray(shown, int) - np.asarray(to_uint8(pixels[0, 0]), int)).max() <= 1
    assert not np.array_equal(obs.audio[0], obs.audio[1])
    assert states.position.tolist() == [1, 1]
    with pytest.raises(OysterError, match=r"uint8 \(32, 48, 3\)"):
        rollout.reset(world, jax.random.key(5), image=image[:16])


def test_tokens_asked_for_alone_get_the_logits_they_get_among_all(world, one, actions):
    d = world.config.dynamics
    tokens = rollout.TokenFrame(jnp.ones((1, d.video_tokens), jnp.int32), jnp.zeros((1, d.audio_tokens), jnp.int32))
    masked = jax.tree.map(lambda x: jnp.arange(x.size)[None] % 2 == 0, tokens)
    wanted = rollout.TokenFrame(jnp.array([[2, 0, d.video_tokens - 1]]), jnp.array([[1]]))
    forward = jax.jit(partial(rollout._forward, world))
    told = (one, tokens, masked, actions[0, :1, None])
    every, _ = forward(*told)
    some, _ = forward(*told, wanted=wanted)
    for x, y, w in zip(every, some, wanted):
        np.testing.assert_allclose(x[:, :, w[0]], y, atol=1e-4)


@pytest.mark.parametrize("schedule", ["cosine", "one_by_one"])
def test_codes_are_drawn_only_where_they_were_seen(world, one, actions, schedule):
    """Hot, so that anything else would be drawn too; a world that saw every code everywhere draws as one that does not
    know."""
    d, hot = world.config.dynamics, dataclasses.replace(world.config.sampling, schedule=schedule)
    hot = dataclasses.replace(hot, video_steps=4, randomness=Randomness(temperature=100.0))
    seen = np.random.default_rng(0).random((d.video_tokens, d.video_codes)) < 2 / d.video_codes
    seen[:, 0] = True
    knowing = lambda seen: dataclasses.replace(world, params=world.params | {"seen": {"video": jnp.asarray(seen)}})
    draw = jax.jit(lambda world, key: rollout.predict(world, one._replace(key=key), actions[0, :1], hot)[0])
    keys = [jax.random.split(jax.random.key(i), 1) for i in range(10)]
    drawn = [np.asarray(draw(knowing(seen), key).tokens.video)[0] for key in keys]
    assert seen[np.arange(d.video_tokens), np.stack(drawn)].all() and len(np.unique(np.stack(drawn), axis=0)) > 1
    assert_same(draw(knowing(np.ones_like(seen)), keys[0]).tokens, draw(world, keys[0]).tokens)


def test_guidance_moves_logits_away_from_the_null_conditions(world, one, actions):
    settings = dataclasses.replace(world.config.sampling, guidance=Guidance(action=0.5, prompt=2.0))
    d = world.config.dynamics
    tokens = rollout.TokenFrame(jnp.zeros((1, d.video_tokens), jnp.int32), jnp.zeros((1, d.audio_tokens), jnp.int32))
    masked = jax.tree.map(lambda x: x == 0, tokens)

    plain = jax.jit(lambda state, action: rollout._forward(world, state, tokens, masked, action[:, None])[0])
    action, nothing = actions[0, :1], jnp.full((1, 2), -1)
    null = rollout.set_prompt(one, rollout.encode_prompt(world, ""))
    full, of_action, of_prompt = plain(one, action), plain(one, nothing), plain(null, action)
    expected = jax.tree.map(lambda x, a, p: x + 0.5 * (x - a) + 2 * (x - p), full, of_action, of_prompt)
    guided = jax.jit(lambda state: rollout._guided_logits(world, state, action, settings)(tokens, masked, None))(one)
    for x, y, bare in zip(guided, expected, full):
        np.testing.assert_allclose(x, y, atol=1e-3)
        assert jnp.abs(x - bare).max() > 0.1
