"""Does an agent that learned inside a world of the reef do better in the reef itself? One JSON line.

    python benchmarks/agent.py --world=reef

The task is to sing the colour of the water: A over blue, C over green, D# over turquoise, F# over violet. The reward,
how much louder that note is than the others, is read from a frame and its sound alone, in the world and in the
simulator alike. A small policy that sees the picture learns by policy gradient from episodes that the world makes up
from its prompts; it meets the simulator only when it is judged there, beside random players and one who knows the rule.
"""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags
from jax.tree_util import Partial

import oyster_jax as oyster
from oyster_jax.evaluation.metrics import bootstrap
from oyster_jax.evaluation.reef_episodes import scene_prompts
from oyster_jax.sims import reef
from oyster_jax.sims.reef_sound import PITCHES
from oyster_jax.types import Prompt

flags.DEFINE_string("world", "reef", "a world trained on the reef")
flags.DEFINE_integer("iterations", 80, "steps of the policy gradient")
flags.DEFINE_integer("episodes", 144, "episodes in the simulator for each player")
flags.DEFINE_bool("quick", False, "a short form that learns next to nothing, for tests")
flags.DEFINE_integer("seed", 0, "seed")

SCENES = reef.at(reef.BAY, reef.SEEN)
SIZES = np.array(reef.ACTIONS.sizes)
SONG = np.array([0, 3, 6, 9])  # the note of each colour of water
NOTES = np.array([pitch / reef.MEDIA.fps for pitch in PITCHES], int)  # bins of a frame's spectrum
FULL = 0.16 * reef.MEDIA.samples_per_frame / 2  # a call's own pitch, in such a bin
DREAM_FRAMES, REEF_FRAMES = 16, 90
HIDDEN, DISCOUNT = 32, 0.8
OPTIMIZER = optax.adam(1e-2)


def hue(video: jax.Array) -> jax.Array:
    """The colour of the water beside that of the sand, so that the hour does not count: f32 [..., 3] of length 1."""
    mean = lambda part: part.astype(jnp.float32).mean((-3, -2))
    tint = mean(video[..., 12:52, 12:52, :]) / (mean(video[..., :7, 8:48, :]) + 1)
    return tint / (jnp.linalg.norm(tint, axis=-1, keepdims=True) + 1e-6)


def _hues() -> jax.Array:
    waters = [reef.Scene(0, 0, water, 0) for water in range(len(reef.SCENES.water))]
    return jnp.stack([hue(reef.reset(jax.random.key(0), scene)[1].video) for scene in waters])


HUES = _hues()


def wanted(video: jax.Array) -> jax.Array:
    """The note that pictures [..., H, W, 3] ask for, an index into NOTES."""
    return jnp.asarray(SONG)[jnp.argmax(hue(video) @ HUES.T, axis=-1)]


def reward_fn(obs: oyster.Observation) -> jax.Array:
    """How much louder the wanted note sounds than the others do on average, [...] in -1/11 to 1; silence is worth 0,
    and so is a note by chance: to be silent is no way out."""
    notes = jnp.abs(jnp.fft.rfft(obs.audio)[..., NOTES]) / FULL
    right = jax.nn.one_hot(wanted(obs.video), len(NOTES))
    return jnp.sum(notes * (right - (1 - right) / (len(NOTES) - 1)), axis=-1)


def init_policy(key: jax.Array) -> dict:
    """Two layers from an 8 x 8 picture to the logits of every value of every factor; all actions equally likely."""
    w = jax.random.normal(key, (8 * 8 * 3, HIDDEN)) / 8
    return {"w": w, "b": jnp.zeros(HIDDEN), "out": jnp.zeros((HIDDEN, SIZES.sum())), "bias": jnp.zeros(SIZES.sum())}


