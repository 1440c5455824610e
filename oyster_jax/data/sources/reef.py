"""The embedded reef as a source: a swimmer that wanders, looks for pearls, and lives through changing prompts."""

from collections.abc import Iterator
from functools import partial
from operator import itemgetter
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from oyster_jax.data.sources.base import RawClip, SourceOptions
from oyster_jax.errors import OysterError
from oyster_jax.sims import reef
from oyster_jax.sims.reef_map import OFFSHORE, PEARLS, TILE, TILES

EPISODE_FRAMES = 256
SCENE_FRAMES, RESTLESS_SCENE_FRAMES = 64, 32  # a scene lasts so long on average
RESTLESS_SOME = 0.75  # share of a restless player's captions that speak of some attributes only
_BAY, _OPEN = (reef.at(place, reef.SEEN) for place in (reef.BAY, reef.OPEN))
SCENES_OF = {"": _BAY, "open": _OPEN, "both": _BAY + _OPEN}  # by the argument of source `reef`


def make(argument: str, options: SourceOptions) -> "ReefSource":
    """`reef` (its bay), `reef:open` or `reef:both`; raises OysterError for sizes and rates other than its own."""
    if argument not in SCENES_OF:
        raise OysterError(f"the reef is played as reef (its bay), reef:open or reef:both, got 'reef:{argument}'")
    media = reef.MEDIA
    for name, asked, own in (
        ("size", options.size, media.height),
        ("fps", options.fps, media.fps),
        ("sample_rate", options.sample_rate, media.sample_rate),
    ):
        if asked is not None and str(asked) != str(own):
            raise OysterError(f"the reef has {name} {own} and no other, got {asked}")
    if options.policy not in (None, "wander", "restless", "random"):
        raise OysterError(f"the reef is played by policy 'wander', 'restless' or 'random', got '{options.policy}'")
    return ReefSource(options, argument)


class ReefSource:
    """Endless episodes of 256 frames, each a function of (seed, index) alone."""

    media = reef.MEDIA
    actions = reef.ACTIONS
    episodes = None

    def __init__(self, options: SourceOptions = SourceOptions(), place: str = ""):
        self.name, self._scenes = ":".join(filter(None, ("reef", place))), SCENES_OF[place]
        self._seed, self.recipe = options.seed, options.player
        self._random_share = options.chance
        self._restless = options.policy == "restless"

    def episode(self, index: int, clip_frames: int) -> Iterator[RawClip]:
        """Clips of at most `clip_frames` frames; see `Source.episode`."""
        key = jax.random.fold_in(jax.random.key(self._seed), index)
        played = jax.device_get(play(key, self._random_share, scenes=self._scenes, restless=self._restless))
        for start in range(0, EPISODE_FRAMES, clip_frames):
            yield _clip(jax.tree.map(itemgetter(slice(start, start + clip_frames)), played))

    def notes(self) -> list[str]:
        return []


class Frames(NamedTuple):
    """A recorded episode, [T, ...] each."""

    video: jax.Array
    audio: jax.Array
    action: jax.Array
    state: reef.ReefState
    said: jax.Array  # bool[T,4], which of reef.ATTRIBUTES the caption in force speaks of
    truth: dict[str, jax.Array]


def _clip(frames: Frames) -> RawClip:
    """One prompt for each stretch of frames with the same scene and the same caption."""
    scenes, said = np.stack(frames.state.scene, axis=1), np.asarray(frames.said)
    told = np.concatenate([scenes, said], axis=1)
    changes = np.any(told[1:] != told[:-1], axis=1)
    prompt_id = np.concatenate([[0], np.cumsum(changes)]).astype(np.int32)
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
    prompts = tuple(reef.caption(reef.Scene(*scenes[t]), said[t]) for t in starts)
    return RawClip(frames.video, frames.audio, frames.action, prompts, prompt_id, frames.truth)


# ---------------------------------------------------------------------------- who plays


class _Mood(NamedTuple):
    """What the swimmer is about, held for some frames. [] each."""

    frames: jax.Array  # left until it changes its mind
    random: jax.Array  # bool: wanders; else it heads for a pearl
    pearl: jax.Array  # i32, which
    action: jax.Array  # i32[5]


def _calm() -> _Mood:
    rest = jnp.zeros(len(reef.ACTIONS.factors), jnp.int32)
    return _Mood(jnp.int32(0), jnp.bool_(True), jnp.int32(0), rest)


_FAR = max(TILES.shape) * TILE  # further than any place from another
_HEADINGS = np.zeros((3, 3), np.int32)  # whose move has these signs along x and y, each + 1
_HEADINGS[tuple(1 + reef.MOVES.T)] = np.arange(len(reef.MOVES))


