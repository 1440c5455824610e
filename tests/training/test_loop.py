"""A stage that was cut off ends in the same bits; one that diverges stops and keeps its last good checkpoint."""

import contextlib
import dataclasses
import functools
import signal
from dataclasses import dataclass
from types import SimpleNamespace

import grain
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oyster_jax.config_experiment import MeshConfig, StageConfig, TrainConfig
from oyster_jax.distributed.mesh import make_mesh
from oyster_jax.errors import OysterError
from oyster_jax.training import loop
from oyster_jax.training.checkpoint import Checkpoints
from oyster_jax.training.tasks import DynamicsTask

STAGE = StageConfig(steps=6, batch=2, frames=5, warmup=2, log_every=2, eval_every=6, save_every=3, ema=0.5)


@dataclass(frozen=True)
class Line:
    """Fits a line: a task that compiles in no time."""

    stage: StageConfig
    name: str = "line"

    def init(self, key):
        return {"w": jax.random.normal(key, (3,))}

    def loss(self, params, batch, key, progress):
        del key, progress
        return jnp.mean((batch["x"] @ params["w"] - batch["y"]) ** 2), {}

    def evaluate(self, params, batch, key):
        return {"loss": self.loss(params, batch, key, 1.0)[0]}, None

    def renew(self, params, batch):
        return {"w": params["w"] + 0.01 * batch["x"].mean(0)}


@dataclass(frozen=True)
class QuickDynamics(DynamicsTask):
    """The dynamics stage, less what takes long to compile and is not the matter here."""

    def init(self, key):
        boxed = jax.eval_shape(super().init, key)
        rng = np.random.default_rng(0)
        return jax.tree.map(lambda x: jnp.asarray(rng.normal(0, 0.2, x.shape), x.dtype), boxed)

    def evaluate(self, params, batch, key):
        return {"loss": jnp.zeros(())}, None


def pipeline(draw, shuffle=True):
    """Batches of two of draw(i) as a Grain pipeline whose place can be saved."""
    data = grain.MapDataset.source(range(64)).map(draw).seed(0)
    return (data.shuffle() if shuffle else data).repeat().to_iter_dataset().batch(2)


def line(i):
    x = np.random.default_rng(i).normal(size=3).astype(np.float32)
    return {"x": x, "y": np.float32(x.sum())}


def run(task, data, workdir, config):
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    shown = next(iter(data))
    return loop.run_stage(task, data, shown, mesh, workdir, {"model": "this"}, config.media, seed=0)


def cut_off(monkeypatch, at, act):
    """Calls `act` while step `at` of the next run is under way; returns the list of steps that were run."""
    real, steps = loop.shard_train_step, []

    def shard_train_step(task, mesh):
        init, step, laid = real(task, mesh)

        def counted(state, batch, key):
            steps.append(int(state.step) + 1)
            out = step(state, batch, key)
            if len(steps) == at:
                act()
            return out

        return init, counted, laid

    monkeypatch.setattr(loop, "shard_train_step", shard_train_step)
    return steps


@pytest.fixture
def compiled_once(monkeypatch):
    """A run that is started again would trace and compile the same program again."""
    monkeypatch.setattr(loop, "shard_train_step", functools.cache(loop.shard_train_step))


def power_cut():
    raise RuntimeError("power cut")


