"""The smallest experiment that runs every stage: for tests and for trying a new data set in a minute."""

from oyster_jax.config import (
    AudioTokenizerConfig,
    DynamicsConfig,
    LatentActionConfig,
    TextEncoderConfig,
    TransformerConfig,
    VideoTokenizerConfig,
)
from oyster_jax.config_dict import as_config_dict
from oyster_jax.config_experiment import ExperimentConfig, StageConfig, TrainConfig
from oyster_jax.config_sampling import SamplingConfig


def get_config():
    small = TransformerConfig(layers=1, width=32, heads=2, window=4)
    stage = StageConfig(steps=6, batch=2, frames=6, warmup=2, log_every=2, eval_every=3, save_every=3)
    return as_config_dict(
        ExperimentConfig(
            video_tokenizer=VideoTokenizerConfig(patch=16, encoder=small, decoder=small),
            audio_tokenizer=AudioTokenizerConfig(tokens=8, width=32, layers=1),
            latent_action=LatentActionConfig(patch=16, encoder=small, decoder=small),
            dynamics=DynamicsConfig(
                transformer=small, text=TextEncoderConfig(width=32, layers=1, heads=2, bytes_per_patch=16), atlas=8
            ),
            sampling=SamplingConfig(video_steps=2, audio_steps=1),
            train=TrainConfig(
                video_tokenizer=stage, audio_tokenizer=stage, latent_action=stage, atlas=stage, dynamics=stage
            ),
        )
    )
