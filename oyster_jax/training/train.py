"""Trains a world: the stages in their order, the token cache between them, and the export at the end."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jax.sharding import Mesh
from tqdm import tqdm

from oyster_jax.config_dict import first_difference, to_dict
from oyster_jax.config_experiment import ExperimentConfig, resolve
from oyster_jax.data.dataset import ClipReader
from oyster_jax.data.pipeline import WindowOptions, open_clips, take, windows, without_padding
from oyster_jax.distributed.mesh import make_mesh, replicated
from oyster_jax.errors import OysterError, check
from oyster_jax.models.controls import fit_controls, with_previous
from oyster_jax.models.world_model import SCHEMA, World, save_world, unroll_layers
from oyster_jax.sampling.rollout import prefill, rollout, tokenize
from oyster_jax.training.deepen import NO_ATLAS, deepened, with_atlas
from oyster_jax.training.loop import run_stage
from oyster_jax.training.tasks import Sample, Task, make_tasks
from oyster_jax.training.tasks.dynamics import Codebooks
from oyster_jax.training.tokens import PAD, cache_tokens, digest, seen_codes, token_arrays
from oyster_jax.training.translate import translate
from oyster_jax.types import Clip, Observation

# Fields of a stage that do not change what is learned; a run may be resumed with others.
FREE_FIELDS = ("log_every", "eval_every", "save_every")


def train(
    experiment: ExperimentConfig,
    data: str | Path,
    workdir: str | Path,
    stages: list[str] | None = None,
    export: bool = False,
    init_from: World | None = None,
    init_stages: list[str] | None = None,
) -> World:
    """Trains `stages` (default: all) on a data folder and exports what is trained so far to `workdir/world`.

    Stages that were finished before are read from their checkpoints; one that was interrupted goes on. With `export`
    nothing is trained: the world is made of what the newest checkpoints hold, of stages that are under way, too.
    init_from: a world whose parameters the stages begin with, where it has them, or `init_stages` alone; of stages that
    are neither asked for nor finished they are taken as they are. Its dynamics are carried over to other tokenizers and
    may have fewer layers.
    Raises OysterError for unfit data, config or checkpoints.
    """
    workdir = Path(workdir)
    reader = open_clips(data)
    if reader.info.actions.size <= 1 and experiment.dynamics.actions == "true":
        logging.warning("the data has no actions: training through latent actions")
        experiment = replace(experiment, dynamics=replace(experiment.dynamics, actions="latent"))
    config = resolve(experiment, reader.info.media, reader.info.actions)
    tasks = make_tasks(config, experiment.train)
    names = [t.name for t in tasks]
    if unknown := {*(stages or ()), *(init_stages or ())} - set(names):
        raise OysterError(f"no stage {', '.join(sorted(unknown))} in this experiment; it has {', '.join(names)}")
    mesh = make_mesh(experiment.mesh)
    workdir.mkdir(parents=True, exist_ok=True)
    world = World({}, config)
    for task in tasks:
        folder = workdir / "checkpoints" / task.name
        begun = any(p.name.isdecimal() for p in folder.glob("*"))
        finished = (folder / str(task.stage.steps)).exists()
        wanted = begun if export else not stages or task.name in stages or finished
        if task.name == "dynamics":
            task = replace(task, atlas=world.params.get("atlas"))
        begin = init_from and task.name in (init_stages or names) and initial_parts(task, init_from)
        if not wanted and not begin:
            continue
        origin = digest(begin) if begin else None
        if begin and task.name == "dynamics" and not begun:
            begin = _translated(begin, init_from, world, reader)
        params = _run(task, world, experiment, reader, mesh, workdir, export, begin, origin) if wanted else begin
        parts = trained_parts(task.name, params)
        if task.name == "dynamics" and experiment.train.only_seen:
            folder, _ = cache_tokens(world, reader, workdir, experiment.train, experiment.seed)
            parts |= {"seen": {"video": seen_codes(open_clips(folder), config.dynamics)}}
        gone = {"atlas"} if task.name == "dynamics" else set()  # it goes on as a part of the dynamics
        kept = {name: part for name, part in world.params.items() if name not in gone}
        world = unroll_layers(World(kept | parts, config))
    if not world.params:
        raise OysterError(f"nothing to export: {workdir} holds no checkpoint of any stage yet")
    if "latent_action" in world.params and reader.info.actions.size > 1 and experiment.train.labelled_frames:
        controls = name_codes(world, reader, experiment.train.labelled_frames)
        world = replace(world, params=world.params | {"controls": controls})
    if jax.process_index() == 0:
        save_world(jax.device_get(world), workdir / "world", _describe(reader, experiment))
    return world


def _run(
    task: Task,
    world: World,
    experiment: ExperimentConfig,
    reader: ClipReader,
    mesh: Mesh,
    workdir: Path,
    export: bool,
    begin: dict | None,
    origin: str | None,
) -> dict:
    """Trains one stage or reads it. origin: the digest of the parameters that `begin` was made of."""
    config = {
        **task.depends,
        "schema": SCHEMA,
        "stage": _lasting(task),
        "workers": experiment.train.workers,
        "seed": experiment.seed,
        "data": {name: getattr(reader.info, name) for name in ("source", "recipe", "seed", "frames")}
        | {"clips": len(reader)},
    }
    if origin:
        config["init_from"] = origin
    tokens, arrays, dream = reader, ("video", "audio", "action"), None
    if task.name in ("atlas", "dynamics"):
        with tqdm(total=int(reader.frames.sum()), desc="encoding", unit="frame", dynamic_ncols=True) as bar:
            folder, options = cache_tokens(
                world, reader, workdir, experiment.train, experiment.seed, progress=bar.update
            )
        tokens, arrays, config["tokens"] = open_clips(folder), token_arrays(options), folder.name
    if task.name == "dynamics":
        dream = make_dream(world, reader, mesh, experiment.seed)
        task = replace(task, codebooks=code_vectors(world))
        check(begin or task.atlas or not task.world.dynamics.atlas, NO_ATLAS)
    options = WindowOptions(
        frames=task.stage.frames,
        batch=_local_batch(task, mesh),
        seed=experiment.seed,
        loud=task.stage.loud,
        events=task.stage.events,
        workers=experiment.train.workers,
        arrays=arrays,
    )
    data = windows(tokens, tokens.split("train"), options, jax.process_index(), jax.process_count())
    if task.name == "dynamics" and jax.process_count() == 1:  # several would have to agree on each batch's size
        data = data.map(without_padding)
    held_out = held_out_batch(tokens, replace(options, batch=task.stage.batch))
    media, seed, keep = reader.info.media, experiment.seed, experiment.train.keep
    return run_stage(task, data, held_out, mesh, workdir, config, media, seed, keep, dream, export, begin)


def _translated(begin: dict, init_from: World, world: World, reader: ClipReader) -> dict:
    """Parameters of `init_from`'s dynamics stage for the tokenizers of `world`."""
    if "latent_action" in begin:
        return begin | {"dynamics": translate(begin["dynamics"], init_from, world, reader)}
    return translate(begin, init_from, world, reader)


