"""Optimizers and learning-rate schedules of a stage."""

import jax
import optax
from optax import contrib

from oyster_jax.config_experiment import StageConfig


def schedule(cfg: StageConfig) -> optax.Schedule:
    """Warm-up, then cosine decay to a tenth, or (`wsd`) a plateau and a linear decay to nothing over the last steps."""
    warmup = min(cfg.warmup, cfg.steps // 2)
    rise = optax.linear_schedule(0.0, cfg.learning_rate, max(warmup, 1))
    if cfg.schedule == "cosine":
        fall = optax.cosine_decay_schedule(cfg.learning_rate, cfg.steps - warmup, alpha=0.1)
        return optax.join_schedules([rise, fall], [warmup])
    falling = min(round(cfg.decay * cfg.steps), cfg.steps - warmup)
    fall = optax.linear_schedule(cfg.learning_rate, 0.0, falling)
    return optax.join_schedules([rise, optax.constant_schedule(cfg.learning_rate), fall], [warmup, cfg.steps - falling])


def make_optimizer(cfg: StageConfig) -> optax.GradientTransformation:
    """Clipping by global norm, then AdamW or Muon (decay on matrices only) or plain SGD."""
    decays = lambda params: jax.tree.map(lambda p: p.ndim > 1, params)
    if cfg.optimizer == "sgd":
        descend = optax.sgd(cfg.learning_rate)
    elif cfg.optimizer == "muon":
        # Steps are scaled to the size that AdamW's have (arXiv 2502.16982, section 2.2): one rate serves both.
        descend = contrib.muon(
            schedule(cfg),
            # What is left to AdamW is learnt at half of Muon's rate: above that, prompts are not.
            adam_learning_rate=lambda step: schedule(cfg)(step) / 2,
            adam_b2=0.98,
            weight_decay=cfg.weight_decay,
            muon_weight_dimension_numbers=matrices,
            consistent_rms=0.2,
        )
    else:
        descend = optax.adamw(schedule(cfg), b2=0.98, weight_decay=cfg.weight_decay, mask=decays)
    return optax.chain(optax.clip_by_global_norm(cfg.clip_norm), descend)


def matrices(params: dict) -> dict:
    """The matrices within transformers, which are Muon's: which axes of each go in and which come out (an axis of
    stacked layers is neither). A tree like `params`, with None for what is left to AdamW, without decay: tables, norms,
    and heads, where a vector stands for a code or a place and not for a direction among others.
    """

    def axes(path, p):
        names = [k.key for k in path if isinstance(k, jax.tree_util.DictKey)]
        if names[-1] != "kernel" or not {"spatial", "temporal", "mlp"} & set(names):
            return None
        first = "blocks" in names
        into = p.ndim - 1 if names[-2] == "out" else first + 1
        return contrib.MuonDimensionNumbers(tuple(range(first, into)), tuple(range(into, p.ndim)))

    return jax.tree_util.tree_map_with_path(axes, params)
