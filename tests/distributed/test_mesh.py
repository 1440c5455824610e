"""Eight devices compute what one does, with weights that really are split."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from oyster_jax.config_experiment import MeshConfig, StageConfig, TrainConfig
from oyster_jax.distributed.mesh import AXES, make_mesh, put_batch
from oyster_jax.errors import OysterError
from oyster_jax.training.loop import TrainState, make_optimizer, shard_train_step
from oyster_jax.training.tasks import make_tasks
from oyster_jax.training.tasks.latent_action import LatentActionTask

# Clipped to a norm of 1, so that every step is as long as the weights can bear and errors cannot hide in them.
STAGE = StageConfig(steps=3, batch=8, frames=4, optimizer="sgd", learning_rate=0.5)
TRAIN = TrainConfig(*[STAGE] * 5)
DATA, FSDP, TENSOR = MeshConfig(data=8), MeshConfig(data=2, fsdp=4), MeshConfig(data=4, tensor=2)
ALL = MeshConfig(data=2, fsdp=2, tensor=2)


@pytest.fixture(scope="module")
def tasks(config):
    """One layer is enough: the weights' axes are the same in all. The dynamics scan theirs, as deep stacks do."""
    shallow = lambda c: dataclasses.replace(c, layers=1)
    video, latent = (
        dataclasses.replace(c, encoder=shallow(c.encoder), decoder=shallow(c.decoder))
        for c in (config.video_tokenizer, config.latent_action)
    )
    config = dataclasses.replace(
        config,
        video_tokenizer=video,
        audio_tokenizer=shallow(config.audio_tokenizer),
        latent_action=latent,
        dynamics=dataclasses.replace(
            config.dynamics, transformer=dataclasses.replace(shallow(config.dynamics.transformer), scan_layers=True)
        ),
    )
    return {t.name: t for t in [*make_tasks(config, TRAIN), LatentActionTask(config, TRAIN)]}


@pytest.fixture(scope="module")
def batch(config):
    rng, c, (b, t) = np.random.default_rng(0), config.dynamics, (8, 4)
    return {
        "video": rng.integers(0, 256, (b, t, config.media.height, config.media.width, 3)).astype(np.uint8),
        "audio": rng.uniform(-0.5, 0.5, (b, t, config.media.samples_per_frame)).astype(np.float32),
        "video_tokens": rng.integers(0, c.video_codes, (b, t, c.video_tokens)).astype(np.uint16),
        "audio_tokens": rng.integers(0, c.audio_codes, (b, t, c.audio_tokens)).astype(np.uint16),
        "action": rng.integers(0, c.action_sizes, (b, t, 2)).astype(np.int32),
        "prompt": rng.integers(0, 128, (b, 2, 256)).astype(np.uint8),
        "prompt_id": (np.arange(b * t).reshape(b, t) % 2).astype(np.int32),
    }


@pytest.fixture(scope="module")
def train(tasks, batch, lively):
    """(stage, mesh) to three SGD steps' metrics, the weights before them, after the first and after the last."""

    def run(stage, mesh):
        task = tasks[stage]
        _, step, laid = shard_train_step(task, mesh)
        params = jax.device_get(lively(jax.eval_shape(task.init, jax.random.key(0))))
        state = TrainState(jnp.int32(0), params, make_optimizer(task.stage).init(params), None)
        state, metrics, weights = jax.device_put(state, laid), [], [params]
        for _ in range(3):
            state, now = step(state, put_batch(batch, mesh), jax.random.key(1))
            metrics.append(jax.device_get(now))
            weights.append(jax.device_get(state.params))
        return metrics, weights

    return run


@pytest.fixture(scope="module")
def one_device(train):
    """The same on one device."""
    done = {}

    def run(stage):
        if stage not in done:
            done[stage] = train(stage, make_mesh(devices=jax.devices()[:1]))
        return done[stage]

    return run


