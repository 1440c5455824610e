"""Configs survive JSON, refuse what does not fit by name, and are hashable."""

import dataclasses
import json
import runpy
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from oyster_jax.config import (
    ActionFactor,
    ActionSpace,
    AudioTokenizerConfig,
    DynamicsConfig,
    LatentActionConfig,
    MediaSpec,
    QuantizerConfig,
    TextEncoderConfig,
    TransformerConfig,
    VideoTokenizerConfig,
    WorldConfig,
    latent_action_space,
)
from oyster_jax.config_dict import as_config_dict, first_difference, from_dict, to_dict
from oyster_jax.config_experiment import ExperimentConfig, StageConfig, TrainConfig, resolve
from oyster_jax.config_sampling import Randomness, SamplingConfig
from oyster_jax.errors import OysterError
from oyster_jax.sims import reef


@pytest.fixture
def world(config):
    """At a frame rate that is no whole number, as ViZDoom's."""
    return dataclasses.replace(config, media=MediaSpec(Fraction(35, 4), 8960))


def test_a_world_survives_json(world):
    again = from_dict(WorldConfig, json.loads(json.dumps(to_dict(world))))
    assert again == world and hash(again) == hash(world)
    assert again.media.fps == Fraction(35, 4) and again.media.samples_per_frame == 1024


