"""Is a place what it was when one comes back to it? A world of the reef, in the open reef, whose screen shows a sixth.

From a fresh start the swimmer swims nine tiles away, so that next to nothing is left on the screen, rests out there,
and swims back the way it came. What the world shows then is compared with what was there at first.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from oyster_jax.config_sampling import SamplingConfig
from oyster_jax.data.sources.reef import Frames, fresh_key
from oyster_jax.evaluation.metrics import bootstrap, psnr
from oyster_jax.evaluation.reef_episodes import check_reef, opening, scene_index, scene_prompts
from oyster_jax.evaluation.tokenizers import reconstruct
from oyster_jax.models.world_model import World
from oyster_jax.sampling.rollout import prefill, rollout, set_prompt
from oyster_jax.sims import reef
from oyster_jax.sims.reef_map import TILE, TILES

TILES_AWAY = 9  # a tile a frame; from any place there is as much room to one side or the other
AWAY = 150  # frames out there: ten seconds
FAST = len(reef.STROKES) - 1


class Trips(NamedTuple):
    """B trips there and back, [B, T, ...]: the context before, then what happened."""

    played: Frames
    context: int  # frames before the swimmer leaves

    @property
    def home(self) -> int:
        """The frame at which it is back."""
        return self.context + 2 * TILES_AWAY + AWAY


def make_trips(key: jax.Array, worlds: int, context: int) -> Trips:
    """Plays so many trips. Consumes `key`."""
    start_key, scene_key = jax.random.split(key)
    scenes = reef.at(reef.OPEN, reef.SEEN)
    scene = jax.vmap(lambda k: reef.random_scene(k, scenes))(jax.random.split(scene_key, worlds))
    state, _ = jax.vmap(reef.reset)(jax.random.split(start_key, worlds), scene)
    east = np.asarray(state.body[:, 0]) < TILES.shape[1] * TILE // 2
    there = np.where(east, 1, 5)  # headings: east and west
    back = np.where(east, 5, 1)
    rest = np.zeros_like(there)
    spans = [(context, rest), (TILES_AWAY, there), (AWAY, rest), (TILES_AWAY, back), (2, rest)]
    heading = np.concatenate([np.broadcast_to(h, (frames, worlds)) for frames, h in spans])
    action = np.zeros((*heading.shape, len(reef.ACTIONS.sizes)), np.int32)
    action[..., reef.HEADING], action[..., reef.SPEED] = heading, FAST
    states, shown = _play(state, action)
    said = np.ones((*heading.shape, len(reef.ATTRIBUTES)), bool)
    first = lambda x: np.moveaxis(np.asarray(x), 0, 1)
    played = (jax.tree.map(first, x) for x in (shown.video, shown.audio, action, states, said))
    return Trips(Frames(*played, truth={}), context)


@jax.jit
def _play(state, action_TBA):
    """Every frame's state, and what it shows and sounds like, before the action of that frame."""
    go = lambda state, action: (jax.vmap(reef.advance)(state, action), (state, jax.vmap(reef.observe)(state)))
    return jax.lax.scan(go, state, action_TBA)[1]


def revisit(
    world: World, worlds: int = 8, context: int = 8, seed: int = 0, sampling: SamplingConfig | None = None
) -> tuple[dict, dict[str, np.ndarray]]:
    """The report, see `compare`, and what to look at: named rows of one frame of each trip, uint8 [B, H, W, 3].

    Raises OysterError for a world that is not of the reef.
    """
    check_reef(world)
    trip_key, key = jax.random.split(fresh_key(seed))
    trips = make_trips(trip_key, worlds, context)
    state, _ = jax.jit(prefill)(world, key, opening(trips.played, context))
    asked = scene_index(jax.tree.map(lambda x: x[:, 0], trips.played.state.scene))
    state = set_prompt(state, jax.tree.map(lambda x: x[asked], scene_prompts(world)))
    actions = jnp.moveaxis(jnp.asarray(trips.played.action[:, context - 1 : trips.home]), 1, 0)
    made = jax.jit(lambda world, state, actions: rollout(world, state, actions, sampling)[1].video)(
        world, state, actions
    )
    home = trips.played.video[:, trips.home]
    kept = reconstruct(world, home[:, None], trips.played.audio[:, trips.home, None])[0][:, 0]
    made, video, away = np.asarray(made), trips.played.video, context + TILES_AWAY + AWAY - 1
    rows = {
        "before leaving": video[:, context - 1],
        "out there": video[:, away],
        "out there: world": made[away - context],
        "back": home,
        "back: world": made[-1],
    }
    return compare(trips, made[-1], np.asarray(kept)), rows


def compare(trips: Trips, made: np.ndarray, kept: np.ndarray) -> dict:
    """PSNR in dB against the last frame before leaving, of the pixels that are the same in truth when it is back; means
    over trips with bootstrap intervals.

    made: uint8 [B, H, W, 3], what a world shows when the swimmer should be back. kept: the true frame of then through
    the tokenizer, which no world can beat. Beside them `away`: the true frame before turning back, as if the way back
    had led nowhere.
    """
    video = trips.played.video
    first, home = video[:, trips.context - 1], video[:, trips.home]
    same = (first == home).all(-1)
    shown = {"world": made, "tokenizer": kept, "away": video[:, trips.context + TILES_AWAY + AWAY - 1]}
    report = {name: bootstrap([psnr(*x) for x in zip(frames, first, same)]) for name, frames in shown.items()}
    return report | {"pixels_compared": float(same.mean()), "seconds_away": AWAY / float(reef.MEDIA.fps)}
