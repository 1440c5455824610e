"""Words keep what they hash to wherever they stand, and prompts are told apart."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oyster_jax.config import TextEncoderConfig
from oyster_jax.errors import OysterError
from oyster_jax.models.text_encoder import CodePrior, TextEncoder, gram_ids, prompt_bytes


def test_a_run_of_bytes_hashes_alike_wherever_it_stands():
    a, b = (gram_ids(prompt_bytes(text)[None], 2048)[0] for text in ("green water", "a bay in green water, a fish"))
    np.testing.assert_array_equal(a[3:11], b[12:20])
    assert (a[3:11] != b[11:19]).mean() > 0.8


def test_runs_of_bytes_are_spread_over_all_buckets():
    """As evenly as chance would."""
    rng = np.random.default_rng(0)
    letters = rng.integers(97, 123, (400, 256)).astype(np.uint8)
    ids = np.asarray(gram_ids(letters, 512))
    count = np.bincount(ids[:, 3:].reshape(-1), minlength=512)
    assert ids.min() >= 0 and len(count) == 512 and count.std() < 2 * count.mean() ** 0.5


def test_what_comes_after_a_run_does_not_change_it():
    a, b = (np.asarray(gram_ids(prompt_bytes(text)[None], 2048)) for text in ("red water", "red wine, much of it"))
    np.testing.assert_array_equal(a[:, :5], b[:, :5])


@pytest.fixture(scope="module")
def read():
    encoder = TextEncoder(TextEncoderConfig(width=16, layers=1, heads=2))
    params = encoder.init(jax.random.key(0), jnp.zeros((1, 256), jnp.uint8))
    return jax.jit(lambda *texts: encoder.apply(params, jnp.stack(texts)))


def test_prompts_are_told_apart_and_do_not_touch_each_other(read):
    texts = [prompt_bytes(t) for t in ("", "a fish", "a bay by day, a fish", "a bay by day, a crab")]
    together = np.asarray(read(*texts))
    for i, text in enumerate(texts):
        np.testing.assert_allclose(together[i], read(text)[0], atol=1e-5)
        assert all(np.abs(together[i] - together[j]).max() > 1e-3 for j in range(i))


def test_padding_can_be_left_out(read):
    texts = jnp.stack([prompt_bytes(t) for t in ("", "a bay by day, a fish")])
    for size in (64, 22):  # a multiple of a patch's bytes, and not
        np.testing.assert_allclose(read(*texts[:, :size]), read(*texts), atol=1e-6)


def test_the_empty_prompt_has_no_gradient_to_the_letters():
    encoder = TextEncoder(TextEncoderConfig(width=16, layers=1, heads=2))
    null = jnp.zeros((1, 256), jnp.uint8)
    params = encoder.init(jax.random.key(0), null)
    gradient = jax.grad(lambda p: jnp.sum(encoder.apply(p, null) ** 2))(params)["params"]
    touched = {name for name, g in gradient.items() if any(jnp.abs(x).max() > 0 for x in jax.tree.leaves(g))}
    assert touched == {"null"}


def test_prompts_that_cannot_be_in_force_are_refused():
    for text, why in (("a" * 257, "257 bytes"), (b"\xff", "UTF-8"), ("a\0b", "zero byte")):
        with pytest.raises(OysterError, match=why):
            prompt_bytes(text)


@pytest.fixture(scope="module")
def prior():
    model = CodePrior(TextEncoderConfig(width=16), video_codes=5, audio_codes=7)
    params = model.init(jax.random.key(0), jnp.zeros((1, 1, 256), jnp.uint8))
    params = jax.tree.map(lambda p: p + 0.1, params)  # biases begin at nothing
    return params, lambda *texts, size=256: model.apply(params, np.stack([prompt_bytes(t)[:size] for t in texts])[None])


def test_a_word_says_the_same_of_each_code_whatever_else_is_said(prior):
    texts = [f"{place}, seen from above, {what}" for place in ("a bay", "a pond") for what in ("a fish", "a crab")]
    for logits in prior[1](*texts):
        bay_fish, bay_crab, pond_fish, pond_crab = logits[0]
        np.testing.assert_allclose(bay_fish - bay_crab, pond_fish - pond_crab, atol=1e-5)
        assert np.abs(bay_fish - bay_crab).max() > 1e-3 and np.abs(bay_fish - pond_fish).max() > 1e-3


def test_a_prior_leaves_padding_out_and_of_no_words_says_what_is_usual(prior):
    params, read = prior
    for whole, cut, head in zip(read("a fish", ""), read("a fish", "", size=22), ("video", "audio")):
        np.testing.assert_allclose(cut, whole, atol=1e-6)
        np.testing.assert_allclose(whole[0, 1], nn.unbox(params)["params"][head]["bias"], atol=1e-6)