def logits(params: dict, video: jax.Array) -> list[jax.Array]:
    """Logits of each factor on seeing pictures uint8 [..., H, W, 3]."""
    *batch, height, width, _ = video.shape
    small = video.reshape(*batch, 8, height // 8, 8, width // 8, 3).astype(jnp.float32).mean((-4, -2)) / 128 - 1
    hidden = jnp.tanh(small.reshape(*batch, -1) @ params["w"] + params["b"])
    return jnp.split(hidden @ params["out"] + params["bias"], np.cumsum(SIZES)[:-1], axis=-1)


def agent(params: dict, obs, last_BA, key) -> jax.Array:
    """Draws each factor's value [B, A] by the policy."""
    draws = zip(jax.random.split(key, len(SIZES)), logits(params, obs.video))
    return jnp.stack([jax.random.categorical(*draw) for draw in draws], axis=-1)


def uniform(obs, last_BA, key) -> jax.Array:
    return jax.random.randint(key, last_BA.shape, 0, SIZES)


def sticky(obs, last_BA, key) -> jax.Array:
    """Each factor keeps its value with probability 0.85, as `--actions=random` does."""
    stay, draw = jax.random.split(key)
    return jnp.where(jax.random.bernoulli(stay, 0.85, last_BA.shape), last_BA, uniform(obs, last_BA, draw))


def knowing(obs, last_BA, key) -> jax.Array:
    """Sings the wanted note, and nothing else."""
    return jnp.zeros_like(last_BA).at[:, reef.CALL].set(1 + wanted(obs.video))


class Episodes(NamedTuple):
    """What B sessions saw, what each did on seeing it, and the reward of the frame that followed, [T, B, ...]."""

    video: jax.Array
    action: jax.Array
    reward: jax.Array


def play(step: Callable, choose: Callable, state, obs, key: jax.Array, frames: int) -> Episodes:
    """B sessions from `obs` on; `step(state, action)` is the world's or the simulator's."""
    start, key = jax.random.split(key)

    def frame(carry, key):
        state, obs, last = carry
        action = choose(obs, last, key)
        state, after = step(state, action)
        return (state, after, action), Episodes(obs.video, action, reward_fn(after))

    first = uniform(obs, jnp.zeros((len(obs.video), len(SIZES)), jnp.int32), start)
    return jax.lax.scan(frame, (state, obs, first), jax.random.split(key, frames))[1]


def dreamt_prompts(world: oyster.World, count: int) -> Prompt:
    """So many of the scenes' prompts, spread evenly over all of them."""
    return scene_prompts(world, tuple(SCENES[i * len(SCENES) // count] for i in range(count)))


@jax.jit
def dream(world: oyster.World, prompts: Prompt, choose: Callable, key: jax.Array) -> Episodes:
    """Episodes that the world makes up, one for each prompt; fewer MaskGIT steps will do for them."""
    begin, key = jax.random.split(key)
    own = world.config.sampling
    fast = replace(own, video_steps=2, audio_steps=1, guidance=oyster.Guidance())
    start = replace(own, opening=replace(own.opening, steps=4))
    state, obs = oyster.reset(world, begin, prompts, batch=len(prompts.whole), sampling=start)
    return play(partial(oyster.step, world, sampling=fast), choose, state, obs, key, DREAM_FRAMES)


@jax.jit
def judge(scenes: reef.Scene, choose: Callable, key: jax.Array) -> jax.Array:
    """The mean reward of an episode in the simulator for each of the scenes, float32 [B]."""
    begin, key = jax.random.split(key)
    state, obs = jax.vmap(reef.reset)(jax.random.split(begin, len(scenes.time)), scenes)
    return play(jax.vmap(reef.step), choose, state, obs, key, REEF_FRAMES).reward.mean(0)


@jax.jit
def improve(params: dict, memory: optax.OptState, episodes: Episodes) -> tuple[dict, optax.OptState]:
    """A step of REINFORCE; an action's credit is its discounted future, less what the other sessions' have then."""
    discounted = lambda later, now: (now + DISCOUNT * later,) * 2
    credit = jax.lax.scan(discounted, jnp.zeros_like(episodes.reward[0]), episodes.reward, reverse=True)[1]
    credit = (credit - credit.mean(1, keepdims=True)) / (credit.std() + 1e-6)

    def loss(params):
        chosen = zip(logits(params, episodes.video), jnp.moveaxis(episodes.action, -1, 0))
        return jnp.mean(credit * sum(optax.softmax_cross_entropy_with_integer_labels(x, a) for x, a in chosen))

    updates, memory = OPTIMIZER.update(jax.grad(loss)(params), memory)
    return optax.apply_updates(params, updates), memory


def train(
    world: oyster.World, prompts: Prompt, params: dict, key: jax.Array, iterations: int
) -> tuple[dict, list[float]]:
    """The policy after so many improvements, and its mean reward a frame inside the world before each of them."""
    memory, curve = OPTIMIZER.init(params), []
    for i in range(iterations):
        episodes = dream(world, prompts, Partial(agent, params), jax.random.fold_in(key, i))
        params, memory = improve(params, memory, episodes)
        curve.append(float(episodes.reward.mean()))
    return params, curve


def main(_):
    values = flags.FLAGS
    iterations, episodes = (2, 36) if values.quick else (values.iterations, values.episodes)
    begun, world = time.time(), oyster.load(values.world)
    init_key, train_key, inside_key, judge_key = jax.random.split(jax.random.key(values.seed), 4)
    prompts = dreamt_prompts(world, 8 if values.quick else 36)
    untrained = init_policy(init_key)
    params, curve = train(world, prompts, untrained, train_key, iterations)
    minutes = (time.time() - begun) / 60

    inside = {"before": untrained, "after": params}
    inside = {name: dream(world, prompts, Partial(agent, x), inside_key).reward for name, x in inside.items()}
    scenes = reef.Scene(*jnp.array([SCENES[i % len(SCENES)] for i in range(episodes)]).T)
    players = {"random": Partial(sticky), "uniform": Partial(uniform), "knowing": Partial(knowing)}
    players["agent"] = Partial(agent, params)
    returns = {name: np.asarray(judge(scenes, player, judge_key)) for name, player in players.items()}
    rounded = lambda means: {name: round(float(np.mean(x)), 3) for name, x in means.items()}
    result = {
        "benchmark": "agent",
        "iterations": iterations,
        "minutes": round(minutes, 1),
        "inside": rounded(inside),
        "curve": [round(float(x.mean()), 3) for x in np.array_split(curve, min(8, iterations))],
        "simulator": rounded(returns),
        "episodes": episodes,
        "agent_less_random": bootstrap(returns["agent"] - returns["random"]),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    app.run(main)
