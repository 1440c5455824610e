"""The dynamics stage: two streams with the same weights, so that training sees exactly what sampling does.

The *committed* stream passes clean (or, for robustness, partly wrong) tokens once and gives every frame's K/V. The
*masked* stream reads, at each frame, its own partly masked tokens and the committed frames before it; every frame is a
target. Latent actions come from the cache, or (`cotrain_latent`) from a latent action model trained in the same step.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from oyster_jax.config import MAX_PROMPT_BYTES, DynamicsConfig, WorldConfig
from oyster_jax.config_dict import to_dict
from oyster_jax.config_experiment import StageConfig, TrainConfig
from oyster_jax.models.dynamics import Dynamics, frames_before, leading_action
from oyster_jax.models.grid import next_door
from oyster_jax.models.video_tokenizer import frame_positions
from oyster_jax.nn.attention import banded_mask
from oyster_jax.sampling.maskgit import mask_ratio
from oyster_jax.training.losses import cross_entropy, masked_cross_entropy
from oyster_jax.training.tasks.base import Batch, Metrics
from oyster_jax.training.tasks.latent_action import LatentActionTask
from oyster_jax.types import Logits, TokenFrame


class Conditions(NamedTuple):
    """What the masked stream is told about each frame."""

    action: jax.Array  # int32 [B, T, A], the action that led to it
    prompt_id: jax.Array  # int32 [B, T]
    alone: jax.Array  # bool [B, T], told nothing of the past


class Codebooks(NamedTuple):
    """The vectors that each tokenizer's codes stand for, float32 [codes, code_dim]."""

    video: jax.Array
    audio: jax.Array


@dataclass(frozen=True)
class DynamicsTask:
    """codebooks: what the tokenizers' codes stand for, for the parameters to begin with; None: as if codes had nothing
    to do with each other. See `begin_as_codes`. atlas: the parameters of `AtlasTask`, to begin with."""

    world: WorldConfig
    train: TrainConfig
    name: str = "dynamics"
    codebooks: Codebooks | None = field(default=None, compare=False)
    atlas: dict | None = field(default=None, compare=False)

    @property
    def stage(self) -> StageConfig:
        return self.train.dynamics

    @property
    def depends(self) -> dict:
        beside = {"latent_action": self.latent.depends} if self.latent else {}
        learnt_by = {name: getattr(self.train, name) for name in ("shared_weight", "few_hidden")}
        return {"model": to_dict(self.world.dynamics)} | learnt_by | beside

    @property
    def model(self) -> Dynamics:
        return Dynamics(self.world.dynamics)

    @property
    def latent(self) -> LatentActionTask | None:
        """The task trained beside this one, if latent actions are co-trained."""
        c = self.world.dynamics
        return LatentActionTask(self.world, self.train) if c.actions == "latent" and c.cotrain_latent else None

    def init(self, key: jax.Array) -> dict:
        params = init_dynamics(self.world, key)
        if self.codebooks:
            params = begin_as_codes(params, self.codebooks, jax.random.fold_in(key, 2))
        if self.atlas:
            params = params | {"explorer": nn.meta.replace_boxed(params["explorer"], self.atlas)}
        if self.latent:
            return {"dynamics": params, "latent_action": self.latent.init(jax.random.fold_in(key, 1))}
        return params

    def loss(self, params: dict, batch: Batch, key: jax.Array, progress: jax.Array) -> tuple[jax.Array, Metrics]:
        if not self.latent:
            return self._loss(params, batch, key)
        extra, metrics, out = self.latent._loss(params["latent_action"], batch, jax.random.fold_in(key, 1), progress)
        action = jnp.pad(out.code, ((0, 0), (0, 1), (0, 0)), constant_values=-1)
        loss, own = self._loss(params["dynamics"], batch | {"action": action}, key)
        return loss + extra, own | {f"latent_action/{k}": v for k, v in metrics.items()}

    def evaluate(self, params: dict, batch: Batch, key: jax.Array) -> tuple[Metrics, None]:
        """Held-out cross-entropy with every token of a frame masked, in bits a frame; and the training loss."""
        loss, metrics = self.loss(params, batch, key, jnp.ones(()))
        if self.latent:
            model = self.latent.model
            codes = model.apply({"params": params["latent_action"]}, batch["video"], batch["audio"], method="encode")
            batch = batch | {"action": jnp.pad(codes, ((0, 0), (0, 1), (0, 0)), constant_values=-1)}
            params = params["dynamics"]
        tokens = token_frames(batch)
        logits = two_streams(self.world, params, batch, tokens, jax.tree.map(lambda x: x == x, tokens))
        bits = jax.tree.map(lambda lg, t: cross_entropy(lg, t).sum(-1).mean() / np.log(2), logits, Logits(*tokens))
        return metrics | {"loss": loss, "video_bits_a_frame": bits.video, "audio_bits_a_frame": bits.audio}, None

    def _loss(self, params: dict, batch: Batch, key: jax.Array) -> tuple[jax.Array, Metrics]:
        c = self.world.dynamics
        mask_key, corrupt_key, drop_key = jax.random.split(key, 3)
        tokens = token_frames(batch)
        masked = random_masks(mask_key, tokens, c, self.train.few_hidden)
        past = corrupt(corrupt_key, tokens, c.corruption)
        conditions = drop_conditions(drop_key, batch, c)
        logits = two_streams(self.world, params, batch, tokens, masked, past, conditions)
        weights = video_weights(c, self.train.shared_weight)
        video = masked_cross_entropy(logits.video, tokens.video, masked.video * weights)
        audio = masked_cross_entropy(logits.audio, tokens.audio, masked.audio)
        hit = lambda lg, t, m: jnp.sum((lg.argmax(-1) == t) & m) / jnp.maximum(m.sum(), 1)
        metrics = {
            "video_loss": video,
            "audio_loss": audio,
            "video_accuracy": hit(logits.video, tokens.video, masked.video),
            "audio_accuracy": hit(logits.audio, tokens.audio, masked.audio),
        }
        # Each modality counts by its share of tokens, but sound never by less than a quarter of the picture.
        share = max(c.audio_tokens / c.video_tokens, 0.25)
        loss = video + share * audio
        if c.code_prior:
            apply = partial(self.model.apply, {"params": params}, batch["prompt"])
            metrics["prior_loss"] = prior_loss(apply(method="code_prior"), batch["prompt_id"], tokens, weights)
            loss += metrics["prior_loss"]
        return loss, metrics


