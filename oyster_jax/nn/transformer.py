"""The ST-transformer (Genie, arXiv 2402.15391): spatial attention, temporal attention, MLP."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from oyster_jax.config import TransformerConfig
from oyster_jax.errors import check
from oyster_jax.nn.attention import SpatialAttention, TemporalAttention, banded_mask, rotary_angles, take
from oyster_jax.nn.layers import MLP, norm
from oyster_jax.types import KV, Past


class STLayer(nn.Module):
    """One layer. Takes and returns the tokens [B, T, N, D] and, where it looks back, the present's temporal K/V.

    rows: int32 [B, R], where no more than these of the N tokens are wanted: R tokens and their K/V are returned.
    """

    cfg: TransformerConfig
    temporal: bool  # whether it looks back

    @nn.compact
    def __call__(self, x_BTND, angles, past: KV | None, past_mask, prompt: KV | None, grid, rows=None):
        c = self.cfg
        attend = SpatialAttention(c, name="spatial")
        x = take(x_BTND, rows, 1) + attend(norm(c.dtype, "norm_spatial")(x_BTND), prompt, grid, rows)
        present = None
        if self.temporal:
            attend = TemporalAttention(c, name="temporal")
            y, present = attend(norm(c.dtype, "norm_temporal")(x), angles, past, past_mask, rows)
            x = x + y
        x = x + MLP(c.width, c.mlp_ratio, c.dtype, name="mlp")(norm(c.dtype, "norm_mlp")(x))
        return x, present


class STBlock(nn.Module):
    """`temporal_every` layers, the last of which looks back: what a scan over a deep stack repeats.

    prompt: K/V [B, T, layers, P, groups, head_dim] of these layers. rows: of the last layer, see `STLayer`.
    """

    cfg: TransformerConfig

    @nn.compact
    def __call__(self, x, angles, past: KV | None, past_mask, prompt: KV | None, grid, rows=None):
        c = self.cfg
        layer = nn.remat(STLayer, prevent_cse=not c.scan_layers) if c.remat else STLayer
        for i in range(c.temporal_every):
            own = jax.tree.map(lambda a, i=i: a[:, :, i], prompt)
            last = i == c.temporal_every - 1
            told = (x, angles, past, past_mask, own, grid, rows if last else None)
            x, present = layer(c, last, name=f"layer_{i}")(*told)
        return x, present


class STTransformer(nn.Module):
    """A stack of STLayers over tokens [B, T, N, D], causal in time, all-to-all within a frame."""

    cfg: TransformerConfig

    @nn.compact
    def __call__(
        self,
        x_BTND: jax.Array,
        position_BT: jax.Array,
        past: Past | None = None,
        past_mask: jax.Array | None = None,
        prompt: KV | None = None,
        grid: tuple[jax.Array, jax.Array] | None = None,
        rows: jax.Array | None = None,
    ) -> tuple[jax.Array, Past]:
        """Returns normed tokens [B, T, N, D] and the present's K/V, of T frames.

        position_BT: the frames' number in their session (only differences matter).
        past, past_mask: K/V of F frames and which of them each frame may read, bool [B or 1, T, F]. Without a mask,
          frame t reads `past[t - window + 1 .. t - 1]` (F = T); without a past either, those frames are its own: the
          whole history in one pass.
        prompt: K/V [B, T, L, P, groups, head_dim] of the prompt in force at each frame.
        grid: the tokens' places within the frame, from `grid_angles`; None where embeddings alone tell them.
        rows: int32 [B, R], the tokens that are wanted, if not all: the last layer computes nothing else for the others
          than what these read. R tokens are returned, and R in the last layer's K/V.
        """
        c = self.cfg
        if past_mask is None:
            past_mask = banded_mask(x_BTND.shape[1], c.window)
        x, angles = x_BTND.astype(c.dtype), rotary_angles(position_BT[..., None, None], c.head_dim)
        # The prompt of each block's layers: blocks first, as a scan takes them.
        split = (c.temporal_layers, c.temporal_every)
        blocks = lambda a: jnp.moveaxis(a.reshape(*a.shape[:2], *split, *a.shape[3:]), 2, 0)
        prompt = jax.tree.map(blocks, prompt)
        if c.scan_layers:
            check(rows is None, "scanned layers give all tokens: unroll_layers(world) to ask for some")
            scan = nn.scan(
                STBlock,
                variable_axes={"params": 0},
                split_rngs={"params": True},
                in_axes=(nn.broadcast, 0, nn.broadcast, 0, nn.broadcast),
                length=c.temporal_layers,
                metadata_params={nn.PARTITION_NAME: "layers"},
            )
            x, present = scan(c, name="blocks")(x, angles, past, past_mask, prompt, grid)
        else:
            # Each block has arrays of its own: a slice of stacked ones would be copied at every step of a rollout.
            present = []
            for i in range(c.temporal_layers):
                own = jax.tree.map(lambda a, i=i: a[i], prompt)
                wanted = rows if i == c.temporal_layers - 1 else None
                x, now = STBlock(c, name=f"block_{i}")(x, angles, past and past[i], past_mask, own, grid, wanted)
                present.append(now)
            present = tuple(present)
        return norm(c.dtype, "norm")(x), present
