"""Episodes of the simulator as a world of the reef is given them: what comes first, and the prompts of all scenes."""

import jax
import jax.numpy as jnp
import numpy as np

from oyster_jax.data.sources.reef import Frames
from oyster_jax.errors import OysterError
from oyster_jax.models.text_encoder import prompt_bytes
from oyster_jax.models.world_model import World
from oyster_jax.sampling.rollout import encode_prompt
from oyster_jax.sims import reef
from oyster_jax.types import Clip, Prompt


def check_reef(world: World) -> None:
    """Raises OysterError for a world that is not of the reef, or that has no dynamics."""
    if (world.config.media, world.config.actions) != (reef.MEDIA, reef.ACTIONS):
        raise OysterError("this world has other sizes, rates or actions than the reef, which it cannot be matched with")
    if "dynamics" not in world.params:
        raise OysterError("this world has no trained dynamics; train that stage and export again")


def scene_index(scene: reef.Scene) -> np.ndarray:
    """Which of `reef.ALL_SCENES` scenes of any shape are, int32 of that shape."""
    return np.ravel_multi_index(scene, [len(choices) for choices in reef.SCENES]).astype(np.int32)


def scene_prompts(world: World, scenes: tuple[reef.Scene, ...] = reef.ALL_SCENES) -> Prompt:
    """What `encode_prompt` makes of the scenes' captions, one after the other along the first axis."""
    return jax.tree.map(lambda *x: jnp.concatenate(x), *[encode_prompt(world, reef.caption(s)) for s in scenes])


def opening(played: Frames, frames: int) -> Clip:
    """The first so many frames of episodes [B, T, ...], with the captions of all scenes for their prompts."""
    texts = np.stack([prompt_bytes(reef.caption(scene)) for scene in reef.ALL_SCENES])
    return Clip(
        played.video[:, :frames],
        played.audio[:, :frames],
        played.action[:, :frames],
        np.broadcast_to(texts, (len(played.video), *texts.shape)),
        scene_index(played.state.scene)[:, :frames],
    )
