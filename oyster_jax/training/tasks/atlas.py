"""The atlas stage: a map of what scrolls, learnt from pairs of pictures before the dynamics that read it."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from oyster_jax.config import WorldConfig
from oyster_jax.config_dict import to_dict
from oyster_jax.config_experiment import StageConfig, TrainConfig
from oyster_jax.models.atlas import Explorer
from oyster_jax.models.dynamics import leading_action
from oyster_jax.models.grid import next_door
from oyster_jax.training.losses import masked_cross_entropy
from oyster_jax.training.tasks.base import Batch, Metrics

CHOSEN = 4  # of so many pairs one is learnt from
SCROLLS = 0.25  # share of a picture's patches that are others than before, from which on it is taken to scroll
KNOWN = 0.02  # weight of a token that stood next to where it is, against one that came from nowhere


@dataclass(frozen=True)
class AtlasTask:
    world: WorldConfig
    train: TrainConfig
    name: str = "atlas"

    @property
    def stage(self) -> StageConfig:
        return self.train.atlas

    @property
    def depends(self) -> dict:
        """What an `Explorer` is made of: the map of a shallow model is that of a deeper one, too."""
        sizes = "video_tokens", "video_columns", "video_shared", "video_codes", "action_sizes"
        return {name: to_dict(self.world.dynamics)[name] for name in ("atlas", *sizes)}

    @property
    def model(self) -> Explorer:
        return Explorer(self.world.dynamics)

    def init(self, key: jax.Array) -> dict:
        c = self.world.dynamics
        one = lambda n: jnp.zeros((1, 1, n), jnp.int32)
        return self.model.init(key, one(c.video_tokens), one(len(c.action_sizes)))["params"]

    def loss(self, params: dict, batch: Batch, key: jax.Array, progress: jax.Array) -> tuple[jax.Array, Metrics]:
        """Cross-entropy, in nats, of what came into view; see KNOWN. Little does where pictures stand still, so only a
        share of all pairs is learnt from, those that scroll first. Not those with most that is new: rain and splashes
        are new as well, and no map tells of them."""
        del progress
        last, now, action, new = self._pairs(batch)
        patches = new.shape[1]
        scrolls = (last != now)[:, :patches].mean(-1) > SCROLLS
        _, chosen = jax.lax.top_k(scrolls + jax.random.uniform(key, scrolls.shape), -(-len(new) // CHOSEN))
        return self._loss(params, *(x[chosen] for x in (last, now, action, new)))

    def evaluate(self, params: dict, batch: Batch, key: jax.Array) -> tuple[Metrics, None]:
        del key
        loss, metrics = self._loss(params, *self._pairs(batch))
        return metrics | {"loss": loss}, None

    def _pairs(self, batch: Batch):
        """Of each picture but the first of its window: the one before it and itself, int32 [P, N], the action between
        them, and which patches of it show what was not next to them, bool [P, N']."""
        c, tokens = self.world.dynamics, batch["video_tokens"].astype(jnp.int32)
        last, now, action = tokens[:, :-1], tokens[:, 1:], leading_action(batch["action"])[:, 1:]
        new = (next_door(last[..., None], c, -1)[..., 0] != now[..., None]).all(-1)
        new = new[..., : c.video_tokens - c.video_shared]
        return tuple(x.reshape(-1, x.shape[-1]) for x in (last, now, action, new))

    def _loss(self, params: dict, last, now, action, new) -> tuple[jax.Array, Metrics]:
        logits = self.model.apply({"params": params}, last[None], action[None])[0]
        logits, now = logits[:, : new.shape[1]], now[:, : new.shape[1]]
        loss = masked_cross_entropy(logits, now, jnp.where(new, 1.0, KNOWN))
        told = jnp.sum((logits.argmax(-1) == now) & new) / jnp.maximum(new.sum(), 1)
        return loss, {"told_of_new": told, "new_a_frame": new.sum(-1).mean()}