def prior_loss(prior: Logits, prompt_id_BT: jax.Array, tokens: TokenFrame, weights_N: np.ndarray) -> jax.Array:
    """What a frame's tokens cost, in nats each, told of nothing but the words of its prompt: not where they are, nor
    what else there is. It is taught by all frames, also by those whose past shows by itself what there is.

    prior: [B, M, codes] each, of M prompts. The modalities count alike; of the picture's tokens each by its weight.
    """
    in_force = [jnp.take_along_axis(p, prompt_id_BT[..., None], axis=1) for p in prior]
    video, audio = (jnp.take_along_axis(jax.nn.log_softmax(p), t, axis=-1) for p, t in zip(in_force, tokens))
    return -jnp.mean(video * weights_N) / weights_N.mean() - jnp.mean(audio)


def video_weights(c: DynamicsConfig, shared: float) -> np.ndarray:
    """How much each of a picture's tokens counts, float [N]: one that patches share `shared` times all of them."""
    patches = c.video_tokens - c.video_shared
    return np.where(np.arange(c.video_tokens) < patches, 1.0, shared * patches)


def init_dynamics(world: WorldConfig, key: jax.Array) -> dict:
    """Boxed parameters of the dynamics model."""
    c, t = world.dynamics, 2
    tokens = TokenFrame(jnp.zeros((1, t, c.video_tokens), jnp.int32), jnp.zeros((1, t, c.audio_tokens), jnp.int32))
    action = jnp.zeros((1, t, len(c.action_sizes)), jnp.int32)

    def once(model: Dynamics):
        prompts = model.read_prompt(jnp.zeros((1, 1, MAX_PROMPT_BYTES), jnp.uint8))
        zero = jnp.zeros((1, t), jnp.int32)
        masked = jax.tree.map(lambda x: x == 0, tokens)
        return model(tokens, masked, action, zero, prompts, zero, before=frames_before(tokens, c.look_back))

    return Dynamics(c).init(key, method=once)["params"]


