"""oyster train: train a world on a data folder.

  oyster train --config=configs/reef_tiny.py:quick --data=data_reef --workdir=runs/reef
  oyster train --config=configs/atari.py --data=data_breakout --workdir=runs/breakout
  oyster train --config=configs/atari.py --data=data_breakout --workdir=runs/hidden --config.dynamics.actions=latent
  oyster train --config=configs/atari.py --data=data_breakout --workdir=runs/breakout --stage=video_tokenizer
  oyster train --config=configs/reef_tiny.py:end --data=data_reef --workdir=runs/on --init_from=reef --stage=dynamics

Stages run in their order: video_tokenizer, audio_tokenizer, latent_action and atlas (where the dynamics use them),
dynamics. The same command resumes where it was stopped; with --export it trains no further, and exports the world as
far as it is. With --init_from stages begin as those of a trained world, or --init_stage alone (where others are
finished in WORKDIR already, to stay what they are); those that --stage leaves out are taken over as they are, and
dynamics are carried over to a tokenizer that was trained anew, or to a config of more layers or with an atlas. The
world is exported to WORKDIR/world, logs go to WORKDIR/tensorboard, sample videos to WORKDIR/samples.
"""

from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from oyster_jax.config_dict import from_dict
from oyster_jax.config_experiment import ExperimentConfig
from oyster_jax.errors import OysterError

FLAGS = flags.FlagValues()
# A field that does not exist is taken here, and refused by `from_dict`, which can say which ones do.
config_flags.DEFINE_config_file(
    "config",
    None,
    "experiment, one file of configs/",
    flag_values=FLAGS,
    lock_config=False,
    accept_new_attributes=True,
)
flags.DEFINE_string("data", None, "data folder made by `oyster record`", flag_values=FLAGS)
flags.DEFINE_string("workdir", None, "folder for checkpoints, logs and the world", flag_values=FLAGS)
flags.DEFINE_list("stage", [], "stages to train, separated by commas (default: all)", flag_values=FLAGS)
flags.DEFINE_string("init_from", None, "world to begin with: a folder, or the name of a shipped one", flag_values=FLAGS)
flags.DEFINE_list(
    "init_stage", [], "stages to begin with --init_from, separated by commas (default: all)", flag_values=FLAGS
)
flags.DEFINE_boolean(
    "export", False, "train no further: export what the newest checkpoints of all stages hold", flag_values=FLAGS
)


def run(values: flags.FlagValues) -> None:
    from oyster_jax.models.world_model import load
    from oyster_jax.training.train import train

    if not values["config"].present or not values.data or not values.workdir:
        raise OysterError("--config, --data and --workdir are needed")
    if values.export and values.stage:
        raise OysterError("--export is of all stages that have begun: leave out --stage")
    file = values["config"].config_filename
    if not Path(file.partition(":")[0]).is_file():
        raise OysterError(f"{file} cannot be used: there is no such file")
    if not isinstance(values.config, ConfigDict):
        raise OysterError(f"{file}: its get_config() should return as_config_dict(ExperimentConfig(...))")
    experiment = from_dict(ExperimentConfig, values.config.to_dict())
    init_from = load(values.init_from) if values.init_from else None
    if values.init_stage and not init_from:
        raise OysterError("--init_stage says what begins as in a world: name the world by --init_from")
    train(experiment, values.data, values.workdir, values.stage, values.export, init_from, values.init_stage)
    print(f"{values.workdir}/world: exported; try `oyster rollout --world={values.workdir}/world --out=world.mp4`")
