"""The dynamics model: one joint sequence a frame, [action | video | audio], attending to prompt and past.

One forward pass serves three uses. *Commit*: a frame's final tokens, to get the K/V that later frames read. *Predict*:
a frame whose tokens are partly masked, reading the committed past. *Train*: both over whole clips. They differ only in
their arguments, so that training and sampling compute the same thing.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from oyster_jax.config import MOVED, DynamicsConfig
from oyster_jax.models.atlas import Explorer
from oyster_jax.models.grid import AROUND, as_grid, next_door
from oyster_jax.models.text_encoder import CodePrior, TextEncoder
from oyster_jax.nn.attention import take
from oyster_jax.nn.layers import RESIDUAL, add_action, dense, embed, table
from oyster_jax.nn.transformer import STTransformer
from oyster_jax.types import KV, Logits, Past, Prompt, TokenFrame


class Expected(NamedTuple):
    """What is known of a frame before any of its tokens is; see `Dynamics.expect`."""

    features: TokenFrame  # float [B, T, N, D] and [B, T, K, D]
    guesses: jax.Array | None  # an `Explorer`'s logits, [B, T, N, codes]


class Dynamics(nn.Module):
    cfg: DynamicsConfig

    def setup(self):
        c, t = self.cfg, self.cfg.transformer
        self.video_embed = embed(c.video_codes, t.width)
        self.audio_embed = embed(c.audio_codes, t.width)
        self.action_embed = [embed(n + 1, t.width) for n in c.action_sizes]  # the last entry is "no action"
        # What stood in a token's place in the frame before; last comes "no frame".
        self.video_before = embed(c.video_codes + 1, t.width)
        self.audio_before = embed(c.audio_codes + 1, t.width)
        kernel_init = nn.with_logical_partitioning(nn.initializers.normal(0.02), (None, None, "embed", None))
        self.around = nn.Conv(t.width, (3, 3), use_bias=False, dtype=t.dtype, kernel_init=kernel_init)
        self.steered = Steered(c)
        self.mask_token = table(self, "mask_token", (2, t.width))  # one for each modality
        self.changed = table(self, "changed", (2, t.width))  # a token that is another one than before
        self.place = table(self, "place", (c.frame_tokens, t.width))
        if c.stood:
            self.stood = table(self, "stood", (2, c.stood + 1, t.width))
        self.predicting = table(self, "predicting", (t.width,))  # a frame that is not yet part of the past
        self.text = TextEncoder(c.text)
        self.text_whole = dense(t.width, (None, "embed", None), t.dtype, axis=(-2, -1), scale=RESIDUAL)
        self.text_kv = dense((t.layers, 2, t.groups, t.head_dim), ("embed", None, None, "heads", None), t.dtype)
        if c.code_prior:
            self.prior = CodePrior(c.text, c.video_codes, c.audio_codes)
        if c.atlas:
            self.explorer = Explorer(c)
            self.recalled = dense(t.width, ("mlp", "embed"), t.dtype, scale=RESIDUAL)
            self.video_recalled = dense(1, ("embed", None), "float32", bias=True, scale=0.1)
        self.transformer = STTransformer(t)
        self.video_head = dense(c.video_codes, ("embed", "vocab"), "float32", bias=True, scale=0.1)
        self.audio_head = dense(c.audio_codes, ("embed", "vocab"), "float32", bias=True, scale=0.1)
        # Most tokens stay what they were, and what moves in a picture comes from next door as it was: how likely that
        # is needs saying once, and not for each code by itself.
        self.video_source = dense(AROUND, ("embed", None), "float32", bias=True, scale=0.1)
        self.audio_source = dense(1, ("embed", None), "float32", bias=True, scale=0.1)

    def read_prompt(self, prompt_BMP: jax.Array) -> Prompt:
        """Prompts uint8 [B, M, P], P as in `TextEncoder`, to M + 1 of each.

        Entry M is the null prompt: the condition that guidance drops to.
        """
        b, m, size = prompt_BMP.shape
        prompt = jnp.concatenate([prompt_BMP, jnp.zeros((b, 1, size), prompt_BMP.dtype)], axis=1)
        e_p = self.text(prompt.reshape(b * (m + 1), size))
        kv = self.text_kv(e_p).reshape(b, m + 1, *e_p.shape[1:2], *self.text_kv.features)
        whole = self.text_whole(e_p).reshape(b, m + 1, -1)
        prior = self.prior(prompt) if self.cfg.code_prior else None
        return Prompt(KV(*jnp.moveaxis(kv, 4, 0).swapaxes(3, 4)), whole, prior)

    def code_prior(self, prompt_BMP: jax.Array) -> Logits:
        """Of `read_prompt` the prior alone, [B, M, codes] each."""
        return self.prior(prompt_BMP)

    def __call__(
        self,
        *args,
        before: TokenFrame,
        expected: Expected | None = None,
        wanted: TokenFrame | None = None,
        **kwargs,
    ) -> tuple[Logits, Past]:
        """Logits of every token, [B, T, N, codes] and [B, T, K, codes], and the present's K/V. Takes what `features`
        takes.

        expected: from `expect`, where it is known already.
        wanted: int32 [B, R] and [B, Q], which tokens of each modality to give logits for, and no others.
        """
        split, rows = self.cfg.video_tokens, None
        if wanted is not None:
            rows = jnp.concatenate([1 + wanted.video, 1 + split + wanted.audio], axis=1)
            split = wanted.video.shape[1]
        expected = expected or self.expect(before, args[2])
        x, present = self.features(*args, rows=rows, before=before, expected=expected, **kwargs)
        seen, heard = jnp.split(x[:, :, 1:] if wanted is None else x, [split], axis=2)
        last = jax.tree.map(lambda x: x[:, :, 0], before)
        near = next_door(last.video[..., None], self.cfg, -1)[..., 0]
        sources = TokenFrame(near, last.audio[..., None])
        if wanted is not None:
            sources = jax.tree.map(lambda s, rows: take(s, rows, 1), sources, wanted)
        video = _add_where(self.video_head(seen), sources.video, self.video_source(seen))
        audio = _add_where(self.audio_head(heard), sources.audio, self.audio_source(heard))
        if self.cfg.atlas:
            guesses = expected.guesses if wanted is None else take(expected.guesses, wanted.video, 1)
            video += self.video_recalled(seen) * guesses
        logits = Logits(video, audio)
        if self.cfg.code_prior:
            prompt, prompt_id_BT = args[4:6]
            logits = jax.tree.map(lambda lg, p: lg + _select(p, prompt_id_BT)[:, :, None], logits, prompt.prior)
        return logits, present

    def features(
        self,
        tokens: TokenFrame,
        masked: TokenFrame | None,
        action_BTA: jax.Array,
        position_BT: jax.Array,
        prompt: Prompt,
        prompt_id_BT: jax.Array,
        past: Past | None = None,
        past_mask: jax.Array | None = None,
        rows: jax.Array | None = None,
        *,
        before: TokenFrame,
        expected: Expected | None = None,
    ) -> tuple[jax.Array, Past]:
        """What the logits are made of, [B, T, 1 + N + K, D], and the present's K/V.

        tokens: int32 [B, T, N] and [B, T, K]; `masked`, bool of the same shapes, hides those that are to be predicted;
          None for committed frames.
        action_BTA: the action that *led to* each frame, -1 for none.
        prompt, prompt_id_BT: from `read_prompt`, and which entry is in force at each frame.
        past, past_mask, rows: as for `STTransformer`.
        before: the tokens of the frames before each frame, from `frames_before`.
        expected: from `expect`, for frames with hidden tokens.
        """
        force = jax.tree.map(lambda a: _select(a, prompt_id_BT), prompt)
        # A prompt is about the whole picture: told at once, it need not be looked for by every token.
        x = self._embed(tokens, masked, before, self._action(action_BTA), expected) + force.whole[:, :, None]
        return self.transformer(x, position_BT, past, past_mask, force.kv, rows=rows)

    def expect(self, before: TokenFrame, action_BTA: jax.Array) -> Expected:
        """What the frames before and the action that follows them tell of a frame, whichever of its tokens are known:
        in a rollout the same in all steps of one frame."""
        c, action = self.cfg, self._action(action_BTA)
        video, audio = self._before(before)
        # What moves comes from next door, and goes where the action says.
        around = self.around(as_grid(video, c)).reshape(*video.shape[:2], -1, c.transformer.width)
        around = jnp.pad(around, ((0, 0), (0, 0), (0, c.video_shared), (0, 0)))
        video, guesses = video + around + self.steered(before.video, action), None
        if c.atlas:
            recalled = self.explorer.recall(before.video[:, :, 0], action_BTA)
            video, guesses = video + self.recalled(recalled), self.explorer.guess(recalled)
        return Expected(TokenFrame(video, audio), guesses)

    def _action(self, action_BTA: jax.Array) -> jax.Array:
        nothing = jnp.zeros((*action_BTA.shape[:2], self.cfg.transformer.width))
        return add_action(nothing, self.action_embed, action_BTA)[:, :, None]

    def _before(self, before: TokenFrame) -> TokenFrame:
        # Most tokens stay what they were. Found by attention alone, that takes half the layers and most of the
        # training; told at once, every layer can go into what changes.
        c, last = self.cfg, jax.tree.map(lambda x: x[:, :, 0], before)
        video = self.video_before(jnp.where(last.video < 0, c.video_codes, last.video))
        audio = self.audio_before(jnp.where(last.audio < 0, c.audio_codes, last.audio))
        if c.stood:
            # Counted by attention alone, it takes a layer to count and one more to tell the place next door.
            video += self.stood[0][frames_stood(before.video)]
            audio += self.stood[1][frames_stood(before.audio)]
        return TokenFrame(video, audio)

    def _embed(self, tokens: TokenFrame, masked: TokenFrame | None, before: TokenFrame, action, expected):
        video, audio = self.video_embed(tokens.video), self.audio_embed(tokens.audio)
        if masked is not None:
            video = jnp.where(masked.video[..., None], self.mask_token[0], video)
            audio = jnp.where(masked.audio[..., None], self.mask_token[1], audio)
            known = expected.features
        else:
            # When something last moved tells when it will again, and nothing else in a committed frame says it.
            video += self.changed[0] * (tokens.video != before.video[:, :, 0])[..., None]
            audio += self.changed[1] * (tokens.audio != before.audio[:, :, 0])[..., None]
            known = self._before(before)
        video, audio = video + known.video, audio + known.audio
        # Every token hears of the action at once, and the action has a token of its own.
        x = jnp.concatenate([jnp.zeros_like(action), video, audio], axis=2) + action + self.place
        return x if masked is None else x + self.predicting


class Steered(nn.Module):
    """Features of what stood at and around each place of a picture in the last MOVED frames, times a gate that the
    action opens. It could replace `Dynamics.around`, but then the shipped world would have had to be trained anew."""

    cfg: DynamicsConfig

    @nn.compact
    def __call__(self, before_BTLN: jax.Array, action_BT1D: jax.Array) -> jax.Array:
        """int32 [B, T, L, N], L at least MOVED, and float [B, T, 1, D] to [B, T, N, D]."""
        c, t = self.cfg, self.cfg.transformer
        codes = jnp.where(before_BTLN < 0, c.video_codes, before_BTLN)
        seen = [embed(c.video_codes + 1, t.width // 4, f"before_{i}")(codes[:, :, i]) for i in range(MOVED)]
        # A product with all nine side by side: on CPUs the gradient of a convolution takes several times as long.
        near = next_door(jnp.concatenate(seen, axis=-1), c, 0)
        near = near.reshape(*near.shape[:3], -1)
        near = dense(2 * t.width, (None, "mlp"), t.dtype, name="near")(near)
        # The action's gate: a linear layer cannot say "what is to the left, if it swims to the right".
        gate = dense(2 * t.width, ("embed", "mlp"), t.dtype, bias=True, name="gate")(action_BT1D)
        return dense(t.width, ("mlp", "embed"), t.dtype, scale=RESIDUAL, name="out")(near * gate)


def _add_where(logits: jax.Array, sources: jax.Array, extra: jax.Array) -> jax.Array:
    """logits [..., codes], with each of `extra` [..., n] added at the code that `sources` int32 [..., n] says; -1 is no
    code."""
    codes = jnp.arange(logits.shape[-1])
    for i in range(sources.shape[-1]):
        logits += jnp.where(codes == sources[..., i, None], extra[..., i, None], 0.0)
    return logits


def _select(x: jax.Array, prompt_id_BT: jax.Array) -> jax.Array:
    """[B, M, ...] and int32 [B, T] to [B, T, ...]."""
    return jax.vmap(lambda entry, ids: entry[ids])(x, prompt_id_BT)


def leading_action(action_BTA: jax.Array) -> jax.Array:
    """The action that led to each frame: `action[t-1]`, and "no action" (-1) for a first frame, whose past is unknown.

    Clips store `action[t]`, chosen on seeing frame t; token frame t carries `action[t-1]`.
    """
    return jnp.concatenate([jnp.full_like(action_BTA[:, :1], -1), action_BTA[:, :-1]], axis=1)


def frames_before(tokens: TokenFrame, look_back: int) -> TokenFrame:
    """The tokens of the L = `look_back` frames before each frame, the nearest first, int32 [B, T, L, N] and
    [B, T, L, K]; -1 before the first."""

    def back(x, frames):
        return jnp.pad(x, ((0, 0), (frames, 0), (0, 0)), constant_values=-1)[:, : x.shape[1]]

    return jax.tree.map(lambda x: jnp.stack([back(x, i + 1) for i in range(look_back)], axis=2), tokens)


def frames_stood(before_BTLN: jax.Array) -> jax.Array:
    """For how many of the frames before, int32 [B, T, N], what stood in a place in the last of them had stood there: L
    at most, and also where it is not known since when; 0 where there was no frame."""
    last = before_BTLN[:, :, :1]
    same = ((before_BTLN == last) | (before_BTLN < 0)) & (last >= 0)
    return jnp.cumprod(same, axis=2).sum(axis=2)
