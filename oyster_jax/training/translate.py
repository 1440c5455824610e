"""Dynamics that were trained on one tokenizer's codes, carried over to another's.

A dynamics model knows codes by number: a table's row, a head's column. Train the tokenizer again and the numbers mean
something else, though nothing that was learnt of how the world goes is wrong. So the same clips are encoded by both
tokenizers, and each new code takes the mean of the rows of those old codes that stood where it stands.
"""

from functools import partial

import jax
import numpy as np

from oyster_jax.data.dataset import ClipReader
from oyster_jax.data.pipeline import take
from oyster_jax.models.video_tokenizer import frame_positions
from oyster_jax.models.world_model import World
from oyster_jax.training.tokens import PAD, digest

# Tables and heads by code: (path below the dynamics' parameters, the codes' axis).
_BY_CODE = {
    "video": (
        ("video_embed/embedding", 0),
        ("video_before/embedding", 0),
        ("steered/before_0/embedding", 0),
        ("steered/before_1/embedding", 0),
        ("video_head/kernel", 1),
        ("video_head/bias", 0),
    ),
    "audio": (
        ("audio_embed/embedding", 0),
        ("audio_before/embedding", 0),
        ("audio_head/kernel", 1),
        ("audio_head/bias", 0),
    ),
}


def translate(dynamics: dict, old: World, new: World, reader: ClipReader, frames: int = 1 << 15) -> dict:
    """`dynamics`, the parameters of a model of `old`'s codes, for those of `new`; as they are where there are no
    two tokenizers that differ. `frames`: of how many frames of `reader`'s training clips tokens are compared."""
    for modality, paths in _BY_CODE.items():
        name = f"{modality}_tokenizer"
        if name not in old.params or name not in new.params or digest(old.params[name]) == digest(new.params[name]):
            continue
        seen = together(name, old, new, reader, frames)
        for path, axis in paths:
            dynamics = _replaced(dynamics, path.split("/"), partial(_mixed, seen=seen, axis=axis))
    return dynamics


def together(name: str, old: World, new: World, reader: ClipReader, frames: int) -> np.ndarray:
    """How often a code of the new tokenizer stands where one of the old stands, float [new codes, old codes]."""
    modality = name.removesuffix("_tokenizer")
    encode = {"video": _encode_video, "audio": _encode_audio}[modality]
    sizes = [getattr(w.config.dynamics, f"{modality}_codes") for w in (new, old)]
    seen = np.zeros(sizes)
    for index in reader.split("train"):
        if frames <= 0:
            break
        meta, arrays = reader[index]
        length = min(int(reader.frames[index]), frames)
        length -= length % PAD if length > PAD else 0  # few shapes to compile
        media = take(meta, arrays, 0, length, (modality,), reader.info.max_prompts)[modality][None]
        np.add.at(seen, tuple(np.asarray(encode(w, media)).ravel() for w in (new, old)), 1)
        frames -= length
    return seen


@jax.jit
def _encode_video(world: World, video: jax.Array) -> jax.Array:
    return world.apply("video_tokenizer", video, frame_positions(*video.shape[:2]), method="encode")[0]


@jax.jit
def _encode_audio(world: World, audio: jax.Array) -> jax.Array:
    return world.apply("audio_tokenizer", audio, method="encode")[0]


def _mixed(x: np.ndarray, seen: np.ndarray, axis: int) -> np.ndarray:
    """An array by old codes along `axis`, by new ones; what comes after the codes ("no frame") stays."""
    x = np.moveaxis(np.asarray(x), axis, 0)
    usual = seen.sum(0, keepdims=True) + 1e-6  # for codes that were not seen
    shares = np.where(seen.sum(1, keepdims=True) > 0, seen, usual)
    shares = shares / shares.sum(1, keepdims=True)
    new, old = shares.shape
    mixed = (shares @ x[:old].reshape(old, -1)).reshape(new, *x.shape[1:])
    return np.moveaxis(np.concatenate([mixed.astype(x.dtype), x[old:]]), 0, axis)


def _replaced(tree: dict, path: list[str], change) -> dict:
    first, *rest = path
    return tree | {first: _replaced(tree[first], rest, change) if rest else change(tree[first])}
