"""Dynamics that were trained with few layers, or without an atlas, gone on with in more.

What a shallow model learns fast need not be learnt at a deep one's price. As in progressive stacking (Gong et al., ICML
2019) the new layers are copies of those below; but what they add is nothing at first, so that no step of learning is
undone: the deeper model begins as the shallower.
"""

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from oyster_jax.errors import check

NO_ATLAS = "these dynamics read a map (dynamics.atlas), and there is none: train the stage atlas before them"
READS_ATLAS = "recalled", "video_recalled"  # what adds an `Explorer`'s features and guesses
_ADDS = "out", "down"  # the matrices whose outputs a layer adds to what it was given
_PROMPT = "text_kv", "kernel"  # [width, layers, 2, groups, head_dim]: each layer reads the prompt by keys of its own


def deepened(dynamics: dict, names: dict) -> dict:
    """`dynamics`, the parameters of a model, with the upper blocks that only `names`, a deeper model's, has: copies of
    the lower ones, in their order, that add nothing yet. As they are where there are none. Both unrolled, not scanned.
    """
    flat, have, want = flatten_dict(dynamics), _blocks(dynamics), _blocks(names)
    if not 0 < have < want:
        return dynamics
    new = {}
    for path, value in flat.items():
        for block in range(have, want):
            if path[:2] == ("transformer", f"block_{block % have}"):
                there = path[0], f"block_{block}", *path[2:]
                new[there] = np.zeros_like(value) if path[-2] in _ADDS else value
    if _PROMPT in flat:
        layers = flat[_PROMPT].shape[1]
        new[_PROMPT] = flat[_PROMPT][:, np.arange(layers * want // have) % layers]
    return unflatten_dict(flat | new)


def with_atlas(dynamics: dict, names: dict, atlas: dict | None) -> dict:
    """`dynamics` with `atlas`, the parameters of an `Explorer`, where only `names`, the model's to be, has one; and
    they make nothing of it yet. As they are if they have one already, or are to have none.

    Raises OysterError if there is none for them.
    """
    if "explorer" in dynamics or "explorer" not in names:
        return dynamics
    check(atlas is not None, NO_ATLAS)
    nothing = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), {name: names[name] for name in READS_ATLAS})
    return dynamics | nothing | {"explorer": atlas}


def _blocks(dynamics: dict) -> int:
    return sum(name.startswith("block_") for name in dynamics["transformer"])
