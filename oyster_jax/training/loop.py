"""The one training loop. It knows tasks only by their three functions."""

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from oyster_jax.compiler import compiler_options
from oyster_jax.config import MediaSpec
from oyster_jax.distributed.mesh import batch_sharding, put_batch, replicated, shardings
from oyster_jax.errors import OysterError
from oyster_jax.training.checkpoint import Checkpoints
from oyster_jax.training.logging import Logger
from oyster_jax.training.optimizer import make_optimizer
from oyster_jax.training.tasks.base import Batch, Metrics, Sample, Task

RENEW_CLIPS = 2048  # that unused codes are told by: codes of rare things must not look unused
RENEW_SHARE = 0.9  # of a stage's steps: codes that begin later could not be learnt any more


class TrainState(NamedTuple):
    step: jax.Array  # int32 []
    params: dict
    optimizer: optax.OptState
    ema: dict | None  # a running average of the parameters, where the stage asks for one


def init_state(task: Task, key: jax.Array) -> TrainState:
    """A boxed TrainState. Consumes `key`."""
    params = task.init(key)
    ema = params if task.stage.ema else None
    return TrainState(jnp.zeros((), jnp.int32), params, make_optimizer(task.stage).init(params), ema)


def make_train_step(task: Task):
    """The step `(state, batch, key) -> (state, metrics)`; the key is folded with the step number."""
    optimizer, stage = make_optimizer(task.stage), task.stage

    def train_step(state: TrainState, batch: Batch, key: jax.Array) -> tuple[TrainState, Metrics]:
        grad = jax.value_and_grad(task.loss, has_aux=True)
        key, progress = jax.random.fold_in(key, state.step), state.step / stage.steps
        (loss, metrics), grads = grad(state.params, batch, key, progress)
        updates, optimizer_state = optimizer.update(grads, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = state.ema and jax.tree.map(lambda e, p: stage.ema * e + (1 - stage.ema) * p, state.ema, params)
        metrics = metrics | {"loss": loss, "gradient_norm": optax.tree.norm(grads)}
        return TrainState(state.step + 1, params, optimizer_state, ema), metrics

    return train_step


def shard_train_step(task: Task, mesh: Mesh):
    """(jitted init, jitted train step, state shardings) with everything laid out on the mesh by the rules."""
    laid = shardings(jax.eval_shape(lambda k: init_state(task, k), jax.random.key(0)), mesh)
    init = jax.jit(lambda k: nn.unbox(init_state(task, k)), out_shardings=laid)
    step = jax.jit(
        make_train_step(task),
        in_shardings=(laid, batch_sharding(mesh), replicated(mesh)),
        out_shardings=(laid, replicated(mesh)),
        donate_argnums=0,
        compiler_options=compiler_options(mesh.devices.flat[0].platform),
    )
    return init, step, laid


def shard_renew(task: Task, laid: TrainState):
    """The jitted `(state, batch) -> state` that lets unused codes begin anew."""
    renew = lambda state, batch: state._replace(params=task.renew(state.params, batch))
    return jax.jit(renew, out_shardings=laid, donate_argnums=0)


def run_stage(
    task: Task,
    train_data: grain.IterDataset,
    held_out: Batch,
    mesh: Mesh,
    workdir: Path,
    config: dict,
    media: MediaSpec,
    seed: int,
    keep: int = 2,
    dream: Callable[[dict, jax.Array], Sample] | None = None,
    as_it_is: bool = False,
    begin: dict | None = None,
) -> dict:
    """Trains one stage to its last step, resuming by itself, and returns the parameters (averaged, if asked for).

    config: plain JSON of everything that the parameters depend on; a checkpoint of another one is refused.
    dream: makes an evaluation's sample out of the parameters, where the task by itself has nothing to show.
    as_it_is: returns the parameters of the newest checkpoint, and trains no further.
    begin: parameters to begin with, instead of random ones.
    Raises OysterError if the loss stops being finite; the last good checkpoint stays.
    """
    stage = task.stage
    key = jax.random.key(seed)
    init, train_step, laid = shard_train_step(task, mesh)
    data = iter(train_data)
    checkpoints = Checkpoints(workdir / "checkpoints" / task.name, config, keep)
    try:
        if checkpoints.latest is None:
            state = init(jax.random.fold_in(key, 0))
            if begin:
                own = lambda: jax.device_put(jax.tree.map(np.array, begin), laid.params)  # the step uses its state up
                state = state._replace(params=own(), ema=own() if stage.ema else None)
        else:
            shapes = jax.eval_shape(lambda k: nn.unbox(init_state(task, k)), key)
            like = jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, laid)
            state = checkpoints.restore(like, data)
        if not as_it_is:
            with Stop() as stop:
                steps = train_step, shard_renew(task, laid)
                state = _train(task, state, steps, data, held_out, mesh, workdir, media, key, checkpoints, stop, dream)
            checkpoints.wait()
    finally:
        checkpoints.close()
    return state.ema if stage.ema else state.params


