"""Attention over the tokens of a frame (spatial) and over the past of one token (temporal).

Temporal attention never mutates a cache: it reads the keys and values of past frames and returns those of the present.
Training, prefill and sampling all run this one function, so that they agree by construction.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from oyster_jax.config import TransformerConfig
from oyster_jax.nn.layers import RESIDUAL, dense
from oyster_jax.types import KV

# Frame counters wrap here without a trace: every rotary frequency is a whole number of turns per period.
ROTARY_PERIOD = 4096
SUREST = 60.0  # an attention logit whose token gets all attention, while sums of its exponential stay finite


def rotary_angles(position: jax.Array, head_dim: int) -> tuple[jax.Array, jax.Array]:
    """Cosines and sines, float32 [..., head_dim / 2], of rotary embeddings (RoFormer, arXiv 2104.09864) at frames
    `position` (int32 [...]).

    Frequencies fall from 1 radian a frame to one turn in ROTARY_PERIOD frames, each rounded to a whole number of turns
    a period: the angle of frame t and of frame t + ROTARY_PERIOD are the same bits, however long a session runs.
    """
    turns = np.geomspace(ROTARY_PERIOD / (2 * np.pi), 1, head_dim // 2).round().astype(np.int32)
    steps = (position[..., None] % ROTARY_PERIOD * turns) % ROTARY_PERIOD
    angle = steps.astype(jnp.float32) * (2 * np.pi / ROTARY_PERIOD)
    return jnp.cos(angle), jnp.sin(angle)


def grid_angles(rows: int, columns: int, before: int, after: int, head_dim: int) -> tuple[jax.Array, jax.Array]:
    """Cosines and sines, float32 [N, 1, head_dim / 2], that tell spatial attention how far apart two patches lie.

    N tokens: `before` that have no place, a grid in reading order, `after` without a place. Half of the
    feature pairs turn with the row, half with the column (axial RoPE, arXiv 2403.13298), a turn in 4 to 64 patches.
    """
    row, column = np.divmod(np.arange(rows * columns), columns)
    turn = lambda place, pairs: place[:, None] * np.geomspace(np.pi / 2, np.pi / 32, pairs)
    angle = np.concatenate([turn(row, head_dim // 4), turn(column, head_dim // 2 - head_dim // 4)], axis=1)
    angle = np.pad(angle, ((before, after), (0, 0)))[:, None]
    return jnp.asarray(np.cos(angle), jnp.float32), jnp.asarray(np.sin(angle), jnp.float32)


def rotate(x: jax.Array, angles: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Turns the feature pairs of x [B, T, N, heads, head_dim] by angles that broadcast to [..., head_dim / 2]."""
    cos, sin = (a.astype(x.dtype) for a in angles)
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)


def banded_mask(frames: int, window: int) -> jax.Array:
    """bool [1, T, T]: frame t reads frames t - window + 1 .. t - 1. (Its own frame comes beside the past.)"""
    distance = np.arange(frames)[:, None] - np.arange(frames)[None]
    return jnp.asarray((distance > 0) & (distance < window))[None]


def unit(x: jax.Array) -> jax.Array:
    """Scales feature vectors to unit RMS (queries and keys: attention logits then stay bounded)."""
    x32 = x.astype(jnp.float32)
    return (x32 * jax.lax.rsqrt(jnp.mean(x32 * x32, -1, keepdims=True) + 1e-6)).astype(x.dtype)


