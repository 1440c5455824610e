"""LPIPS, how unlike two pictures look to a trained network (Zhang et al. 2018, arXiv 1801.03924), in JAX.

No network comes with the package: who wants the figure brings the weights of the `lpips` package's AlexNet as one
safetensors file; `oyster evaluate --help` says how to make it.
"""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from oyster_jax.errors import OysterError

# AlexNet's convolutions, each followed by a ReLU whose output is compared: where the package keeps it, its shape (out,
# in, rows, columns), its stride and padding, and whether what comes in is first pooled.
_LAYERS = (
    ("net.slice1.0", (64, 3, 11, 11), 4, 2, False),
    ("net.slice2.3", (192, 64, 5, 5), 1, 2, True),
    ("net.slice3.6", (384, 192, 3, 3), 1, 1, True),
    ("net.slice4.8", (256, 384, 3, 3), 1, 1, False),
    ("net.slice5.10", (256, 256, 3, 3), 1, 1, False),
)
# What the network takes for no light and for full light, of pixels in [-1, 1]: those of ImageNet.
_SHIFT, _SCALE = np.array([-0.030, -0.088, -0.188], np.float32), np.array([0.458, 0.448, 0.450], np.float32)
_HELP = "`oyster evaluate --help` says how to make them"
_BATCH = 64  # pictures that are looked at together


class Layer(NamedTuple):
    """One convolution, and how much a difference in each of its features counts."""

    kernel: jax.Array  # float32 [out, in, rows, columns]
    bias: jax.Array  # float32 [out]
    weight: jax.Array  # float32 [out], not negative


def load_lpips(path: str | Path) -> tuple[Layer, ...]:
    """The weights in such a file. Raises OysterError for any other."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        found = load_file(path)
    except FileNotFoundError:
        raise OysterError(f"no LPIPS weights at {path}: {_HELP}") from None
    except (SafetensorError, OSError) as e:
        raise OysterError(f"{path} is not readable as safetensors ({e}): {_HELP}") from None

    def get(names: tuple[str, ...], shape: tuple[int, ...]) -> jax.Array:
        # The package has its last layers under two names, of which a file keeps one.
        array = next((found[n] for n in names if n in found), None)
        if array is None or array.shape != shape:
            was = "is missing" if array is None else f"is {array.shape}"
            raise OysterError(f"{path} is not LPIPS of an AlexNet: {names[0]} {was}, not {shape}; {_HELP}")
        return jnp.asarray(array, jnp.float32)

    layers = []
    for i, (name, shape, *_) in enumerate(_LAYERS):
        out = shape[0]
        weight = get((f"lin{i}.model.1.weight", f"lins.{i}.model.1.weight"), (1, out, 1, 1))
        layers.append(Layer(get((f"{name}.weight",), shape), get((f"{name}.bias",), (out,)), weight.reshape(-1)))
    return tuple(layers)


def lpips(layers: tuple[Layer, ...], a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distance of uint8 images [..., H, W, 3] of at least 32 x 32, float [...]: 0 for equal ones."""
    flat_a, flat_b = (x.reshape(-1, *x.shape[-3:]) for x in (a, b))
    some = [slice(i, i + _BATCH) for i in range(0, len(flat_a), _BATCH)]
    return np.concatenate([_distance(layers, flat_a[s], flat_b[s]) for s in some]).reshape(a.shape[:-3])


@jax.jit
def _distance(layers: tuple[Layer, ...], a: jax.Array, b: jax.Array) -> jax.Array:
    total = 0.0
    for layer, x, y in zip(layers, _features(layers, a), _features(layers, b)):
        # Each place's features have length 1: what is compared is their direction.
        unit = lambda z: z / (jnp.linalg.norm(z, axis=1, keepdims=True) + 1e-10)
        total += jnp.einsum("bchw,c->bhw", (unit(x) - unit(y)) ** 2, layer.weight).mean((1, 2))
    return total


def _features(layers: tuple[Layer, ...], images: jax.Array) -> list[jax.Array]:
    """What each layer makes of uint8 [B, H, W, 3], float32 [B, features, h, w] each."""
    x = (images.astype(jnp.float32) / 127.5 - 1 - _SHIFT) / _SCALE
    x, found = jnp.moveaxis(x, -1, 1), []
    for layer, (_, _, stride, pad, pooled) in zip(layers, _LAYERS):
        if pooled:
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 3, 3), (1, 1, 2, 2), "VALID")
        x = jax.lax.conv_general_dilated(x, layer.kernel, (stride, stride), [(pad, pad)] * 2)
        x = jax.nn.relu(x + layer.bias[:, None, None])
        found.append(x)
    return found
