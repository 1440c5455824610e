"""Optimizers and learning-rate schedules of a stage."""

import jax
import optax

from oyster_jax.config_experiment import StageConfig


def schedule(cfg: StageConfig) -> optax.Schedule:
    """Warm-up, then cosine decay to a tenth, or (`wsd`) a plateau and a linear decay over the last fifth."""
    warmup = min(cfg.warmup, cfg.steps // 2)
    rise = optax.linear_schedule(0.0, cfg.learning_rate, max(warmup, 1))
    if cfg.schedule == "cosine":
        fall = optax.cosine_decay_schedule(cfg.learning_rate, cfg.steps - warmup, alpha=0.1)
        return optax.join_schedules([rise, fall], [warmup])
    decay = cfg.steps - cfg.steps // 5
    flat = optax.constant_schedule(cfg.learning_rate)
    fall = optax.linear_schedule(cfg.learning_rate, 0.0, cfg.steps // 5)
    return optax.join_schedules([rise, flat, fall], [warmup, decay])


def make_optimizer(cfg: StageConfig) -> optax.GradientTransformation:
    """Clipping by global norm, then AdamW (decay on matrices only) or plain SGD."""
    if cfg.optimizer == "sgd":
        return optax.chain(optax.clip_by_global_norm(cfg.clip_norm), optax.sgd(cfg.learning_rate))
    decays = lambda params: jax.tree.map(lambda p: p.ndim > 1, params)
    return optax.chain(
        optax.clip_by_global_norm(cfg.clip_norm),
        optax.adamw(schedule(cfg), b2=0.98, weight_decay=cfg.weight_decay, mask=decays),
    )
