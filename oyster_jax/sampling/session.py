"""Sessions as values: kept as bytes and brought back to the bit, forked, taken apart and put together.

Rewinding is restoring a snapshot that was kept. A state is one in itself until a donating step uses it up, or another
that shares arrays with it, as one after `set_prompt` does.
"""

import hashlib
import json

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load, save

from oyster_jax.config_dict import to_dict
from oyster_jax.errors import OysterError, check
from oyster_jax.models.world_model import World
from oyster_jax.sampling.rollout import RolloutState, check_state, state_like

MAGIC = b"oyster_jax session 3\n"


def snapshot(world: World, state: RolloutState) -> bytes:
    """The state of sessions of `world`, with all that their future depends on. `restore` is the inverse, to the bit.

    Raises OysterError for a state that has not the shape of sessions of this world.
    """
    check_state(world, state)
    raw = save({f"{i:04}": _plain(x) for i, x in enumerate(jax.tree.leaves(state))})
    kind = str(jax.random.key_impl(state.key))
    head = {"world": fingerprint(world), "sessions": len(state.position), "keys": kind}
    kept = json.dumps(head).encode() + b"\n" + raw
    return MAGIC + hashlib.sha256(kept).digest() + kept


def restore(world: World, data: bytes) -> RolloutState:
    """The state that `snapshot` kept. Raises OysterError for what is no whole snapshot, or one of another world."""
    check(data[: len(MAGIC)] == MAGIC, "this is no snapshot of a session")
    digest, kept = data[len(MAGIC) :][:32], data[len(MAGIC) + 32 :]
    check(hashlib.sha256(kept).digest() == digest, "this snapshot is cut short or damaged; take another one")
    head, _, raw = kept.partition(b"\n")
    head = json.loads(head)
    check(head["world"] == fingerprint(world), "this snapshot is of another world: restore it with its own")
    like = state_like(world, head["sessions"], head["keys"])
    wanted, tree = jax.tree.flatten(like)
    arrays = [_as(want, x, head["keys"]) for want, (_, x) in zip(wanted, sorted(load(raw).items()), strict=True)]
    return jax.tree.unflatten(tree, arrays)


def fork(state: RolloutState, futures: int) -> RolloutState:
    """Every session `futures` times, side by side, each with a key of its own: many futures of one moment.

    The keys come from the sessions' own: the same state forks alike every time.
    """
    check(futures > 0, f"a fork has at least one future, got {futures}")
    copied = jax.tree.map(lambda x: jnp.repeat(x, futures, axis=0), state)
    number = jnp.tile(jnp.arange(futures), len(state.position))
    return copied._replace(key=jax.vmap(jax.random.fold_in)(copied.key, number))


def take(state: RolloutState, index) -> RolloutState:
    """Some of the sessions, a copy: `index` is a number, a slice or an int array, known where this is traced.

    Raises OysterError for a session that is not there.
    """
    try:
        index = np.atleast_1d(np.arange(len(state.position))[index])
    except IndexError as e:
        raise OysterError(f"there are {len(state.position)} sessions to take from: {e}") from e
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


def _plain(x: jax.Array) -> np.ndarray:
    """An array as safetensors reads it back: keys as numbers, what NumPy has no kind for (bfloat16) as its bits."""
    x = np.asarray(jax.random.key_data(x) if _is_key(x) else x)
    return x.view(f"u{x.itemsize}") if x.dtype.kind == "V" else x


def _as(want: jax.ShapeDtypeStruct, plain: np.ndarray, kind: str) -> jax.Array:
    """The inverse of `_plain`; `kind`: of keys, as `jax.random.key` takes it."""
    if _is_key(want):
        return jax.random.wrap_key_data(jnp.asarray(plain), impl=kind)
    return jnp.asarray(plain.view(want.dtype))
