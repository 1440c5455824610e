"""UTF-8 bytes to a few prompt tokens. No vocabulary, no download."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from oyster_jax.config import MAX_PROMPT_BYTES, TextEncoderConfig
from oyster_jax.errors import OysterError
from oyster_jax.nn.layers import MLP, dense, embed, norm, table


def prompt_bytes(text: str | bytes) -> np.ndarray:
    """A prompt as uint8 [MAX_PROMPT_BYTES], padded with zeros; raises OysterError if it is too long or not UTF-8."""
    try:
        raw = text.encode() if isinstance(text, str) else bytes(text)
        raw.decode()
    except UnicodeError:
        raise OysterError("the prompt is not valid UTF-8 text") from None
    if len(raw) > MAX_PROMPT_BYTES:
        raise OysterError(f"the prompt has {len(raw)} bytes, at most {MAX_PROMPT_BYTES} can be in force: shorten it")
    if b"\0" in raw:
        raise OysterError("the prompt holds a zero byte")
    return np.frombuffer(raw.ljust(MAX_PROMPT_BYTES, b"\0"), np.uint8)


class TextEncoder(nn.Module):
    """Patches of bytes, a small bidirectional transformer, and learned queries that read it.

    The empty prompt is the null condition: it has its own learned tokens.
    """

    cfg: TextEncoderConfig

    @nn.compact
    def __call__(self, prompt_BP: jax.Array) -> jax.Array:
        """uint8 [B, MAX_PROMPT_BYTES] to prompt tokens float32 [B, tokens, width]."""
        c = self.cfg
        b = prompt_BP.shape[0]
        patches = MAX_PROMPT_BYTES // c.bytes_per_patch
        letters = embed(256, c.width // 2, "bytes")(prompt_BP.astype(jnp.int32))
        x = dense(c.width, (None, "embed"), "float32", name="patch")(letters.reshape(b, patches, -1))
        x = x + table(self, "place", (patches, c.width))
        present = jnp.any(prompt_BP.reshape(b, patches, -1) > 0, axis=-1)
        # An empty prompt would leave nothing to attend to; its output is replaced below, so any key will do.
        mask = (present | ~present.any(-1, keepdims=True))[:, None, None]
        for i in range(c.layers):
            y = norm("float32", f"norm_attention_{i}")(x)
            x = x + self._attention(f"attention_{i}")(y, y, mask=mask)
            x = x + MLP(c.width, 4, "float32", name=f"mlp_{i}")(norm("float32", f"norm_mlp_{i}")(x))
        queries = jnp.broadcast_to(table(self, "queries", (c.tokens, c.width)), (b, c.tokens, c.width))
        out = self._attention("read")(queries, norm("float32", "norm_read")(x), mask=mask)
        empty = ~present.any(-1)[:, None, None]
        return jnp.where(empty, table(self, "null", (c.tokens, c.width)), out)

    def _attention(self, name: str) -> nn.Module:
        laid = lambda *axes: nn.with_logical_partitioning(nn.initializers.lecun_normal(), axes)
        return nn.MultiHeadDotProductAttention(
            self.cfg.heads,
            qkv_features=self.cfg.width,
            kernel_init=laid("embed", "heads", "head_dim"),
            out_kernel_init=laid("heads", "head_dim", "embed"),
            name=name,
        )
