"""A map is found by what a picture shows, from anywhere, with mistakes in it, and shows what lies beyond the edges."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oyster_jax.models.atlas import KEY, SHOWN, Atlas

SIZE = 7


@pytest.fixture(scope="module")
def atlas(config):
    """A map of SIZE x SIZE places, each of a code of its own, and the Atlas that knows it: it shows each place's code
    as its first feature, surely where it is found."""
    c = dataclasses.replace(config.dynamics, atlas=SIZE)
    model, rng = Atlas(c), np.random.default_rng(0)
    codes = rng.permutation(c.video_codes)[: SIZE * SIZE].reshape(SIZE, SIZE)
    vectors = rng.normal(size=(c.video_codes + 1, KEY)).astype(np.float32)
    shown = np.zeros((SIZE, SIZE, SHOWN), np.float32)
    shown[..., 0] = codes
    params = {"seen": {"embedding": vectors}, "keys": vectors[codes], "shown": shown, "sure": np.float32(1e3)}
    return codes, jax.jit(lambda view: model.apply({"params": params}, view)[..., 0])


def view(codes, row, column, rows, columns):
    """A part of the map, which wraps around."""
    return np.roll(codes, (-row, -column), (0, 1))[:rows, :columns]


@pytest.mark.parametrize("row, column", [(0, 0), (2, 3), (SIZE - 1, SIZE - 2)])
def test_from_anywhere_it_shows_what_is_there_and_one_place_beyond(atlas, row, column):
    codes, recall = atlas
    shown = recall(view(codes, row, column, 2, 3)[None, None])[0, 0]
    np.testing.assert_allclose(shown, view(codes, row - 1, column - 1, 4, 5), atol=1e-3)


def test_a_wrong_token_is_told_by_the_others(atlas):
    codes, recall = atlas
    right = view(codes, 1, 4, 2, 3)
    wrong = right.copy()
    wrong[1, 1] = codes[5, 5]
    np.testing.assert_allclose(recall(wrong[None, None]), recall(right[None, None]), atol=1e-3)


def test_the_map_learns_from_every_view(atlas, config):
    """What it shows moves with what each of its places is known by and shows: nothing is cut off."""
    model = Atlas(dataclasses.replace(config.dynamics, atlas=SIZE))
    seen = jnp.asarray(view(atlas[0], 0, 0, 2, 3))[None, None]
    params = model.init(jax.random.key(0), seen)["params"]
    slopes = jax.grad(lambda p: model.apply({"params": p}, seen).var())(params)
    assert all(np.abs(x).min() > 0 for x in (slopes["keys"].unbox().sum(-1), slopes["shown"].unbox()))
