"""`reset` and `step` compiled ahead, for real time: the frame is handed out before its commit runs.

Programs are kept on disk (see `executables`), and one program serves sessions on many devices.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from oyster_jax.config_sampling import SamplingConfig
from oyster_jax.errors import check
from oyster_jax.models.text_encoder import prompt_bytes
from oyster_jax.models.world_model import World
from oyster_jax.sampling.executables import compile_or_load, describe
from oyster_jax.sampling.rollout import (
    RolloutState,
    check_action,
    check_image,
    check_state,
    commit,
    first_frame,
    predict,
    state_like,
)
from oyster_jax.types import Observation


def compile_step(
    world: World,
    batch: int = 1,
    donate: bool = True,
    sampling: SamplingConfig | None = None,
    mesh: Mesh | None = None,
    keep: bool = True,
) -> Callable[[RolloutState, jax.Array], tuple[RolloutState, Observation]]:
    """`step` with the world bound, compiled ahead for `batch` sessions: `fast(state, action) -> (state, obs)`.

    Two programs, `predict` and `commit`: the frame is there when the first is done, and the second runs while the
    caller looks at it. With `donate` the state passed in is used up (its buffers are written in place): keep only the
    returned one.
    mesh: devices among which the sessions are divided; each runs its own, and the world is on all of them.
    keep: whether the compiled programs are kept in the user's cache directory.
    Raises OysterError for an action outside its factors, and for a state of another world or another number of
    sessions; the state is then untouched.
    """
    _check_divides(batch, mesh)
    action = jax.ShapeDtypeStruct((batch, len(world.config.played_actions.factors)), jnp.int32)
    state = state_like(world, batch)
    if mesh is not None:
        world = jax.device_put(world, jax.NamedSharding(mesh, PartitionSpec()))
        state, action = _spread((state, action), mesh)
    show, arguments = jax.jit(_divide(lambda w, s, a: predict(w, s, a, sampling), mesh)), (world, state, action)
    name = ("predict", f"{world.config} {sampling} {_places(mesh)}", describe(arguments))
    shown = compile_or_load(lambda: show.lower(*arguments), name, arguments, keep)
    pending = lambda: show.eval_shape(*arguments)[0]
    committed = _compile_commit(world, state, pending, _outputs(shown)[0], donate, mesh, keep)

    def fast(state_now: RolloutState, action_BA: jax.Array) -> tuple[RolloutState, Observation]:
        world.config.played_actions.check(action_BA)
        if getattr(action_BA, "dtype", None) != jnp.int32:
            action_BA = np.asarray(action_BA, np.int32)
        try:
            pending, obs = shown(world, state_now, action_BA)
        except TypeError:  # what a compiled program says of arguments that it was not made for
            check_state(world, state_now)
            sessions, kind = len(state_now.position), state_now.key.dtype
            check(sessions == batch, f"this step was compiled for another number of sessions: {batch}, not {sessions}")
            check(kind == state.key.dtype, f"this step was compiled for another kind of keys than {kind}")
            check_action(world, action_BA, batch)
            raise
        return committed(world, state_now, pending), obs

    return fast


def compile_reset(
    world: World,
    batch: int = 1,
    sampling: SamplingConfig | None = None,
    from_image: bool = False,
    keep: bool = True,
) -> Callable[..., tuple[RolloutState, Observation]]:
    """`reset` with the world bound, compiled ahead for `batch` sessions: `begin(key, prompt) -> (state, obs)`, or
    `begin(key, prompt, image)`.

    from_image: whether `begin` takes an image, uint8 [H, W, 3] for all sessions or [B, H, W, 3]. Its prompt is one text
    for all or a list of one for each. keep: as in `compile_step`. Raises OysterError for what does not fit.
    """
    media = world.config.media
    shapes = [jax.random.key(0), jax.ShapeDtypeStruct((batch, prompt_bytes("").size), jnp.uint8)]
    if from_image:
        shapes.append(jax.ShapeDtypeStruct((batch, media.height, media.width, 3), jnp.uint8))

    @jax.jit
    def show(world, key, raw_BP, image=None):
        prompt = world.apply("dynamics", raw_BP[:, None], method="read_prompt")
        return first_frame(world, key, prompt, image, batch, sampling)

    arguments = (world, *shapes)
    name = ("reset", f"{world.config} {batch} {sampling}", describe(arguments))
    shown = compile_or_load(lambda: show.lower(*arguments), name, arguments, keep)
    state = state_like(world, batch)
    pending = lambda: show.eval_shape(*arguments)[1]
    committed = _compile_commit(world, state, pending, _outputs(shown)[1], keep=keep)

    def run(*arguments):
        state, pending, obs = shown(*arguments)
        return committed(world, state, pending), obs

    def begin(key: jax.Array, prompt: str | list[str] = "", image=None) -> tuple[RolloutState, Observation]:
        texts = [prompt] * batch if isinstance(prompt, str) else list(prompt)
        check(len(texts) == batch, f"{len(texts)} prompts for {batch} sessions")
        check(from_image == (image is not None), "compile_reset(…, from_image=True) makes what begins with an image")
        raw = jnp.asarray(np.stack([prompt_bytes(text) for text in texts]))
        if not from_image:
            return run(world, key, raw)
        check_image(world, image)
        check(image.shape[:-3] in ((), (batch,)), f"{image.shape[0]} images for {batch} sessions")
        return run(world, key, raw, jnp.broadcast_to(image, (batch, *image.shape[-3:])))

    return begin


def _compile_commit(world, state, pending: Callable, like_pending, donate=True, mesh=None, keep=True):
    """`commit`, compiled: one and the same program after a first frame and after any other.

    pending: gives the shapes of its last argument, where they are needed; `like_pending` has their structure.
    """

    def lower() -> jax.stages.Lowered:
        shapes = pending() if mesh is None else _spread(pending(), mesh)
        run = _divide(commit, mesh)
        return jax.jit(run, donate_argnums=1 if donate else ()).lower(world, state, shapes)

    name = ("commit", f"{world.config} {_places(mesh)} {donate}", describe((world, state)))
    return compile_or_load(lower, name, (world, state, like_pending), keep)


def _outputs(program: jax.stages.Compiled):
    """Something of the structure of what a program returns."""
    return jax.tree.unflatten(program.out_tree, range(program.out_tree.num_leaves))


def _divide(run: Callable, mesh: Mesh | None) -> Callable:
    """`run(world, sessions, sessions)` with the sessions divided among the devices of a mesh."""
    if mesh is None:
        return run
    each = PartitionSpec(mesh.axis_names)
    return jax.shard_map(run, mesh=mesh, in_specs=(PartitionSpec(), each, each), out_specs=each, check_vma=False)


def _spread(shapes, mesh: Mesh):
    """Shapes of arrays whose sessions are divided among the devices of a mesh."""
    each = jax.NamedSharding(mesh, PartitionSpec(mesh.axis_names))
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=each), shapes)


def _places(mesh: Mesh | None) -> str:
    """A mesh in words, with its devices in their order: a program is for them alone."""
    return "" if mesh is None else f"{mesh} {[device.id for device in mesh.devices.flat]}"


def _check_divides(batch: int, mesh: Mesh | None) -> None:
    devices = 1 if mesh is None else mesh.size
    check(batch > 0 and batch % devices == 0, f"{batch} sessions do not divide among {devices} devices")