@pytest.mark.parametrize(
    "stage, sizes",
    [
        ("audio_tokenizer", ALL),
        ("video_tokenizer", ALL),
        ("latent_action", ALL),
        ("atlas", ALL),
        ("dynamics", ALL),
        ("dynamics", DATA),
        ("dynamics", FSDP),
        ("dynamics", TENSOR),
    ],
)
def test_eight_devices_train_as_one(train, one_device, stage, sizes):
    """Loss, metrics and gradient of a step (plain SGD: what the weights changed by), and the weights after three."""
    expected, want = one_device(stage)
    metrics, got = train(stage, make_mesh(sizes))
    for now, then in zip(metrics, expected):
        for name in then:
            np.testing.assert_allclose(now[name], then[name], rtol=1e-4, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(now["loss"], then["loss"], rtol=1e-5)

    change = lambda weights, steps: jax.tree.map(lambda a, b: b - a, weights[0], weights[steps])
    for steps, tolerance in ((1, 1e-5), (3, 1e-4)):
        largest = max(np.abs(x).max() for x in jax.tree.leaves(change(want, steps)))
        for (path, a), b in zip(
            jax.tree_util.tree_leaves_with_path(change(got, steps)), jax.tree.leaves(change(want, steps))
        ):
            np.testing.assert_allclose(a, b, atol=tolerance * largest, err_msg=f"{steps} {path}")
    assert abs(metrics[0]["loss"] - metrics[2]["loss"]) > 0.01


def test_weights_and_their_optimizer_state_are_split(tasks):
    """By the rules: width over fsdp; heads, the MLP and the vocabulary over tensor; never the layers."""
    adam = dataclasses.replace(STAGE, optimizer="adamw", ema=0.9)
    task = dataclasses.replace(tasks["dynamics"], train=dataclasses.replace(TRAIN, dynamics=adam))
    _, _, laid = shard_train_step(task, make_mesh(ALL))
    moments = laid.optimizer[1][0].mu
    for tree in (laid.params, laid.ema, moments):
        block = tree["transformer"]["blocks"]["layer_0"]
        assert block["mlp"]["up"]["kernel"].spec == P(None, "fsdp", "tensor")
        assert block["mlp"]["down"]["kernel"].spec == P(None, "tensor", "fsdp")
        assert block["spatial"]["query"]["kernel"].spec == P(None, "fsdp", "tensor", None)
        assert tree["video_head"]["kernel"].spec == P("fsdp", "tensor")
        assert tree["video_embed"]["embedding"].spec == P("tensor", None)


def test_each_device_holds_its_part(tasks, lively):
    mesh = make_mesh(ALL)
    _, _, laid = shard_train_step(tasks["dynamics"], mesh)
    params = lively(jax.eval_shape(tasks["dynamics"].init, jax.random.key(0)))
    kernel = jax.device_put(params, laid.params)["transformer"]["blocks"]["layer_0"]["mlp"]["up"]["kernel"]
    assert kernel.shape == (1, 32, 64) and {s.data.shape for s in kernel.addressable_shards} == {(1, 16, 32)}
    batch = put_batch({"x": np.arange(8)}, mesh)["x"]
    assert {s.data.shape for s in batch.addressable_shards} == {(2,)}  # over data and fsdp together
    # One key/value head does not divide between two: it is held whole by both.
    assert laid.params["transformer"]["blocks"]["layer_0"]["spatial"]["key"]["kernel"].spec == P(
        None, "fsdp", None, None
    )


def test_a_key_gives_the_same_weights_on_any_mesh(tasks):
    parts = [
        shard_train_step(tasks["audio_tokenizer"], mesh)[0](jax.random.key(7)).params
        for mesh in (make_mesh(ALL), make_mesh(devices=jax.devices()[:1]))
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), *parts)


@pytest.mark.parametrize(
    "sizes", [MeshConfig(data=3), MeshConfig(data=-1, fsdp=-1), MeshConfig(data=4), MeshConfig(fsdp=16)]
)
def test_a_mesh_that_does_not_fit_is_refused(sizes):
    with pytest.raises(OysterError, match=r"mesh .* devices"):
        make_mesh(sizes)


def test_an_axis_that_nothing_is_split_over_is_refused():
    with pytest.raises(OysterError, match="context"):
        make_mesh(MeshConfig(context=2))


def test_a_mesh_takes_what_remains():
    assert dict(make_mesh(MeshConfig(data=-1, tensor=2)).shape) == dict(zip(AXES, (4, 1, 1, 2)))
