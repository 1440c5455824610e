"""A folder of clips on disk: shards of ArrayRecord clips and `dataset.json`, which says what they are.

A shard is written under a temporary name and listed in `dataset.json` only when it is whole, so what is listed can be
trusted and a recording that was interrupted goes on with the first episode that is not listed.
"""

import contextlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from oyster_jax.config import ActionSpace, MediaSpec
from oyster_jax.config_dict import from_dict, to_dict
from oyster_jax.data import records
from oyster_jax.data.sources.base import RawClip
from oyster_jax.errors import OysterError

SCHEMA = 1
INFO_FILE = "dataset.json"
HELD_OUT_EVERY = 10  # every tenth episode is held out


@dataclass(frozen=True)
class ShardInfo:
    """One file of clips: how many frames and which episode each clip has, in order."""

    file: str
    bytes: int
    frames: tuple[int, ...]
    episodes: tuple[int, ...]


@dataclass(frozen=True)
class DatasetInfo:
    """What `dataset.json` holds."""

    source: str
    media: MediaSpec
    actions: ActionSpace
    seed: int
    recipe: str = ""  # what else shapes the clips, see `Source`
    max_prompts: int = 1  # most prompts in any clip
    shards: tuple[ShardInfo, ...] = ()
    notes: tuple[str, ...] = ()
    schema: int = SCHEMA

    @property
    def frames(self) -> int:
        return sum(sum(s.frames) for s in self.shards)

    @property
    def clips(self) -> int:
        return sum(len(s.frames) for s in self.shards)

    @property
    def next_episode(self) -> int:
        return max((max(s.episodes) + 1 for s in self.shards), default=0)


def held_out(episode: int, episodes: int) -> bool:
    """Whether an episode belongs to the held-out data: every tenth one, and the last where there are fewer."""
    return episode % HELD_OUT_EVERY == HELD_OUT_EVERY - 1 or (1 < episodes < HELD_OUT_EVERY and episode == episodes - 1)


def write_json(path: Path, data: dict) -> None:
    """Writes JSON so that a reader sees the old file or the new one, never half of it."""
    tmp = path.with_name(path.name + ".tmp")
    try:
        tmp.write_text(json.dumps(data, indent=1))
        os.replace(tmp, path)
    except OSError:
        with contextlib.suppress(OSError):
            tmp.unlink()
        raise


def save_info(folder: Path, info: DatasetInfo) -> None:
    summary = {"total_frames": info.frames, "total_clips": info.clips, "total_episodes": info.next_episode}
    write_json(folder / INFO_FILE, summary | to_dict(info))


def load_info(folder: str | Path) -> DatasetInfo:
    """Reads `dataset.json` and checks that every shard it lists is there and whole; raises OysterError otherwise."""
    folder = Path(folder)
    if not folder.is_dir():
        raise OysterError(f"data folder {folder} does not exist; make one with `oyster record --out={folder}`")
    path = folder / INFO_FILE
    if not path.exists():
        raise OysterError(f"{folder} holds no {INFO_FILE}; make a data set with `oyster record --out={folder}`")
    try:
        data = json.loads(path.read_text())
    except ValueError as e:
        raise OysterError(f"{path} is not readable JSON ({e}); record the data again") from None
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise OysterError(f"{path} is not a data set of schema {SCHEMA}; record the data again")
    info = from_dict(DatasetInfo, {k: v for k, v in data.items() if not k.startswith("total_")}, str(path))
    for shard in info.shards:
        file = folder / shard.file
        if not file.exists():
            raise OysterError(f"{file} is listed in {INFO_FILE} but missing; record the data again")
        if file.stat().st_size != shard.bytes:
            raise OysterError(
                f"{file} has {file.stat().st_size} bytes where {INFO_FILE} lists {shard.bytes}: it is cut short or "
                f"foreign; record the data again"
            )
    return info


def clip_record(clip: RawClip, episode: int, start: int) -> bytes:
    """A raw clip as one record; sound is stored as int16."""
    frames = len(clip.video)
    prompt_id = np.zeros(frames, np.int32) if clip.prompt_id is None else clip.prompt_id.astype(np.int32)
    audio = np.round(np.clip(clip.audio, -1, 1) * 32767).astype(np.int16)
    arrays = dict(video=clip.video, audio=audio, action=clip.action.astype(np.int32), prompt_id=prompt_id)
    arrays |= {f"truth/{k}": v for k, v in clip.truth.items()}
    return records.encode({"episode": episode, "start": start, "prompts": list(clip.prompts)}, arrays)


