"""Ball games played on in a world, by the player of the recordings.

Under the recorded actions a paddle follows the ball of what happened, and misses the world's own from where the two
part. So the same player plays the world too. It knows a game by its console's memory; a world has none, so that is read
off the frames: `track` finds ball and paddle, and straight lines, fitted to recordings, turn their places into the
numbers that the memory would hold.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from oyster_jax.config_sampling import SamplingConfig
from oyster_jax.data.sources.ale_player import Field, Player
from oyster_jax.evaluation.ball_games import Region, track
from oyster_jax.models.world_model import World
from oyster_jax.sampling.compiled import compile_step
from oyster_jax.sampling.rollout import prefill
from oyster_jax.types import Clip

ENOUGH = 100  # frames that show a thing


class Line(NamedTuple):
    """A number of the memory, `slope * place[axis] + offset`."""

    axis: int
    slope: float
    offset: float

    def __call__(self, place_2: np.ndarray) -> float:
        return np.clip(np.round(self.slope * place_2[self.axis] + self.offset), 1, 255)


class Sight(NamedTuple):
    """How a game's memory is read off its frames."""

    background: np.ndarray  # [H, W, 3], the empty court
    regions: dict[str, Region]
    field: Field
    along: Line  # of the ball, as in `Field`
    across: Line
    knob: Line  # of the paddle


def learn_sight(
    videos: list[np.ndarray], memory: list[np.ndarray], background: np.ndarray, regions: dict[str, Region], field: Field
) -> Sight | None:
    """From recordings, uint8 [T, H, W, 3] and the memory uint8 [T, 128] of the same frames; None where ball or paddle
    are hardly seen."""
    numbers = np.concatenate(memory).astype(float)
    ball, paddle = (np.concatenate([track(v, background, regions[n]) for v in videos]) for n in ("ball", "paddle"))
    if min(np.sum(~np.isnan(way[:, 0])) for way in (ball, paddle)) < ENOUGH:
        return None
    along, across = (_fit(ball, numbers[:, address]) for address in (field.along, field.across))
    return Sight(background, regions, field, along, across, _fit(paddle, numbers[:, field.knob]))


def read_memory(sight: Sight, frame: np.ndarray, past: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """What the player's memory would hold at a frame uint8 [H, W, 3], uint8 [128], after what it held at the two frames
    before, the nearest first.

    A ball that is not seen goes on as it came until it reaches the paddle's line, next to which it cannot be seen, and
    is then out of play; a paddle that is not seen has stayed.
    """
    (last, earlier), field = past, sight.field
    memory = last.copy()
    ball, paddle = (track(frame[None], sight.background, sight.regions[n])[0] for n in ("ball", "paddle"))
    comes = 0 < earlier[field.along] < last[field.along] < field.line
    for address, line in ((field.along, sight.along), (field.across, sight.across)):
        unseen = np.clip(2.0 * last[address] - earlier[address], 1, 255) if comes else 0
        memory[address] = unseen if np.isnan(ball[0]) else line(ball)
    if not np.isnan(paddle[0]):
        memory[field.knob] = sight.knob(paddle)
    return memory


def play(
    world: World,
    clip: Clip,
    context: int,
    sight: Sight,
    player: Player,
    sampling: SamplingConfig | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Frames uint8 [T, H, W, 3] that a world makes when it is played on from a clip's first `context` frames to the
    clip's length. `clip` is a batch of one."""
    rng = np.random.default_rng(seed)
    state, obs = jax.jit(prefill)(world, jax.random.key(seed), clip.first(context))
    step = compile_step(world, batch=1, sampling=sampling)
    action, video = 0, []
    memory = before = np.zeros(128, np.uint8)
    for _ in range(clip.video.shape[1] - context):
        memory, before = read_memory(sight, np.asarray(obs.video[0]), (memory, before)), memory
        action = player(memory, action, rng)
        state, obs = step(state, jnp.array([[action]], jnp.int32))
        video.append(np.asarray(obs.video[0]))
    return np.stack(video)


def _fit(places_T2: np.ndarray, numbers_T: np.ndarray) -> Line:
    """The line from places, nan where nothing is seen, to numbers, along the axis that tells more of them. What is far
    from it does not count: a knob goes on where a paddle cannot."""
    told = ~np.isnan(places_T2[:, 0]) & (numbers_T > 0)
    places, numbers = places_T2[told], numbers_T[told]
    misses = lambda axis: np.polyfit(places[:, axis], numbers, 1, full=True)[1].sum()
    axis = min((0, 1), key=misses)
    near = np.ones(len(numbers), bool)
    for _ in range(4):
        slope, offset = np.polyfit(places[near, axis], numbers[near], 1)
        error = np.abs(slope * places[:, axis] + offset - numbers)
        near = error <= 3 * np.median(error) + 1
    return Line(axis, float(slope), float(offset))
