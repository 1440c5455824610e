"""Ring buffers of the temporal K/V of past frames, [B, N, groups, window - 1, head_dim] for each layer that looks back.

Frame t lives in slot t % (window - 1), so the oldest frame is overwritten just when it falls out of the window.
Layers read a cache and return the present's K/V; `write` is the only place that changes one.
"""

import jax
import jax.numpy as jnp

from oyster_jax.config import TransformerConfig
from oyster_jax.errors import check
from oyster_jax.types import KV, Past


def init_cache(cfg: TransformerConfig, batch: int, tokens: int) -> Past:
    """An empty cache for frames of `tokens` tokens."""
    check(not cfg.scan_layers, "a rollout needs a world whose layers are not scanned: unroll_layers(world)")
    shape = (batch, tokens, cfg.groups, cfg.window - 1, cfg.head_dim)
    empty = lambda: jnp.zeros(shape, cfg.dtype)
    return tuple(KV(empty(), empty()) for _ in range(cfg.temporal_layers))


def past_mask(position_B: jax.Array, window: int) -> jax.Array:
    """bool [B, 1, window - 1]: which slots hold a frame, when `position_B` frames have been written."""
    return (jnp.arange(window - 1) < position_B[:, None])[:, None]


def write(cache: Past, present: Past, position_B: jax.Array, active_B: jax.Array, read: jax.Array) -> Past:
    """Writes K/V [B, N, groups, T, head_dim] of frames `position .. position + T - 1` into their slots, in all layers.

    Only the last window - 1 of them are kept. Elements that are not active keep their cache to the bit.
    read: float [B, ...] that was computed from the cache after its last reading. The write waits for it: where XLA may
    order the two as it likes, it writes into a copy of every buffer.
    """
    if not cache:  # of a model without layers that look back
        return cache
    slots = cache[0].k.shape[3]
    batch, frames = len(position_B), present[0].k.shape[3]
    skip = max(0, frames - slots)
    frame = position_B[:, None] + jnp.arange(skip, frames)
    # A slot out of range is dropped by the scatter: nothing is selected over whole buffers.
    slot = jnp.where(active_B[:, None], frame % slots, slots)
    slot += (read.reshape(batch, -1)[:, :1] > jnp.inf).astype(jnp.int32)  # adds 0, but only once it is known
    element = jnp.arange(batch)[:, None]

    def put(old, new):
        new = jnp.moveaxis(new[:, :, :, skip:], 3, 1)  # indexed axes come first
        return old.at[element, :, :, slot].set(new.astype(old.dtype), mode="drop")

    return jax.tree.map(put, cache, present)