def assert_same_bits(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_resumed_stage_ends_in_the_same_bits(tmp_path, monkeypatch, config, compiled_once):
    """The dynamics stage: weights, data order and every random draw go on as if nothing happened."""
    small = dataclasses.replace(config.dynamics.transformer, layers=1)
    config = dataclasses.replace(config, dynamics=dataclasses.replace(config.dynamics, transformer=small))
    c, t = config.dynamics, STAGE.frames

    def tokens(i):
        rng = np.random.default_rng(i)
        return {
            "video_tokens": rng.integers(0, c.video_codes, (t, c.video_tokens)).astype(np.uint16),
            "audio_tokens": rng.integers(0, c.audio_codes, (t, c.audio_tokens)).astype(np.uint16),
            "action": rng.integers(0, c.action_sizes, (t, 2)).astype(np.int32),
            "prompt": rng.integers(0, 128, (2, 256)).astype(np.uint8),
            "prompt_id": (np.arange(t) > 2).astype(np.int32),
        }

    task = QuickDynamics(config, TrainConfig(dynamics=dataclasses.replace(STAGE, optimizer="sgd")))
    whole = run(task, pipeline(tokens), tmp_path / "whole", config)
    with monkeypatch.context() as patch:
        cut_off(patch, 5, power_cut)
        with pytest.raises(RuntimeError, match="power cut"):
            run(task, pipeline(tokens), tmp_path / "parts", config)
    with monkeypatch.context() as patch:
        steps = cut_off(patch, 0, power_cut)
        resumed = run(task, pipeline(tokens), tmp_path / "parts", config)
    assert steps == [4, 5, 6]
    assert_same_bits(resumed, whole)


def test_ctrl_c_keeps_every_finished_step(tmp_path, monkeypatch, config):
    """Also in the middle of a step, when the state before it has already been given away; and what begins anew
    between steps does so from the same batches."""
    task = Line(dataclasses.replace(STAGE, renew_every=1))
    whole = run(task, pipeline(line), tmp_path / "whole", config)
    with monkeypatch.context() as patch:
        cut_off(patch, 5, lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            run(task, pipeline(line), tmp_path / "parts", config)
    with monkeypatch.context() as patch:
        steps = cut_off(patch, 0, power_cut)
        resumed = run(task, pipeline(line), tmp_path / "parts", config)
    assert steps == [6]
    assert_same_bits(resumed, whole)


@pytest.mark.parametrize("bad, kept", [(3, None), (5, 3)])
def test_a_loss_that_is_not_a_number_stops_and_keeps_the_last_good_checkpoint(tmp_path, config, bad, kept):
    spoilt = lambda i: line(i) | ({"y": np.float32("nan")} if i == 2 * bad - 1 else {})  # in the batch of step `bad`
    with pytest.raises(OysterError, match=f"line diverged.*{'step 3' if kept else 'none yet'}"):
        run(Line(STAGE), pipeline(spoilt, shuffle=False), tmp_path, config)
    checkpoints = Checkpoints(tmp_path / "checkpoints" / "line", {"model": "this"})
    assert checkpoints.latest == kept
    checkpoints.close()


@pytest.mark.parametrize(
    "losses, gradient, diverged",
    [
        ((2.0, 1.0, 29.0), 1.0, False),
        ((2.0, 1.0, 31.0), 1.0, True),
        ((2.0, 31.0, 1.0), 1.0, False),
        ((2.0,), np.inf, True),
    ],
)
def test_divergence_is_a_loss_that_stays_high_or_a_gradient_without_end(losses, gradient, diverged):
    watch = loop.Divergence("line", SimpleNamespace(latest=None))
    for loss in losses:
        watch.see({"loss": jnp.float32(loss), "gradient_norm": jnp.float32(gradient)})
    with pytest.raises(OysterError, match="line diverged before step 9") if diverged else contextlib.nullcontext():
        watch.check(9)


def test_a_checkpoint_of_another_config_is_refused_by_field(tmp_path, config):
    data = pipeline(line)
    run(Line(STAGE), data, tmp_path, config)
    other = Checkpoints(tmp_path / "checkpoints" / "line", {"model": "that"})
    with pytest.raises(OysterError, match=r"model: 'this' against 'that'"):
        other.restore({})
    other.close()


def test_every_step_has_its_own_key():
    """Also a step that is run again, after a restart, has the key it had."""

    class Dice(Line):
        def loss(self, params, batch, key, progress):
            return super().loss(params, batch, key, progress)[0], {"dice": jax.random.uniform(key)}

    step, batch = jax.jit(loop.make_train_step(Dice(STAGE))), {k: v[None] for k, v in line(0).items()}
    first = loop.init_state(Dice(STAGE), jax.random.key(0))
    second, _ = step(first, batch, jax.random.key(1))
    dice = [float(step(s, batch, jax.random.key(1))[1]["dice"]) for s in (first, second, first)]
    assert dice[0] != dice[1] and dice[0] == dice[2]


def test_the_average_follows_the_parameters():
    task = Line(dataclasses.replace(STAGE, optimizer="sgd", learning_rate=0.1, ema=0.75))
    step = jax.jit(loop.make_train_step(task))
    state = loop.init_state(task, jax.random.key(0))
    average, batch = np.asarray(state.params["w"]), {k: v[None] for k, v in line(0).items()}
    for _ in range(3):
        state, _ = step(state, batch, jax.random.key(1))
        average = 0.75 * average + 0.25 * np.asarray(state.params["w"])
    np.testing.assert_allclose(state.ema["w"], average, rtol=1e-6)
    assert np.abs(average - state.params["w"]).max() > 1e-3
    assert loop.init_state(Line(dataclasses.replace(STAGE, ema=0.0)), jax.random.key(0)).ema is None


def test_what_is_unused_begins_anew_while_it_can_still_be_learnt(tmp_path, monkeypatch, config):
    renewed = []
    monkeypatch.setattr(Line, "renew", lambda self, params, batch: renewed.append(len(batch["x"])) or params)
    monkeypatch.setattr(loop.jax, "jit", lambda f, **kw: f)
    run(Line(dataclasses.replace(STAGE, steps=12, renew_every=3)), pipeline(line), tmp_path, config)
    assert renewed == [loop.RENEW_CLIPS] * 3, "after steps 3, 6 and 9 of 12"
