"""Plays a source into a data folder."""

from collections.abc import Callable
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

    A folder that already holds a part of the same recording is continued. `progress` is called with the number of
    frames added. Whatever ends the recording early, the shards already listed stay whole.
    """
    if frames is None and source.episodes is None:
        raise OysterError(f"source {source.name} never ends: say how many frames to record")
    info = DatasetInfo(source.name, source.media, source.actions, seed, source.recipe, notes=tuple(source.notes()))
    with DatasetWriter(folder, info) as writer:
        total, episode = writer.info.frames, writer.info.next_episode
        progress(total)
        while (frames is None or total < frames) and (source.episodes is None or episode < source.episodes):
            start = 0
            for clip in source.episode(episode, clip_frames):
                if frames is not None:
                    clip = cut(clip, frames - total)
                for prompt in clip.prompts:
                    prompt_bytes(prompt)  # a caption over the limit must not reach a record
                length = len(clip.video)
                writer.add(clip_record(clip, episode, start), length, episode, len(clip.prompts))
                start, total = start + length, total + length
                progress(length)
                if total == frames:
                    break
            episode += 1
            done = total == frames or episode == source.episodes
            writer.end_episode(source.notes(), last=done)
        if writer.info.frames == 0:
            raise OysterError(f"source {source.name} gave no frames")
        return writer.info


def cut(clip: RawClip, frames: int) -> RawClip:
    """The first `frames` frames of a clip, or the whole clip if it is shorter."""
    return replace(
        clip,
        video=clip.video[:frames],
        audio=clip.audio[:frames],
        action=clip.action[:frames],
        prompt_id=None if clip.prompt_id is None else clip.prompt_id[:frames],
        truth={k: v[:frames] for k, v in clip.truth.items()},
    )