def _choose(key, mood: _Mood, state: reef.ReefState, random_share, restless: bool) -> _Mood:
    """The next mood and with it the next action, on seeing `state`."""
    key, pearl_key = jax.random.split(key)
    dice = iter(jax.random.uniform(key, (14,)))
    chance = lambda share: next(dice) < share
    draw = lambda n: (next(dice) * n).astype(jnp.int32)
    over = mood.frames <= 0
    random = jnp.where(over, chance(random_share), mood.random)
    wandering = jnp.maximum(draw(len(reef.MOVES) + 1) - 1, 0)
    rests = random & (wandering == 0)  # chosen twice as often, and longer: an idle player must be learnt too
    lasts = 3 + draw(14)
    if restless:
        lasts = jnp.where(random, lasts // 2, lasts)  # 1 to 8 frames
    frames = jnp.where(over, lasts * jnp.where(rests, 3, 1), mood.frames) - 1
    bored = state.bumped & chance(0.2)  # of swimming against the shore
    heading, speed, light, call, drum = mood.action

    pearl = jnp.where(over, _near_pearl(pearl_key, state), mood.pearl)
    seeking = jnp.asarray(_HEADINGS)[tuple(1 + jnp.sign(jnp.asarray(PEARLS)[pearl] - state.body))]
    heading = jnp.where(random, jnp.where(over | bored, wandering, heading), seeking)
    speed = jnp.where(over, draw(len(reef.STROKES)), speed)
    light = jnp.where(chance(1 / 20), draw(reef.ACTIONS.sizes[reef.LIGHT]), light)
    pitch = 1 + draw(reef.ACTIONS.sizes[reef.CALL] - 1)
    begun = jnp.where(chance(1 / 20), pitch, 0)
    ended = jnp.where(chance(1 / 8), pitch, 0)  # a call seldom goes over into another
    call = jnp.where(call == 0, begun, jnp.where(chance(1 / 5), ended, call))
    beat = draw(reef.ACTIONS.sizes[reef.DRUM])  # none as often as each of them
    drum = jnp.where(chance(1 / 10), jnp.where(chance(0.6), 0, beat), drum)
    return _Mood(frames, random, pearl, jnp.stack([heading, speed, light, call, drum]))


def _near_pearl(key, state: reef.ReefState) -> jax.Array:
    """The nearest of every second ripe pearl or so, i32: who always took the nearest one would go to and fro."""
    away = jnp.max(jnp.abs(PEARLS - state.body), axis=1)
    passed_over = (state.pearls < reef.RIPE) | jax.random.bernoulli(key, 0.5, away.shape)
    elsewhere = (PEARLS[:, 1] >= OFFSHORE) != (state.body[1] >= OFFSHORE)
    return jnp.argmin(away + _FAR * passed_over + 2 * _FAR * elsewhere).astype(jnp.int32)


def _start(key, scenes: tuple = _BAY) -> reef.ReefState:
    reset_key, scene_key = jax.random.split(key)
    return reef.reset(reset_key, reef.random_scene(scene_key, scenes))[0]


def _said(key, restless: bool) -> jax.Array:
    """Which attributes a caption speaks of, bool[4]: all; of most captions of a restless player any of them.

    Of these, none tells time, weather and water together: which creatures were recorded with all three would be learnt
    by heart, and no word for another one would be believed.
    """
    count = len(reef.ATTRIBUTES)
    some = jax.random.bernoulli(key, np.array([RESTLESS_SOME] + count * [0.5]))
    left = jax.nn.one_hot(jax.random.randint(jax.random.fold_in(key, 1), (), 0, count - 1), count, dtype=bool)
    told = some[1:] & ~(left & some[1:count].all())
    return jnp.where(restless & some[0], told, jnp.ones(count, bool))


def _following(key, state: reef.ReefState, said, scenes: tuple) -> reef.Scene:
    """One of `scenes` that differs from the present one at most in what is `said`, bool[4]; consumes `key`."""
    every, now = np.array(scenes, np.int32), jnp.stack(state.scene)
    fits = jnp.all(said | (every == now)[:, : len(reef.ATTRIBUTES)], axis=1)
    return reef.Scene(*jax.random.choice(key, every, p=fits / fits.sum()))


def fresh_key(seed: int) -> jax.Array:
    """The root of episodes that no recording of any seed has: recordings count theirs from `jax.random.key(seed)` on,
    and never so far."""
    return jax.random.fold_in(jax.random.key(seed), 2**32 - 1)


@partial(jax.jit, static_argnames=("length", "scenes", "idle", "restless"))
def play(
    key, random_share, length: int = EPISODE_FRAMES, scenes: tuple = _BAY, idle: bool = False, restless: bool = False
) -> Frames:
    """An episode of `length` frames in some of `scenes`: the moves one after the other, then pictures and sounds side
    by side.

    idle: nobody plays, all controls are at rest. restless: to learn from, wanderers turn, start and stop after 1 to 8
    frames, since seen every tenth frame a turn is less well learnt than going on; scenes are half as long, and three in
    four of their captions leave something out, which then stays what it was: what all captions say is learnt as a
    whole, and not part by part.
    """
    start_key, key = jax.random.split(key)

    def frame(carry, key):
        state, mood, said = carry
        act, change, scene_key = jax.random.split(key, 3)
        mood = mood if idle else _choose(act, mood, state, random_share, restless)
        newly = _said(jax.random.fold_in(scene_key, 1), restless)
        changed = reef.set_scene(state, _following(scene_key, state, newly, scenes)), newly
        changes = jax.random.bernoulli(change, 1 / (RESTLESS_SCENE_FRAMES if restless else SCENE_FRAMES))
        following, newly = jax.tree.map(lambda a, b: jnp.where(changes, a, b), changed, (state, said))
        return (reef.advance(following, mood.action), mood, newly), (state, mood, said)

    start = _start(start_key, scenes), _calm(), _said(jax.random.fold_in(start_key, 1), restless)
    _, (states, moods, said) = jax.lax.scan(frame, start, jax.random.split(key, length))
    video, audio = jax.lax.map(reef.observe, states, batch_size=32)
    corner = jax.vmap(reef.camera)(states.body)
    truth = {
        "camera": corner,
        "body": states.body - corner,
        "creature": states.creature - corner,
        "pearls": jax.vmap(reef.pearl_ages)(states) >= reef.RIPE,  # by tile of the frame
        "events": jax.vmap(reef.events)(states),
        "random": moods.random,
        "scene": jnp.stack(states.scene, axis=-1),
    }
    return Frames(video, audio, moods.action, states, said, truth)
