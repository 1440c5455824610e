"""A world of the reef against the reef itself: the same start, the same actions, the same prompts, nothing corrected.

Every figure is a curve over time, and stands beside what costs nothing: the last true frame *frozen*, the *bare*
background of the true scene, and the *tokenizer* alone, which no rollout can beat.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from scipy.ndimage import maximum_filter1d

from oyster_jax.config_sampling import SamplingConfig
from oyster_jax.data.dataset import write_json
from oyster_jax.data.sources import reef as source
from oyster_jax.evaluation import plots, reef_sight
from oyster_jax.evaluation.directing import frames_until_followed
from oyster_jax.evaluation.effects import effects
from oyster_jax.evaluation.lpips import Layer, load_lpips, lpips
from oyster_jax.evaluation.metrics import (
    changed_mask,
    decibels,
    log_mel_distance,
    psnr_each,
    spectral_convergence,
    ssim_map,
    ssim_where,
)
from oyster_jax.evaluation.page import write_page
from oyster_jax.evaluation.reef_episodes import check_reef, opening, scene_index, scene_prompts
from oyster_jax.evaluation.reef_hearing import AROUND, ambience
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
    pearls: np.ndarray  # bool [B, T, 8, 8], on which tiles a ripe one is


def play_match(world: World, options: MatchOptions = MatchOptions()) -> Match:
    """Rolls the world out under what happens in fresh episodes of the simulator.

    Raises OysterError for a world that is not of the reef, or that has no dynamics.
    """
    check_reef(world)
    frames = round(options.seconds * world.config.media.fps)
    keys = jax.random.split(source.fresh_key(options.seed), options.worlds + 1)
    length, given = options.context + frames, options.context
    asked = options.scenes
    played = jax.device_get(jax.lax.map(lambda key: source.play(key, 0.5, length, asked, options.idle), keys[1:]))
    start, prompts = opening(played, given), scene_prompts(world)
    state, _ = jax.jit(prefill)(world, keys[0], start)
    follow = jax.jit(_follow, static_argnames="sampling")
    told = played.action[:, given - 1 : -1], scene_index(played.state.scene)[:, given:]
    told = (np.moveaxis(x, 1, 0) for x in told)
    made = jax.device_get(follow(world, state, *told, prompts, options.sampling))
    return made_match(played, given, Observation(*(np.moveaxis(x, 0, 1) for x in made)))


def made_match(played: source.Frames, given: int, made: Observation) -> Match:
    """What was played [B, T, ...], of which `given` frames were shown, beside what was made of it."""
    return Match(
        Observation(played.video[:, given:], played.audio[:, given:]),
        made,
        played.video[:, given - 1],
        reef.Scene(*(x[:, given:] for x in played.state.scene)),
        {name: played.truth[name][:, given:] for name in ("camera", "body", "creature")},
        played.truth["pearls"][:, given:],
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

    psnr, ssim, and lpips where there are `layers` for it: of whole frames. psnr_moving, ssim_moving: of the pixels that
    differ from the bare scene in truth, and the windows around them.
    """
    truth = match.truth.video
    error = ((video.astype(np.float32) - truth.astype(np.float32)) / 255) ** 2
    moves = changed_mask(truth, bare)
    moving = (error.mean(-1) * moves).sum((-1, -2)) / np.maximum(moves.sum((-1, -2)), 1)
    alike = np.stack([ssim_map(a, b) for a, b in zip(video, truth)])
    curves = {
        "psnr": psnr_each(video, truth),
        "psnr_moving": decibels(moving),
        "ssim": alike.mean((-2, -1)),
        "ssim_moving": ssim_where(alike, moves),
    }
    return curves | ({"lpips": lpips(layers, video, truth)} if layers else {})


