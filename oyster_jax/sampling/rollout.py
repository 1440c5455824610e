"""The rollout: a session's whole state as a pytree, and the functions that carry it on by a frame.

`step` = `predict` (what the user waits for) + `commit` (which can run after the frame was handed out). The functions
are pure and traceable and never donate; `compiled.compile_step` is the one place that does.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from oyster_jax.config_sampling import SamplingConfig
from oyster_jax.errors import check
from oyster_jax.models.audio_tokenizer import AudioState, initial_state
from oyster_jax.models.dynamics import frames_before, leading_action
from oyster_jax.models.text_encoder import prompt_bytes
from oyster_jax.models.video_tokenizer import frame_positions, to_uint8
from oyster_jax.models.world_model import World
from oyster_jax.sampling import cache, maskgit
from oyster_jax.types import Clip, Logits, Observation, Past, Prompt, TokenFrame


class RolloutState(NamedTuple):
    """Everything about B sessions, which come first in every leaf. They may differ in age, prompt, and in whether they
    are active."""

    key: jax.Array  # typed keys [B]
    position: jax.Array  # int32 [B], frames committed
    active: jax.Array  # bool [B]; a paused session's state stays unchanged to the bit
    prompt: Prompt  # M = 2: the prompt in force, and the null prompt
    tokens: TokenFrame  # int32 [B, L, N], [B, L, K], of the last L = `look_back` frames committed; -1 before the first
    dynamics: Past  # ring buffers of past K/V, see `sampling.cache`
    video: Past  # the same, of the video decoder
    audio: AudioState  # of the sound decoder


class Pending(NamedTuple):
    """A predicted frame that is not yet part of the past."""

    tokens: TokenFrame  # [B, N], [B, K]
    action: jax.Array  # int32 [B, A]
    key: jax.Array  # the sessions' next keys
    video: Past  # the video decoder's present K/V
    audio: AudioState
    read: jax.Array  # float [B, 3], known when the video decoder's memory has been read, see `cache.write`


def encode_prompt(world: World, text: str = "") -> Prompt:
    """A prompt as the dynamics read it (B = 1, M = 2 with the null prompt), ready for `reset` and `set_prompt`.

    The empty prompt is no prompt. Raises OysterError over 256 bytes.
    """
    raw = jnp.asarray(prompt_bytes(text))
    return read_prompt(world, raw)


@jax.jit
def read_prompt(world: World, raw_P: jax.Array) -> Prompt:
    """`encode_prompt` of a text's bytes (`prompt_bytes`), traceable."""
    return world.apply("dynamics", raw_P[None, None], method="read_prompt")


def set_prompt(state: RolloutState, prompt: Prompt) -> RolloutState:
    """An event: `prompt` is in force from the next frame on. What was committed keeps the prompt it was made under."""
    # A copy: a compiled step uses its state up, and the prompt stays the caller's.
    force = lambda new, old: jnp.copy(jnp.broadcast_to(new, old.shape).astype(old.dtype))
    return state._replace(prompt=jax.tree.map(force, prompt, state.prompt))


def init_state(world: World, key: jax.Array, prompt: Prompt | None = None, batch: int = 1) -> RolloutState:
    """A state before its first frame. Consumes `key` (one typed key, split for the elements)."""
    c = world.config
    prompt = encode_prompt(world) if prompt is None else prompt
    unknown = lambda tokens: jnp.full((batch, c.dynamics.look_back, tokens), -1)
    spread = lambda x: jnp.copy(jnp.broadcast_to(x, (batch, *x.shape[1:])))  # see `set_prompt`
    return RolloutState(
        key=jax.random.split(key, batch),
        position=jnp.zeros(batch, jnp.int32),
        active=jnp.ones(batch, bool),
        prompt=jax.tree.map(spread, prompt),
        tokens=TokenFrame(unknown(c.dynamics.video_tokens), unknown(c.dynamics.audio_tokens)),
        dynamics=cache.init_cache(c.dynamics.transformer, batch, c.dynamics.frame_tokens),
        video=cache.init_cache(c.video_tokenizer.decoder, batch, c.video_tokenizer.patches),
        audio=initial_state(c.audio_tokenizer, batch, c.audio_tokenizer.overlap),
    )


