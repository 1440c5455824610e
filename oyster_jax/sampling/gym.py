"""A world as a Gymnasium environment; `pip install 'oyster_jax[gym]'`."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded

from oyster_jax.config_sampling import SamplingConfig
from oyster_jax.errors import check
from oyster_jax.models.text_encoder import prompt_bytes
from oyster_jax.models.world_model import World, load
from oyster_jax.sampling.compiled import compile_reset, compile_step
from oyster_jax.types import Observation


class GymWorld(gymnasium.Env):
    """A world with a reward, one session at a time; many are faster as `vmap` of a `WorldEnv`.

    world: a World, or the folder of one. reward_fn: the frame that an action led to, as NumPy arrays without batch
    axis, -> its reward; one that a `WorldEnv` takes will do. prompt: a text. max_frames: steps until an episode is
    truncated; none terminates. Compiles on the first `reset` and on the first `step`.

    Observations are new arrays: "video" uint8 [H, W, 3], "audio" float32 [S] in [-1, 1]. An action holds one value for
    each factor of the world's action space, or -1 for none.
    """

    metadata: ClassVar[dict] = {"render_modes": ["rgb_array"], "render_fps": 15}  # an instance has its world's rate

    def __init__(
        self,
        world: World | str | Path,
        reward_fn: Callable[[Observation], float],
        prompt: str = "",
        max_frames: int = 150,
        sampling: SamplingConfig | None = None,
        render_mode: str | None = None,
    ):
        modes = self.metadata["render_modes"]
        check(max_frames > 0, f"max_frames must be positive, got {max_frames}")
        check(render_mode in (None, *modes), f"render_mode must be one of {modes} or None, got {render_mode!r}")
        self.world = world if isinstance(world, World) else load(world)
        self.reward_fn, self.max_frames, self.sampling, self.render_mode = reward_fn, max_frames, sampling, render_mode
        media, actions = self.world.config.media, self.world.config.played_actions
        self.metadata = {**self.metadata, "render_fps": float(media.fps)}
        self.observation_space = spaces.Dict(
            video=spaces.Box(0, 255, (media.height, media.width, 3), np.uint8),
            audio=spaces.Box(-1, 1, (media.samples_per_frame,), np.float32),
        )
        self.action_space = spaces.MultiDiscrete(actions.sizes)
        prompt_bytes(prompt)  # one that does not fit is refused here
        self._prompt = prompt
        self._state, self._obs, self._frames = None, None, 0

    @cached_property
    def _begin(self):
        return compile_reset(self.world, sampling=self.sampling)

    @cached_property
    def _begin_from_image(self):
        return compile_reset(self.world, sampling=self.sampling, from_image=True)

    @cached_property
    def _step(self):
        return compile_step(self.world, batch=1, donate=True, sampling=self.sampling)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        """Begins an episode. options: "prompt", a text, and "image", uint8 [H, W, 3], are in force until the next."""
        options = options or {}
        unknown = sorted(set(options) - {"prompt", "image"})
        check(not unknown, f"reset takes the options 'prompt' and 'image', got {', '.join(map(repr, unknown))}")
        prompt, image = options.get("prompt"), options.get("image")
        super().reset(seed=seed)
        begin = [jax.random.key(int(self.np_random.integers(2**31))), self._prompt if prompt is None else prompt]
        if image is None:
            self._state, self._obs = self._begin(*begin)
        else:
            self._state, self._obs = self._begin_from_image(*begin, np.asarray(image))
        self._frames = 0
        return self._arrays()._asdict(), {}

    def step(self, action) -> tuple[dict, float, bool, bool, dict]:
        """One frame further. Raises OysterError, a ValueError, on an action that is none of this world's."""
        if self._state is None:
            raise ResetNeeded("call reset before step")
        self._state, self._obs = self._step(self._state, jnp.asarray(self._checked(action))[None])
        self._frames += 1
        obs = self._arrays()
        reward = float(self.reward_fn(obs))
        return obs._asdict(), reward, False, self._frames >= self.max_frames, {}

    def render(self) -> np.ndarray | None:
        """The last frame, uint8 [H, W, 3]; None without a render mode."""
        if self.render_mode is None:
            return None
        if self._obs is None:
            raise ResetNeeded("call reset before render")
        return self._arrays().video

    def _checked(self, action) -> np.ndarray:
        """`action` as int32 [A]. Nothing of the session is used up before this."""
        values, sizes = np.asarray(action), self.action_space.nvec
        check(
            values.shape == sizes.shape and np.issubdtype(values.dtype, np.integer),
            f"an action is {len(sizes)} whole numbers, one for each factor, got {values.dtype} {values.shape}",
        )
        self.world.config.played_actions.check(values)
        return values.astype(np.int32)

    def _arrays(self) -> Observation:
        """Copies: what a caller does to an observation is not seen in the next, nor when rendering."""
        return Observation(*(np.array(x[0]) for x in self._obs))
