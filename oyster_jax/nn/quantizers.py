"""Vectors to codes and back, behind one interface: finite scalar quantization, or a cosine codebook."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from oyster_jax.config import QuantizerConfig

FRESH_CODE = 0.1  # root mean square of a codebook vector's features when it begins
SAME = 1e-4  # cosine distance below which latents are the same, but for rounding


class Quantized(NamedTuple):
    """What quantizing latents [..., code_dim] gives."""

    vector: jax.Array  # float32 [..., code_dim], gradients pass straight through
    soft: jax.Array  # float32 [..., code_dim], the vector before it was rounded
    code: jax.Array  # int32 [...]
    loss: jax.Array  # float32 [], commitment and codebook loss; 0 for FSQ


class Quantizer(nn.Module):
    """`__call__` quantizes, `lookup` is the inverse: `lookup(q(z).code) == q(z).vector`."""

    cfg: QuantizerConfig

    def setup(self):
        c = self.cfg
        if c.kind == "vq":
            # Only directions count: short vectors turn fast at first, and ever more slowly as they grow.
            init = nn.with_logical_partitioning(nn.initializers.normal(FRESH_CODE), ("vocab", None))
            self.codebook = self.param("codebook", init, (c.codes, c.dim))

    def __call__(self, z: jax.Array, key: jax.Array | None = None, rounded=0.5) -> Quantized:
        """Latents [..., code_dim] to codes.

        With a `key` (training) only a share `rounded` of the vectors passed on are those of their codes; the others
        pass as they are. A rare thing (a ball on a court) first moves its latent by less than a code's reach, which
        rounding would hide from the decoder, and nothing would ever be learnt about it.
        """
        z = z.astype(jnp.float32)
        q = fsq(z, self.cfg.levels) if self.cfg.kind == "fsq" else cosine_vq(z, self.codebook)
        if key is None:
            return q
        return q._replace(vector=jnp.where(jax.random.bernoulli(key, rounded, (*q.code.shape, 1)), q.vector, q.soft))

    def indecision(self, soft: jax.Array) -> jax.Array:
        """How little the codes of a cosine codebook tell about unit latents [..., dim], see `indecision`."""
        return indecision(soft @ _unit(self.codebook).T / 0.2)

    def push_apart(self, q: Quantized) -> Quantized:
        """The same with a cosine codebook's indecision about latents [B, T, tokens, dim] in its loss; FSQ has none."""
        if self.cfg.kind == "fsq":
            return q
        # A third of a frame's tokens will do.
        return q._replace(loss=q.loss + 0.1 * self.indecision(q.soft[:, :, ::3]))

    def lookup(self, code: jax.Array) -> jax.Array:
        """Codes int32 [...] to vectors float32 [..., code_dim]."""
        if self.cfg.kind == "fsq":
            return fsq_lookup(code, self.cfg.levels)
        return jnp.take(_unit(self.codebook), code, axis=0)

    def vectors(self) -> jax.Array:
        """What every code stands for, float32 [codes, code_dim]."""
        return self.lookup(jnp.arange(self.cfg.codebook_size))


def fsq(z: jax.Array, levels: tuple[int, ...]) -> Quantized:
    """Rounds each feature to one of `levels[i]` values (arXiv 2309.15505, section 3.1)."""
    n = np.asarray(levels, np.float32)
    half = (n - 1) * (1 + 1e-3) / 2
    offset = np.where(n % 2 == 0, 0.5, 0.0)
    bounded = jnp.tanh(z + np.arctanh(offset / half)) * half - offset
    vector = bounded + jax.lax.stop_gradient(jnp.round(bounded) - bounded)
    digits = (jnp.round(jax.lax.stop_gradient(bounded)) + n // 2).astype(jnp.int32)
    basis = np.cumprod([1, *levels[:-1]]).astype(np.int32)
    return Quantized(vector / (n // 2), bounded / (n // 2), (digits * basis).sum(-1), jnp.zeros(()))


def fsq_lookup(code: jax.Array, levels: tuple[int, ...]) -> jax.Array:
    """The vector of an FSQ code: mixed-radix digits, centred and scaled to [-1, 1]."""
    basis = np.cumprod([1, *levels[:-1]]).astype(np.int32)
    n = np.asarray(levels)
    digits = code[..., None] // basis % n
    return (digits - n // 2).astype(jnp.float32) / (n // 2).astype(np.float32)


def cosine_vq(z: jax.Array, codebook: jax.Array, commitment: float = 0.25) -> Quantized:
    """Nearest codebook vector by cosine, both sides on the unit sphere; the codebook learns by gradient."""
    z, codebook = _unit(z), _unit(codebook)
    code = jnp.argmax(z @ codebook.T, axis=-1).astype(jnp.int32)
    vector = jnp.take(codebook, code, axis=0)
    stop = jax.lax.stop_gradient
    loss = jnp.mean(jnp.sum((stop(z) - vector) ** 2, -1)) + commitment * jnp.mean(jnp.sum((z - stop(vector)) ** 2, -1))
    return Quantized(z + stop(vector - z), z, code, loss)


def renewed(codebook: jax.Array, z: jax.Array) -> jax.Array:
    """The codebook [codes, dim] with codes that none of the latents z [..., dim] chose begun anew, one after another,
    each at the latent that lies farthest from all codes (Gonzalez 1985), as long as one lies apart from them.

    However often a thing is seen it takes one code: latents drawn by how far they lie and how many they are
    (k-means++) left rare looks of a small thing to share a code while hundreds of codes stood unused.
    """
    z, known = _unit(z.astype(jnp.float32).reshape(-1, z.shape[-1])), _unit(codebook)
    nearness = z @ known.T
    used = jnp.zeros(len(codebook), bool).at[jnp.argmax(nearness, -1)].set(True)
    unused = jnp.argsort(used)  # those first

    def lacks_one(carry):
        i, _, far = carry
        return (i < jnp.sum(~used)) & (jnp.max(far) >= SAME)

    def begin(carry):
        i, codebook, far = carry
        pick = z[jnp.argmax(far)]
        codebook = codebook.at[unused[i]].set(pick * FRESH_CODE * codebook.shape[1] ** 0.5)
        return i + 1, codebook, jnp.minimum(far, 1 - z @ pick)

    return jax.lax.while_loop(lacks_one, begin, (0, codebook, 1 - nearness.max(-1)))[1]


def indecision(logits: jax.Array) -> jax.Array:
    """How little the codes tell about the latents, float32 []: minus the mutual information, in nats, of latents and
    codes softly chosen by logits [..., codes].

    It is least when every latent has one code of its own and all codes are used alike, so that codes do not die before
    they mean anything (the entropy terms of MAGVIT-v2, arXiv 2310.05737, section 3.1).
    """
    entropy = lambda p: -jnp.sum(p * jnp.log(p + 1e-9), -1)
    share = jax.nn.softmax(logits, -1)
    return jnp.mean(entropy(share)) - entropy(jnp.mean(share, range(share.ndim - 1)))


def usage(code: jax.Array, size: int) -> dict[str, jax.Array]:
    """How many codes are in use, and their perplexity (2 to the entropy), over codes int32 [...]."""
    share = jnp.bincount(code.reshape(-1), length=size) / code.size
    entropy = -jnp.sum(jnp.where(share > 0, share * jnp.log(jnp.maximum(share, 1e-12)), 0.0))
    return {"codes_used": jnp.sum(share > 0), "perplexity": jnp.exp(entropy)}


def _unit(x: jax.Array) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.sum(x * x, -1, keepdims=True) + 1e-12)