def begin_as_codes(params: dict, codebooks: Codebooks, key: jax.Array) -> dict:
    """The (boxed) parameters with tables and heads that begin as the codes' vectors, turned at random into the model's
    width and of the size that they would have.

    Codes that stand for alike patches are then alike from the first step on, and what is learnt about frequent ones
    holds for rare ones. What stood before and what is predicted share one turn: likeliest at first is what is alike.
    """

    def turned(key, book, width):
        """The code vectors, centred, in `width` features; 1 is the mean square of their lengths."""
        book = book - book.mean(0)
        turn = jnp.linalg.qr(jax.random.normal(key, (max(book.shape[1], width), book.shape[1])))[0][:width].T
        vectors = book @ turn
        return vectors * jax.lax.rsqrt(jnp.mean(jnp.sum(vectors**2, -1)))

    def fill(name, leaf, vectors, axis=0):
        """`vectors` as the first entries along `axis`, as long as those that are there."""
        box = out[name][leaf]
        old = jnp.moveaxis(box.unbox(), axis, 0)
        size = jnp.sqrt(jnp.mean(jnp.sum(old**2, -1)))
        new = jnp.concatenate([size * vectors, old[len(vectors) :]])
        out[name] = out[name] | {leaf: box.replace_boxed(jnp.moveaxis(new, 0, axis))}

    out = dict(params)
    for modality, book, own_key in zip(Codebooks._fields, codebooks, jax.random.split(key)):
        width = out[f"{modality}_embed"]["embedding"].unbox().shape[-1]
        now, before = (turned(k, book, width) for k in jax.random.split(own_key))
        fill(f"{modality}_embed", "embedding", now)
        fill(f"{modality}_before", "embedding", before)
        fill(f"{modality}_head", "kernel", before, axis=1)
    return out


def token_frames(batch: Batch) -> TokenFrame:
    """The token arrays of a batch from the token cache."""
    return TokenFrame(batch["video_tokens"].astype(jnp.int32), batch["audio_tokens"].astype(jnp.int32))


def two_streams(
    world: WorldConfig,
    params: dict,
    batch: Batch,
    tokens: TokenFrame,
    masked: TokenFrame,
    past: TokenFrame | None = None,
    conditions: Conditions | None = None,
) -> Logits:
    """Logits of every frame's masked tokens, given its own other tokens and the committed frames before it.

    past: what was committed where that is not the truth. conditions: what the masked stream is told where that differs
    from the batch's action and prompt.
    """
    apply = lambda *args, **kw: Dynamics(world.dynamics).apply({"params": params}, *args, **kw)
    batch_size, frames = tokens.video.shape[:2]
    position = frame_positions(batch_size, frames)
    action = leading_action(batch["action"])
    prompts = apply(batch["prompt"], method="read_prompt")
    before = frames_before(past or tokens, world.dynamics.look_back)
    committed = (past or tokens, None, action, position, prompts, batch["prompt_id"])
    _, present = apply(*committed, before=before, method="features")
    told = conditions or Conditions(action, batch["prompt_id"], jnp.zeros((batch_size, frames), bool))
    before = jax.tree.map(lambda b: jnp.where(told.alone[..., None, None], -1, b), before)
    readable = banded_mask(frames, world.dynamics.transformer.window) & ~told.alone[..., None]
    past = present, readable
    logits, _ = apply(tokens, masked, told.action, position, prompts, told.prompt_id, *past, before=before)
    return logits


