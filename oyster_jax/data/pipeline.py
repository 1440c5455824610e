"""Grain pipelines: random windows of clips, shuffled by seed, sharded by process, with a state that can be saved."""

from dataclasses import dataclass
from pathlib import Path

import grain
import numpy as np

from oyster_jax.config import MAX_PROMPT_BYTES
from oyster_jax.data.dataset import ClipReader, load_info
from oyster_jax.errors import OysterError
from oyster_jax.models.text_encoder import prompt_bytes


@dataclass(frozen=True)
class WindowOptions:
    """Which windows of T = `frames` frames a pipeline draws."""

    frames: int
    batch: int
    seed: int = 0
    loud: float = 0.0  # share of windows moved to the loudest of a few places in their clip
    events: float = 0.0  # share of windows moved so that they hold a change of prompt, where their clip has one
    repeat: bool = True
    workers: int = 0  # Grain worker processes; on few cores none is fastest
    arrays: tuple[str, ...] = ("video", "audio", "action")


class WindowSource:
    """The clips of a split, once for every T frames in them, so that long clips are drawn as often as they deserve."""

    def __init__(self, reader: ClipReader, clips: np.ndarray, frames: int):
        clips = clips[reader.frames[clips] >= frames]
        self._reader = reader
        self._clips = np.repeat(clips, reader.frames[clips] // frames)

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int):
        return self._reader[self._clips[index]]


def open_clips(folder: str | Path) -> ClipReader:
    """The clips of a data folder, checked; raises OysterError if it is missing, empty or damaged."""
    info = load_info(folder)
    if info.clips == 0:
        raise OysterError(f"{folder} holds no clips; record some with `oyster record --out={folder}`")
    return ClipReader(folder, info)


def windows(
    reader: ClipReader, clips: np.ndarray, options: WindowOptions, process: int = 0, processes: int = 1
) -> grain.IterDataset:
    """Batches (dicts of arrays [B, T, …], with `prompt` [B, M, 256] and `prompt_id`) of random windows of `clips`.

    `options.batch` counts the windows of this process; each process draws from its own shard of a common shuffle.
    """
    source = WindowSource(reader, clips, options.frames)
    if len(source) < processes:
        raise OysterError(
            f"no clip is as long as the window of {options.frames} frames (longest: "
            f"{max(reader.frames[clips], default=0)}); record longer episodes or set a smaller `frames`"
        )
    data = grain.MapDataset.source(source).seed(options.seed).shuffle()[process::processes]
    if options.repeat:
        data = data.repeat()
    data = data.random_map(lambda item, rng: window(item, rng, options, reader.info.max_prompts))
    data = data.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=2 * options.batch))
    data = data.batch(options.batch, drop_remainder=options.repeat)
    if options.workers:
        data = data.mp_prefetch(grain.MultiprocessingOptions(num_workers=options.workers))
    return data


def without_padding(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A batch whose `prompt` [B, M, 256] has as few entries and bytes as its frames' prompts need, each rounded up to a
    power of two, so that few shapes are compiled: a clip's most prompts are many more than a window's."""
    prompt = batch["prompt"]
    used = _power_of_two(batch["prompt_id"].max() + 1, 4, prompt.shape[1])
    longest = _power_of_two(np.flatnonzero(prompt.any((0, 1))).max(initial=0) + 1, 128, prompt.shape[2])
    return batch | {"prompt": prompt[:, :used, :longest]}


def _power_of_two(count: int, least: int, most: int) -> int:
    return min(max(1 << (int(count) - 1).bit_length(), least), most)


def window(item, rng: np.random.Generator, options: WindowOptions, max_prompts: int) -> dict[str, np.ndarray]:
    """T frames of a decoded clip, from a place drawn by `rng`, as arrays that outlive the record."""
    meta, arrays = item
    frames = options.frames
    starts = rng.integers(0, len(arrays["prompt_id"]) - frames + 1, size=8)
    start = starts[0]
    if rng.random() < options.loud:
        start = max(starts, key=lambda s: np.abs(arrays["audio"][s : s + frames].astype(np.float32)).sum())
    if options.events and frames > 1 and rng.random() < options.events:
        last = np.flatnonzero(np.diff(arrays["prompt_id"]))  # frames under a prompt
        if len(last):
            start = np.clip(rng.choice(last) - rng.integers(frames - 1), 0, len(arrays["prompt_id"]) - frames)
    return take(meta, arrays, int(start), frames, options.arrays, max_prompts)


def take(meta: dict, arrays: dict, start: int, frames: int, names, max_prompts: int) -> dict[str, np.ndarray]:
    """Frames `start` .. `start + frames - 1` of a decoded clip as a dict of float32 sound, uint8 video, int32 rest."""
    at = slice(start, start + frames)
    if missing := set(names) - set(arrays):
        raise OysterError(f"the data's clips hold no {', '.join(sorted(missing))}: give a folder that `record` made")
    out = {name: np.array(arrays[name][at]) for name in names}
    if "audio" in out:
        out["audio"] = out["audio"].astype(np.float32) / 32767
    used, prompt_id = np.unique(arrays["prompt_id"][at], return_inverse=True)
    prompt = np.zeros((max_prompts, MAX_PROMPT_BYTES), np.uint8)
    for i, j in enumerate(used):
        prompt[i] = prompt_bytes(meta["prompts"][j])
    return out | {"prompt": prompt, "prompt_id": prompt_id.astype(np.int32)}