def object_curves(video: np.ndarray, match: Match) -> dict[str, np.ndarray]:
    """What can be seen in frames uint8 [B, T, H, W, 3], float [B, T] each.

    time, weather, water, creature: whether they are what the prompt asks for (a creature must be seen to count).
    body_recall, creature_recall: whether it is seen within NEAR pixels of its true place, nan where that is not shown.
    body_error, creature_error: pixels from the true place, nan where it is not seen at all or should not be.
    pearl_recall: the share of ripe pearls that are seen, nan where there is none. pearl_precision: the share of those
      seen that are there, nan where none is seen.
    object_recall: of body, creature and ripe pearls, one thing as much as the other, the share that is seen.
    """
    flat = video.reshape(-1, *video.shape[2:])
    shape = video.shape[:2]
    shown = reef_sight.scenery(flat)
    curves = {name: shown[:, i].reshape(shape) == match.scene[i] for i, name in enumerate(reef.ATTRIBUTES[:3])}
    things = {"body": reef_sight.swimmer(), "creature": reef_sight.creatures()}
    there, recalled = match.pearls.sum((-2, -1)), 0
    for name, looks in things.items():
        found = reef_sight.find(flat, looks, shown[:, 0])
        away = np.linalg.norm(found.place.reshape(*shape, 2) - match.places[name], axis=-1)
        seen = found.seen.reshape(shape)
        shows = ((match.places[name] >= 0) & (match.places[name] < SIZE)).all(-1)
        near = shows & seen & (away <= NEAR)
        curves[f"{name}_recall"] = np.where(shows, near, np.nan)
        there, recalled = there + shows, recalled + near
        curves[f"{name}_error"] = np.where(seen & shows, away, np.nan)
        if name == "creature":
            curves[name] = np.where(shows, seen & (found.look.reshape(shape) == match.scene.creature), np.nan)
    pearls = reef_sight.find_all(flat, reef_sight.pearl(), shown[:, 0]).reshape(match.pearls.shape)
    pearls_recalled = (match.pearls & pearls).sum((-2, -1))
    share = lambda hits, of: np.where(of, hits / np.maximum(of, 1), np.nan)
    for name, of in (("recall", match.pearls), ("precision", pearls)):
        curves[f"pearl_{name}"] = share(pearls_recalled, of.sum((-2, -1)))
    curves["object_recall"] = share(recalled + pearls_recalled, there)
    return {name: curve.astype(float) for name, curve in curves.items()}