def test_an_experiment_survives_the_command_line(world):
    experiment = ExperimentConfig(seed=3, sampling=SamplingConfig(randomness=Randomness(temperature=0.5)))
    overridden = as_config_dict(experiment)
    overridden.dynamics.transformer.layers = 7
    again = from_dict(ExperimentConfig, overridden.to_dict())
    assert again.dynamics.transformer.layers == 7 and again.seed == 3
    assert dataclasses.replace(again, dynamics=experiment.dynamics) == experiment


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda d: d.update(colour="red"), "config has no field colour"),
        (lambda d: d["dynamics"]["transformer"].update(layer=1), "config.dynamics.transformer has no field layer"),
        (lambda d: d["dynamics"].update(transformer=3), "config.dynamics.transformer must be a mapping"),
        (lambda d: d["dynamics"].update(corruption="much"), "config.dynamics.corruption must be float, got 'much'"),
        (lambda d: d["media"].update(fps="fast"), "config.media.fps must be a number or a ratio"),
        (lambda d: d["media"].update(fps="1/0"), "config.media.fps must be a number or a ratio"),
        (lambda d: d["latent_action"].update(codes=8), "config.latent_action.codes must be a list"),
        (lambda d: d["latent_action"].update(codes=[8, "x"]), r"config.latent_action.codes\[1\] must be int"),
        (lambda d: d.pop("media"), "media"),
    ],
)
def test_what_does_not_fit_is_named(world, change, message):
    data = to_dict(world)
    change(data)
    with pytest.raises(OysterError, match=message):
        from_dict(WorldConfig, data)


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: MediaSpec(Fraction(15), 16000), r"16000 / fps 15 = 1066.67"),
        (lambda: MediaSpec(Fraction(0), 16000), "fps must be positive"),
        (lambda: DynamicsConfig(TransformerConfig(layers=0)), "DynamicsConfig.transformer needs at least one layer"),
        (lambda: LatentActionConfig(decoder=TransformerConfig(layers=0)), "LatentActionConfig.decoder needs"),
        (lambda: VideoTokenizerConfig(encoder=TransformerConfig(layers=0)), "tokenizer's encoder needs layers"),
        (lambda: TransformerConfig(width=100, heads=8), "width 100"),
        (lambda: TransformerConfig(heads=4, kv_heads=3), "heads 4 is not a multiple of kv_heads 3"),
        (lambda: TransformerConfig(window=1), "window of two frames"),
        (lambda: TransformerConfig(dtype="float16"), "float16"),
        (
            lambda: VideoTokenizerConfig(patch=8, height=60, width=64),
            "60x64 is not a multiple of the video tokenizer's patch 8",
        ),
        (
            lambda: AudioTokenizerConfig(tokens=7, samples_per_frame=1024),
            "1024 sound samples a frame do not divide into 7",
        ),
        (lambda: AudioTokenizerConfig(tokens=64, samples_per_frame=1024), "overlap 32 must lie within its hop of 16"),
        (lambda: LatentActionConfig(codes=(8, 1)), r"\(8, 1\)"),
        (lambda: LatentActionConfig(audio_patch=100, samples_per_frame=1024), "audio_patch 100"),
        (lambda: TextEncoderConfig(bytes_per_patch=3), "256 bytes of a prompt are not a multiple of bytes_per_patch 3"),
        (lambda: QuantizerConfig("rvq"), "rvq"),
        (lambda: QuantizerConfig(levels=(8, 1)), r"\(8, 1\)"),
        (lambda: DynamicsConfig(actions="some"), "some"),
        (lambda: DynamicsConfig(prompt_dropout=1.5), "dynamics.prompt_dropout"),
        (lambda: DynamicsConfig(atlas=-1), "dynamics.atlas is a number of tokens"),
        (lambda: DynamicsConfig(atlas=8, cotrain_latent=True), "atlas and cotrain_latent do not go together"),
        (lambda: SamplingConfig(video_steps=0), "at least one step"),
        (lambda: StageConfig(schedule="linear"), "linear"),
        (lambda: StageConfig(save_every=0), "StageConfig.save_every"),
        (lambda: StageConfig(learning_rate=float("nan")), "learning_rate"),
        (lambda: QuantizerConfig(levels=(8, 8, 8, 8, 8, 8)), "262144 codes"),
        (lambda: VideoTokenizerConfig(frame_codes=1), "frame_codes are 0 or at least 2"),
        (lambda: VideoTokenizerConfig(frame_codes=64000, quantizer=QuantizerConfig("vq", codes=2000)), "66000 codes"),
        (lambda: StageConfig(events=1.5), "events is a share"),
        (lambda: AudioTokenizerConfig(context=-1), "context"),
        (lambda: DynamicsConfig(corruption=-0.1), "dynamics.corruption"),
        (lambda: DynamicsConfig(stood=-1), "dynamics.stood"),
        (lambda: SamplingConfig(schedule="linear"), "sampling.schedule"),
        (lambda: TrainConfig(cold_share=1.0), "train.cold_share"),
        (lambda: TrainConfig(few_hidden=1.1), "train.few_hidden"),
        (lambda: TrainConfig(motion_weight=-1.0), "train.motion_weight"),
        (lambda: TrainConfig(dynamics=StageConfig(loud=0.5)), "train.dynamics.loud"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_with_both_numbers(build, message):
    with pytest.raises(OysterError, match=message):
        build()


def test_resolving_joins_the_experiment_with_its_data(config):
    c = resolve(ExperimentConfig(), MediaSpec(Fraction(10), 9600, 32, 64), config.actions)
    d = c.dynamics
    assert (d.video_tokens, d.audio_tokens, d.action_sizes) == (4 * 8, 8, (3, 2))
    assert d.frame_tokens == 1 + 32 + 8 and d.video_codes == 1000
    assert c.audio_tokenizer.hop == 120 and 960 % c.latent_action.audio_patch == 0
    latent = dataclasses.replace(ExperimentConfig(), dynamics=DynamicsConfig(actions="latent"))
    assert resolve(latent, c.media, config.actions).played_actions.sizes == (8,)


def test_sound_shorter_than_its_loss_looks_at_is_refused(config):
    experiment = ExperimentConfig(train=TrainConfig(audio_tokenizer=StageConfig(frames=1)))
    with pytest.raises(OysterError, match="960 samples are shorter than the 1024"):
        resolve(experiment, MediaSpec(Fraction(10), 9600), config.actions)


def test_large_action_spaces_are_products_of_factors():
    space = latent_action_space((10, 10, 10, 10))
    assert space.size == 10_000 and space.sizes == (10, 10, 10, 10)
    assert ActionSpace().size == 1


@pytest.mark.parametrize(
    "action, message",
    [
        ([3, 0], "'move' takes 0..2"),
        ([[0, 0], [0, 2]], "'call' takes 0..1"),
        ([-2, 0], "got -2"),
        ([0], "2 factors"),
        (0, "2 factors"),
    ],
)
def test_actions_outside_the_space_are_refused(config, action, message):
    with pytest.raises(OysterError, match=message):
        config.actions.check(np.array(action))


def test_no_action_is_an_action(config):
    config.actions.check(np.array([[-1, -1], [2, 1]]))


def test_the_first_difference_is_named_with_both_values():
    a, b = to_dict(StageConfig()), to_dict(StageConfig(steps=7))
    assert first_difference({"stage": a}, {"stage": b}) == "config.stage.steps: 1000 against 7"
    assert first_difference(a, a) is None


def test_factors_know_their_size():
    assert ActionFactor("move", ("stay", "left")).size == 2


GAME = ActionSpace((ActionFactor("action", ("NOOP", "FIRE")),))


@pytest.mark.parametrize(
    "name, media, actions",
    [
        *((f"reef_tiny{variant}", reef.MEDIA, reef.ACTIONS) for variant in ("", ":begin", ":bay", ":end", ":quick")),
        *((f"atari{variant}", MediaSpec(15, 30720), GAME) for variant in ("", ":quick")),
        ("video", MediaSpec(12, 12288), ActionSpace()),
    ],
)
def test_every_config_is_that_of_a_world(name, media, actions):
    file, _, variant = name.partition(":")
    module = runpy.run_path(Path(__file__).parents[1] / "configs" / f"{file}.py")
    experiment = from_dict(ExperimentConfig, module["get_config"](*filter(None, [variant])).to_dict())
    assert resolve(experiment, media, actions).dynamics.frame_tokens > 64