def state_like(world: World, batch: int, keys: str | None = None) -> RolloutState:
    """Shapes and kinds of arrays of B sessions of a world; `keys`: the kind of their keys, as `jax.random.key` takes
    it."""
    return jax.eval_shape(lambda w, k: init_state(w, k, batch=batch), world, jax.random.key(0, impl=keys))


def check_state(world: World, state: RolloutState) -> None:
    """Raises OysterError unless `state` has the shape of sessions of `world`."""
    fits = isinstance(state, RolloutState)
    if fits:
        describe = lambda s: (jax.tree.structure(s), [(x.shape, x.dtype) for x in jax.tree.leaves(s)])
        like = state_like(world, len(state.position), str(jax.random.key_impl(state.key)))
        fits = describe(state) == describe(like)
    check(fits, "this state is of no session of this world, which has other sizes: begin one by reset or prefill")


def reset(
    world: World,
    key: jax.Array,
    prompt: Prompt | None = None,
    image: jax.Array | None = None,
    batch: int = 1,
    sampling: SamplingConfig | None = None,
) -> tuple[RolloutState, Observation]:
    """Begins B sessions and shows their frame 0.

    prompt: from `encode_prompt`. image: uint8 [H, W, 3] or [B, H, W, 3] to begin with (its sound is sampled, given the
    picture); without one, frame 0 is sampled from the prompt. Consumes `key`.
    """
    state, pending, obs = first_frame(world, key, prompt, image, batch, sampling)
    return commit(world, state, pending), obs


def first_frame(
    world: World,
    key: jax.Array,
    prompt: Prompt | None,
    image: jax.Array | None,
    batch: int,
    sampling: SamplingConfig | None,
) -> tuple[RolloutState, Pending, Observation]:
    """Frame 0 of B sessions, not yet committed. Takes what `reset` takes."""
    state = init_state(world, key, prompt, batch)
    none = jnp.full((batch, len(world.config.played_actions.factors)), -1, jnp.int32)
    given = None
    if image is not None:
        check_image(world, image)
        video = jnp.broadcast_to(image, (batch, *image.shape[-3:]))[:, None]
        given, _ = world.apply("video_tokenizer", video, frame_positions(batch, 1), method="encode")
        given = given[:, 0]
    settings = sampling or world.config.sampling
    first = settings.opening
    drawn = SamplingConfig(first.steps, first.steps, "cosine", first.randomness, first.guidance)
    return state, *predict(world, state, none, drawn, given)


def check_action(world: World, action_BA: jax.Array, batch: int) -> None:
    """Raises OysterError unless `action_BA` is one for each session, every value (if known) within its factor."""
    actions = world.config.played_actions
    shape = (batch, len(actions.factors))
    check(np.shape(action_BA) == shape, f"actions of these sessions are int32 {shape}, got {np.shape(action_BA)}")
    if not isinstance(action_BA, jax.core.Tracer):
        actions.check(action_BA)


def check_image(world: World, image) -> None:
    """Raises OysterError unless `image`, an array, is one that this world can begin with."""
    size = (world.config.media.height, world.config.media.width, 3)
    fits = image.shape[-3:] == size and image.dtype == jnp.uint8
    check(fits, f"the image must be uint8 {size}, got {image.dtype} {tuple(image.shape)}")


