"""What a work directory holds is gone on with, exported, and never mixed with another experiment."""

import dataclasses
import importlib.util
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import oyster_jax as oyster
from oyster_jax.config_dict import from_dict
from oyster_jax.config_experiment import ExperimentConfig, TrainConfig
from oyster_jax.distributed.mesh import make_mesh
from oyster_jax.errors import OysterError
from oyster_jax.training import loop
from oyster_jax.training.tasks import make_tasks
from oyster_jax.training.train import train

STAGE = ["audio_tokenizer"]  # the quickest; the whole chain has a test of its own


@pytest.fixture(scope="module")
def tiny():
    """configs/tiny.py."""
    path = Path(__file__).parents[2] / "configs" / "tiny.py"
    spec = importlib.util.spec_from_file_location("tiny", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return from_dict(ExperimentConfig, module.get_config().to_dict())


@pytest.fixture(scope="module", autouse=True)
def one_device():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("oyster_jax.training.train.make_mesh", lambda cfg: make_mesh(cfg, jax.devices()[:1]))
        yield patch


@pytest.fixture(scope="module")
def trained(tiny, data_folder, tmp_path_factory):
    """(workdir, the world that was trained there)."""
    workdir = tmp_path_factory.mktemp("run")
    return workdir, train(tiny, data_folder, workdir, STAGE)


def test_what_was_trained_is_exported(trained):
    workdir, world = trained
    loaded = oyster.load(workdir / "world")
    assert loaded.config == world.config and set(loaded.params) == set(STAGE)
    jax.tree.map(np.testing.assert_array_equal, loaded.params, jax.device_get(world.params))


def test_finished_stages_are_read_and_not_trained_again(trained, tiny, data_folder, monkeypatch):
    """However often one logs or saves: these settings change nothing that was learned."""
    workdir, world = trained
    monkeypatch.setattr(loop, "put_batch", lambda *_: pytest.fail("trained again"))
    often = dataclasses.replace(tiny.train.audio_tokenizer, log_every=1, save_every=1)
    experiment = dataclasses.replace(tiny, train=dataclasses.replace(tiny.train, audio_tokenizer=often))
    again = train(experiment, data_folder, workdir, STAGE)
    jax.tree.map(np.testing.assert_array_equal, again.params, world.params)


@pytest.mark.parametrize(
    "change, field",
    [
        (lambda c: dataclasses.replace(c, seed=1), "seed: 0 against 1"),
        (lambda c: dataclasses.replace(c, train=dataclasses.replace(c.train, workers=1)), "workers: 0 against 1"),
        (
            lambda c: dataclasses.replace(c, audio_tokenizer=dataclasses.replace(c.audio_tokenizer, layers=2)),
            "audio_tokenizer.*layers: 1 against 2",
        ),
    ],
)
def test_another_experiment_is_not_mixed_into_a_workdir(trained, tiny, data_folder, change, field):
    with pytest.raises(OysterError, match=field):
        train(change(tiny), data_folder, trained[0], STAGE)


def test_a_stage_that_does_not_exist_is_named(tiny, data_folder, tmp_path):
    with pytest.raises(OysterError, match="no stage sound in this experiment"):
        train(tiny, data_folder, tmp_path, ["sound"])


def test_a_batch_that_does_not_divide_among_the_devices_is_refused(tiny, data_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("oyster_jax.training.train.make_mesh", make_mesh)
    with pytest.raises(OysterError, match="video_tokenizer: batch 2 does not divide among 8 devices"):
        train(tiny, data_folder, tmp_path)


def test_what_a_loss_weighs_is_part_of_a_checkpoint(config):
    """Beside the model's own sizes; a latent action model that trains beside the dynamics included."""
    latent = dataclasses.replace(config.dynamics, actions="latent", atlas=0)
    beside = dataclasses.replace(latent, cotrain_latent=True)
    for dynamics in (latent, beside):
        world = dataclasses.replace(config, dynamics=dynamics)
        before, after = (make_tasks(world, TrainConfig(motion_weight=w)) for w in (1.0, 2.0))
        changed = {a.name for a, b in zip(before, after) if a.depends != b.depends}
        assert changed == {"video_tokenizer", "dynamics" if dynamics.cotrain_latent else "latent_action"}
    before, after = (make_tasks(config, TrainConfig(shared_weight=w)) for w in (0.25, 1.0))
    assert {a.name for a, b in zip(before, after) if a.depends != b.depends} == {"dynamics"}


def test_a_stage_that_was_not_asked_for_is_not_gone_on_with(trained, tiny, data_folder, tmp_path, monkeypatch):
    """Its checkpoint is not its last: it stays as it is, and its part is left out of the world."""
    shutil.copytree(trained[0], tmp_path / "run")
    stage = dataclasses.replace(tiny.train.audio_tokenizer, steps=7)
    longer = dataclasses.replace(tiny, train=dataclasses.replace(tiny.train, audio_tokenizer=stage))
    assert set(train(longer, data_folder, tmp_path / "run", ["video_tokenizer"]).params) == {"video_tokenizer"}


def with_stage(experiment, **changes):
    stage = dataclasses.replace(experiment.train.audio_tokenizer, **changes)
    return dataclasses.replace(experiment, train=dataclasses.replace(experiment.train, audio_tokenizer=stage))


def test_a_stage_begins_as_that_of_a_world_and_goes_on_from_there(trained, tiny, data_folder, tmp_path):
    """At a rate of next to nothing it stays what it was; that world itself is not used up."""
    _, world = trained
    still = with_stage(tiny, steps=1, learning_rate=1e-12, ema=0.5)
    again = train(still, data_folder, tmp_path, STAGE, init_from=world)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), again.params, world.params)
    with pytest.raises(OysterError, match="init_from"):  # begun otherwise, it is another run
        train(still, data_folder, tmp_path, STAGE)


def test_stages_left_out_are_taken_from_the_world_to_begin_with(trained, tiny, data_folder, tmp_path):
    _, world = trained
    one = dataclasses.replace(tiny.train.video_tokenizer, steps=1)
    short = dataclasses.replace(tiny, train=dataclasses.replace(tiny.train, video_tokenizer=one))
    both = train(short, data_folder, tmp_path, ["video_tokenizer"], init_from=world)
    assert set(both.params) == {"video_tokenizer", "audio_tokenizer"}
    jax.tree.map(np.testing.assert_array_equal, both.params["audio_tokenizer"], world.params["audio_tokenizer"])


def test_a_world_of_another_size_is_no_beginning(trained, tiny, data_folder, tmp_path):
    wide = dataclasses.replace(tiny, audio_tokenizer=dataclasses.replace(tiny.audio_tokenizer, width=24))
    with pytest.raises(OysterError, match=r"another audio_tokenizer than the config \(.* against .*24"):
        train(wide, data_folder, tmp_path, STAGE, init_from=trained[1])


def test_stages_may_begin_from_nothing_beside_those_of_a_world(trained, tiny, data_folder, tmp_path):
    wide = dataclasses.replace(tiny, audio_tokenizer=dataclasses.replace(tiny.audio_tokenizer, width=24))
    one = with_stage(wide, steps=1)
    world = train(one, data_folder, tmp_path, STAGE, init_from=trained[1], init_stages=["dynamics"])
    assert set(world.params) == set(STAGE)
    with pytest.raises(OysterError, match="no stage decoder"):
        train(one, data_folder, tmp_path, STAGE, init_from=trained[1], init_stages=["decoder"])
