"""Which actions have effects that can be told apart, factor by factor: a world of the reef against the reef itself.

From the same moments of fresh episodes both are played under every value of one factor, held for half a second, while
the other factors hold still. What the world made of a value is compared with what the simulator makes of each value of
the factor: the nearest is what its pictures and its sound say was done. Nothing is trained, and whoever ignores a
factor, or blurs it, is right as often as chance.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import binomtest

from oyster_jax.config_sampling import SamplingConfig
from oyster_jax.data.sources import reef as source
from oyster_jax.evaluation.metrics import bootstrap, decibels, log_mel
from oyster_jax.evaluation.reef_episodes import check_reef, opening, scene_index, scene_prompts
from oyster_jax.models.world_model import World
from oyster_jax.sampling.rollout import prefill, rollout, set_prompt
from oyster_jax.sims import reef
from oyster_jax.types import Observation

FRAMES = 8  # that an action is held: two strokes of the slowest swimmer, two beats of a drum


class Outcomes(NamedTuple):
    """What V values of a factor led to from B starts, [V, B, T, ...]."""

    truth: Observation
    made: Observation


class Moments(NamedTuple):
    """Where B fresh episodes are after some frames, and what their players go on doing."""

    played: source.Frames  # [B, T, ...]
    state: reef.ReefState  # [B]
    held: np.ndarray  # int32 [B, A]


def effects(
    world: World,
    starts: int = 24,
    seed: int = 0,
    sampling: SamplingConfig | None = None,
    scenes: tuple[reef.Scene, ...] = reef.at(reef.BAY, reef.SEEN),
) -> dict:
    """The report: of each factor what `judge` says, and how many `distinct_actions` there are.

    Raises OysterError for a world that is not of the reef.
    """
    check_reef(world)
    start_key, key = jax.random.split(source.fresh_key(seed))
    moments = fresh_moments(start_key, starts, world.config.dynamics.transformer.window, scenes)
    begun, _ = jax.jit(prefill)(world, key, opening(moments.played, moments.played.video.shape[1]))
    asked = scene_index(moments.state.scene)
    begun = set_prompt(begun, jax.tree.map(lambda x: x[asked], scene_prompts(world)))
    dream = jax.jit(lambda world, begun, actions: rollout(world, begun, actions, sampling)[1])
    report = {}
    for i, factor in enumerate(reef.ACTIONS.factors):
        truth = every_value(lambda actions: _simulate(moments.state, actions), moments.held, i)
        made = every_value(lambda actions: dream(world, begun, actions), moments.held, i)
        report[factor.name] = judge(Outcomes(truth, made))
    return report | {"distinct_actions": distinct_actions(report), "starts": starts}


def distinct_actions(report: dict) -> int:
    """How many actions have effects of their own: the product of the values told apart, factor by factor, but for a
    swimmer at rest, which is the same at every speed."""
    told = {name: max(1, factor["told_apart"]) for name, factor in report.items()}
    heading, speed = (reef.ACTIONS.factors[i].name for i in (reef.HEADING, reef.SPEED))
    rests = int(report[heading]["sure"][0] and told[heading] > 1)
    swims = (told.pop(heading) - rests) * told.pop(speed) + rests
    return swims * int(np.prod(list(told.values())))


def fresh_moments(
    key: jax.Array, starts: int, frames: int, scenes: tuple[reef.Scene, ...] = reef.at(reef.BAY, reef.SEEN)
) -> Moments:
    """Episodes of so many frames each in some of `scenes`, and controls for what follows. Consumes `key`."""
    play_key, held_key = jax.random.split(key)
    keys = jax.random.split(play_key, starts)
    played = jax.device_get(jax.lax.map(lambda key: source.play(key, 0.5, frames, scenes), keys))
    held = np.array(jax.random.randint(held_key, (starts, len(reef.ACTIONS.sizes)), 0, jnp.array(reef.ACTIONS.sizes)))
    # The swimmer swims, or its speed would have no effect.
    held[:, reef.HEADING] = 1 + held[:, reef.HEADING] % (len(reef.MOVES) - 1)
    return Moments(played, jax.tree.map(lambda x: x[:, -1], played.state), held)


def every_value(play: Callable[[np.ndarray], Observation], held: np.ndarray, factor: int) -> Observation:
    """What `play` makes of actions [T, B, A], all as `held` but for one factor, value by value: [V, B, T, ...]."""
    outcomes = []
    for value in range(reef.ACTIONS.sizes[factor]):
        actions = np.where(np.arange(held.shape[1]) == factor, value, held)
        outcomes.append(jax.device_get(play(np.broadcast_to(actions, (FRAMES, *held.shape)))))
    return Observation(*(np.stack(x).swapaxes(1, 2) for x in zip(*outcomes)))


@jax.jit
def _simulate(state: reef.ReefState, actions_TBA) -> Observation:
    return jax.lax.scan(jax.vmap(reef.step), state, actions_TBA)[1]


def judge(outcomes: Outcomes) -> dict:
    """What a factor's outcomes tell.

    accuracy: of each value, how often it is what the outcome says. Pictures and sounds count alike, each in parts of
      the median distance between the simulator's outcomes from that start; a value that the simulator itself does not
      tell from another (swimming against the shore) may be taken for it.
    sure: of each value, whether its accuracy is above one half beyond doubt (the 95 % interval of Wilson 1927);
      told_apart: how many are.
    delta_psnr, delta_log_mel: by how many dB the outcome of a value is nearer to its true one than those of the other
      values are, in PSNR and in mean log-mel distance: mean over starts with its bootstrap interval.
    """
    squared = lambda a, b: np.mean(((a.astype(np.float32) - b.astype(np.float32)) / 255) ** 2)
    seen, heard = outcomes.made.video, _mels(outcomes.made.audio)
    shown, sounded = outcomes.truth.video, _mels(outcomes.truth.audio)
    table = lambda of, a, b: np.array([[[of(x, y) for y in b[:, s]] for x in a[:, s]] for s in range(a.shape[1])])
    pictures, true_pictures = table(squared, seen, shown), table(squared, shown, shown)  # [B, V made, V true]
    away = lambda a, b: np.abs(a - b).mean()
    sounds, true_sounds = table(away, heard, sounded), table(away, sounded, sounded)
    nearest = (pictures / _scale(true_pictures) + sounds / _scale(true_sounds)).argmin(2)
    same = (true_pictures == 0) & (true_sounds == 0)
    right = np.take_along_axis(same, nearest[..., None], 2)[..., 0]  # [B, V]
    low = [binomtest(int(k), len(right)).proportion_ci(method="wilson").low for k in right.sum(0)]
    return {
        "values": right.shape[1],
        "sure": [bool(x > 0.5) for x in low],
        "told_apart": int(np.sum(np.array(low) > 0.5)),
        "accuracy": [float(x) for x in right.mean(0)],
        "delta_psnr": bootstrap(_own_beyond_others(decibels(pictures))),
        "delta_log_mel": bootstrap(-_own_beyond_others(sounds)),
    }


def _mels(audio: np.ndarray) -> np.ndarray:
    """Log-mel spectrograms of sounds [V, B, T, S], float [V, B, frames, bands]."""
    rate = reef.MEDIA.sample_rate
    return np.array([[log_mel(sound.reshape(-1), rate) for sound in value] for value in audio])


def _scale(distances: np.ndarray) -> np.ndarray:
    """The median distance [B, 1, 1] of different outcomes among [B, V, V]; infinite where there are none."""
    some = np.where(distances > 0, distances, np.nan)
    return np.array([np.nanmedian(x) if (x > 0).any() else np.inf for x in some])[:, None, None]


def _own_beyond_others(scores: np.ndarray) -> np.ndarray:
    """Of scores [B, V made, V true], float [B]: by how much outcomes score higher on their own truth than others do."""
    values = scores.shape[1]
    own = np.trace(scores, axis1=1, axis2=2) / values
    return own - (scores.sum((1, 2)) / values - own) / (values - 1)