def prefill(world: World, key: jax.Array, clip: Clip) -> tuple[RolloutState, Observation]:
    """Begins B sessions with real clips; shows their last frame as the world sees it. Consumes `key`.

    Equal, up to rounding, to committing the clips' frames one by one.
    """
    batch, frames = clip.video.shape[:2]
    state = init_state(world, key, batch=batch)
    position = frame_positions(batch, frames)
    tokens, action = tokenize(world, clip)
    prompts = world.apply("dynamics", clip.prompt, method="read_prompt")
    told = (tokens, None, leading_action(action), position, prompts, clip.prompt_id)
    before = frames_before(tokens, world.config.dynamics.look_back)
    _, present = world.apply("dynamics", *told, before=before, method="features")
    pixels, video = world.apply("video_tokenizer", tokens.video, position, method="decode")
    sound, audio = world.apply("audio_tokenizer", tokens.audio, method="decode")
    last = clip.prompt_id[:, -1]
    force = lambda x: jnp.stack([x[jnp.arange(batch), last], x[:, -1]], axis=1)
    state = state._replace(
        position=state.position + frames,
        prompt=jax.tree.map(force, prompts),
        tokens=jax.tree.map(remember, state.tokens, tokens),
        dynamics=cache.write(state.dynamics, present, state.position, state.active, present[-1].k),
        video=cache.write(state.video, video, state.position, state.active, pixels),
        audio=audio,
    )
    return state, Observation(to_uint8(pixels[:, -1]), jnp.clip(sound[:, -1], -1, 1))


def remember(old: jax.Array, new_BTN: jax.Array) -> jax.Array:
    """The last L frames' tokens [B, L, N], the nearest first, after T frames more."""
    return jnp.concatenate([new_BTN[:, ::-1], old], axis=1)[:, : old.shape[1]]


def tokenize(world: World, clip: Clip) -> tuple[TokenFrame, jax.Array]:
    """A clip's tokens [B, T, N] and [B, T, K], and the actions [B, T, A] that this world was trained on."""
    tokens = encode(world, clip)
    if world.config.dynamics.actions == "true":
        return tokens, clip.action
    codes = world.apply("latent_action", clip.video, clip.audio, method="encode")
    return tokens, jnp.pad(codes, ((0, 0), (0, 1), (0, 0)), constant_values=-1)


def encode(world: World, clip: Clip) -> TokenFrame:
    """A clip's tokens, [B, T, N] and [B, T, K], encoded from its first frame on."""
    batch, frames = clip.video.shape[:2]
    video, _ = world.apply("video_tokenizer", clip.video, frame_positions(batch, frames), method="encode")
    audio, _ = world.apply("audio_tokenizer", clip.audio, method="encode")
    return TokenFrame(video, audio)


def predict(
    world: World,
    state: RolloutState,
    action_BA: jax.Array,
    sampling: SamplingConfig | None = None,
    video_tokens: jax.Array | None = None,
) -> tuple[Pending, Observation]:
    """The next frame and its sound, given the action that leads to it. The state is only read.

    video_tokens: int32 [B, N] where the picture is given and only its sound is to be sampled.
    Raises OysterError for an action or a state that does not fit the world, as `step` does.
    """
    check_state(world, state)
    check_action(world, action_BA, len(state.position))
    c, settings = world.config, sampling or world.config.sampling
    batch = state.position.shape[0]
    next_key, key = jnp.moveaxis(jax.vmap(jax.random.split)(state.key), 1, 0)
    d, a = c.dynamics, c.audio_tokenizer
    start = TokenFrame(jnp.zeros((batch, d.video_tokens), jnp.int32), jnp.zeros((batch, a.tokens), jnp.int32))
    masked = jax.tree.map(lambda x: jnp.ones(x.shape, bool), start)
    if video_tokens is not None:
        start, masked = start._replace(video=video_tokens), masked._replace(video=jnp.zeros_like(masked.video))
    tokens = maskgit.unmask(_guided_logits(world, state, action_BA, settings), start, masked, key, settings)
    position = state.position[:, None]
    pixels, video = world.apply(
        "video_tokenizer",
        tokens.video[:, None],
        position,
        state.video,
        cache.past_mask(state.position, c.video_tokenizer.decoder.window),
        method="decode",
    )
    sound, audio = world.apply("audio_tokenizer", tokens.audio[:, None], state.audio, method="decode")
    obs = Observation(to_uint8(pixels[:, 0]), jnp.clip(sound[:, 0], -1, 1))
    return Pending(tokens, action_BA, next_key, video, audio, pixels[:, 0, 0, 0]), obs


