"""UTF-8 bytes to a few prompt tokens. No vocabulary, no download."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from oyster_jax.config import MAX_PROMPT_BYTES, TextEncoderConfig
from oyster_jax.errors import OysterError
from oyster_jax.nn.layers import MLP, dense, embed, norm, table
from oyster_jax.types import Logits


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


def gram_ids(prompt_BP: jax.Array, buckets: int, size: int = 4) -> jax.Array:
    """Hashes of the `size` bytes that end at each byte of uint8 [B, P]: int32 [B, P], 0 .. buckets - 1 (hash n-gram
    embeddings, arXiv 2412.09871, section 3.2.1)."""
    raw = jnp.pad(prompt_BP.astype(jnp.uint32), ((0, 0), (size - 1, 0)))
    h = jnp.zeros(prompt_BP.shape, jnp.uint32)
    for i in range(size):
        h = h * 1000003 + raw[:, i : i + prompt_BP.shape[1]] + 1
    # The high bits of a product are the well-mixed ones.
    return ((((h ^ (h >> 15)) * jnp.uint32(2654435761)) >> 16) % buckets).astype(jnp.int32)


class CodePrior(nn.Module):
    """How likely each code is to be somewhere in a frame, from the hashed 4-grams of its prompt's bytes, and nothing
    else.

    Log-linear: each 4-gram adds its own logits, whatever else is said, so that what a word means in one caption it
    means in all. Learnt only from where the dynamics need it, in the few frames that are told nothing of the past and
    there in one token of 64, "a turtle" is not told from "a fish" in hours of training.
    """

    cfg: TextEncoderConfig
    video_codes: int
    audio_codes: int

    @nn.compact
    def __call__(self, prompt_BMP: jax.Array) -> Logits:
        """Prompts uint8 [B, M, P], P as in `TextEncoder`, to [B, M, codes] each."""
        c = self.cfg
        grams = embed(c.gram_buckets, 2 * c.width, "grams")(jax.vmap(lambda p: gram_ids(p, c.gram_buckets))(prompt_BMP))
        # Some sixty in a caption: their sum, not their mean, so that no word says less for standing among others.
        said = jnp.sum(grams * (prompt_BMP > 0)[..., None], axis=2) / 8
        head = lambda codes, name: dense(codes, ("embed", "vocab"), "float32", bias=True, scale=0.01, name=name)(said)
        return Logits(head(self.video_codes, "video"), head(self.audio_codes, "audio"))


class TextEncoder(nn.Module):
    """Patches of bytes and what runs of them hash to, a small bidirectional transformer, and queries that read it.

    The empty prompt is the null condition: it has its own learned tokens.
    """

    cfg: TextEncoderConfig

    @nn.compact
    def __call__(self, prompt_BP: jax.Array) -> jax.Array:
        """uint8 [B, P] to prompt tokens float32 [B, tokens, width]; P is MAX_PROMPT_BYTES or, to the same end, less, if
        what is left out is padding."""
        c = self.cfg
        prompt_BP = jnp.pad(prompt_BP, ((0, 0), (0, -prompt_BP.shape[1] % c.bytes_per_patch)))
        b, patches = prompt_BP.shape[0], prompt_BP.shape[1] // c.bytes_per_patch
        letters = embed(256, c.width // 2, "bytes")(prompt_BP.astype(jnp.int32))
        x = dense(c.width, (None, "embed"), "float32", name="patch")(letters.reshape(b, patches, -1))
        # A word stands in other patches, at other letters of them, after every other word: spelt out by patches alone,
        # it would have to be learnt at each. What its bytes hash to stays.
        grams = embed(c.gram_buckets, c.width, "grams")(gram_ids(prompt_BP, c.gram_buckets))
        x = x + jnp.sum((grams * (prompt_BP > 0)[..., None]).reshape(b, patches, c.bytes_per_patch, -1), axis=2)
        x = x + table(self, "place", (MAX_PROMPT_BYTES // c.bytes_per_patch, c.width))[:patches]
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
