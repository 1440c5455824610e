"""A headless session from the first frame to the last: what `oyster rollout` and the evaluation film."""

from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np

from oyster_jax.config_sampling import SamplingConfig
from oyster_jax.errors import check
from oyster_jax.models.world_model import World
from oyster_jax.sampling.compiled import compile_step
from oyster_jax.sampling.rollout import RolloutState, encode_prompt, set_prompt
from oyster_jax.types import Observation


def film(
    world: World,
    begin: tuple[RolloutState, Observation],
    action_TA: np.ndarray,
    events: Iterable[tuple[int, str]] = (),
    sampling: SamplingConfig | None = None,
    progress: Callable[[int], None] = lambda frames: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Plays one session and returns video uint8 [T + 1, H, W, 3] and sound float32 [T + 1, S].

    begin: from `reset` or `prefill` with a batch of 1, and is not used up; its frame is the first of the film.
    action_TA: int32 [T, A], checked against the world's action space. events: (frame, prompt) pairs, each in force
    from that frame of the film on, 1 to T. Raises OysterError for what does not fit.
    """
    world.config.played_actions.check(action_TA)
    events = list(events)
    for frame, text in events:
        check(1 <= frame <= len(action_TA), f"the event '{text}' is at frame {frame}: give 1 to {len(action_TA)}")
    prompts = {frame: encode_prompt(world, text) for frame, text in events}
    state, obs = begin
    state = jax.tree.map(jnp.copy, state)  # the compiled step uses its state up
    step = compile_step(world, batch=1, sampling=sampling)
    video, audio = [np.asarray(obs.video[0])], [np.asarray(obs.audio[0])]
    for t, action in enumerate(np.asarray(action_TA, np.int32), start=1):
        if t in prompts:
            state = set_prompt(state, prompts[t])
        state, obs = step(state, jnp.asarray(action)[None])
        video.append(np.asarray(obs.video[0]))
        audio.append(np.asarray(obs.audio[0]))
        progress(1)
    return np.stack(video), np.stack(audio)