def commit(world: World, state: RolloutState, pending: Pending) -> RolloutState:
    """Makes a predicted frame part of the past, in the sessions that are active."""
    told = (pending.tokens, None, pending.action[:, None])
    _, present = _forward(world, state, *told, method="features")  # of the last layer nothing but its K/V is needed
    on = state.active
    keep = lambda new, old: jnp.where(jnp.expand_dims(on, range(1, new.ndim)), new, old)
    return state._replace(
        key=jnp.where(on, pending.key, state.key),
        position=state.position + on,
        tokens=jax.tree.map(lambda old, new: keep(remember(old, new[:, None]), old), state.tokens, pending.tokens),
        dynamics=cache.write(state.dynamics, present, state.position, on, present[-1].k),
        video=cache.write(state.video, pending.video, state.position, on, pending.read),
        audio=jax.tree.map(keep, pending.audio, state.audio),
    )


def step(
    world: World, state: RolloutState, action_BA: jax.Array, sampling: SamplingConfig | None = None
) -> tuple[RolloutState, Observation]:
    """One frame further under `action` int32 [B, A]; -1 is "no action". The frame's random draw comes from the state.

    Raises OysterError for an action or a state that does not fit the world. Traced, an action's values are not known:
    there one outside its factor is no action, unless the caller checks it (`world.config.played_actions.check`).
    """
    pending, obs = predict(world, state, action_BA, sampling)
    return commit(world, state, pending), obs


def rollout(
    world: World, state: RolloutState, action_TBA: jax.Array, sampling: SamplingConfig | None = None
) -> tuple[RolloutState, Observation]:
    """`step` under each of T actions; observations are stacked in front: video [T, B, H, W, 3], audio [T, B, S]."""
    return jax.lax.scan(lambda s, a: step(world, s, a, sampling), state, action_TBA)


def _forward(world, state: RolloutState, tokens, masked, action_BVA, entries=(0,), **how):
    """The dynamics on one frame after the state's past, seen at once under V actions and entries of the state's
    prompts (1 is the null prompt): [B, V, ...]."""
    batch, views = action_BVA.shape[:2]
    return world.apply(
        "dynamics",
        _each(tokens, views),
        _each(masked, views),
        action_BVA,
        _each(state.position, views),
        state.prompt,
        jnp.broadcast_to(jnp.array(entries), (batch, views)),
        state.dynamics,
        cache.past_mask(state.position, world.config.dynamics.transformer.window),
        before=_each(state.tokens, views),
        **how,
    )


def _each(tree, views: int):
    """[B, ...] to [B, V, ...], the same in each."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x[:, None], (len(x), views, *x.shape[1:])), tree)


def _guided_logits(world, state, action_BA, settings: SamplingConfig):
    """What `maskgit.unmask` predicts by: logits [B, 1, ...], moved away from those without the action or without the
    prompt (classifier-free guidance); -inf for codes of a picture in places that never `seen` them, where the world
    knows.

    The frame under all conditions goes through the model together, as if they were frames: the past is read once.
    """
    views = [(1.0, action_BA, 0)]
    if settings.guidance.action:
        views.append((settings.guidance.action, jnp.full_like(action_BA, -1), 0))
    if settings.guidance.prompt:
        views.append((settings.guidance.prompt, action_BA, 1))
    weights, actions, entries = zip(*views)
    # full + sum of w * (full - bare)
    weight = jnp.array([1 + sum(weights[1:]), *(-w for w in weights[1:])])
    actions = jnp.stack(actions, axis=1)
    # Once a frame, and not in each of its steps.
    expected = world.apply("dynamics", _each(state.tokens, len(views)), actions, method="expect")

    def predict(tokens: TokenFrame, masked: TokenFrame, wanted: TokenFrame | None) -> Logits:
        logits, _ = _forward(world, state, tokens, masked, actions, entries, expected=expected, wanted=wanted)
        logits = jax.tree.map(lambda x: jnp.einsum("v,bvnc->bnc", weight, x)[:, None] if len(views) > 1 else x, logits)
        if "seen" not in world.params:
            return logits
        seen = world.params["seen"]["video"]  # bool [N, codes], see `training.tokens.seen_codes`
        seen = seen[None] if wanted is None else seen[wanted.video]
        return logits._replace(video=jnp.where(seen[:, None], logits.video, -jnp.inf))

    return predict