def random_masks(key: jax.Array, tokens: TokenFrame, cfg: DynamicsConfig, few_hidden: float = 0.0) -> TokenFrame:
    """Every frame's own mask, its ratio drawn from the cosine schedule for each modality apart.

    In every other frame the tokens that change are hidden first: they are what is still unknown when a rollout has
    revealed what it is sure of, and they are few.
    Of a share `few_hidden` of the frames an eighth is hidden at most, most often of what moves, then of what is next to
    it: what a rollout reveals last, one by one. There it can be learnt that nothing is in two places, and nothing in
    none.
    One frame in ten has one modality given and the other hidden whole: that is how a world starts from an image.
    """
    ratio_key, given_key, first_key, *order_keys = jax.random.split(key, 5)
    frames = tokens.video.shape[:2]
    few = jax.random.bernoulli(jax.random.fold_in(key, 0), few_hidden, frames)
    ratio = mask_ratio(jax.random.uniform(ratio_key, (2, *frames)))
    ratio = jnp.where(few, ratio / 8, ratio)
    draw = jax.random.uniform(given_key, frames)
    ratio = jnp.where(draw < 0.05, jnp.array([1.0, 0.0])[:, None, None], ratio)
    ratio = jnp.where(draw > 0.95, jnp.array([0.0, 1.0])[:, None, None], ratio)
    first = jax.random.bernoulli(first_key, 0.5, (2, *frames))

    changes = jax.tree.map(lambda x, before: x != before[:, :, 0], tokens, frames_before(tokens, 1))
    moves = jax.tree.map(lambda x, changes: changes | (x != usual(x)), tokens, changes)
    near = moves._replace(video=next_door(moves.video[..., None], cfg, False).any(axis=(-2, -1)))

    def mask(key, changes, moves, near, ratio, first):
        early = jnp.where(few[..., None], (1.0 * moves + near) / 4, 1.0 * (first[..., None] & changes))
        order = jax.random.uniform(key, changes.shape) - early
        return jnp.argsort(jnp.argsort(order, axis=-1), axis=-1) < jnp.ceil(ratio * changes.shape[-1])[..., None]

    return TokenFrame(*map(mask, order_keys, changes, moves, near, ratio, first))


def corrupt(key: jax.Array, tokens: TokenFrame, share: float) -> TokenFrame:
    """The committed stream's tokens: in a `share` of the frames some places, of each modality anything from none to all
    of them, show what is usual there in the clip.

    So what swims is gone from where it was, as after the error that a model makes most, and has to be brought back:
    half of these frames forget by themselves, and half the same places to the end of their clip, since who is once gone
    from a rollout is soon gone from all of the past that is read. Nothing says which frames these are: in a rollout
    nothing would. Next to all that is to be seen is true, though (but for what rested in one place for most of a clip):
    strays from other frames teach to doubt whatever a past shows.
    """
    once_key, clip_key, since_key, *keys = jax.random.split(key, 5)
    clips, frames = tokens.video.shape[:2]
    once = jax.random.bernoulli(once_key, share / 2, (clips, frames))
    # A clip forgets from any of its frames on: half of them, on average.
    since = jax.random.uniform(since_key, (clips, 1), maxval=frames)
    lasting = jax.random.bernoulli(clip_key, share, (clips, 1)) & (jnp.arange(frames) >= since)

    def forget(key, tokens):
        frame_key, clip_key = jax.random.split(key)
        gone = once[..., None] & _some_places(frame_key, tokens.shape)
        gone |= lasting[..., None] & _some_places(clip_key, (clips, 1, tokens.shape[2]))
        return jnp.where(gone, usual(tokens), tokens)

    return TokenFrame(*map(forget, keys, tokens))


def _some_places(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Of the places along the last axis anything from none to all, bool."""
    share_key, place_key = jax.random.split(key)
    return jax.random.uniform(place_key, shape) < jax.random.uniform(share_key, (*shape[:-1], 1))


def usual(tokens_BTN: jax.Array) -> jax.Array:
    """What stands in each place for most of a clip, [B, 1, N]; of equals what came first."""
    times = (tokens_BTN[:, :, None] == tokens_BTN[:, None]).sum(2)
    return jnp.take_along_axis(tokens_BTN, times.argmax(1, keepdims=True), axis=1)


def drop_conditions(key: jax.Array, batch: Batch, cfg: DynamicsConfig) -> Conditions:
    """Drops action, prompt and past from some frames, each by itself; the null prompt is the last entry. A frame
    without a past has no action that led to it."""
    action = leading_action(batch["action"])
    drop = lambda key, share: jax.random.uniform(key, action.shape[:2]) < share
    action_key, prompt_key, past_key = jax.random.split(key, 3)
    alone = drop(past_key, cfg.past_dropout)
    return Conditions(
        jnp.where((drop(action_key, cfg.action_dropout) | alone)[..., None], -1, action),
        jnp.where(drop(prompt_key, cfg.prompt_dropout), batch["prompt"].shape[1], batch["prompt_id"]),
        alone,
    )
