"""A world of the reef against the reef itself: the same start, the same actions, the same prompts, nothing corrected.

Every figure is a curve over time, and stands beside what costs nothing: the last true frame *frozen*, the *bare*
background of the true scene, and the *tokenizer* alone, which no rollout can beat.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from oyster_jax.config_sampling import SamplingConfig
from oyster_jax.data.dataset import write_json
from oyster_jax.data.sources import reef as source
from oyster_jax.evaluation import plots, reef_sight
from oyster_jax.evaluation.effects import effects
from oyster_jax.evaluation.lpips import Layer, load_lpips, lpips
from oyster_jax.evaluation.metrics import (
    changed_mask,
    decibels,
    log_mel_distance,
    psnr_each,
    spectral_convergence,
    ssim,
)
from oyster_jax.evaluation.page import write_page
from oyster_jax.evaluation.reef_episodes import check_reef, opening, scene_index, scene_prompts
from oyster_jax.evaluation.report import numbers
from oyster_jax.evaluation.revisit import revisit
from oyster_jax.evaluation.sync import sync
from oyster_jax.evaluation.tokenizers import reconstruct
from oyster_jax.media import write_video
from oyster_jax.models.world_model import World
from oyster_jax.sampling.rollout import prefill, set_prompt, step
from oyster_jax.sims import reef
from oyster_jax.sims.reef_draw import draw_bare
from oyster_jax.sims.reef_map import SIZE
from oyster_jax.types import Observation, Prompt

MARKS = (1, 2, 10, 30, 60)  # seconds after which curves are summed up
MOMENTS = 3  # for each episode of a match, from which every value of every action is tried
NEAR = 6.0  # pixels from its true place within which a thing counts as recalled: not on the next tile


@dataclass(frozen=True)
class MatchOptions:
    """How much to play."""

    worlds: int = 8
    seconds: int = 60
    context: int = 8  # true frames that the world is given
    idle: bool = False  # nobody plays: all controls at rest
    held_out: bool = False  # under prompts that were never recorded
    place: str = "bay"  # or "open", the open reef
    seed: int = 0
    lpips: str | None = None  # a file of weights, see `lpips`
    sampling: SamplingConfig | None = None

    @property
    def scenes(self) -> tuple[reef.Scene, ...]:
        """Those that are played."""
        return reef.at(reef.PLACES.index(self.place), reef.HELD_OUT if self.held_out else reef.SEEN)


class Match(NamedTuple):
    """What happened and what the world made of it, [B, T, ...] each, the context left out."""

    truth: Observation
    made: Observation
    frozen: np.ndarray  # uint8 [B, H, W, 3], the last frame of the context
    scene: reef.Scene  # int [B, T] each, asked for by the prompts
    places: dict[str, np.ndarray]  # of "camera", "body" and "creature", see `Frames.truth`, int [B, T, 2]


def play_match(world: World, options: MatchOptions = MatchOptions()) -> Match:
    """Rolls the world out under what happens in fresh episodes of the simulator.

    Raises OysterError for a world that is not of the reef, or that has no dynamics.
    """
    check_reef(world)
    frames = round(options.seconds * world.config.media.fps)
    keys = jax.random.split(jax.random.key(options.seed), options.worlds + 1)
    length, given = options.context + frames, options.context
    asked = options.scenes
    played = jax.device_get(jax.lax.map(lambda key: source.play(key, 0.5, length, asked, options.idle), keys[1:]))
    start, prompts = opening(played, given), scene_prompts(world)
    state, _ = jax.jit(prefill)(world, keys[0], start)
    follow = jax.jit(_follow, static_argnames="sampling")
    told = played.action[:, given - 1 : -1], scene_index(played.state.scene)[:, given:]
    told = (np.moveaxis(x, 1, 0) for x in told)
    made = jax.device_get(follow(world, state, *told, prompts, options.sampling))
    return Match(
        Observation(played.video[:, given:], played.audio[:, given:]),
        Observation(*(np.moveaxis(x, 0, 1) for x in made)),
        played.video[:, given - 1],
        reef.Scene(*(x[:, given:] for x in played.state.scene)),
        {name: played.truth[name][:, given:] for name in ("camera", "body", "creature")},
    )


def _follow(world, state, action_TBA, scene_TB, prompts: Prompt, sampling) -> Observation:
    """`rollout` under one of `prompts` (stacked in front) for each frame."""

    def frame(state, told):
        action, scene = told
        return step(world, set_prompt(state, jax.tree.map(lambda x: x[scene], prompts)), action, sampling)

    return jax.lax.scan(frame, state, (action_TBA, scene_TB))[1]


# ---------------------------------------------------------------------------- how good it was


def picture_curves(
    video: np.ndarray, match: Match, bare: np.ndarray, layers: tuple[Layer, ...] | None = None
) -> dict[str, np.ndarray]:
    """How near frames uint8 [B, T, H, W, 3] are to the true ones, float [B, T] each.

    psnr, ssim, and lpips where there are `layers` for it: of whole frames. psnr_moving: of the pixels that differ from
    the bare scene in truth.
    """
    truth = match.truth.video
    error = ((video.astype(np.float32) - truth.astype(np.float32)) / 255) ** 2
    moves = changed_mask(truth, bare)
    moving = (error.mean(-1) * moves).sum((-1, -2)) / np.maximum(moves.sum((-1, -2)), 1)
    curves = {
        "psnr": psnr_each(video, truth),
        "psnr_moving": decibels(moving),
        "ssim": np.stack([ssim(a, b) for a, b in zip(video, truth)]),
    }
    return curves | ({"lpips": lpips(layers, video, truth)} if layers else {})


def object_curves(video: np.ndarray, match: Match) -> dict[str, np.ndarray]:
    """What can be seen in frames uint8 [B, T, H, W, 3], float [B, T] each.

    time, weather, water, creature: whether they are what the prompt asks for (a creature must be seen to count).
    body_recall, creature_recall: whether it is seen within NEAR pixels of its true place, nan where that is not shown.
    body_error, creature_error: pixels from the true place, nan where it is not seen at all or should not be.
    """
    flat = video.reshape(-1, *video.shape[2:])
    shape = video.shape[:2]
    shown = reef_sight.scenery(flat)
    curves = {name: shown[:, i].reshape(shape) == match.scene[i] for i, name in enumerate(reef.ATTRIBUTES[:3])}
    for name, looks in (("body", reef_sight.swimmer()), ("creature", reef_sight.creatures())):
        found = reef_sight.find(flat, looks, shown[:, 0])
        away = np.linalg.norm(found.place.reshape(*shape, 2) - match.places[name], axis=-1)
        seen = found.seen.reshape(shape)
        shows = ((match.places[name] >= 0) & (match.places[name] < SIZE)).all(-1)
        curves[f"{name}_recall"] = np.where(shows, seen & (away <= NEAR), np.nan)
        curves[f"{name}_error"] = np.where(seen & shows, away, np.nan)
        if name == "creature":
            curves[name] = np.where(shows, seen & (found.look.reshape(shape) == match.scene.creature), np.nan)
    return {name: curve.astype(float) for name, curve in curves.items()}


def statistics_curves(video: np.ndarray) -> dict[str, np.ndarray]:
    """What frames uint8 [B, T, H, W, 3] are like whatever they should be, float [B, T] each: blur and rot show here.

    sharpness: mean absolute difference of neighbouring pixels. brightness: mean. change: mean absolute difference from
    the frame before, 0 for the first. All in 0 .. 255.
    """
    x = video.astype(np.float32)
    steps = [np.abs(np.diff(x, axis=axis)).mean((-1, -2, -3)) for axis in (2, 3)]
    change = np.abs(np.diff(x, axis=1)).mean((-1, -2, -3))
    return {
        "sharpness": (steps[0] + steps[1]) / 2,
        "brightness": x.mean((-1, -2, -3)),
        "change": np.pad(change, ((0, 0), (1, 0))),
    }


def sound_curves(audio: np.ndarray, truth: np.ndarray, rate: int, fps: int) -> dict[str, np.ndarray]:
    """How far sound [B, T, S] is from the true one, second by second, float [B, T'] each for the whole seconds in T.

    log_mel_distance: in dB. spectral_convergence: see `metrics`, nan in silent seconds.
    """
    seconds = audio.shape[1] // fps
    parts = lambda x: x[:, : seconds * fps].reshape(len(x) * seconds, -1)
    measures = {
        "log_mel_distance": lambda a, b: log_mel_distance(a, b, rate),
        "spectral_convergence": spectral_convergence,
    }
    each = lambda measure: [measure(a, b) for a, b in zip(parts(audio), parts(truth))]
    return {n: np.reshape(each(of), (len(audio), seconds)).repeat(fps, axis=1) for n, of in measures.items()}


def bare_frames(match: Match) -> np.ndarray:
    """Each true scene without what lives, float32 [B, T, H, W, 3]: it rains where it does in half of the frames."""
    draw = jax.jit(lambda scenes, corners: jax.lax.map(lambda x: draw_bare(*x), (scenes, corners), batch_size=64))
    flat = lambda x: np.reshape(x, (-1, *x.shape[2:]))
    shown = draw(jax.tree.map(flat, match.scene), flat(match.places["camera"]))
    return np.asarray(shown, np.float32).reshape(match.truth.video.shape)


def summary(curve: np.ndarray, fps: int) -> dict:
    """Of a curve [B, T]: means of the second that ends at each of MARKS, and mean and 5th percentile of it all.

    nan counts for nothing.
    """
    of = lambda measure, part: float(measure(part[~np.isnan(part)])) if not np.isnan(part).all() else float("nan")
    at = {f"{s}_s": of(np.mean, curve[:, (s - 1) * fps : s * fps]) for s in MARKS if s * fps <= curve.shape[1]}
    return at | {"mean": of(np.mean, curve), "p5": of(lambda known: np.percentile(known, 5), curve)}


def frames_until_followed(curves: dict[str, np.ndarray], scene: reef.Scene) -> dict:
    """From each change of prompt the frames until hour, weather, water and creature are all as asked, 0 for at once:
    median over those that come to it before the next change (or the end), and their share."""
    right = np.all([curves[name] != 0 for name in reef.ATTRIBUTES], axis=0)  # a creature out of sight is right
    scenes = np.stack(scene, -1)
    waits = []
    for asked, good in zip(scenes, right):
        changes = [*np.flatnonzero((asked[1:] != asked[:-1]).any(-1)) + 1, len(asked)]
        for begin, end in pairwise(changes):
            waits.append(int(good[begin:end].argmax()) if good[begin:end].any() else None)
    kept = [w for w in waits if w is not None]
    return {
        "changes": len(waits),
        "followed": len(kept) / len(waits) if waits else float("nan"),
        "median_frames": float(np.median(kept)) if kept else float("nan"),
    }


def evaluate_match(
    world: World,
    out: str | Path,
    options: MatchOptions = MatchOptions(),
    log: Callable[[str], None] = lambda line: None,
) -> dict:
    """Plays a match, writes curves, sheets and films to `out`, and returns the report."""
    media, out = world.config.media, Path(out)
    fps = round(media.fps)
    layers = load_lpips(options.lpips) if options.lpips else None
    log("playing")
    match = play_match(world, options)
    out.mkdir(parents=True, exist_ok=True)
    bare = bare_frames(match)
    log("tokenizer")
    seen, heard = _through_tokenizer(world, match.truth)
    rivals = {
        "world": match.made.video,
        "tokenizer": seen,
        "frozen": np.broadcast_to(match.frozen[:, None], match.truth.video.shape),
        "bare": np.clip(bare + 0.5, 0, 255).astype(np.uint8),
        "truth": match.truth.video,
    }
    curves = {}
    for name, video in rivals.items():
        log(f"looking at {name}")
        own = picture_curves(video, match, bare, layers) if name != "truth" else {}
        curves[name] = own | object_curves(video, match) | statistics_curves(video)
    sounds = {"world": match.made.audio, "tokenizer": heard, "silence": np.zeros_like(heard)}
    for name, audio in sounds.items():
        curves.setdefault(name, {}).update(sound_curves(audio, match.truth.audio, media.sample_rate, fps))
    report = {name: {k: summary(v, fps) for k, v in own.items()} for name, own in curves.items()}
    log("sight and sound")
    heard_beside = {"world": match.made.audio, "tokenizer": heard, "truth": match.truth.audio}
    report["sync"] = {name: sync(rivals[name], audio) for name, audio in heard_beside.items()}
    log("what each action does")
    report["effects"] = effects(world, MOMENTS * options.worlds, options.seed, options.sampling, options.scenes)
    if options.place == "open":
        log("coming back")
        report["revisit"] = revisit(world, options.worlds, options.context, options.seed, options.sampling)
    report["frames_until_prompt_is_followed"] = frames_until_followed(curves["world"], match.scene)
    report["options"] = {f.name: getattr(options, f.name) for f in fields(options) if f.name != "sampling"}
    report = numbers(report)
    write_json(out / "match.json", report)
    plots.match_curves(out / "match.png", curves, fps)
    rows = {}
    for i in range(min(3, options.worlds)):
        rows |= {f"{i}: truth": match.truth.video[i], f"{i}: world": match.made.video[i]}
        write_video(out / f"match_{i}.mp4", match.made.video[i], match.made.audio[i], media.fps, media.sample_rate)
    plots.contact_sheet(out / "match_sheet.png", rows, columns=20, stride=max(1, len(match.scene.time[0]) // 20))
    films = [f"match_{i}.mp4" for i in range(len(rows) // 2)]
    title = f"{options.seconds} s beside the reef itself"
    write_page(out, title, report, films, ["match_sheet.png", "match.png"])
    return report


def _through_tokenizer(world: World, truth: Observation) -> tuple[np.ndarray, np.ndarray]:
    """What is left of the truth after both tokenizers, in pieces that fit into memory."""
    pieces = []
    for i in range(len(truth.video)):
        seen, heard, *_ = reconstruct(world, truth.video[i : i + 1], truth.audio[i : i + 1])
        pieces.append((np.asarray(seen[0]), np.asarray(heard[0])))
    return tuple(np.stack(x) for x in zip(*pieces))
