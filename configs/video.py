"""Your own video with sound, at a size that two CPU cores can learn in an hour. Video has no actions: what can be done
is learnt from what is seen and heard to happen.
"""

from oyster_jax.config import (
    AudioTokenizerConfig,
    DynamicsConfig,
    LatentActionConfig,
    QuantizerConfig,
    TransformerConfig,
    VideoTokenizerConfig,
)
from oyster_jax.config_dict import as_config_dict
from oyster_jax.config_experiment import ExperimentConfig, StageConfig, TrainConfig
from oyster_jax.config_sampling import SamplingConfig


def get_config():
    codes = QuantizerConfig(levels=(8, 8, 4, 4))
    short = TransformerConfig(layers=2, width=128, heads=4, window=4)
    train = TrainConfig(
        # Small batches of short windows: on two cores more steps teach more than larger ones.
        video_tokenizer=StageConfig(steps=6500, batch=4, frames=4, learning_rate=2e-3),
        audio_tokenizer=StageConfig(steps=2000, batch=8, frames=8, learning_rate=1e-3, loud=0.7),
        latent_action=StageConfig(steps=1500, batch=4, frames=6, learning_rate=2e-3),
        dynamics=StageConfig(steps=2400, batch=2, frames=16, learning_rate=1e-3),
        motion_weight=3.0,
    )
    return as_config_dict(
        ExperimentConfig(
            video_tokenizer=VideoTokenizerConfig(patch=8, encoder=short, decoder=short, quantizer=codes),
            audio_tokenizer=AudioTokenizerConfig(tokens=8, width=96, layers=3),
            latent_action=LatentActionConfig(codes=(8,), encoder=short, decoder=short),
            dynamics=DynamicsConfig(transformer=TransformerConfig(layers=4, width=128, heads=4, window=8)),
            sampling=SamplingConfig(video_steps=8, audio_steps=4),
            train=train,
        )
    )
