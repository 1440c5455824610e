"""Plays a source into a data folder."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from oyster_jax.data.dataset import DatasetInfo, DatasetWriter, clip_record
from oyster_jax.data.sources.base import RawClip, Source
from oyster_jax.errors import OysterError
from oyster_jax.models.text_encoder import prompt_bytes


def record(
    source: Source,
    folder: str | Path,
    frames: int | None,
    seed: int = 0,
    clip_frames: int = 128,
    progress: Callable[[int], None] = lambda frames: None,
) -> DatasetInfo:
    """Records `frames` frames (None: all that the source has) into `folder` and returns what the folder now holds.

    A folder that already holds a part of the same recording is continued, with its next episode; a film goes on where
    it was cut or left. `progress` is called with the number of frames added. Whatever ends the recording early, the
    shards already listed stay whole: a game's hold whole episodes, a film's any of its clips.
    """
    if frames is None and source.episodes is None:
        raise OysterError(f"source {source.name} never ends: say how many frames to record")
    info = DatasetInfo(source.name, source.media, source.actions, seed, source.recipe, notes=tuple(source.notes()))
    with DatasetWriter(folder, info) as writer:
        total, episode = writer.info.frames, writer.info.next_episode
        progress(total)
        start = 0  # in a film, of which a rest may be left; a game that was cut is over
        if source.episodes is not None and episode and (frames is None or total < frames):
            episode -= 1
            start = sum(n for s in writer.info.shards for n, e in zip(s.frames, s.episodes) if e == episode)
        while (frames is None or total < frames) and (source.episodes is None or episode < source.episodes):
            for clip in after(source.episode(episode, clip_frames), start):
                if frames is not None:
                    clip = cut(clip, 0, frames - total)
                for prompt in clip.prompts:
                    prompt_bytes(prompt)  # a caption over the limit must not reach a record
                length = len(clip.video)
                writer.add(clip_record(clip, episode, start), length, episode, len(clip.prompts))
                start, total = start + length, total + length
                progress(length)
                if source.episodes is not None:
                    writer.close_full()
                if total == frames:
                    break
            episode, start = episode + 1, 0
            writer.note(source.notes())
            writer.close_full(last=total == frames or episode == source.episodes)
        if writer.info.frames == 0:
            raise OysterError(f"source {source.name} gave no frames")
        return writer.info


def after(clips: Iterable[RawClip], frames: int) -> Iterator[RawClip]:
    """What comes after the first `frames` frames of an episode's clips."""
    for clip in clips:
        length = len(clip.video)
        if length > frames:
            yield cut(clip, frames, length)
        frames = max(0, frames - length)


def cut(clip: RawClip, start: int, stop: int) -> RawClip:
    """Frames `start` to `stop` of a clip, or those of them that it has."""
    part = slice(start, stop)
    return replace(
        clip,
        video=clip.video[part],
        audio=clip.audio[part],
        action=clip.action[part],
        prompt_id=None if clip.prompt_id is None else clip.prompt_id[part],
        truth={k: v[part] for k, v in clip.truth.items()},
    )
