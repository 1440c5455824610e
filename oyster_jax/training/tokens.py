"""The token cache between stages: a data set is encoded once, so that the dynamics stage never runs the encoders.

It is a data folder like any other, whose clips hold tokens. Each clip is encoded from its first frame on, as a running
world would. To also know worlds that have just begun, some windows are encoded again from their own first frame and
stand beside the clips as clips of their own.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import numpy as np

from oyster_jax.config import DynamicsConfig
from oyster_jax.config_experiment import TrainConfig
from oyster_jax.data import records
from oyster_jax.data.dataset import ClipReader, DatasetWriter
from oyster_jax.models.world_model import World
from oyster_jax.sampling.rollout import encode, tokenize
from oyster_jax.types import Clip

PAD = 32  # clips are padded to a multiple of this many frames, so that few shapes are compiled


@dataclass(frozen=True)
class TokenCacheOptions:
    frames: int  # T of the dynamics' windows, the length of a cold one
    cold_share: float
    seed: int
    keep_media: bool  # pixels and sound too, for a latent action model trained beside the dynamics


def token_arrays(options: TokenCacheOptions) -> tuple[str, ...]:
    """The arrays that a window of the cache has, beside the prompts."""
    return ("video_tokens", "audio_tokens", "action") + (("video", "audio") if options.keep_media else ())


def cache_tokens(
    world: World,
    reader: ClipReader,
    root: str | Path,
    train: TrainConfig,
    seed: int,
    progress: Callable[[int], None] = lambda frames: None,
) -> tuple[Path, TokenCacheOptions]:
    """Encodes every clip of `reader` below `root` and returns the folder; one that is already whole is kept.

    The folder's name is a hash of what it depends on (the tokenizers' parameters, the data, the options), so that a
    cache of other tokenizers is never read. An interrupted encoding is continued.
    """
    c = world.config.dynamics
    options = TokenCacheOptions(
        train.dynamics.frames, train.cold_share, seed, keep_media=c.actions == "latent" and c.cotrain_latent
    )
    folder = Path(root) / f"tokens-{fingerprint(world, reader, options)}"
    # A latent action model that is trained beside the dynamics has no codes to give yet.
    run = jax.jit((lambda world, clip: (encode(world, clip), clip.action)) if options.keep_media else tokenize)
    info = replace(reader.info, shards=())
    rng_of = lambda index: np.random.default_rng([seed, index])
    with DatasetWriter(folder, info, shard_frames=1 << 14) as writer:
        episodes = np.unique(reader.episodes)
        for episode in episodes[episodes >= writer.info.next_episode]:
            for index in np.flatnonzero(reader.episodes == episode):
                meta, arrays = reader[index]
                for start, length in spans(int(reader.frames[index]), options, rng_of(int(index))):
                    clip = {k: v[start : start + length] for k, v in arrays.items()}
                    writer.add(_encode(world, run, meta, clip, options), length, int(episode), len(meta["prompts"]))
                progress(int(reader.frames[index]))
            writer.close_full(last=episode == episodes[-1])
    return folder, options


def seen_codes(reader: ClipReader, c: DynamicsConfig) -> np.ndarray:
    """Which codes the training clips of a token cache show in each of a picture's places, bool [N, codes]."""
    seen = np.zeros((c.video_tokens, c.video_codes), bool)
    for index in reader.split("train"):
        seen[np.arange(c.video_tokens), reader[index][1]["video_tokens"]] = True
    return seen


def spans(frames: int, options: TokenCacheOptions, rng: np.random.Generator) -> list[tuple[int, int]]:
    """(start, length) of what to encode of one clip: the whole of it, and its share of cold windows."""
    ratio = options.cold_share / max(1 - options.cold_share, 1e-6)
    wanted = ratio * frames / options.frames
    count = int(wanted) + (rng.random() < wanted % 1)
    if frames <= options.frames:
        return [(0, frames)]
    return [(0, frames)] + [(int(s), options.frames) for s in rng.integers(1, frames - options.frames + 1, count)]


def fingerprint(world: World, reader: ClipReader, options: TokenCacheOptions) -> str:
    """A hash of everything that the cache depends on."""
    names = ("video_tokenizer", "audio_tokenizer", "latent_action")
    return digest([world.params[n] for n in names if n in world.params], repr((reader.info, options)))


def digest(params, text: str = "") -> str:
    """A short hash of parameters, and of `text`."""
    sha = hashlib.sha256(text.encode())
    for leaf in jax.tree.leaves(params):
        sha.update(np.asarray(leaf).tobytes())
    return sha.hexdigest()[:12]


def _encode(world: World, run, meta: dict, arrays: dict[str, np.ndarray], options: TokenCacheOptions) -> bytes:
    frames = len(arrays["video"])
    pad = lambda x: np.pad(x, [(0, -frames % PAD)] + [(0, 0)] * (x.ndim - 1))[None]
    clip = Clip(
        video=pad(arrays["video"]),
        audio=pad(arrays["audio"].astype(np.float32) / 32767),
        action=pad(arrays["action"]),
        prompt=np.zeros((1, 1, 1), np.uint8),
        prompt_id=pad(arrays["prompt_id"]),
    )
    tokens, action = jax.tree.map(lambda x: np.asarray(x[0, :frames]), run(world, clip))
    if world.config.dynamics.actions == "latent":
        action = np.concatenate([action[:-1], np.full_like(action[:1], -1)])  # what follows the clip is not known
    out = {
        "video_tokens": tokens.video.astype(np.uint16),
        "audio_tokens": tokens.audio.astype(np.uint16),
        "action": action,
        "prompt_id": arrays["prompt_id"],
    }
    if options.keep_media:
        out |= {"video": arrays["video"], "audio": arrays["audio"]}
    return records.encode(meta, out)
