"""A map of a world whose pictures scroll over it: where is this, and what lies beyond its edges?"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from oyster_jax.config import DynamicsConfig
from oyster_jax.models.grid import around_each, as_grid
from oyster_jax.nn.attention import unit
from oyster_jax.nn.layers import add_action, dense, embed, norm, table

KEY, SHOWN = 16, 32  # features that a place is known by, and of what is there
SURE = 24.0  # nats by which a picture that fits is ahead at first, about: in much doubt, all of the map learns
HIDDEN = 256  # width of an `Explorer`


class Atlas(nn.Module):
    """`cfg.atlas` x `cfg.atlas` places, each with features to be known by and features to show, which wrap around.

    A picture is laid on every part of the map, and what is shown is that of the parts that fit, by how well they do:
    with one place more on each side than the picture has. What was learnt of a place from one view is so known in all
    others, which attention between the places of a screen has to learn one by one. And a few tokens that are wrong
    change little of where a picture fits, so that the map can tell what should stand there.
    """

    cfg: DynamicsConfig

    @nn.compact
    def __call__(self, codes: jax.Array) -> jax.Array:
        """int32 [B, T, rows, columns], `cfg.video_codes` for no frame, to [B, T, rows + 2, columns + 2, SHOWN]."""
        size, (rows, columns) = self.cfg.atlas, codes.shape[2:]
        seen = unit(embed(self.cfg.video_codes + 1, KEY, "seen")(codes))
        keys = unit(table(self, "keys", (size, size, KEY)))
        sure = self.param("sure", nn.with_logical_partitioning(nn.initializers.constant(SURE), ()), ())
        # A picture laid with its corner at row a, column q of the map has its column x at v. Rows are moved in the map,
        # columns by a product.
        alike = jnp.einsum("btyxf,yavf->btxav", seen, _rows(keys, range(rows)))
        fits = jnp.einsum("btxav,xvq->btaq", alike, _columns(size, range(columns))) / (rows * columns * KEY)
        weight = nn.softmax(sure * fits, axis=(-2, -1))
        shown = _rows(table(self, "shown", (size, size, SHOWN)), range(-1, rows + 1))
        there = jnp.einsum("btaq,xvq->btxav", weight, _columns(size, range(-1, columns + 1)))
        return jnp.einsum("btxav,yavf->btyxf", there, shown)


def _rows(atlas: jax.Array, moves: range) -> jax.Array:
    """[S, S, F] to [moves, S, S, F]: at each place what lies so many rows below it, around the map's edge."""
    size = len(atlas)
    return atlas[(np.array(moves)[:, None] + np.arange(size)) % size]


def _columns(size: int, moves: range) -> np.ndarray:
    """float [moves, S, S]: 1 where the first column lies so many to the right of the second, around the map's edge."""
    return np.stack([np.roll(np.eye(size, dtype=np.float32), move, axis=0) for move in moves])


class Explorer(nn.Module):
    """Guesses the next picture from the last one and the action that follows, by an atlas and no more: what one is
    learnt by before the dynamics, which see a tenth as many frames in the same time."""

    cfg: DynamicsConfig

    def setup(self):
        c = self.cfg
        self.atlas = Atlas(c)
        self.looks = embed(c.video_codes + 1, HIDDEN // 4)
        self.light = dense(HIDDEN, ("embed", "mlp"), "float32", bias=True)
        self.action = [embed(size + 1, HIDDEN) for size in c.action_sizes]
        self.near = dense(HIDDEN, (None, "mlp"), "float32")
        self.norm = norm("float32")
        self.head = dense(c.video_codes, ("embed", "vocab"), "float32", bias=True, scale=0.1)

    def __call__(self, last_BTN: jax.Array, action_BTA: jax.Array) -> jax.Array:
        """Logits of the next picture's tokens, [B, T, N, codes], from what `recall` takes."""
        return self.guess(self.recall(last_BTN, action_BTA))

    def recall(self, last_BTN: jax.Array, action_BTA: jax.Array) -> jax.Array:
        """int32 [B, T, N], the picture before each, -1 for none, and [B, T, A], the action that led from there, to
        features of what is now in each place, [B, T, N, HIDDEN]; 0 for tokens without a place."""
        c = self.cfg
        codes = jnp.where(last_BTN < 0, c.video_codes, last_BTN)
        near = around_each(self.atlas(as_grid(codes[..., None], c)[..., 0]))
        # What a place looks like depends on the light, and what comes into view on where it is gone to.
        patches, shared = jnp.split(self.looks(codes), [c.video_tokens - c.video_shared], axis=2)
        looks = jnp.concatenate([patches.mean(2), shared.reshape(*shared.shape[:2], -1)], axis=-1)
        gate = add_action(self.light(looks), self.action, action_BTA)
        x = self.near(near.reshape(*near.shape[:3], -1)) * gate[:, :, None]
        return jnp.pad(nn.gelu(self.norm(x)), ((0, 0), (0, 0), (0, c.video_shared), (0, 0)))

    def guess(self, recalled: jax.Array) -> jax.Array:
        """Logits of what `recall` gives, of all or of some tokens."""
        return self.head(recalled)