class SpatialAttention(nn.Module):
    """Every token of a frame attends to every token of its frame, and to the prompt in force at that frame."""

    cfg: TransformerConfig

    @nn.compact
    def __call__(self, x_BTND: jax.Array, prompt: KV | None = None, grid=None, rows=None) -> jax.Array:
        """`prompt`: keys and values [B, T, P, groups, head_dim] of each frame's prompt tokens. `grid`: the tokens'
        places, from `grid_angles`. `rows`: int32 [B, R], the tokens that ask, if not all do."""
        c = self.cfg
        q, k, v = project(c, x_BTND)
        if grid is not None:
            q, k = rotate(q, grid), rotate(k, grid)
        q = take(q, rows, 1)
        if prompt is not None:
            k = jnp.concatenate([k, prompt.k.astype(k.dtype)], axis=2)
            v = jnp.concatenate([v, prompt.v.astype(v.dtype)], axis=2)
        # Heads before tokens, as the matmuls want them. The softmax needs no maximum: queries and keys are of unit RMS,
        # so no logit of a token exceeds sqrt(head_dim). A prompt's keys may be of any length, and say SUREST at most.
        q = jnp.moveaxis(q.reshape(*q.shape[:-2], c.groups, c.heads // c.groups, c.head_dim), 2, 4)
        k, v = jnp.moveaxis(k, 2, 3), jnp.moveaxis(v, 2, 3)
        logits = jnp.einsum("btghnd,btgmd->btghnm", q, k, preferred_element_type=jnp.float32)
        weights = jnp.exp(jnp.minimum(logits * c.head_dim**-0.5, SUREST)).astype(v.dtype)
        total = weights.sum(-1, dtype=jnp.float32, keepdims=True)
        out = jnp.einsum("btghnm,btgmd->btghnd", weights, v) / total.astype(v.dtype)
        out = jnp.moveaxis(out, 4, 2)
        return merge(c, out)


class TemporalAttention(nn.Module):
    """Each token attends to itself and to the tokens at its place in past frames."""

    cfg: TransformerConfig

    @nn.compact
    def __call__(self, x_BTND, angles, past: KV | None, past_mask, rows=None) -> tuple[jax.Array, KV]:
        """Returns the output and the present's keys and values [B, N, groups, T, head_dim].

        `past`: keys and values [B, N, groups, F, head_dim] of F other frames, `past_mask` bool [B or 1, T, F] says
        which of them a frame may read. None: the past of each frame are the frames of `x` itself.
        `rows`: int32 [B, R], where x are not all of the N tokens that the past has, but these.
        Frames come last but one, as the matmuls want them: a past in any other order is copied whole to be read.
        """
        c = self.cfg
        q, k, v = project(c, x_BTND)
        q, k = rotate(q, angles), rotate(k, angles)
        present = KV(jnp.moveaxis(k, 1, 3), jnp.moveaxis(v, 1, 3))
        if past is None:
            past, rows = present, None  # of the same tokens
        q = q.reshape(*q.shape[:-2], c.groups, c.heads // c.groups, c.head_dim)
        # The queries are put where the past of their tokens lies: to gather that would be to copy it.
        ask = q if rows is None else put(q, rows, past.k.shape[1])
        # Queries and keys are of unit RMS, so no logit exceeds sqrt(head_dim): the softmax needs no maximum, and past
        # and present need not be joined into one array first.
        scale = c.head_dim**-0.5
        old = jnp.einsum("btnghd,bngfd->bnghtf", ask, past.k.astype(q.dtype), preferred_element_type=jnp.float32)
        own = jnp.einsum("btnghd,btngd->bnght", q, k, preferred_element_type=jnp.float32)
        old = jnp.where(past_mask[:, None, None, None], jnp.exp(old * scale), 0)
        own = jnp.exp(own * scale)[..., None]
        # In the order of the operands: asked for another one, XLA would turn the past around.
        out = jnp.einsum("bnghtf,bngfd->bnghtd", old.astype(v.dtype), past.v.astype(v.dtype))
        out, total = take(out, rows, 0), take(old.sum(-1, keepdims=True), rows, 0) + own
        out = (out + own.astype(v.dtype) * present.v[:, :, :, None]) / total.astype(v.dtype)
        return merge(c, jnp.moveaxis(out, 4, 1)), present


def take(x: jax.Array, rows: jax.Array | None, before: int) -> jax.Array:
    """Entries `rows` int32 [B, R] of the axis of x [B, ...] that comes after B and `before` others; None: all."""
    if rows is None:
        return x
    return jax.vmap(lambda one, index: jnp.take(one, index, axis=before, mode="clip"))(x, rows)


def put(x: jax.Array, rows: jax.Array, tokens: int) -> jax.Array:
    """x [B, T, R, ...] at entries `rows` int32 [B, R] of [B, T, tokens, ...], the others 0: the inverse of `take`."""
    every = jnp.zeros((*x.shape[:2], tokens, *x.shape[3:]), x.dtype)
    return jax.vmap(lambda every, one, index: every.at[:, index].set(one, mode="drop"))(every, x, rows)


def project(c: TransformerConfig, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Queries [..., heads, head_dim], keys and values [..., groups, head_dim] of tokens [..., D]."""
    axes = ("embed", "heads", "head_dim")
    q = dense((c.heads, c.head_dim), axes, c.dtype, name="query")(x)
    k = dense((c.groups, c.head_dim), axes, c.dtype, name="key")(x)
    v = dense((c.groups, c.head_dim), axes, c.dtype, name="value")(x)
    return unit(q), unit(k), v


def merge(c: TransformerConfig, out: jax.Array) -> jax.Array:
    """Heads [..., groups, heads / groups, head_dim] back to the model width."""
    out = out.reshape(*out.shape[:-3], c.heads, c.head_dim)
    return dense(c.width, ("heads", "head_dim", "embed"), c.dtype, axis=(-2, -1), scale=RESIDUAL, name="out")(out)
