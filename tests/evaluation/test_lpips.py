"""LPIPS with weights drawn at random: the distances that the lpips package gives with the same weights."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from oyster_jax.errors import OysterError
from oyster_jax.evaluation.lpips import _LAYERS, load_lpips, lpips

REFERENCE = [0.00025604, 0.00540053, 0.05129324]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of the form that the lpips package's `state_dict` has."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32)
    arrays = {}
    for i, (name, shape, *_) in enumerate(_LAYERS):
        arrays |= {f"{name}.weight": draw(*shape), f"{name}.bias": draw(shape[0], 100)[:, 0]}
        arrays[f"lin{i}.model.1.weight"] = abs(draw(1, shape[0], 1, 1))
    path = tmp_path_factory.mktemp("lpips") / "lpips.safetensors"
    save_file(arrays, path)
    return path


@pytest.fixture(scope="module")
def pictures():
    """Three pictures, and the same with noise of growing strength: uint8 [3, 64, 64, 3]."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:64, :64]
    a = np.stack([127 + 100 * np.sin(x / (3 + c) + c) * np.cos(y / 5) for c in range(3)], -1)
    noise = rng.normal(0, 1, (3, *a.shape)) * np.array([2, 10, 40])[:, None, None, None]
    return np.broadcast_to(a, noise.shape).astype(np.uint8), (a + noise).clip(0, 255).astype(np.uint8)


def test_it_is_the_lpips_packages(weights, pictures):
    """Version 0.1.4, with these weights loaded into `LPIPS(net="alex")`."""
    np.testing.assert_allclose(lpips(load_lpips(weights), *pictures), REFERENCE, rtol=1e-4)


def test_equal_pictures_are_not_apart_and_order_does_not_matter(weights, pictures):
    a, b = pictures
    layers = load_lpips(weights)
    assert (lpips(layers, a, a) == 0).all()
    np.testing.assert_allclose(lpips(layers, a, b), lpips(layers, b, a), rtol=1e-5)
    many = [np.broadcast_to(x[None, :2], (40, 2, *x.shape[1:])) for x in (a, b)]
    np.testing.assert_allclose(lpips(layers, *many), np.broadcast_to(lpips(layers, a, b)[:2], (40, 2)), rtol=1e-5)


def test_other_files_are_named_with_the_way_to_make_one(weights, tmp_path):
    with pytest.raises(OysterError, match=r"no LPIPS weights at .*evaluate --help"):
        load_lpips(tmp_path / "none")
    (tmp_path / "text").write_text("weights")
    with pytest.raises(OysterError, match="not readable"):
        load_lpips(tmp_path / "text")
    arrays = load_file(weights)
    del arrays["lin3.model.1.weight"]
    save_file(arrays, tmp_path / "cut")
    with pytest.raises(OysterError, match=r"lin3.model.1.weight is missing"):
        load_lpips(tmp_path / "cut")
    save_file(arrays | {"net.slice1.0.bias": np.zeros(3, np.float32)}, tmp_path / "vgg")
    with pytest.raises(OysterError, match=r"net.slice1.0.bias is \(3,\), not \(64,\)"):
        load_lpips(tmp_path / "vgg")
