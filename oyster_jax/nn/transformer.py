"""The ST-transformer (Genie, arXiv 2402.15391): spatial attention, temporal attention, MLP; layers are scanned."""

import flax.linen as nn
import jax

from oyster_jax.config import TransformerConfig
from oyster_jax.nn.attention import SpatialAttention, TemporalAttention, banded_mask, rotary_angles
from oyster_jax.nn.layers import MLP, norm
from oyster_jax.types import KV


class STBlock(nn.Module):
    """One layer. Takes and returns the tokens [B, T, N, D] and, beside them, the present's temporal K/V."""

    cfg: TransformerConfig

    @nn.compact
    def __call__(self, x_BTND, angles, past: KV | None, past_mask, prompt: KV | None, grid):
        c = self.cfg
        x = x_BTND + SpatialAttention(c, name="spatial")(norm(c.dtype, "norm_spatial")(x_BTND), prompt, grid)
        y, present = TemporalAttention(c, name="temporal")(norm(c.dtype, "norm_temporal")(x), angles, past, past_mask)
        x = x + y
        x = x + MLP(c.width, c.mlp_ratio, c.dtype, name="mlp")(norm(c.dtype, "norm_mlp")(x))
        return x, present


class STTransformer(nn.Module):
    """A stack of STBlocks over tokens [B, T, N, D], causal in time, all-to-all within a frame."""

    cfg: TransformerConfig

    @nn.compact
    def __call__(
        self,
        x_BTND: jax.Array,
        position_BT: jax.Array,
        past: KV | None = None,
        past_mask: jax.Array | None = None,
        prompt: KV | None = None,
        grid: tuple[jax.Array, jax.Array] | None = None,
    ) -> tuple[jax.Array, KV]:
        """Returns normed tokens [B, T, N, D] and the present's K/V [L, B, T, N, groups, head_dim].

        position_BT: the frames' number in their session (only differences matter).
        past, past_mask: K/V [L, B, F, N, groups, head_dim] of F frames and which of them each frame may read, bool
          [B or 1, T, F]. Without a mask, frame t reads `past[t - window + 1 .. t - 1]` (F = T); without a past either,
          those frames are its own: the whole history in one pass.
        prompt: K/V [L, B, T, P, groups, head_dim] of the prompt in force at each frame.
        grid: the tokens' places within the frame, from `grid_angles`; None where embeddings alone tell them.
        """
        c = self.cfg
        if past_mask is None:
            past_mask = banded_mask(x_BTND.shape[1], c.window)
        block = nn.remat(STBlock, prevent_cse=False) if c.remat else STBlock
        layers = nn.scan(
            block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=(nn.broadcast, 0, nn.broadcast, 0, nn.broadcast),
            length=c.layers,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )
        angles = rotary_angles(position_BT[..., None, None], c.head_dim)
        x, present = layers(c, name="layers")(x_BTND.astype(c.dtype), angles, past, past_mask, prompt, grid)
        return norm(c.dtype, "norm")(x), present