class DatasetWriter:
    """Appends shards to a data folder; use as a context manager, which drops an unfinished shard.

    Keeps going where an earlier writer of the same source, seed and sizes stopped (`info.next_episode`).
    """

    def __init__(self, folder: str | Path, info: DatasetInfo, shard_frames: int = 2048):
        from array_record.python.array_record_module import ArrayRecordWriter

        self._open = ArrayRecordWriter
        self.folder, self.info, self.shard_frames = Path(folder), info, shard_frames
        if (self.folder / INFO_FILE).exists():
            old = load_info(self.folder)
            for name in ("source", "media", "actions", "seed", "recipe"):
                if getattr(old, name) != getattr(info, name):
                    raise OysterError(
                        f"{self.folder} holds a recording with another {name} ({getattr(old, name)} against "
                        f"{getattr(info, name)}); choose another --out"
                    )
            self.info = old
        elif self.folder.exists() and any(not f.name.endswith(".tmp") for f in self.folder.iterdir()):
            raise OysterError(f"{self.folder} is not empty and holds no data set; choose another --out")
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob(".shard-*.tmp"):  # of a writer that was killed
            left.unlink()
        self._writer, self._tmp, self._frames, self._episodes = None, None, [], []

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self._writer is not None:
            with contextlib.suppress(Exception):
                self._writer.close()
            self._writer = None
        if self._tmp is not None:
            self._tmp.unlink(missing_ok=True)

    def add(self, record: bytes, frames: int, episode: int, prompts: int = 1) -> None:
        """Adds one clip to the open shard."""
        if self._writer is None:
            self._tmp = self.folder / f".shard-{len(self.info.shards):05d}.tmp"
            self._writer = self._open(str(self._tmp), "group_size:1,zstd:1")
        self._writer.write(record)
        self._frames.append(frames)
        self._episodes.append(episode)
        if prompts > self.info.max_prompts:
            self.info = replace(self.info, max_prompts=prompts)

    def close_full(self, last: bool = False) -> None:
        """Closes the open shard if it is full, or if nothing comes after it (`last`): what is in it is safe then.

        To be called where a recording may go on later: after an episode, or after any clip of a film.
        """
        if self._writer is None or (sum(self._frames) < self.shard_frames and not last):
            return
        self._writer.close()
        self._writer = None
        name = f"shard-{len(self.info.shards):05d}.array_record"
        with open(self._tmp, "rb+") as f:  # a full disk shows here rather than in a reader, weeks later
            os.fsync(f.fileno())
        _check_readable(self._tmp, len(self._frames))
        os.replace(self._tmp, self.folder / name)
        size = (self.folder / name).stat().st_size
        shard = ShardInfo(name, size, tuple(self._frames), tuple(self._episodes))
        self._frames, self._episodes = [], []
        self.info = replace(self.info, shards=(*self.info.shards, shard))
        try:
            save_info(self.folder, self.info)
        except OSError:  # a shard that is not listed would stand in the way of the next writer
            (self.folder / name).unlink()
            raise

    def note(self, notes: list[str]) -> None:
        """Adds remarks to what the folder says of itself; those that it has are not said twice."""
        notes = tuple(dict.fromkeys([*self.info.notes, *notes]))
        if notes != self.info.notes:
            self.info = replace(self.info, notes=notes)
            if self.info.shards:
                save_info(self.folder, self.info)


def _check_readable(path: Path, clips: int) -> None:
    from array_record.python.array_record_module import ArrayRecordReader

    try:
        reader = ArrayRecordReader(str(path))
        count = reader.num_records()
        reader.close()
    except Exception:  # the C++ reader has no exception type of its own
        count = -1
    if count != clips:
        path.unlink(missing_ok=True)
        raise OysterError(f"{path.parent} could not take a whole shard: is the disk full? Nothing listed was lost")


class ClipReader:
    """Random access to the clips of a data folder: `reader[i]` is (meta, arrays) of clip `i`."""

    def __init__(self, folder: str | Path, info: DatasetInfo):
        from grain.sources import ArrayRecordDataSource

        self.info = info
        self._files = [str(Path(folder) / s.file) for s in info.shards]
        try:
            self._source = ArrayRecordDataSource(self._files)
            count = len(self._source)
        except Exception as e:  # raised from C++ as RuntimeError or ValueError
            raise OysterError(f"{folder}: a shard is not a readable ArrayRecord file ({e})") from None
        if count != info.clips:
            raise OysterError(f"{folder} holds {count} clips where {INFO_FILE} lists {info.clips}; record it again")
        self.frames = np.concatenate([s.frames for s in info.shards]) if info.shards else np.zeros(0, np.int64)
        self.episodes = np.concatenate([s.episodes for s in info.shards]) if info.shards else np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> tuple[dict, dict[str, np.ndarray]]:
        return records.decode(self._source[int(index)], f"clip {index}")

    def split(self, name: str) -> np.ndarray:
        """Indices of the clips of split `train`, `held_out` or `all`; the splits differ by episode."""
        out = np.array([held_out(int(e), self.info.next_episode) for e in self.episodes], bool)
        return np.flatnonzero({"train": ~out, "held_out": out, "all": np.ones_like(out)}[name])
