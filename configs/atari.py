"""An Atari game with sound, 64x64 at 15 fps: an hour of one CPU core for everything.

`oyster train --config=configs/atari.py:quick` is the quarter-hour form of the README.
"""

from dataclasses import replace

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
from oyster_jax.config_sampling import Randomness, SamplingConfig
from oyster_jax.errors import OysterError

QUICK = {"audio_tokenizer": 500, "latent_action": 400, "dynamics": 800}


def get_config(variant: str = "full"):
    # Patches are learnt one by one, as in the reef, and without the frame's mean: the ball would nudge all of them. A
    # ball is the same code wherever it is, and one of few: its way is learnt from all of the court.
    read = TransformerConfig(layers=0, width=256, heads=4, window=4)
    draw = TransformerConfig(layers=0, width=512, heads=4, window=4)
    short = TransformerConfig(layers=2, width=128, heads=4, window=4)
    train = TrainConfig(
        # Small batches of short windows: on few cores more steps teach more than larger ones.
        video_tokenizer=StageConfig(steps=2000, batch=8, frames=2, learning_rate=2e-3, renew_every=250),
        audio_tokenizer=StageConfig(steps=2500, batch=8, frames=8, learning_rate=2e-3, loud=0.5, renew_every=250),
        latent_action=StageConfig(steps=1500, batch=4, frames=6, learning_rate=2e-3),
        # One clip a step, as long as what stands is counted.
        dynamics=StageConfig(steps=6000, batch=1, frames=32, learning_rate=4e-3, optimizer="muon", ema=0.995),
        motion_weight=1.0,
        steadiness=0.1,
        # Where a ball goes is told last, when all else is: half of the frames hide little else.
        few_hidden=0.5,
        # The court stands still: a digit among the bricks is a mistake.
        only_seen=True,
    )
    if variant not in ("full", "quick"):
        raise OysterError(f"configs/atari.py has the variants full and quick, not '{variant}'")
    if variant == "quick":
        train = replace(train, **{n: replace(getattr(train, n), steps=s) for n, s in QUICK.items()})
    return as_config_dict(
        ExperimentConfig(
            video_tokenizer=VideoTokenizerConfig(
                patch_layers=1,
                patch_mean=False,
                patch_place=False,
                encoder=read,
                decoder=draw,
                quantizer=QuantizerConfig(kind="vq", codes=512, dim=16),
            ),
            audio_tokenizer=AudioTokenizerConfig(
                tokens=8, width=96, layers=3, quantizer=QuantizerConfig(kind="vq", codes=512, dim=16)
            ),
            latent_action=LatentActionConfig(codes=(8,), encoder=short, decoder=short),
            dynamics=DynamicsConfig(
                transformer=TransformerConfig(layers=2, width=128, heads=4, window=8),
                action_dropout=0.03,
                corruption=0.15,
                stood=24,
            ),
            # Drawn cold, a ball that is out of play is never served: when it will be, a short past does not tell.
            sampling=SamplingConfig(
                video_steps=8,
                audio_steps=4,
                schedule="one_by_one",
                randomness=Randomness(temperature=1.0, confidence_noise=0.0),
            ),
            train=train,
        )
    )