def code_vectors(world: World) -> Codebooks:
    """What the codes of both tokenizers stand for."""
    names = "video_tokenizer", "audio_tokenizer"
    return Codebooks(*(world.apply(name, method="code_vectors") for name in names))


def trained_parts(stage: str, params: dict) -> dict:
    """A stage's parameters as parts of a world: two where a latent action model was trained beside the dynamics."""
    return params if set(params) == {"dynamics", "latent_action"} else {stage: params}


def initial_parts(task: Task, init_from: World) -> dict | None:
    """A world's parameters as those of `task`, the inverse of `trained_parts`; None if the world has none. Dynamics of
    fewer layers are `deepened`, and those without an atlas read the task's.

    Raises OysterError if the task has others.
    """
    wanted = nn.unbox(jax.eval_shape(task.init, jax.random.key(0)))
    both = set(wanted) == {"dynamics", "latent_action"}
    parts = {name: init_from.params.get(name) for name in (wanted if both else [task.name])}
    if None in parts.values():
        return None
    if "dynamics" in parts:
        names = wanted["dynamics"] if both else wanted
        parts["dynamics"] = with_atlas(deepened(parts["dynamics"], names), names, task.atlas)
    begin = parts if both else parts[task.name]
    name = partial(jax.tree_util.keystr, simple=True, separator=".")
    shapes = lambda tree: {name(path): x.shape for path, x in jax.tree.leaves_with_path(tree)}
    if other := first_difference(shapes(begin), shapes(wanted), task.name):
        raise OysterError(
            f"the world to begin with has another {task.name} than the config ({other}): take the config that it was "
            f"trained with, with scan_layers off"
        )
    return begin


