"""Do words and pictures direct a world of the reef?

Every scene of one place is asked for by its caption, from nothing, and another one two seconds later, as an event. What
the world then shows and sounds is read as in a match, for captions that were recorded and for those that never were.
And images of the simulator are continued: under no prompt, and one of them under two.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from oyster_jax.config_sampling import SamplingConfig
from oyster_jax.data.dataset import write_json
from oyster_jax.evaluation import plots, reef_sight
from oyster_jax.evaluation.metrics import psnr
from oyster_jax.evaluation.page import write_page
from oyster_jax.evaluation.reef_episodes import check_reef, scene_prompts
from oyster_jax.evaluation.reef_hearing import AROUND, ambience
from oyster_jax.evaluation.report import numbers
from oyster_jax.models.world_model import World
from oyster_jax.sampling.rollout import encode_prompt, reset, rollout, set_prompt
from oyster_jax.sampling.script import world_actions
from oyster_jax.sims import reef
from oyster_jax.types import Observation, Prompt

FRAMES = 30  # under the first prompt, and again under the second
SETTLED = 3  # frames running that show what a prompt asks for: then it is followed
IMAGES = 4  # of the simulator, to begin with


@dataclass(frozen=True)
class DirectOptions:
    """How much to ask for."""

    place: str = "bay"  # or "open", the open reef
    rounds: int = 3  # how often every scene is asked for, with other actions and another event
    seed: int = 0
    sampling: SamplingConfig | None = None

    @property
    def scenes(self) -> tuple[reef.Scene, ...]:
        """Those that are asked for."""
        return reef.at(reef.PLACES.index(self.place))


def evaluate_directing(
    world: World,
    out: str | Path,
    options: DirectOptions = DirectOptions(),
    log: Callable[[str], None] = lambda line: None,
) -> dict:
    """Asks for every scene, writes a sheet to `out`, and returns the report.

    Raises OysterError for a world that is not of the reef, or that has no dynamics.
    """
    check_reef(world)
    if options.sampling:
        world = replace(world, config=replace(world.config, sampling=options.sampling))
    scenes = options.scenes
    prompts, rng, key = scene_prompts(world, scenes), np.random.default_rng(options.seed), jax.random.key(options.seed)
    asked, made, rows = [], [], {}
    for i in range(options.rounds):
        log(f"round {i + 1} of {options.rounds}")
        then = rng.permutation(len(scenes))
        round_key, actions = jax.random.fold_in(key, i), _actions(world, options.seed + i)
        made.append(jax.device_get(_play(world, round_key, prompts, _some(prompts, then), actions)))
        asked += [(scenes[a], scenes[b]) for a, b in enumerate(then)]
    for i in (0, len(scenes) // 2, len(scenes) - 1):
        rows["; then ".join(map(reef.caption, asked[i]))] = made[0].video[i]
    log("sight and sound")
    report = followed(Observation(*(np.concatenate(x) for x in zip(*made))), np.array(asked))
    log("images")
    kept, films = _from_images(world, prompts, scenes, rng, key, options.seed)
    report["image_psnr"] = float(np.mean(kept[:IMAGES]))
    report["options"] = {f.name: getattr(options, f.name) for f in fields(options) if f.name != "sampling"}
    report = numbers(report)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    plots.contact_sheet(out / "directing.png", rows | films, columns=12, stride=5)
    write_json(out / "directing.json", report)
    write_page(out, "Asked for every scene", report, [], ["directing.png"])
    return report


def followed(made: Observation, asked: np.ndarray) -> dict:
    """What sessions [B, 2 FRAMES + 1, ...] made of two prompts each; asked: int [B, 2, 5], the scenes.

    seen, held_out: of prompts that were recorded and of those that never were
      first_frame, after_2_s, event_after_2_s: the share of frames that show what is asked for, by attribute and `all`
        of them. A creature that cannot be found is not right.
      heard_after_1_s, heard_event_after_1_s: of hour and weather
      frames_until_event: see `frames_until_followed`
    """
    frames = np.array([0, *range(FRAMES, 2 * FRAMES + 1)])  # the first, and from the last under the first prompt
    told = asked[:, (frames > FRAMES).astype(int)]
    right = shows(made.video[:, frames], told)
    heard = np.stack([ambience(sound) for sound in made.audio])
    held_out = np.array([[tuple(scene) in reef.HELD_OUT for scene in pair] for pair in asked])

    def judged(part):
        """Of prompts bool [B, 2]."""
        first, event = part.T
        share = lambda of, frame: {name: float(curve[of, frame].mean()) for name, curve in right.items()}
        sounds = lambda of, frame, which: dict(
            zip(reef.ATTRIBUTES, (heard[of, frame] == asked[of, which, :2]).mean(0).tolist())
        )
        waits = {name: curve[event, 1:] for name, curve in right.items()}
        return {
            "prompts": int(first.sum()),
            "first_frame": share(first, 0),
            "after_2_s": share(first, 1),
            "event_after_2_s": share(event, -1),
            "heard_after_1_s": sounds(first, AROUND, 0),
            "heard_event_after_1_s": sounds(event, FRAMES + 1 + AROUND, 1),
            "frames_until_event": frames_until_followed(waits, reef.Scene(*np.moveaxis(told[event, 1:], -1, 0))),
        }

    return {"seen": judged(~held_out), "held_out": judged(held_out)}


def shows(video: np.ndarray, asked: np.ndarray) -> dict[str, np.ndarray]:
    """Whether frames uint8 [B, T, H, W, 3] show what scenes int [B, T, 5] ask for, bool [B, T] for each of
    `reef.ATTRIBUTES` and for `all` of them."""
    flat = video.reshape(-1, *video.shape[2:])
    shown = reef_sight.scenery(flat)
    creature = reef_sight.find(flat, reef_sight.creatures(), shown[:, 0])
    shown = np.column_stack([shown, np.where(creature.seen, creature.look, -1)]).reshape(*video.shape[:2], -1)
    hits = shown == asked[..., : shown.shape[-1]]
    return dict(zip(reef.ATTRIBUTES, np.moveaxis(hits, -1, 0))) | {"all": hits.all(-1)}


def frames_until_followed(curves: dict[str, np.ndarray], scene: reef.Scene) -> dict:
    """From each change of prompt the frames until hour, weather, water and creature are all as asked (0: at once), and
    stay so for SETTLED frames: median over those that come to it before the next change (or the end), and their share.
    """
    right = np.all([curves[name] != 0 for name in reef.ATTRIBUTES], axis=0)  # a creature out of sight is right
    scenes = np.stack(scene, -1)
    waits = []
    for asked, good in zip(scenes, right):
        changes = [*np.flatnonzero((asked[1:] != asked[:-1]).any(-1)) + 1, len(asked)]
        for begin, end in pairwise(changes):
            last = max(1, end - begin - SETTLED + 1)
            settled = [k for k in range(last) if good[begin + k : min(begin + k + SETTLED, end)].all()]
            waits.append(settled[0] if settled else None)
    kept = [w for w in waits if w is not None]
    return {
        "changes": len(waits),
        "followed": len(kept) / len(waits) if waits else float("nan"),
        "median_frames": float(np.median(kept)) if kept else float("nan"),
    }


def _from_images(world: World, prompts: Prompt, scenes, rng, key, seed: int) -> tuple[list[float], dict]:
    """How near first frames are to the images that they were to be (PSNR in dB), and films for the sheet."""
    pick = rng.choice(len(scenes), IMAGES)
    images = [reef.reset(jax.random.key(i), scenes[j])[1].video for i, j in enumerate(pick)]
    two = [0, len(scenes) - 1]  # the first image once more, under a prompt
    told = [*[encode_prompt(world)] * IMAGES, _some(prompts, np.array(two))]
    told = jax.tree.map(lambda *x: jnp.concatenate(x), *told)
    images += images[:1] * len(two)
    begun = np.asarray(_play(world, key, told, told, _actions(world, seed), jnp.stack(images)).video)
    films = {f"from an image {i}": np.concatenate([images[i][None], begun[i]]) for i in range(2)}
    films |= {f"image 0, {reef.caption(scenes[i])}": film for i, film in zip(two, begun[IMAGES:])}
    return [psnr(film[0], np.asarray(image)) for film, image in zip(begun, images)], films


def _some(prompts: Prompt, which: np.ndarray) -> Prompt:
    return jax.tree.map(lambda x: x[which], prompts)


def _actions(world: World, seed: int) -> jax.Array:
    return jnp.asarray(world_actions(world, "random", 2 * FRAMES, seed))


@jax.jit
def _play(world: World, key, before: Prompt, after: Prompt, actions_TA, image=None) -> Observation:
    """Sessions that begin under the prompts `before` and have `after` in force half-way, [B, 2 FRAMES + 1, ...]."""
    batch = before.whole.shape[0]
    actions = jnp.broadcast_to(actions_TA[:, None], (len(actions_TA), batch, actions_TA.shape[1]))
    state, first = reset(world, key, before, image, batch)
    state, one = rollout(world, state, actions[:FRAMES])
    _, two = rollout(world, set_prompt(state, after), actions[FRAMES:])
    return jax.tree.map(lambda x, *y: jnp.concatenate([x[None], *y]).swapaxes(0, 1), first, one, two)
