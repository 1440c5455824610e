"""A world so small that everything is tested in float32 in seconds, with weights so large that everything matters."""

import os
import tempfile
from importlib.metadata import version

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="oyster_jax_tests_")  # programs are kept there, for these tests
# Eight devices to shard over; and these tests compile far longer than they compute. XLA aborts on flags that it does
# not know: those without a promise are for the versions that had them.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=8"
    + " --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    + (" --xla_cpu_use_fusion_emitters=false" if version("jaxlib").startswith("0.10.") else "")
)

from fractions import Fraction

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oyster_jax.config import (
    ActionFactor,
    ActionSpace,
    AudioTokenizerConfig,
    DynamicsConfig,
    LatentActionConfig,
    MediaSpec,
    QuantizerConfig,
    TextEncoderConfig,
    TransformerConfig,
    VideoTokenizerConfig,
)
from oyster_jax.config_experiment import ExperimentConfig, resolve
from oyster_jax.config_sampling import SamplingConfig
from oyster_jax.data.sources.base import RawClip
from oyster_jax.models.text_encoder import prompt_bytes
from oyster_jax.models.world_model import World
from oyster_jax.types import Clip

# No two sizes are the same, so that no two of them can be taken for each other.
MEDIA = MediaSpec(Fraction(15, 2), 1920, height=32, width=48)  # 256 samples a frame
ACTIONS = ActionSpace((ActionFactor("move", ("stay", "left", "right")), ActionFactor("call", ("off", "on"))))


@pytest.fixture(scope="session")
def config():
    """Windows of 4 frames in 2 layers: the reach is 6 frames. The video decoder's window is 3."""
    st = lambda window, **kw: TransformerConfig(layers=2, width=32, heads=2, mlp_ratio=2, window=window, **kw)
    experiment = ExperimentConfig(
        video_tokenizer=VideoTokenizerConfig(
            patch=16, frame_codes=8, encoder=st(4), decoder=st(3), quantizer=QuantizerConfig(levels=(5, 4, 3))
        ),
        audio_tokenizer=AudioTokenizerConfig(
            tokens=4, width=32, layers=2, context=96, overlap=8, quantizer=QuantizerConfig("vq", codes=32, dim=6)
        ),
        latent_action=LatentActionConfig(
            codes=(3, 2), code_dim=4, patch=16, audio_patch=64, encoder=st(3), decoder=st(3)
        ),
        dynamics=DynamicsConfig(
            stood=3,
            atlas=5,
            transformer=st(4, kv_heads=1),
            text=TextEncoderConfig(bytes_per_patch=32, tokens=2, width=16, layers=1, heads=2),
            code_prior=True,
        ),
        sampling=SamplingConfig(video_steps=3, audio_steps=2),
    )
    return resolve(experiment, MEDIA, ACTIONS)


@pytest.fixture(scope="session")
def lively():
    """Fills abstract, boxed parameters with weights large enough that every output depends on every input.

    Fresh ones would not do: heads begin so near zero that a wrong cache hides within the tolerance.
    """

    def fill(abstract, seed: int = 0):
        rng = np.random.default_rng(seed)

        def draw(path, leaf):
            names = [p.key for p in path]
            std = {"kernel": 0.2, "bias": 0.1, "scale": 0.1}.get(names[-1], 1.0)
            std *= 0.2 if {"patch_out", "wave_out"} & set(names) else 1.0  # pixels and sound mostly within range
            std *= 0.4 if "down" in names else 1.0  # squares drown what attention says, the action's word with it
            std *= 0.3 if {"video_before", "audio_before"} & set(names) else 1.0  # the same: what stood there before
            std *= 3 if {"video_head", "audio_head"} & set(names) else 1.0  # sampling is no mere chance
            return jnp.asarray(rng.normal(names[-1] == "scale", std, leaf.shape), leaf.dtype)

        return jax.tree_util.tree_map_with_path(draw, nn.unbox(abstract))

    return fill


