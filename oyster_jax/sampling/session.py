"""Sessions as values: kept as bytes and brought back to the bit, forked, taken apart and put together.

Rewinding is restoring a snapshot that was kept; a state that no donating step has used up is one in itself.
"""

import hashlib
import json

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from oyster_jax.config_dict import to_dict
from oyster_jax.errors import check
from oyster_jax.models.world_model import World
from oyster_jax.sampling.rollout import RolloutState, init_state

MAGIC = b"oyster_jax session 2\n"


def snapshot(world: World, state: RolloutState) -> bytes:
    """The state of sessions of `world`, with all that their future depends on. `restore` is the inverse, to the bit."""
    leaves = [np.asarray(jax.random.key_data(x) if _is_key(x) else x) for x in jax.tree.leaves(state)]
    raw = save({f"{i:04}": x for i, x in enumerate(leaves)})
    head = {"world": fingerprint(world), "sha256": hashlib.sha256(raw).hexdigest(), "sessions": len(state.position)}
    return MAGIC + json.dumps(head).encode() + b"\n" + raw


def restore(world: World, data: bytes) -> RolloutState:
    """The state that `snapshot` kept. Raises OysterError for what is no whole snapshot, or one of another world."""
    check(data[: len(MAGIC)] == MAGIC, "this is no snapshot of a session")
    head, _, raw = data[len(MAGIC) :].partition(b"\n")
    try:
        head = json.loads(head)
        whole = hashlib.sha256(raw).hexdigest() == head["sha256"]
        arrays = load(raw) if whole else {}
    except (ValueError, KeyError, TypeError, SafetensorError):
        whole = False
    check(whole, "this snapshot is cut short or damaged; take another one")
    check(head["world"] == fingerprint(world), "this snapshot is of another world: restore it with its own")
    like = jax.eval_shape(lambda w, k: init_state(w, k, batch=head["sessions"]), world, jax.random.key(0))
    leaves = [
        jax.random.wrap_key_data(jnp.asarray(x)) if _is_key(shape) else jnp.asarray(x)
        for shape, (_, x) in zip(jax.tree.leaves(like), sorted(arrays.items()), strict=True)
    ]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def fork(state: RolloutState, futures: int) -> RolloutState:
    """Every session `futures` times, side by side, each with a key of its own: many futures of one moment.

    The keys come from the sessions' own: the same state forks alike every time.
    """
    check(futures > 0, f"a fork has at least one future, got {futures}")
    copied = jax.tree.map(lambda x: jnp.repeat(x, futures, axis=0), state)
    number = jnp.tile(jnp.arange(futures), len(state.position))
    return copied._replace(key=jax.vmap(jax.random.fold_in)(copied.key, number))


def take(state: RolloutState, index) -> RolloutState:
    """Some of the sessions, a copy: `index` is a number, a slice or an int array."""
    index = jnp.atleast_1d(jnp.arange(len(state.position))[index])
    return jax.tree.map(lambda x: x[index], state)


def join(*states: RolloutState) -> RolloutState:
    """Sessions of one world put together, in order; they may be of different ages."""
    for other in states[1:]:
        check(_shapes(states[0]) == _shapes(other), "sessions of different worlds cannot be joined")
    return jax.tree.map(lambda *x: jnp.concatenate(x), *states)


def fingerprint(world: World) -> str:
    """Tells worlds apart: a digest of the config and of a sample of every parameter."""
    digest = hashlib.sha256(json.dumps(to_dict(world.config), sort_keys=True).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(world.params):
        flat = leaf.reshape(-1)
        digest.update(f"{jax.tree_util.keystr(path)} {leaf.shape} {leaf.dtype}".encode())
        digest.update(np.asarray(flat[:: max(1, flat.size // 256)]).tobytes())
    return digest.hexdigest()


def state_bytes(state: RolloutState) -> int:
    """What these sessions weigh, in bytes."""
    return sum(x.nbytes for x in jax.tree.leaves(state))


def _shapes(state: RolloutState):
    """What the sessions of one world have in common."""
    return jax.tree.structure(state), [(x.shape[1:], x.dtype) for x in jax.tree.leaves(state)]


def _is_key(x) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