def statistics_curves(video: np.ndarray) -> dict[str, np.ndarray]:
    """What frames uint8 [B, T, H, W, 3] are like whatever they should be, float [B, T] each: blur and rot show here.

    sharpness: mean absolute difference of neighbouring pixels. red, green, blue: means. colourfulness: of Hasler and
    Süsstrunk (2003), 0 for grey. change: mean absolute difference from the frame before, 0 for the first. The first
    four and the last are of 0 .. 255.
    """
    x = video.astype(np.float32)
    steps = [np.abs(np.diff(x, axis=axis)).mean((-1, -2, -3)) for axis in (2, 3)]
    change = np.abs(np.diff(x, axis=1)).mean((-1, -2, -3))
    red, green, blue = np.moveaxis(x, -1, 0)
    sides = np.stack([red - green, (red + green) / 2 - blue])
    spread, strength = (np.sqrt((y**2).sum(0)) for y in (sides.std((-2, -1)), sides.mean((-2, -1))))
    return {
        "sharpness": (steps[0] + steps[1]) / 2,
        **{name: colour.mean((-2, -1)) for name, colour in (("red", red), ("green", green), ("blue", blue))},
        "colourfulness": spread + 0.3 * strength,
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


def heard_curves(audio: np.ndarray, scene: reef.Scene) -> dict[str, np.ndarray]:
    """Whether hour and weather can be heard in sound [B, T, S], float [B, T] each.

    heard_time, heard_weather: nan where they change within the frames that tell them, or have just changed.
    """
    heard = np.stack([ambience(sound) for sound in audio])
    curves = {}
    for i, asked in enumerate(scene[:2]):
        changes = np.pad(asked[:, 1:] != asked[:, :-1], ((0, 0), (1, 0)))
        near = maximum_filter1d(changes, 2 * AROUND, axis=1, origin=AROUND // 2)
        curves[f"heard_{reef.ATTRIBUTES[i]}"] = np.where(near, np.nan, heard[..., i] == asked)
    return curves


def bare_frames(match: Match) -> np.ndarray:
    """Each true scene without what lives, float32 [B, T, H, W, 3]: rain stands where it is as it begins."""
    draw = jax.jit(lambda scenes, corners: jax.lax.map(lambda x: draw_bare(*x), (scenes, corners), batch_size=64))
    flat = lambda x: np.reshape(x, (-1, *x.shape[2:]))
    shown = draw(jax.tree.map(flat, match.scene), flat(match.places["camera"]))
    return np.asarray(shown, np.float32).reshape(match.truth.video.shape)


def summary(curve: np.ndarray, fps: int) -> dict:
    """Of a curve [B, T]: means of the second that ends at each of MARKS, and mean, 5th and 95th percentile of it all.

    nan counts for nothing.
    """
    at = {f"{s}_s": _known(np.mean, curve[:, (s - 1) * fps : s * fps]) for s in MARKS if s * fps <= curve.shape[1]}
    return at | {"mean": _known(np.mean, curve), "p5": _percentile(5, curve), "p95": _percentile(95, curve)}


def by_the_second(curve: np.ndarray, fps: int) -> dict[str, list[float]]:
    """Of a curve [B, T], for each whole second: mean, 5th and 95th percentile over worlds and frames."""
    parts = [curve[:, i * fps : (i + 1) * fps] for i in range(curve.shape[1] // fps)]
    measures = {"mean": partial(_known, np.mean), "p5": partial(_percentile, 5), "p95": partial(_percentile, 95)}
    return {name: [of(part) for part in parts] for name, of in measures.items()}


def _percentile(share: float, part: np.ndarray) -> float:
    return _known(lambda known: np.percentile(known, share), part)


def _known(measure, part: np.ndarray) -> float:
    known = part[~np.isnan(part)]
    return float(measure(known)) if known.size else float("nan")


def evaluate_match(
    world: World,
    out: str | Path,
    options: MatchOptions = MatchOptions(),
    log: Callable[[str], None] = lambda line: None,
) -> dict:
    """Plays a match, writes curves, sheets and films to `out`, and returns the report."""
    out = Path(out)
    fps = round(world.config.media.fps)
    layers = load_lpips(options.lpips) if options.lpips else None
    log("playing")
    match = play_match(world, options)
    out.mkdir(parents=True, exist_ok=True)
    log("tokenizer")
    shown = {"world": match.made, "tokenizer": _through_tokenizer(world, match.truth), "truth": match.truth}
    curves = all_curves(shown, match, layers, log)
    report = {name: {k: summary(v, fps) for k, v in own.items()} for name, own in curves.items()}
    log("sight and sound")
    report["sync"] = {name: sync(*observed) for name, observed in shown.items()}
    if options.worlds > 1:  # what is seen in one episode, and what is heard in another
        report["sync"]["chance"] = sync(match.truth.video, np.roll(match.truth.audio, 1, axis=0))
    log("what each action does")
    report["effects"] = effects(world, MOMENTS * options.worlds, options.seed, options.sampling, options.scenes)
    if options.place == "open":
        log("coming back")
        report["revisit"], trips = revisit(world, options.worlds, options.context, options.seed, options.sampling)
        plots.contact_sheet(out / "revisit.png", trips, columns=options.worlds)
    followed = {name: frames_until_followed(curves[name], match.scene) for name in shown}
    report["frames_until_prompt_is_followed"] = followed
    report["options"] = {f.name: getattr(options, f.name) for f in fields(options) if f.name != "sampling"}
    report = numbers(report)
    write_json(out / "match.json", report)
    seconds = {name: {k: by_the_second(v, fps) for k, v in own.items()} for name, own in curves.items()}
    write_json(out / "curves.json", numbers(seconds))
    plots.match_curves(out / "match.png", seconds)
    sheets = ["match_sheet.png", "revisit.png"] if options.place == "open" else ["match_sheet.png"]
    pictures = [*sheets, "match_sound.png", "match.png"]
    write_page(out, f"{options.seconds} s beside the reef itself", report, _films(world, match, out), pictures)
    return report


def all_curves(
    shown: dict[str, Observation], match: Match, layers: tuple[Layer, ...] | None, log: Callable[[str], None]
) -> dict[str, dict[str, np.ndarray]]:
    """Every curve of what is `shown` (the world's own, the tokenizer's, the truth), and of baselines beside them."""
    bare, truth, media = bare_frames(match), match.truth, reef.MEDIA
    frozen = np.broadcast_to(match.frozen[:, None], truth.video.shape)
    videos = {name: x.video for name, x in shown.items()}
    videos |= {"frozen": frozen, "bare": np.clip(bare + 0.5, 0, 255).astype(np.uint8)}
    sounds = {name: x.audio for name, x in shown.items()} | {"silence": np.zeros_like(truth.audio)}
    curves = {name: {} for name in (*videos, "silence")}
    for name, video in videos.items():
        log(f"looking at {name}")
        if name != "truth":
            curves[name] |= picture_curves(video, match, bare, layers)
        curves[name] |= object_curves(video, match) | statistics_curves(video)
    for name, audio in sounds.items():
        if name != "truth":
            curves[name] |= sound_curves(audio, truth.audio, media.sample_rate, round(media.fps))
        curves[name] |= heard_curves(audio, match.scene)
    return curves


def _films(world: World, match: Match, out: Path) -> list[str]:
    """Writes a sheet, a spectrogram and films of the first few worlds to `out`; the films' names."""
    rows, media, films = {}, world.config.media, []
    for i in range(min(3, len(match.frozen))):
        rows |= {f"{i}: truth": match.truth.video[i], f"{i}: world": match.made.video[i]}
        films.append(f"match_{i}.mp4")
        write_video(out / films[-1], match.made.video[i], match.made.audio[i], media.fps, media.sample_rate)
    plots.contact_sheet(out / "match_sheet.png", rows, columns=20, stride=max(1, match.truth.video.shape[1] // 20))
    plots.spectrograms(out / "match_sound.png", {"truth": match.truth.audio[0], "world": match.made.audio[0]}, media)
    return films


def _through_tokenizer(world: World, truth: Observation) -> Observation:
    """What is left of the truth after both tokenizers, in pieces that fit into memory."""
    pieces = []
    for i in range(len(truth.video)):
        seen, heard, *_ = reconstruct(world, truth.video[i : i + 1], truth.audio[i : i + 1])
        pieces.append((np.asarray(seen[0]), np.asarray(heard[0])))
    return Observation(*(np.stack(x) for x in zip(*pieces)))
