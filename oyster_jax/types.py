"""Pytrees that cross module borders, and the legend of the dimension letters used in names.

    B  batch                    H, W  height, width in pixels      L  layers
    T  frames                   S     sound samples per frame      D  model width
    N  video tokens per frame   K     audio tokens per frame       A  action factors
    M  prompts in one clip      P     prompt bytes, or prompt tokens once encoded

So `video_BTHWC` is uint8 [batch, frames, height, width, 3] and `audio_BTS` is float32 in [-1, 1].
"""

from typing import NamedTuple

import jax


class Clip(NamedTuple):
    """A batch of clips. Frame `t` starts the interval whose sound is `audio[t]`; `action[t]` leads to frame `t+1`."""

    video: jax.Array  # uint8 [B, T, H, W, 3]
    audio: jax.Array  # float32 [B, T, S], in [-1, 1]
    action: jax.Array  # int32 [B, T, A]; -1 is "no action known"
    prompt: jax.Array  # uint8 [B, M, P], UTF-8 bytes padded with zeros
    prompt_id: jax.Array  # int32 [B, T], which of the M prompts is in force at each frame

    def first(self, frames: int) -> "Clip":
        """The clips' first `frames` frames."""
        cut = jax.tree.map(lambda x: x[:, :frames], self)
        return cut._replace(prompt=self.prompt)


class TokenFrame(NamedTuple):
    """The tokens of one or many frames: video int32 [..., N] and audio int32 [..., K]."""

    video: jax.Array
    audio: jax.Array


class Observation(NamedTuple):
    """What a step shows: video uint8 [B, H, W, 3] and the sound of the interval that it opens, float32 [B, S]."""

    video: jax.Array
    audio: jax.Array


class KV(NamedTuple):
    """Keys and values; the axes are named by whoever holds them."""

    k: jax.Array
    v: jax.Array


class Logits(NamedTuple):
    """Unnormalised log-probabilities of codes, float32: video [..., codes] and audio [..., codes]."""

    video: jax.Array
    audio: jax.Array


class Prompt(NamedTuple):
    """Prompts as the dynamics read them: K/V [B, M, L, P, groups, head_dim] of every layer, which tokens may attend to;
    [B, M, D], which all of them are told; and, if the world has a `CodePrior`, its logits [B, M, codes]."""

    kv: KV
    whole: jax.Array
    prior: Logits | None = None


# Temporal K/V [B, N, groups, F, head_dim] of F frames, one for each layer that looks back. (Where layers are scanned,
# in training: one KV with those layers in front.)
Past = tuple[KV, ...]
