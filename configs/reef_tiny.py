"""The embedded reef for two CPU cores: a quarter of an hour for everything.

A stepping stone: small enough to try ideas on, trained long enough to answer prompts and controls.
"""

from oyster_jax.config import (
    AudioTokenizerConfig,
    DynamicsConfig,
    ExperimentConfig,
    Guidance,
    LatentActionConfig,
    QuantizerConfig,
    SamplingConfig,
    StageConfig,
    TrainConfig,
    TransformerConfig,
    VideoTokenizerConfig,
)
from oyster_jax.config_dict import as_config_dict


def get_config():
    codes = QuantizerConfig(levels=(8, 8, 4, 4))
    short = TransformerConfig(layers=2, width=128, heads=4, window=4)
    train = TrainConfig(
        # Small batches of short windows: on two cores more steps teach more than larger ones.
        video_tokenizer=StageConfig(steps=2000, batch=4, frames=4, learning_rate=2e-3),
        audio_tokenizer=StageConfig(steps=900, batch=8, frames=8, learning_rate=1e-3, loud=0.5),
        latent_action=StageConfig(steps=1200, batch=4, frames=6, learning_rate=2e-3),
        dynamics=StageConfig(steps=600, batch=2, frames=16, learning_rate=1e-3),
        motion_weight=2.0,
    )
    return as_config_dict(
        ExperimentConfig(
            video_tokenizer=VideoTokenizerConfig(patch=8, encoder=short, decoder=short, quantizer=codes),
            audio_tokenizer=AudioTokenizerConfig(tokens=8, width=96, layers=3),
            latent_action=LatentActionConfig(codes=(8,), encoder=short, decoder=short),
            dynamics=DynamicsConfig(transformer=TransformerConfig(layers=4, width=128, heads=4, window=8)),
            # So short a training hardly hears a prompt that changes midway; guidance makes up for it.
            sampling=SamplingConfig(video_steps=6, audio_steps=4, guidance=Guidance(prompt=3.0)),
            train=train,
        )
    )