def make_dream(world: World, reader: ClipReader, mesh: Mesh, seed: int, seconds: float = 2.0):
    """A function of the dynamics' parameters in training and a key: what really happened, above what the world makes of
    the same start and the same actions. None where no clip is long enough."""
    context = world.config.dynamics.transformer.window
    frames = context + round(seconds * world.config.media.fps)
    if reader.frames.max() < frames:
        return None
    options = WindowOptions(frames, batch=1, seed=seed, arrays=("video", "audio", "action"))
    batch = held_out_batch(reader, options)
    clip = Clip(**{n: batch[n] for n in Clip._fields})

    @partial(jax.jit, out_shardings=replicated(mesh))
    def futures(world: World, key: jax.Array) -> Observation:
        _, action = tokenize(world, clip)
        state, _ = prefill(world, key, clip.first(context))
        return rollout(world, state, jnp.moveaxis(action[:, context - 1 : -1], 1, 0))[1]

    def dream(params: dict, key: jax.Array) -> Sample:
        parts = world.params | trained_parts("dynamics", params)
        made = jax.device_get(futures(unroll_layers(World(parts, world.config)), key))
        video = np.stack([clip.video[0, context:], made.video[:, 0]])
        return Sample(video, np.stack([clip.audio[0, context:], made.audio[:, 0]]))

    return dream


def name_codes(world: World, reader: ClipReader, frames: int) -> dict:
    """The map from true controls to latent codes, fitted on the first `frames` labelled frames of the training data."""
    c = world.config
    encode = jax.jit(lambda w, v, a: w.apply("latent_action", v, a, method="encode"))
    codes, controls, seen = [], [], 0
    for index in reader.split("train"):
        if seen >= frames:
            break
        length = min(int(reader.frames[index]), -(-(frames - seen) // PAD) * PAD)
        if length > PAD:
            length -= length % PAD  # few shapes to compile
        if length > 1:
            meta, arrays = reader[index]
            clip = take(meta, arrays, 0, length, ("video", "audio", "action"), reader.info.max_prompts)
            codes.append(np.asarray(encode(world, clip["video"][None], clip["audio"][None]))[0])
            controls.append(with_previous(clip["action"])[:-1])
            seen += length
    return fit_controls(np.concatenate(codes), np.concatenate(controls), c.latent_action.codes, 2 * c.actions.sizes)


def held_out_batch(reader: ClipReader, options: WindowOptions) -> dict[str, np.ndarray]:
    """One fixed batch of held-out windows; of training windows where a data set is a single episode."""
    clips = reader.split("held_out")
    if not (len(clips) and (reader.frames[clips] >= options.frames).any()):
        logging.warning("no held-out episode is long enough: evaluating on training data")
        clips = reader.split("train")
    return next(iter(windows(reader, clips, replace(options, repeat=True, workers=0, seed=options.seed + 1))))


def _lasting(task: Task) -> dict:
    return {k: v for k, v in to_dict(task.stage).items() if k not in FREE_FIELDS}


def _local_batch(task: Task, mesh: Mesh) -> int:
    batch, processes = task.stage.batch, jax.process_count()
    devices = mesh.shape["data"] * mesh.shape["fsdp"]
    if batch % devices or batch % processes:
        raise OysterError(
            f"{task.name}: batch {batch} does not divide among {devices} devices (mesh axes data and fsdp) and "
            f"{processes} processes"
        )
    return batch // processes


def _describe(reader: ClipReader, experiment: ExperimentConfig) -> dict:
    info = reader.info
    return {
        "source": info.source,
        "frames": info.frames,
        "episodes": info.next_episode,
        "seed": info.seed,
        "experiment": to_dict(experiment),
    }
