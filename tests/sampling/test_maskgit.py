"""Unmasking reveals every token once, as many at a time as the schedule of its modality says."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oyster_jax.config_sampling import Randomness, SamplingConfig
from oyster_jax.sampling.maskgit import mask_schedule, reveal, runs, unmask
from oyster_jax.types import Logits, TokenFrame

SURE = SamplingConfig(randomness=Randomness(temperature=0))


@pytest.mark.parametrize("tokens", [1, 2, 7, 64, 1000])
@pytest.mark.parametrize("steps", [1, 2, 3, 8, 25])
@pytest.mark.parametrize("more", [0, 1, 17])
@pytest.mark.parametrize("schedule", ["geometric", "cosine", "one_by_one"])
def test_schedules_fall_to_nothing(tokens, steps, more, schedule):
    left = mask_schedule(tokens, steps, steps + more, schedule)
    assert len(left) == steps + more and left[-1] == 0
    assert (np.diff(left, prepend=tokens) <= 0).all() and left[0] <= tokens
    assert len(np.unique([*left, tokens])) - 1 <= steps  # no more reveals than asked for


def test_a_schedule_with_as_many_steps_as_it_has_is_the_cosine():
    expected = np.floor(64 * np.cos(np.pi / 2 * np.arange(1, 9) / 8) + 1e-6)
    np.testing.assert_array_equal(mask_schedule(64, 8, 8, "cosine"), expected)


def test_a_geometric_schedule_ends_with_single_tokens():
    left = mask_schedule(64, 7, 7, "geometric")
    np.testing.assert_array_equal(left, [32, 16, 8, 4, 2, 1, 0])


def test_one_by_one_reveals_all_but_the_last_few_at_once():
    np.testing.assert_array_equal(mask_schedule(64, 4, 4, "one_by_one"), [3, 2, 1, 0])
    np.testing.assert_array_equal(mask_schedule(8, 2, 4, "one_by_one"), [8, 1, 1, 0])


@pytest.mark.parametrize("schedule", ["geometric", "cosine", "one_by_one"])
@pytest.mark.parametrize("steps", range(1, 26))
def test_runs_of_steps_look_at_all_that_is_hidden_and_at_little_else(steps, schedule):
    hidden = np.array([64, *mask_schedule(64, steps, steps, schedule)[:-1]])
    cut = runs(hidden)
    assert [i for run in cut for i in range(steps)[run]] == list(range(steps))
    looked_at = sum(hidden[run].size * hidden[run.start] for run in cut)
    assert looked_at <= (0.75 if len(cut) > 1 else 1) * 64 * steps
    assert len(cut) == (1 if schedule == "cosine" else min(steps, 2))


def of(wanted, logits):
    """The logits [B, 1, R, codes] of those tokens that are wanted, of all if None."""
    if wanted is None:
        return Logits(*logits)
    return Logits(*(jnp.take_along_axis(x, w[:, None, :, None], 2) for x, w in zip(logits, wanted)))


def stamp(tokens, masked, wanted):
    """A predictor whose only guess is how many tokens of the modality are still hidden: it leaves a time stamp."""
    one_hot = lambda m: 50 * jax.nn.one_hot(jnp.broadcast_to(m.sum(-1, keepdims=True), m.shape), 40)[:, None]
    return of(wanted, (one_hot(masked.video), one_hot(masked.audio)))


def begin(b, n, k):
    start = TokenFrame(jnp.full((b, n), -7), jnp.full((b, k), -7))
    return start, jax.tree.map(lambda x: jnp.ones(x.shape, bool), start), jax.random.split(jax.random.key(0), b)


@pytest.mark.parametrize("n, k, video_steps, audio_steps", [(30, 5, 6, 2), (6, 4, 9, 1), (9, 3, 2, 8)])
def test_each_token_is_revealed_once_and_at_its_modalitys_own_pace(n, k, video_steps, audio_steps):
    """Also with more steps than tokens, and whichever modality takes more steps."""
    settings = dataclasses.replace(SURE, video_steps=video_steps, audio_steps=audio_steps)
    tokens = unmask(stamp, *begin(2, n, k), settings)
    for stamps, count, steps in ((tokens.video, n, video_steps), (tokens.audio, k, audio_steps)):
        left = np.array([count, *mask_schedule(count, steps, max(video_steps, audio_steps), SURE.schedule)])
        expected = np.zeros(40, int)
        np.add.at(expected, left[:-1], left[:-1] - left[1:])
        for row in np.asarray(stamps):
            np.testing.assert_array_equal(np.bincount(row, minlength=40), expected)


def test_given_tokens_stay_and_the_rest_is_filled():
    start, masked, keys = begin(2, 30, 5)
    given = jnp.arange(30) % 3 == 0
    masked = TokenFrame(masked.video & ~given, jnp.zeros_like(masked.audio))
    tokens = unmask(stamp, start, masked, keys, SURE)
    assert (tokens.video[:, given] == -7).all() and (tokens.video[:, ~given] >= 0).all()
    assert (tokens.audio == -7).all()


def guess(tokens, masked, wanted):
    """Logits that depend on what is already there."""
    seen = jnp.where(masked.video, 0, tokens.video).sum(-1, keepdims=True)[..., None]
    place = lambda m: jnp.arange(m.shape[-1])[:, None] + jnp.arange(9.0)
    logits = (jnp.sin(place(masked.video) + seen)[:, None], jnp.cos(place(masked.audio) * 2 + seen)[:, None])
    return of(wanted, logits)


def test_temperature_zero_without_noise_needs_no_key():
    settings = SamplingConfig(video_steps=4, audio_steps=2, randomness=Randomness(0, 0))
    start, masked, keys = begin(3, 12, 4)
    tokens = unmask(guess, start, masked, keys, settings)
    assert all((row == x[0]).all() for x in tokens for row in x)


def test_each_session_draws_from_its_own_key():
    settings = SamplingConfig(video_steps=4, audio_steps=2)
    start, masked, _ = begin(3, 12, 4)
    a, b = jax.random.split(jax.random.key(1))
    tokens = unmask(guess, start, masked, jnp.stack([a, b, a]), settings)
    for x in tokens:
        assert (x[0] == x[2]).all() and (x[0] != x[1]).any()


def test_sampling_follows_the_logits():
    """One step, one temperature: frequencies are the softmax."""
    logits = jnp.log(jnp.array([0.1, 0.2, 0.7]))
    always = lambda tokens, masked, _: Logits(*(jnp.broadcast_to(logits, (*m.shape, 3))[:, None] for m in masked))
    tokens = unmask(always, *begin(1, 6000, 2), SamplingConfig(video_steps=1, audio_steps=1))
    np.testing.assert_allclose(np.bincount(tokens.video[0], minlength=3) / 6000, [0.1, 0.2, 0.7], atol=0.03)


def test_confidence_noise_is_gumbel_noise_on_the_order():
    """Of eight tokens one is told; with noise of scale s by the softmax of log-confidences / s."""
    logits, frames = jnp.zeros((4000, 8, 4)).at[:, 0, 0].set(3.0), jnp.zeros((4000, 8), jnp.int32)
    draw = jax.random.uniform(jax.random.key(0), (3, *frames.shape), minval=1e-9)

    def first(noise):
        _, masked = reveal(logits, frames, frames == 0, None, 7, draw, noise, SURE)
        assert (masked.sum(-1) == 7).all()
        return 1 - masked[:, 0].mean()

    sure = np.exp(3) / (np.exp(3) + 3)
    assert first(0.0) == 1
    for scale in (1.0, 4.0):
        odds = sure ** (1 / scale) / 0.25 ** (1 / scale)
        np.testing.assert_allclose(first(scale), odds / (odds + 7), atol=0.03)


def test_silence_does_not_crowd_out_the_picture():
    """However sure the sound is, the picture's first step reveals as much as its own schedule says, and vice versa."""
    settings = SamplingConfig(video_steps=3, audio_steps=3, randomness=Randomness(0, 0))
    seen = []

    def sure_of_sound(tokens, masked, wanted):
        jax.debug.callback(lambda v, a: seen.append((int(v), int(a))), masked.video.sum(), masked.audio.sum())
        flat = lambda m, sure: sure * jax.nn.one_hot(jnp.zeros(m.shape, int), 4)[:, None]
        return of(wanted, (flat(masked.video, 0.1), flat(masked.audio, 100.0)))

    unmask(sure_of_sound, *begin(1, 12, 6), settings)
    jax.effects_barrier()
    assert seen == [
        *zip([12, *mask_schedule(12, 3, 3, SURE.schedule)[:-1]], [6, *mask_schedule(6, 3, 3, SURE.schedule)[:-1]])
    ]
