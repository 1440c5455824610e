"""The few dense, embedding and norm layers, with the logical axis names that sharding rules read."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

RESIDUAL = 0.2  # initial variance of what a layer adds: small, so that a deep stack starts close to its input

# Logical axes of weights: layers, embed (model width), heads, head_dim, mlp, vocab; None is never sharded.


def _product(x: jax.Array, kernel: jax.Array, dimensions, precision=None) -> jax.Array:
    """`lax.dot_general` of the last axes of x with the first ones of a kernel.

    On a CPU it is a product of two matrices, and the kernel's gradient is one, too, then: for a sum over several axes
    XLA turns one side around first, number by number, which took a fifth of a training step. A TPU has no such need,
    and turning tokens into matrices costs it more than it saves.
    """
    summed = len(dimensions[0][0])

    def matrices(x, kernel):
        size = math.prod(kernel.shape[:summed])
        out = jax.lax.dot(x.reshape(-1, size), kernel.reshape(size, -1), precision=precision)
        return out.reshape(x.shape[: x.ndim - summed] + kernel.shape[summed:])

    as_it_is = lambda x, kernel: jax.lax.dot_general(x, kernel, dimensions, precision)
    return jax.lax.platform_dependent(x, kernel, cpu=matrices, default=as_it_is)


def dense(features, axes: tuple, dtype, *, axis=-1, bias: bool = False, scale: float = 1.0, name: str | None = None):
    """A DenseGeneral whose kernel carries logical `axes`, one for each kernel dimension."""
    return nn.DenseGeneral(
        features,
        axis=axis,
        use_bias=bias,
        dtype=dtype,
        kernel_init=nn.with_logical_partitioning(nn.initializers.variance_scaling(scale, "fan_in", "normal"), axes),
        dot_general=_product,
        bias_init=nn.with_logical_partitioning(
            nn.initializers.zeros, axes[-(1 if isinstance(features, int) else len(features)) :]
        ),
        name=name,
    )


def embed(size: int, width: int, name: str | None = None):
    """A table of `size` learned vectors, of about the size that the layers' outputs have.

    Tables are not split over the model width: what is looked up would have to be gathered again for every token.
    """
    init = nn.with_logical_partitioning(nn.initializers.normal(0.5), ("vocab", None))
    return nn.Embed(size, width, embedding_init=init, name=name)


def add_action(x_BTD: jax.Array, factors, action_BTA: jax.Array) -> jax.Array:
    """`x_BTD` and what each of `factors`, an `embed` for each column of an action, says of it: its last entry is "no
    action", for -1 and whatever lies outside the factor."""
    for factor, value in zip(factors, jnp.moveaxis(action_BTA, -1, 0)):
        none = factor.num_embeddings - 1
        x_BTD += factor(jnp.where((value < 0) | (value >= none), none, value))
    return x_BTD


def table(module: nn.Module, name: str, shape: tuple[int, ...]):
    """Learned vectors to add or insert (positions, a mask token, a null prompt): float32 `shape`, held whole."""
    return module.param(name, nn.with_logical_partitioning(nn.initializers.normal(0.5), (None,) * len(shape)), shape)


def norm(dtype, name: str | None = None):
    """RMS norm over the model width, computed in float32."""
    init = nn.with_logical_partitioning(nn.initializers.ones, ("embed",))
    return nn.RMSNorm(epsilon=1e-6, dtype=dtype, scale_init=init, name=name)


class MLP(nn.Module):
    """Two dense layers with a squared ReLU between (Primer, arXiv 2109.08668), the hidden one `ratio` times as wide."""

    width: int
    ratio: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x):
        h = dense(self.width * self.ratio, ("embed", "mlp"), self.dtype, name="up")(x)
        return dense(self.width, ("mlp", "embed"), self.dtype, scale=RESIDUAL, name="down")(jnp.square(nn.relu(h)))


class PatchLayers(nn.Module):
    """Layers that see one patch of a frame [..., N, D] at a time: textures are learnt here in a fraction of the time
    that attention takes. The mean of all, if they see it, tells what patches share, such as the light."""

    layers: int
    width: int
    dtype: jnp.dtype
    mean: bool

    @nn.compact
    def __call__(self, x):
        for i in range(self.layers):
            y = dense(self.width, ("embed", None), self.dtype, bias=True, name=f"own_{i}")(x)
            x = norm(self.dtype, f"norm_{i}")(x + nn.gelu(y))
            if self.mean:
                mean = jnp.mean(x, axis=-2, keepdims=True)
                x = x + dense(self.width, ("embed", None), self.dtype, bias=True, name=f"mean_{i}")(mean)
        return x