@pytest.fixture(scope="session")
def world(config, lively):
    from oyster_jax.config_experiment import TrainConfig
    from oyster_jax.training.tasks import make_tasks
    from oyster_jax.training.tasks.latent_action import LatentActionTask

    tasks = [*make_tasks(config, TrainConfig()), LatentActionTask(config, TrainConfig())]
    key = jax.random.key(0)
    return World({t.name: lively(jax.eval_shape(t.init, key), i) for i, t in enumerate(tasks)}, config)


@pytest.fixture(scope="session")
def clip(config):
    """Three clips of 12 random frames, twice the reach, whose prompts change at different frames."""
    rng = np.random.default_rng(1)
    b, t = 3, 12
    texts = ["a calm reef", "night falls", ""]
    return Clip(
        video=jnp.asarray(rng.integers(0, 256, (b, t, config.media.height, config.media.width, 3)), jnp.uint8),
        audio=jnp.asarray(rng.uniform(-0.7, 0.7, (b, t, config.media.samples_per_frame)), jnp.float32),
        action=jnp.asarray(rng.integers(0, config.actions.sizes, (b, t, 2)), jnp.int32),
        prompt=jnp.asarray(np.stack([[prompt_bytes(texts[(i + j) % 3]) for j in range(2)] for i in range(b)])),
        prompt_id=jnp.asarray(np.arange(t) >= np.array([[5], [1], [9]]), jnp.int32),
    )


@pytest.fixture(scope="session")
def prompts_TBMLP(world, clip):
    """The clip's prompts as `set_prompt` takes them, for each frame the one in force: [T, B, 2, L, ...]."""
    kv = jax.jit(lambda world, prompt: world.apply("dynamics", prompt, method="read_prompt"))(world, clip.prompt)
    frame = lambda x, i: jnp.stack([x[jnp.arange(3), i], x[:, -1]], axis=1)
    return jax.tree.map(lambda x: jnp.stack([frame(x, i) for i in clip.prompt_id.T]), kv)


class EchoSource:
    """Every frame betrays what made it: its colour is the action before it, its first pixel says where it is from.

    Red and green are the two factors of `action[t-1]`, plus one, times 60; pixel (0, 0) is (episode, t, scene); the
    prompt names episode and scene; the sound is constant over a frame, at a level that says t.
    """

    name, media, actions, recipe = "echo", MEDIA, ACTIONS, ""

    def __init__(self, episodes: int | None = None, frames: int = 40, stops: int | None = None):
        self.episodes, self.frames, self.stops = episodes, frames, stops

    def episode(self, index: int, clip_frames: int):
        if index == self.stops:
            raise KeyboardInterrupt
        t = np.arange(self.frames)
        action = np.random.default_rng(index).integers(0, ACTIONS.sizes, (self.frames, 2)).astype(np.int32)
        video = np.zeros((self.frames, MEDIA.height, MEDIA.width, 3), np.uint8)
        video[1:, :, :, :2] = 60 * (action[:-1, None, None] + 1)
        video[:, 0, 0] = np.stack([np.full_like(t, index), t, t // 7], axis=-1)
        audio = np.broadcast_to(t[:, None] / 100, (self.frames, MEDIA.samples_per_frame)).astype(np.float32)
        for start in range(0, self.frames, clip_frames):
            at = slice(start, start + clip_frames)
            scenes, prompt_id = np.unique(t[at] // 7, return_inverse=True)
            prompts = tuple(f"episode {index} scene {s}" for s in scenes)
            yield RawClip(video[at], audio[at], action[at], prompts, prompt_id, {"time": t[at]})

    def notes(self):
        return ["echoes"]


@pytest.fixture(scope="session")
def echo():
    """The class of a source that hides nothing."""
    return EchoSource


@pytest.fixture(scope="session")
def told():
    """(leading action [..., 2], episode, t, scene) that EchoSource's frames [..., H, W, 3] betray; -1: no action."""
    return lambda video: (video[..., 1, 1, :2].astype(int) // 60 - 1, *np.moveaxis(video[..., 0, 0, :], -1, 0))


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory):
    """12 episodes of 40 frames, in clips of 16, 16 and 8."""
    from oyster_jax.data.recorder import record

    folder = tmp_path_factory.mktemp("data") / "echo"
    record(EchoSource(), folder, frames=480, clip_frames=16)
    return folder
