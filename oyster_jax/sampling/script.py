"""Action scripts: what a headless player does, as text."""

import numpy as np

from oyster_jax.config import ActionSpace
from oyster_jax.errors import OysterError
from oyster_jax.models.controls import predict_codes, with_previous
from oyster_jax.models.world_model import World


def world_actions(world: World, script: str, frames: int, seed: int = 0) -> np.ndarray:
    """An action script as what `step` takes, int32 [frames, A].

    A world of latent actions that was given a few labelled frames is driven with its true controls, by name.
    """
    if "controls" not in world.params:
        return parse_actions(world.config.played_actions, script, frames, seed)
    controls = with_previous(parse_actions(world.config.actions, script, frames, seed))
    return predict_codes(world.params["controls"], controls)


def parse_actions(space: ActionSpace, script: str, frames: int, seed: int = 0) -> np.ndarray:
    """An action script as int32 [frames, A].

    `random` plays sticky random actions, `idle` the first value of every factor; otherwise a comma-separated list of
    `ACTION` or `ACTION*FRAMES`, repeated from the start as long as needed. An action names its factors' values, by
    label or number, joined by `/`: `LEFT*15,RIGHT*15`, `N/fast/white/none/none*10,stay/slow/off/A/kick`.
    Raises OysterError naming the part that does not fit.
    """
    count = len(space.factors)
    if script == "idle" or count == 0:
        return np.zeros((frames, count), np.int32)
    if script == "random":
        return sticky_random(space, frames, np.random.default_rng(seed))
    actions = []
    for part in script.split(","):
        name, star, repeat = part.strip().partition("*")
        if star and (not repeat.strip().isdecimal() or int(repeat) == 0):
            raise OysterError(f"action script: '{part.strip()}' should read ACTION*FRAMES")
        actions += [_parse_action(space, name.strip())] * min(int(repeat or 1), frames)
    return np.resize(np.array(actions, np.int32), (frames, count)) if actions else np.zeros((frames, count), np.int32)


def sticky_random(space: ActionSpace, frames: int, rng: np.random.Generator, stay: float = 0.85) -> np.ndarray:
    """Random actions int32 [frames, A]; each factor keeps its value with probability `stay`."""
    out = np.zeros((frames, len(space.factors)), np.int32)
    for t in range(frames):
        draw = rng.integers(0, space.sizes)
        out[t] = draw if t == 0 else np.where(rng.random(len(draw)) < stay, out[t - 1], draw)
    return out


def _parse_action(space: ActionSpace, text: str) -> list[int]:
    values = text.split("/")
    if len(values) != len(space.factors):
        names = "/".join(f.name for f in space.factors)
        raise OysterError(f"action script: '{text}' should have {len(space.factors)} values, {names}")
    out = []
    for factor, value in zip(space.factors, values):
        labels = {label.lower(): i for i, label in enumerate(factor.labels)}
        index = labels.get(value.lower(), int(value) if value.isdecimal() else -1)
        if not 0 <= index < factor.size:
            raise OysterError(
                f"action factor '{factor.name}' has no value '{value}'; it has {', '.join(factor.labels)}"
            )
        out.append(index)
    return out
