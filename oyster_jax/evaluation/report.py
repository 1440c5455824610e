"""The report of a world on held-out data: `report.json`, plots, contact sheets, and a page with all of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from oyster_jax.config_sampling import SamplingConfig
from oyster_jax.data.dataset import ClipReader, write_json
from oyster_jax.data.pipeline import WindowOptions, open_clips, take, windows
from oyster_jax.data.sources import SourceOptions
from oyster_jax.data.sources.ale_player import FIELDS, Player
from oyster_jax.errors import OysterError
from oyster_jax.evaluation import plots
from oyster_jax.evaluation.ball_games import COURTS, heard_hits, persistence, seen_hits
from oyster_jax.evaluation.dynamics import controllability, fully_masked_bits, guesser_bits, replay, tokenize_jit
from oyster_jax.evaluation.latent import latent_report
from oyster_jax.evaluation.lpips import load_lpips
from oyster_jax.evaluation.page import write_page
from oyster_jax.evaluation.played import learn_sight, play
from oyster_jax.evaluation.sync import compare
from oyster_jax.evaluation.tokenizers import evaluate_tokenizers, picture_report, reconstruct, sound_report
from oyster_jax.media import write_video
from oyster_jax.models.controls import with_previous
from oyster_jax.models.world_model import World
from oyster_jax.types import Clip

ARRAYS = ("video", "audio", "action")


@dataclass(frozen=True)
class EvaluationOptions:
    """How much to measure. How README's figures were measured is said there."""

    frames: int = 2000  # held-out frames for the tokenizers, bits and latent actions
    train_frames: int = 6000  # training frames that the simple guessers and the background are fitted on
    starts: int = 256
    context: int = 8
    horizons: tuple[int, ...] = (1, 4, 8)
    batch: int = 32
    seed: int = 0
    lpips: str | None = None  # a file of weights, see `lpips`
    sampling: SamplingConfig | None = None


