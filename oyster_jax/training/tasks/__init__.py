"""One task a stage, in the order of training."""

from oyster_jax.config import WorldConfig
from oyster_jax.config_experiment import TrainConfig
from oyster_jax.training.tasks.atlas import AtlasTask
from oyster_jax.training.tasks.base import Sample, Task
from oyster_jax.training.tasks.dynamics import DynamicsTask
from oyster_jax.training.tasks.latent_action import LatentActionTask
from oyster_jax.training.tasks.tokenizers import AudioTokenizerTask, VideoTokenizerTask

__all__ = ["Sample", "Task", "make_tasks"]


def make_tasks(world: WorldConfig, train: TrainConfig) -> list[Task]:
    """The stages that this world needs."""
    tasks = [VideoTokenizerTask(world, train), AudioTokenizerTask(world, train)]
    if world.dynamics.actions == "latent" and not world.dynamics.cotrain_latent:
        tasks.append(LatentActionTask(world, train))
    if world.dynamics.atlas:
        tasks.append(AtlasTask(world, train))
    return [*tasks, DynamicsTask(world, train)]