def _train(task, state, steps, data, held_out, mesh, workdir, media, key, checkpoints, stop, dream) -> TrainState:
    stage, step, (train_step, renew) = task.stage, int(state.step), steps
    evaluate = jax.jit(task.evaluate)
    logger = Logger(workdir, task.name, media, stage.steps, step, active=jax.process_index() == 0)
    step_key, eval_key = jax.random.split(jax.random.fold_in(key, 1))
    watch = Divergence(task.name, checkpoints)
    clock, since = time.monotonic(), step
    try:
        while step < stage.steps and not stop.asked:
            state, metrics = train_step(state, put_batch(next(data), mesh), step_key)
            step += 1
            watch.see(metrics)
            if stage.renew_every and step % stage.renew_every == 0 and step <= RENEW_SHARE * stage.steps:
                state = renew(state, put_batch(many(data, -(-RENEW_CLIPS // stage.batch)), mesh))
            last = step == stage.steps
            if last or step % stage.log_every == 0:
                watch.check(step)
                seconds = time.monotonic() - clock
                rate = (step - since) * stage.batch * stage.frames / seconds
                logger.advance(step, rate, jax.device_get(metrics))
                clock, since = time.monotonic(), step
            if last or step % stage.eval_every == 0:
                params = state.ema or state.params
                shown, sample = evaluate(params, held_out, eval_key)
                if sample is None and dream:
                    sample = dream(params, eval_key)
                logger.evaluation(jax.device_get(shown), sample, step)
                clock, since = time.monotonic(), step
            if last or step % stage.save_every == 0:
                watch.check(step)
                checkpoints.save(step, state, data)
        if stop.asked:
            watch.check(step)
            checkpoints.save(step, state, data)
            checkpoints.wait()
            raise KeyboardInterrupt
    finally:
        logger.close()
    return state


def many(data, count: int) -> dict[str, np.ndarray]:
    """The next batches of an iterator as one."""
    batches = [next(data) for _ in range(count)]
    return {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}


class Stop:
    """Turns Ctrl-C (and the SIGTERM of a machine that is taken away) into a wish, heard between two steps.

    In the middle of one, the state is given away and the data are a batch ahead: nothing exact could be saved.
    A second Ctrl-C interrupts at once.
    """

    def __init__(self):
        self.asked = False

    def __enter__(self):
        self._old = {}
        if threading.current_thread() is threading.main_thread():
            self._old = {s: signal.signal(s, self._hear) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_):
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _hear(self, number, frame):
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


class Divergence:
    """Watches the loss without waiting for every step: losses are kept on the device until `check`."""

    def __init__(self, name: str, checkpoints: Checkpoints):
        self.name, self.checkpoints, self.first, self._recent = name, checkpoints, None, []

    def see(self, metrics: Metrics) -> None:
        # A gradient that overflows shows in its norm alone: clipping by it turns every update into zero.
        self._recent.append(jnp.where(jnp.isfinite(metrics["gradient_norm"]), metrics["loss"], jnp.nan))

    def check(self, step: int) -> None:
        """Raises OysterError if a loss since the last check is not finite, or the last one is far above the first."""
        losses = np.array(jax.device_get(self._recent))
        self._recent = []
        if not len(losses):
            return
        self.first = float(losses[0]) if self.first is None else self.first
        if not np.isfinite(losses).all() or losses[-1] > 10 * abs(self.first) + 10:
            kept = f"step {self.checkpoints.latest}" if self.checkpoints.latest is not None else "none yet"
            raise OysterError(
                f"{self.name} diverged before step {step} (loss {losses[-1]:g}, at first {self.first:g}); the last "
                f"good checkpoint is kept ({kept}): begin anew at a lower learning rate in another workdir, or go on "
                "there from what --export makes of it (--init_from)"
            )
