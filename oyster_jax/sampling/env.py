"""A world in the shape that JAX agents expect: one environment, for the caller to `vmap` and `scan`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from oyster_jax.config_sampling import SamplingConfig
from oyster_jax.errors import check
from oyster_jax.models.text_encoder import prompt_bytes
from oyster_jax.models.world_model import World
from oyster_jax.sampling import rollout
from oyster_jax.types import Observation, Prompt


class EnvState(NamedTuple):
    """One environment between two frames."""

    rollout: rollout.RolloutState  # a batch of one
    time: jax.Array  # int32 [], steps since the episode began


@dataclass(frozen=True)
class WorldEnv:
    """A world with a reward; `reset` and `step` are called as gymnax environments are, and compiled when called.

    Observations have no batch axis: video uint8 [H, W, 3], audio float32 [S]. An action is int32 [A], -1 is "no
    action", and so is a value outside its factor. An episode ends `max_frames` steps after its first frame.

        env = WorldEnv(world, lambda obs: obs.video[..., 0].mean(), prompt="a bay at night", max_frames=150)
        obs, state = jax.vmap(env.reset)(jax.random.split(key, 8))
        obs, state, reward, done, info = jax.vmap(env.step)(keys, state, actions)

    An environment is a pytree, with the world, the prompt and the image as its leaves. Under your own `jit`, hand it
    in as an argument, or `env.default_params` as `params`: a world closed over is compiled in as a constant.
    """

    world: World
    reward_fn: Callable[[Observation], jax.Array]  # the frame that an action led to -> its reward, a scalar; traced
    prompt: Prompt | jax.Array | str | None = None  # a text (kept as its bytes), or what `encode_prompt` made of one
    image: jax.Array | None = None  # uint8 [H, W, 3], the first frame of every episode
    max_frames: int = 150
    sampling: SamplingConfig | None = None

    def __post_init__(self):
        check(self.max_frames > 0, f"max_frames must be positive, got {self.max_frames}")
        if isinstance(self.prompt, str):  # text is handled outside jit; each world reads it for itself
            object.__setattr__(self, "prompt", jnp.asarray(prompt_bytes(self.prompt)))

    @property
    def default_params(self) -> World:
        """What gymnax calls the parameters of an environment: here the world."""
        return self.world

    @property
    def action_sizes(self) -> tuple[int, ...]:
        """The number of values of each of the A factors of an action."""
        return self.world.config.played_actions.sizes

    @property
    def num_actions(self) -> int:
        """Number of distinct actions. `jnp.unravel_index(i, env.action_sizes)` are the factors of the i-th."""
        return self.world.config.played_actions.size

    def sample_action(self, key: jax.Array) -> jax.Array:
        """A random action, int32 [A]. Consumes `key`."""
        sizes = jnp.array(self.action_sizes, jnp.int32)
        return jax.random.randint(_typed(key), sizes.shape, 0, sizes)

    @jax.jit
    def reset(self, key: jax.Array, params: World | None = None) -> tuple[Observation, EnvState]:
        """Begins an episode and shows its first frame. Consumes `key`. `params`: a world in place of `world`, of the
        same config; a prompt that was not given as text stays that of `world`."""
        return _begin(self, _typed(key), params)

    @jax.jit
    def step(
        self, key: jax.Array, state: EnvState, action: jax.Array, params: World | None = None
    ) -> tuple[Observation, EnvState, jax.Array, jax.Array, dict]:
        """The frame that `action` leads to: (obs, state, reward float32 [], done bool [], info).

        Where the episode is done, `obs` and `state` already begin the next one. `info["obs"]` is always the frame that
        `reward` is for; an episode that is done was only cut off, so that is also the frame to bootstrap a value from.
        Consumes `key`: it decides the frame, and the next episode's first.
        """
        frame_key, begin_key = jax.random.split(_typed(key))
        world = self.world if params is None else params
        now = state.rollout._replace(key=frame_key[None])
        now, seen = rollout.step(world, now, jnp.asarray(action, jnp.int32)[None], self.sampling)
        seen = jax.tree.map(lambda x: x[0], seen)
        reward = jnp.asarray(self.reward_fn(seen), jnp.float32)
        check(reward.shape == (), f"reward_fn must return a scalar, got shape {reward.shape}")
        after = EnvState(now, state.time + 1)
        done = after.time >= self.max_frames
        obs, after = _if_any(done, _begin_where, _as_is, (done, self, begin_key, params, (seen, after)))
        return obs, after, reward, done, {"obs": seen}


jax.tree_util.register_dataclass(
    WorldEnv, data_fields=["world", "prompt", "image"], meta_fields=["reward_fn", "max_frames", "sampling"]
)


def _begin(env: WorldEnv, key: jax.Array, params: World | None) -> tuple[Observation, EnvState]:
    world = env.world if params is None else params
    prompt = env.prompt
    if prompt is not None and not isinstance(prompt, Prompt):
        prompt = rollout.read_prompt(world, prompt)
    state, obs = rollout.reset(world, key, prompt, env.image, sampling=env.sampling)
    return jax.tree.map(lambda x: x[0], obs), EnvState(state, jnp.zeros((), jnp.int32))


def _begin_where(done, env, key, params, current):
    """A new episode where `done`, and `current` elsewhere."""
    return jax.tree.map(lambda new, old: jnp.where(done, new, old), _begin(env, key, params), current)


def _as_is(done, env, key, params, current):
    return current


def _if_any(flag: jax.Array, true_fn: Callable, false_fn: Callable, operands):
    """`lax.cond` that stays one under `vmap`, where it asks whether any `flag` is set: `true_fn` must then be right for
    elements whose flag is not.

    A new episode costs as much as a frame, and `vmap` makes of a plain `cond` both of its branches, always.
    """
    leaves, tree = jax.tree.flatten(operands)
    flat = lambda f: lambda *leaves: f(*jax.tree.unflatten(tree, leaves))
    return _any_cond(flat(true_fn), flat(false_fn))(flag, *leaves)


def _any_cond(true_fn: Callable, false_fn: Callable) -> Callable:
    @jax.custom_batching.custom_vmap
    def cond(flag, *leaves):
        return jax.lax.cond(flag, true_fn, false_fn, *leaves)

    @cond.def_vmap
    def batched(axis_size, in_batched, flag, *leaves):
        axes = tuple(0 if b else None for b in in_batched[1:])
        many = lambda f: jax.vmap(f, axes, axis_size=axis_size)
        out = _any_cond(many(true_fn), many(false_fn))(jnp.any(flag), *leaves)
        return out, jax.tree.map(lambda _: True, out)

    return cond


def _typed(key: jax.Array) -> jax.Array:
    """Many agents still carry keys of the old kind, uint32 [2]."""
    return key if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(key)
