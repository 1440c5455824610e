"""What a training stage is. The loop knows nothing else about it."""

from typing import NamedTuple, Protocol

import jax
import numpy as np

from oyster_jax.config_experiment import StageConfig

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]


class Sample(NamedTuple):
    """What an evaluation shows: rows of the same clips, for instance truth above reconstruction."""

    video: np.ndarray  # uint8 [rows, T, H, W, 3]
    audio: np.ndarray  # float32 [rows, T, S]


class Task(Protocol):
    """Pure functions of one stage; implementations are frozen dataclasses."""

    name: str
    stage: StageConfig
    depends: dict  # plain JSON of what the parameters depend on, beside the stage, the seed and the data

    def init(self, key: jax.Array) -> dict:
        """Parameters, boxed with their logical axes. Consumes `key`."""
        ...

    def loss(self, params: dict, batch: Batch, key: jax.Array, progress: jax.Array) -> tuple[jax.Array, Metrics]:
        """The scalar to descend, and metrics to log. Consumes `key`; `progress` is the share of steps done, 0 to 1."""
        ...

    def evaluate(self, params: dict, batch: Batch, key: jax.Array) -> tuple[Metrics, Sample | None]:
        """Held-out metrics, and something to look at and listen to. Consumes `key`."""
        ...

    def renew(self, params: dict, batch: Batch) -> dict:
        """Parameters with what nothing in `batch` uses begun anew. For stages with `renew_every`."""
        ...