def evaluate(
    world: World,
    data: str | Path,
    out: str | Path,
    options: EvaluationOptions = EvaluationOptions(),
    log: Callable[[str], None] = lambda line: None,
) -> dict:
    """Measures what the world has (tokenizers, dynamics, latent actions), writes `out` and returns the report."""
    reader = open_clips(data)
    if reader.info.media != world.config.media or reader.info.actions != world.config.actions:
        raise OysterError(f"{data} has other sizes, rates or actions than this world was trained on")
    for name in ("video_tokenizer", "audio_tokenizer"):
        if name not in world.params:
            raise OysterError(f"this world has no trained {name}; train that stage and export again")
    layers = load_lpips(options.lpips) if options.lpips else None
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    split = "held_out" if len(reader.split("held_out")) else "all"
    if split == "all":
        log(f"{data} holds no episode out: what follows is measured on what the world was trained on")
    held_out = reader.split(split)
    test = whole_clips(reader, held_out, options.frames, options.seed)
    train = whole_clips(reader, reader.split("train"), options.train_frames, options.seed)
    background = np.median(np.concatenate([c["video"] for c in train])[:: max(1, options.train_frames // 1000)], axis=0)
    report = {"data": reader.info.source, "split": split, "frames": sum(len(c["video"]) for c in test)}
    log("tokenizers")
    report["tokenizers"] = evaluate_tokenizers(world, test, background, reader.info.source, layers)
    clip = test[0]
    seen, heard, *_ = jax.tree.map(
        lambda x: np.asarray(x[0]), reconstruct(world, clip["video"][None], clip["audio"][None])
    )
    plots.contact_sheet(out / "tokenizer.png", {"truth": clip["video"], "tokenizer": seen}, columns=12, stride=4)
    plots.spectrograms(out / "tokenizer_sound.png", {"truth": clip["audio"], "tokenizer": heard}, world.config.media)
    if "latent_action" in world.params:
        log("latent actions")
        report["latent_actions"] = _latent(world, test)
    if "dynamics" in world.params:
        log("bits a frame")
        report["bits_a_frame"] = _bits(world, train, test)
        log("controllability")
        starts, groups = random_starts(reader, held_out, options)
        judge = lambda **kw: controllability(
            world, starts, options.context, options.horizons, options.sampling, options.seed, groups=groups, **kw
        )
        report["delta_psnr"] = judge()
        if "controls" in world.params:
            report["delta_psnr_named_controls"] = judge(named=True)
        log("a rollout to look at")
        report["rollout"] = _rollout(world, reader, held_out, background, out, options, layers)
        plots.delta_psnr(out / "delta_psnr.png", report["delta_psnr"])
    if reader.info.source in COURTS:
        log("a ball game")
        report |= _ball_game(world, test, background, reader.info.source, out, options)
    report = numbers(report)
    write_json(out / "report.json", report)
    films, pictures = [], ["tokenizer.png", "tokenizer_sound.png"]
    if "rollout" in report:
        films, pictures = ["rollout.mp4"], pictures + ["rollout.png", "rollout_sound.png", "delta_psnr.png"]
    if "world" in report.get("persistence", ()):
        pictures.append("persistence.png")
    title = f"A world of {report['data']}, {'held out' if split == 'held_out' else 'as it was trained'}"
    write_page(out, title, report, films, pictures)
    return report


def numbers(report):
    """A report with None for what could not be measured: JSON has no nan."""
    if isinstance(report, dict):
        return {k: numbers(v) for k, v in report.items()}
    if isinstance(report, list):
        return [numbers(v) for v in report]
    return None if isinstance(report, float) and not np.isfinite(report) else report


def whole_clips(reader: ClipReader, clips: np.ndarray, frames: int, seed: int) -> list[dict[str, np.ndarray]]:
    """Stored clips in random order until they hold `frames` frames, each cut to a multiple of 32 (few shapes)."""
    picked, total = [], 0
    for index in np.random.default_rng(seed).permutation(clips):
        length = int(reader.frames[index]) // 32 * 32
        if length and total < frames:
            meta, arrays = reader[index]
            names = tuple(n for n in arrays if n != "prompt_id")
            picked.append(take(meta, arrays, 0, length, names, reader.info.max_prompts))
            total += length
    if not picked:
        raise OysterError("no clip of the data is as long as 32 frames: record longer ones to evaluate on")
    return picked


def _tokens(world: World, clip: dict) -> dict[str, np.ndarray]:
    """A stored clip as a batch of one for the dynamics, with this world's own actions."""
    batch = Clip(*(np.asarray(clip[n])[None] for n in Clip._fields))
    tokens, action = tokenize_jit(world, batch)
    return {
        "video_tokens": np.asarray(tokens.video),
        "audio_tokens": np.asarray(tokens.audio),
        "action": np.asarray(action),
        "prompt": batch.prompt,
        "prompt_id": batch.prompt_id,
    }


def _bits(world: World, train: list[dict], test: list[dict]) -> dict:
    trained, tested = [_tokens(world, c) for c in train], [_tokens(world, c) for c in test]
    bits = [fully_masked_bits(world, batch) for batch in tested]
    report = {}
    sizes = {"video": world.config.dynamics.video_codes, "audio": world.config.dynamics.audio_codes}
    for i, (name, size) in enumerate(sizes.items()):
        seen = [b[f"{name}_tokens"][0] for b in trained]
        model = float(np.concatenate([np.asarray(b[i])[0, 1:] for b in bits]).mean())
        report[name] = {"model": model} | guesser_bits(seen, [b[f"{name}_tokens"][0] for b in tested], size)
    return report


def _latent(world: World, test: list[dict]) -> dict:
    encode = jax.jit(lambda w, v, a: w.apply("latent_action", v, a, method="encode"))
    # The first transition of a clip is left out: the action before it is not known.
    codes = [np.asarray(encode(world, c["video"][None], c["audio"][None]))[0, 1:] for c in test]
    controls = [with_previous(c["action"])[1:-1] for c in test]
    factors = world.config.actions.factors
    names = {f.name: f.size for f in factors} | {f"{f.name} before": f.size for f in factors}
    return latent_report(np.concatenate(codes), np.concatenate(controls), world.config.latent_action.codes, names)


def _rollout(
    world: World, reader: ClipReader, clips, background, out: Path, options: EvaluationOptions, layers
) -> dict:
    """One long rollout under true actions: contact sheet, spectrogram and video, and how far it keeps to the truth."""
    length = max(int(n) for n in reader.frames[clips])
    window = WindowOptions(min(length, options.context + 80), 1, seed=options.seed, arrays=ARRAYS)
    batch = next(iter(windows(reader, clips, window)))
    clip = Clip(**{n: batch[n] for n in Clip._fields})
    (video, audio), (seen, heard) = replay(world, clip, options.context, options.sampling, options.seed)
    media = world.config.media
    plots.contact_sheet(out / "rollout.png", {"truth": video, "world": seen}, columns=12, stride=6)
    plots.spectrograms(out / "rollout_sound.png", {"truth": audio, "world": heard}, media)
    both = np.concatenate([video, seen], axis=2)
    write_video(out / "rollout.mp4", both, heard, media.fps, media.sample_rate)
    return picture_report(video, seen, background, "world", layers) | {
        "sound": sound_report([audio], [heard], media, "world")
    }


def _ball_game(
    world: World, test: list[dict], background: np.ndarray, source: str, out: Path, options: EvaluationOptions
) -> dict:
    """Whether ball and paddles last, and whether hits sound when they are seen: in truth, through the tokenizers, and
    in rollouts under true actions, which are as long as the clips; and whether they last when the world is played."""
    court = COURTS[source]
    test = [clip for clip in test if len(clip["video"]) > options.context]  # others leave nothing to roll out
    if not test:
        return {}
    clips = [Clip(**{n: np.asarray(clip[n])[None] for n in Clip._fields}) for clip in test]
    truth = [(clip["video"], clip["audio"]) for clip in test]
    tokenizer = [[np.asarray(x[0]) for x in reconstruct(world, c.video, c.audio)[:2]] for c in clips]
    pairs, played = {"tokenizer": (truth, tokenizer)}, []
    if "dynamics" in world.params:
        rolled = [replay(world, c, options.context, options.sampling, options.seed) for c in clips]
        pairs["world"] = tuple(zip(*rolled))
        longest = sorted(rolled, key=lambda pair: -len(pair[0][0]))[:3]
        rows = {f"{i}: {n}": v[0] for i, pair in enumerate(longest) for n, v in zip(("truth", "world"), pair)}
        played = _played(world, test, clips, background, source, options)
        rows |= {f"{i}: played": film for i, film in enumerate(sorted(played, key=len, reverse=True)[:3])}
        plots.contact_sheet(out / "persistence.png", rows, columns=20, stride=max(1, len(rows["0: truth"]) // 20))
    fps, rate = float(world.config.media.fps), world.config.media.sample_rate
    look = lambda video: seen_hits(video, background, court, fps)
    shown = {"truth": truth} | {name: made for name, (_, made) in pairs.items()}
    hits = {n: ([look(v) for v, _ in films], [heard_hits(a, rate) for _, a in films]) for n, films in shown.items()}
    sight = lambda true, made: [(t, m) for (t, _), (m, _) in zip(true, made)]
    lasting = {n: persistence(sight(*films), background, court, fps) for n, films in pairs.items()}
    if played:  # otherwise than what happened, so that nothing has a true place
        told = persistence([(c["video"][options.context :], m) for c, m in zip(test, played)], background, court, fps)
        lasting["played"] = {thing: {n: by[n] for n in ("there", "seen")} for thing, by in told.items()}
    report = {"persistence": lasting, "sync": {name: compare(*both) for name, both in hits.items()}}
    if len(test) > 1:  # by chance: what is seen in one film, and what is heard in another
        chance = {name: compare(seen, [*heard[1:], heard[0]]) for name, (seen, heard) in hits.items()}
        report["sync_by_chance"] = chance
    return report


def _played(
    world: World, test: list[dict], clips: list[Clip], background: np.ndarray, source: str, options: EvaluationOptions
) -> list[np.ndarray]:
    """Films of the world, played on from the clips' beginnings by the player of the recordings; none where its actions
    are not the world's, or where the recordings do not tell enough."""
    if world.config.dynamics.actions != "true" or "truth/ram" not in test[0]:
        return []
    field, videos, memory = FIELDS[source], [c["video"] for c in test], [c["truth/ram"] for c in test]
    sight = learn_sight(videos, memory, background, COURTS[source], field)
    if sight is None:
        return []
    player = lambda: Player(field, world.config.actions.size, SourceOptions().chance)
    on = enumerate(clips, options.seed)
    return [play(world, c, options.context, sight, player(), options.sampling, seed) for seed, c in on]


def random_starts(reader: ClipReader, clips: np.ndarray, options: EvaluationOptions) -> tuple[list[Clip], np.ndarray]:
    """Random windows of the clips, in batches, and which clip each comes from."""
    frames = options.context + max(options.horizons)
    rng = np.random.default_rng(options.seed)
    places = np.maximum(reader.frames[clips] - frames + 1, 0)  # where in each clip a window can begin
    if not places.any():
        raise OysterError(f"no held-out clip is as long as {frames} frames: record longer ones to evaluate on")
    groups = np.sort(rng.choice(clips, options.starts, p=places / places.sum()))
    starts = []
    for index in groups:
        meta, arrays = reader[index]
        begin = rng.integers(len(arrays["video"]) - frames + 1)
        starts.append(take(meta, arrays, begin, frames, ARRAYS, reader.info.max_prompts))
    batches = [starts[i : i + options.batch] for i in range(0, len(starts), options.batch)]
    return [Clip(**{n: np.stack([s[n] for s in batch]) for n in Clip._fields}) for batch in batches], groups
