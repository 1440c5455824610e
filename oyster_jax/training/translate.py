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
from oyster_jax.models.world_model import World
from oyster_jax.sampling.rollout import encode
from oyster_jax.training.tokens import PAD, digest
from oyster_jax.types import Clip, TokenFrame

# Tables and heads by code: (path below the dynamics' parameters, the codes' axis). Not all worlds have all of them.
_BY_CODE = {
    "video": (
        ("video_embed/embedding", 0),
        ("video_before/embedding", 0),
        ("steered/before_0/embedding", 0),
        ("steered/before_1/embedding", 0),
        ("explorer/atlas/seen/embedding", 0),
        ("explorer/looks/embedding", 0),
        ("explorer/head/kernel", 1),
        ("explorer/head/bias", 0),
        ("video_head/kernel", 1),
        ("video_head/bias", 0),
        ("prior/video/kernel", 1),
        ("prior/video/bias", 0),
    ),
    "audio": (
        ("audio_embed/embedding", 0),
        ("audio_before/embedding", 0),
        ("audio_head/kernel", 1),
        ("audio_head/bias", 0),
        ("prior/audio/kernel", 1),
        ("prior/audio/bias", 0),
    ),
}


def translate(dynamics: dict, old: World, new: World, reader: ClipReader, frames: int = 1 << 15) -> dict:
    """`dynamics`, the parameters of a model of `old`'s codes, for those of `new`; as they are where there are no
    two tokenizers that differ. `frames`: of how many frames of `reader`'s training clips tokens are compared."""
    names = [f"{modality}_tokenizer" for modality in _BY_CODE]
    if not all(name in world.params for name in names for world in (old, new)):
        return dynamics
    other = [modality for modality, n in zip(_BY_CODE, names) if digest(old.params[n]) != digest(new.params[n])]
    seen = together(old, new, reader, frames) if other else None
    for modality in other:
        for path, axis in _BY_CODE[modality]:
            change = partial(_mixed, seen=getattr(seen, modality), axis=axis)
            dynamics = _replaced(dynamics, path.split("/"), change)
    return dynamics


def together(old: World, new: World, reader: ClipReader, frames: int) -> TokenFrame:
    """How often a code of the new tokenizers stands where one of the old stands, float [new codes, old codes] each."""
    sizes = [(w.config.dynamics.video_codes, w.config.dynamics.audio_codes) for w in (new, old)]
    seen = TokenFrame(*(np.zeros(size) for size in zip(*sizes)))
    tokens_of = jax.jit(encode)
    for index in reader.split("train"):
        if frames <= 0:
            break
        meta, arrays = reader[index]
        length = min(int(reader.frames[index]), frames)
        length -= length % PAD if length > PAD else 0  # few shapes to compile
        clip = Clip(**take(meta, arrays, 0, length, ("video", "audio", "action"), reader.info.max_prompts))
        clip = jax.tree.map(lambda x: x[None], clip)
        for count, *codes in zip(seen, *(tokens_of(world, clip) for world in (new, old))):
            np.add.at(count, tuple(np.asarray(x).ravel() for x in codes), 1)
        frames -= length
    return seen


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
    if first not in tree:
        return tree
    return tree | {first: _replaced(tree[first], rest, change) if rest else change(tree[first])}
