"""The embedded reef for two CPU cores, from nothing, in five and a quarter hours.

    oyster record --source=reef:both --policy=restless --frames=320000 --seed=5 --out=BOTH
    oyster record --source=reef --policy=restless --frames=240000 --seed=6 --out=BAY
    oyster train --config=configs/reef_tiny.py:begin --data=BOTH --workdir=DIR/begin
    oyster train --config=configs/reef_tiny.py --data=BOTH --workdir=DIR/full --init_from=DIR/begin/world \
      --stage=dynamics
    oyster train --config=configs/reef_tiny.py:bay --data=BAY --workdir=DIR/bay --init_from=DIR/full/world \
      --stage=dynamics
    oyster train --config=configs/reef_tiny.py:end --data=BOTH --workdir=DIR --init_from=DIR/bay/world \
      --stage=dynamics

Dynamics of two layers first, then of four: a step of two takes little more than half of one of four, so what two can
learn is learnt by two. Then in the bay alone, where a minute goes wrong less often after it; the open reef is forgotten
meanwhile, and both together bring most of it back. This is how the world was trained that comes with the package;
README.md beside this file says what each part bought ("From nothing"), and what else was tried.

`configs/reef_tiny.py:map`, in the place of `:end` and with `--stage=atlas,dynamics`, makes an open reef that is far
truer and a bay that is less ("A map to find oneself on" there); it takes 50 minutes more, and is not what was shipped.

`configs/reef_tiny.py:quick` takes a quarter of an hour on `oyster record --source=reef --frames=20000`: hour, weather,
water and lanterns of a world, and not yet a swimmer.
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
from oyster_jax.config_sampling import Guidance, Opening, Randomness, SamplingConfig
from oyster_jax.errors import OysterError

# What the dynamics of each variant learn by, where it differs from "full".
DYNAMICS = {
    "begin": {"steps": 4500, "decay": 0.0},
    "full": {},
    "bay": {"steps": 2000, "learning_rate": 2e-3},
    "end": {"steps": 600, "learning_rate": 2e-3},
    "map": {"steps": 2400, "learning_rate": 2e-3},
    "quick": {"steps": 800, "batch": 2, "decay": 0.2},
}


def get_config(variant: str = "full"):
    # Patches of the bay are learnt one by one; attention between them costs four times the time and teaches less.
    read = TransformerConfig(layers=0, width=256, heads=4, window=4)
    draw = TransformerConfig(layers=0, width=512, heads=4, window=4)
    short = TransformerConfig(layers=2, width=128, heads=4, window=4)
    train = TrainConfig(
        # Short windows; tokenizers and whoever has little time learn more from more steps than from larger batches.
        video_tokenizer=StageConfig(steps=7000, batch=8, frames=2, learning_rate=2e-3, renew_every=250, events=0.5),
        audio_tokenizer=StageConfig(steps=5000, batch=8, frames=8, learning_rate=2e-3, loud=0.5, renew_every=250),
        latent_action=StageConfig(steps=1200, batch=4, frames=6, learning_rate=2e-3),
        atlas=StageConfig(steps=2400, batch=64, frames=16, learning_rate=2e-3),
        dynamics=StageConfig(
            steps=9000,
            batch=8,
            frames=16,
            learning_rate=4e-3,
            schedule="wsd",
            decay=0.5,
            optimizer="muon",
            ema=0.995,
            events=0.5,
        ),
        motion_weight=0.5,
        steadiness=0.1,
    )
    if variant not in DYNAMICS:
        raise OysterError(f"configs/reef_tiny.py has the variants {', '.join(DYNAMICS)}, not '{variant}'")
    train = replace(train, dynamics=replace(train.dynamics, **DYNAMICS[variant]))
    if variant == "quick":
        # Nobody can wait for prompts to be learnt: what patches share counts as much as all of them.
        train = replace(
            train,
            video_tokenizer=replace(train.video_tokenizer, steps=2500),
            audio_tokenizer=replace(train.audio_tokenizer, steps=1500),
            shared_weight=1.0,
        )
    return as_config_dict(
        ExperimentConfig(
            video_tokenizer=VideoTokenizerConfig(
                patch_layers=1,
                # A token is a function of its own pixels: the same thing has the same code wherever it goes.
                patch_mean=False,
                patch_place=False,
                encoder=read,
                decoder=draw,
                quantizer=QuantizerConfig(kind="vq", codes=256, dim=16),
                frame_codes=16,
            ),
            audio_tokenizer=AudioTokenizerConfig(
                tokens=8, width=96, layers=3, quantizer=QuantizerConfig(kind="vq", codes=1024, dim=16)
            ),
            latent_action=LatentActionConfig(codes=(8,), encoder=short, decoder=short),
            # Less is dropped and corrupted than by default, which hides the reef's exact rules; but more is asked for
            # out of nothing, which is where a prompt's creature is learnt. Not tried one by one.
            dynamics=DynamicsConfig(
                transformer=TransformerConfig(layers=2 if variant == "begin" else 4, width=128, heads=4, window=8),
                action_dropout=0.03,
                past_dropout=0.15,
                corruption=0.15,
                code_prior=True,
                stood=0 if variant == "quick" else 8,
                atlas=24 if variant == "map" else 0,
            ),
            # Of a next frame a handful of tokens is uncertain: drawn at once, the swimmer is in two places or in none.
            sampling=SamplingConfig(
                video_steps=8,
                audio_steps=3,
                schedule="one_by_one",
                randomness=Randomness(temperature=0.3, confidence_noise=0.0),
                # One token a step, in an order that is mostly chance: one swimmer, neither none nor two.
                opening=Opening(65, Randomness(confidence_noise=10.0), Guidance(prompt=2.0)),
            ),
            train=train,
        )
    )
