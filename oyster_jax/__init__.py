"""oyster_jax: real-time, interactive world models with sound, in JAX and Flax."""

from oyster_jax.compiler import compiler_options
from oyster_jax.config import ActionFactor, ActionSpace, MediaSpec, WorldConfig
from oyster_jax.config_sampling import Guidance, Opening, Randomness, SamplingConfig
from oyster_jax.errors import OysterError
from oyster_jax.models.world_model import World, load, save_world, unroll_layers
from oyster_jax.sampling.compiled import compile_reset, compile_step
from oyster_jax.sampling.env import WorldEnv
from oyster_jax.sampling.rollout import (
    RolloutState,
    commit,
    encode_prompt,
    predict,
    prefill,
    reset,
    rollout,
    set_prompt,
    step,
)
from oyster_jax.sampling.session import fork, join, restore, snapshot, state_bytes, take
from oyster_jax.types import Clip, Observation

__all__ = [
    "ActionFactor",
    "ActionSpace",
    "Clip",
    "Guidance",
    "MediaSpec",
    "Observation",
    "Opening",
    "OysterError",
    "Randomness",
    "RolloutState",
    "SamplingConfig",
    "World",
    "WorldConfig",
    "WorldEnv",
    "commit",
    "compile_reset",
    "compile_step",
    "compiler_options",
    "encode_prompt",
    "fork",
    "join",
    "load",
    "predict",
    "prefill",
    "reset",
    "restore",
    "rollout",
    "save_world",
    "set_prompt",
    "snapshot",
    "state_bytes",
    "step",
    "take",
    "unroll_layers",
]
