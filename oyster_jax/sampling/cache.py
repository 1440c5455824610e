"""Ring buffers of the temporal K/V of past frames, [L, B, window - 1, N, groups, head_dim].

Frame t lives in slot t % (window - 1), so the oldest frame is overwritten just when it falls out of the window.
Layers read a cache and return the present's K/V; `write` is the only place that changes one.
"""

import jax
import jax.numpy as jnp

from oyster_jax.config import TransformerConfig
from oyster_jax.types import KV


def init_cache(cfg: TransformerConfig, batch: int, tokens: int) -> KV:
    """An empty cache for frames of `tokens` tokens."""
    shape = (cfg.layers, batch, cfg.window - 1, tokens, cfg.groups, cfg.head_dim)
    return KV(jnp.zeros(shape, cfg.dtype), jnp.zeros(shape, cfg.dtype))


def past_mask(position_B: jax.Array, window: int) -> jax.Array:
    """bool [B, 1, window - 1]: which slots hold a frame, when `position_B` frames have been written."""
    return (jnp.arange(window - 1) < position_B[:, None])[:, None]


def write(cache: KV, present: KV, position_B: jax.Array, active_B: jax.Array) -> KV:
    """Writes K/V [L, B, T, N, groups, head_dim] of frames `position .. position + T - 1` into their slots.

    Only the last window - 1 of them are kept. Elements that are not active keep their cache to the bit.
    """
    slots = cache.k.shape[2]
    batch, frames = present.k.shape[1:3]
    skip = max(0, frames - slots)
    frame = position_B[:, None] + jnp.arange(skip, frames)
    # A slot out of range is dropped by the scatter: nothing is selected over whole buffers.
    slot = jnp.where(active_B[:, None], frame % slots, slots)
    element = jnp.arange(batch)[:, None]
    put = lambda old, new: old.at[:, element, slot].set(new[:, :, skip:].astype(old.dtype), mode="drop")
    return KV(put(cache.k, present.k), put(cache.v, present.v))
