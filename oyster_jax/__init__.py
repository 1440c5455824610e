"""oyster_jax: real-time, interactive world models with sound, in JAX and Flax."""

from oyster_jax.config import ActionFactor, ActionSpace, MediaSpec, SamplingConfig, WorldConfig
from oyster_jax.errors import OysterError
from oyster_jax.models.world_model import World, load, save_world
from oyster_jax.sampling.env import WorldEnv
from oyster_jax.sampling.rollout import (
    RolloutState,
    commit,
    compile_step,
    encode_prompt,
    predict,
    prefill,
    reset,
    rollout,
    set_prompt,
    step,
)
from oyster_jax.types import Clip, Observation

__all__ = [
    "ActionFactor",
    "ActionSpace",
    "Clip",
    "MediaSpec",
    "Observation",
    "OysterError",
    "RolloutState",
    "SamplingConfig",
    "World",
    "WorldConfig",
    "WorldEnv",
    "commit",
    "compile_step",
    "encode_prompt",
    "load",
    "predict",
    "prefill",
    "reset",
    "rollout",
    "save_world",
    "set_prompt",
    "step",
]
