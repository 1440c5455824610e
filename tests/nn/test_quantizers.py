"""Codes and vectors are each other's inverse, codes fill their range, and gradients pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oyster_jax.config import QuantizerConfig
from oyster_jax.nn.quantizers import Quantizer, cosine_vq, indecision, renewed, usage

CONFIGS = [
    QuantizerConfig(levels=(8, 5, 5, 5)),
    QuantizerConfig(levels=(4, 3)),
    QuantizerConfig(levels=(3, 3, 3)),
    QuantizerConfig(levels=(7,)),
    QuantizerConfig("vq", codes=40, dim=6),
]


@pytest.fixture(params=CONFIGS, ids=lambda c: str(c.levels if c.kind == "fsq" else c.kind))
def quantizer(request):
    """(config, quantize(z), lookup(code), z [50000, dim] that reaches every code)."""
    c = request.param
    module = Quantizer(c)
    rng = np.random.default_rng(0)
    params = {"params": {"codebook": jnp.asarray(rng.normal(size=(c.codes, c.dim)), jnp.float32)}}
    params = params if c.kind == "vq" else {}
    quantize = jax.jit(lambda z, key=None: module.apply(params, z, key))
    lookup = jax.jit(lambda code: module.apply(params, code, method="lookup"))
    z = rng.normal(size=(50000, c.code_dim)) * rng.choice([0.5, 1, 4], (50000, c.code_dim))
    return c, quantize, lookup, jnp.asarray(z, jnp.float32)


def test_the_vector_is_that_of_its_code(quantizer):
    _, quantize, lookup, z = quantizer
    q = quantize(z)
    np.testing.assert_allclose(lookup(q.code), q.vector, atol=1e-6)
    assert q.vector.shape == z.shape and q.code.dtype == jnp.int32


def test_codes_fill_their_range(quantizer):
    c, quantize, _, z = quantizer
    assert set(np.unique(quantize(z).code).tolist()) == set(range(c.codebook_size))


def test_every_code_has_a_vector_of_its_own_within_the_unit_cube(quantizer):
    c, _, lookup, _ = quantizer
    vectors = np.asarray(lookup(jnp.arange(c.codebook_size)))
    assert len(np.unique(vectors.round(4), axis=0)) == c.codebook_size and np.abs(vectors).max() <= 1


def test_a_code_vector_is_nearest_to_what_was_quantized(quantizer):
    """FSQ rounds what it has bounded, so that larger features never get smaller digits."""
    c, quantize, lookup, z = quantizer
    q = quantize(z[:200])
    if c.kind == "vq":
        unit = lambda x: x / jnp.linalg.norm(x, axis=-1, keepdims=True)
        nearness = unit(z[:200]) @ lookup(jnp.arange(c.codebook_size)).T
        np.testing.assert_array_equal(q.code, nearness.argmax(-1))
    else:
        order = jnp.argsort(z[:200, 0])
        assert (jnp.diff(q.vector[order, 0]) >= 0).all()


def test_gradients_pass_straight_through(quantizer):
    c, quantize, _, z = quantizer
    weights = jnp.arange(1.0, c.code_dim + 1)
    gradient = jax.grad(lambda z: jnp.sum(quantize(z).vector * weights))(z[:50] * 0.1)
    assert jnp.isfinite(gradient).all() and (jnp.abs(gradient).max(axis=0) > 1e-3).all()


def test_usage_counts_codes_and_their_spread():
    shown = usage(jnp.array([0, 0, 1, 1]), size=8)
    assert shown["codes_used"] == 2 and abs(shown["perplexity"] - 2) < 1e-5


def test_with_a_key_half_of_the_vectors_stay_unrounded(quantizer):
    _, quantize, _, z = quantizer
    plain, mixed = quantize(z), quantize(z, jax.random.key(0))
    rounded = jnp.abs(mixed.vector - plain.vector).max(-1) < 1e-5
    np.testing.assert_array_equal(mixed.code, plain.code)
    np.testing.assert_allclose(mixed.vector[~rounded], plain.soft[~rounded], atol=1e-5)
    assert 0.48 < rounded.mean() < 0.53  # a few happen to be where rounding puts them


def test_codes_decide_when_each_latent_has_its_own_and_all_are_used():
    sure = 50 * jnp.eye(4)
    assert abs(indecision(sure) + np.log(4)) < 1e-3  # every latent decided, every code used
    assert abs(indecision(jnp.broadcast_to(sure[0], (4, 4)))) < 1e-3  # decided, but one code
    assert abs(indecision(jnp.zeros((4, 4)))) < 1e-3  # all codes alike to every latent


def test_codebook_vectors_are_pushed_to_where_latents_are_and_fsq_has_nothing_to_push(quantizer):
    c, *_, z = quantizer
    module = Quantizer(c)
    z = z[:600].reshape(10, 5, 12, -1)

    @jax.jit
    def mean_indecision(params):
        plain = module.apply(params, z)
        return module.apply(params, plain, method="push_apart").loss - plain.loss

    params = module.init(jax.random.key(0), z)
    before = mean_indecision(params)
    if c.kind == "fsq":
        assert before == 0
    else:
        better = jax.tree.map(lambda p, g: p - g, params, jax.grad(mean_indecision)(params))
        assert mean_indecision(better) < before - 1e-3


def test_codes_that_nothing_uses_begin_anew_at_what_is_far_from_all():
    """Seven looks, some seen once in two thousand, and a codebook that knows the most frequent one alone."""
    rng = np.random.default_rng(0)
    looks = np.linalg.qr(rng.normal(size=(8, 8)))[0][:7]
    looks[6] = looks[5] + 0.1 * looks[0]  # told apart by little
    which = np.concatenate([np.arange(7), rng.choice(4, 2000, p=(0.9, 0.05, 0.03, 0.02))])
    z = jnp.asarray(looks[which], jnp.float32)
    book = jnp.asarray(np.stack([3 * looks[0], *-looks[:1].repeat(15, 0)]), jnp.float32)
    new = jax.jit(renewed)(book, z[None])
    np.testing.assert_array_equal(new[0], book[0], "a code that is used stays as it is")
    assert len(set(np.asarray(cosine_vq(z, new).code)[:7])) == 7, "each look has a code of its own"
    begun = np.asarray(new)[np.any(np.asarray(new) != book, axis=1)]
    assert len(begun) == 6, "and codes that nothing needs stay as they are"
    assert abs(np.sqrt(np.mean(begun**2)) - 0.1) < 1e-3, "as short as a codebook begins"


def test_a_codebook_in_full_use_stays_as_it_is():
    z = jax.random.normal(jax.random.key(0), (500, 4))
    np.testing.assert_array_equal(renewed(z[:8], z[:8]), z[:8])
