"""Films as clips without actions: `video:GLOB`, any container and codec that FFmpeg reads.

Frame `t` is the picture shown at `t / fps` seconds after the film's first one; `audio[t]` is the sound from there on.
"""

import glob
import hashlib
import itertools
import os
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from oyster_jax.config import MAX_PROMPT_BYTES, ActionSpace, MediaSpec
from oyster_jax.data.sources.base import RawClip, SourceOptions
from oyster_jax.errors import OysterError

_TIMED = re.compile(r"(\d+(?:\.\d*)?)[\t ]+(\S.*)")
_TOLERANCE = 0.0005  # seconds, of a caption's time: people write 0.067 for 1/15


def make(argument: str, options: SourceOptions) -> "VideoSource":
    """The source `video:argument`, every file of the glob opened and checked once.

    Raises OysterError naming the file where one is not a film or its sidecar does not fit, and where nothing matches.
    """
    return VideoSource(argument, options)


class VideoSource:
    """One file is one episode, in sorted order. `film.txt` beside `film.mp4` holds its captions:

    one text for the whole film, or lines of `SECONDS caption`, each in force from that time on.
    """

    actions = ActionSpace()

    def __init__(self, pattern: str, options: SourceOptions):
        self.name = f"video:{pattern}"
        self.media = _media(options)
        matches = sorted(Path(p) for p in glob.glob(os.path.expanduser(pattern), recursive=True))
        self._files = [p for p in matches if p.is_file() and p.suffix != ".txt"]
        if not self._files:
            raise OysterError(f"no film matches '{pattern}'; give a glob such as 'films/*.mp4'")
        self._captions = [_captions(p) for p in self._files]
        digest = lambda lines: hashlib.sha256("\n".join(lines).encode()).hexdigest()[:8]
        said = digest(f"{seconds.tolist()} {captions}" for seconds, captions in self._captions)
        self.recipe = f"{len(self._files)} films, names {digest(p.name for p in self._files)}, captions {said}"
        silent = [p for p in self._files if not _has_sound(p)]
        self._notes = [f"{p.name} has no sound track; its sound is recorded as silence" for p in silent]
        self.episodes = len(self._files)

    def notes(self) -> list[str]:
        return list(self._notes)

    def episode(self, index: int, clip_frames: int) -> Iterator[RawClip]:
        """Film `index` from its first picture to its last one that can be read, decoded as it goes."""
        if not 0 <= index < self.episodes:
            raise OysterError(f"{self.name} has {self.episodes} files, no episode {index}")
        video, audio, first = [], [], 0
        for picture, sound in self._decode(self._files[index]):
            video.append(picture)
            audio.append(sound)
            if len(video) == clip_frames:
                yield self._clip(index, first, video, audio)
                video, audio, first = [], [], first + clip_frames
        if video:
            yield self._clip(index, first, video, audio)

    def _decode(self, path: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Each frame's picture and sound. A film that breaks ends there, with a note: the others are worth having."""
        frames = 0
        try:
            with av.open(str(path)) as film, av.open(str(path)) as again:
                start, pictures = _pictures(film, self.media)
                sound = _Sound(again, start, self.media)
                for picture in pictures:
                    heard = sound.read()
                    frames += 1
                    yield picture, heard
        except av.FFmpegError as e:
            seconds = frames / float(self.media.fps)
            self._notes.append(
                f"{path.name} cannot be read beyond {seconds:.1f} s ({e.strerror}); it is recorded so far"
            )

    def _clip(self, index: int, first: int, video: list, audio: list) -> RawClip:
        times, captions = self._captions[index]
        seconds = (first + np.arange(len(video))) / float(self.media.fps)
        ids = np.searchsorted(times, seconds + _TOLERANCE, side="right") - 1
        used, prompt_id = np.unique(ids, return_inverse=True)
        return RawClip(
            np.stack(video),
            np.stack(audio),
            np.zeros((len(video), 0), np.int32),
            tuple(captions[i] for i in used),
            prompt_id.astype(np.int32),
        )


def _media(options: SourceOptions) -> MediaSpec:
    try:
        fps = Fraction(options.fps or "15")
    except (ValueError, ZeroDivisionError):
        raise OysterError(f"fps must be a number or a ratio like 30000/1001, got '{options.fps}'") from None
    rate = 1024 * fps if options.sample_rate is None else Fraction(options.sample_rate)
    if rate.denominator != 1:
        raise OysterError(f"1024 samples a frame at {fps} frames a second are no whole sample rate; choose sample_rate")
    if options.policy is not None:
        raise OysterError(f"films are not played; leave out the policy '{options.policy}'")
    if options.random_share is not None:
        raise OysterError("films are not played; leave out random_share")
    size = 64 if options.size is None else options.size
    return MediaSpec(fps, int(rate), size, size)


def _has_sound(path: Path) -> bool:
    """Whether the film has a sound track, after decoding its first picture; raises OysterError where there is none."""
    try:
        with av.open(str(path)) as film:
            if not film.streams.video or all(f.pts is None for f in film.decode(video=0)):
                raise OysterError(f"{path} has no pictures")
            return bool(film.streams.audio)
    except (av.FFmpegError, OSError) as e:
        raise OysterError(f"{path} is not a film that can be read: {e.strerror}") from None


# ---------------------------------------------------------------------------- pictures and sound on one clock


def _pictures(film, media: MediaSpec) -> tuple[Fraction, Iterator[np.ndarray]]:
    """(time of the first picture in seconds, iterator over uint8 [H, W, 3] on a grid of 1 / fps from there)."""
    stream = film.streams.video[0]
    stream.thread_type = "AUTO"
    # Containers round times to their own clock (a millisecond in mkv): half a tick early still counts as on time.
    early = stream.time_base / 2
    decoded = (f for f in film.decode(stream) if f.pts is not None)
    shown = next(decoded)
    start = shown.pts * stream.time_base

    def grid():
        count, current = 0, shown
        for following in decoded:
            upto = following.pts * stream.time_base - early - start
            if count / media.fps < upto:
                picture = _square(current, media.height)
            while count / media.fps < upto:
                yield picture
                count += 1
            current = following
        lasts = current.duration * stream.time_base if current.duration else 1 / (stream.average_rate or media.fps)
        end, picture = current.pts * stream.time_base + lasts - early - start, _square(current, media.height)
        while count == 0 or count / media.fps < end:
            yield picture
            count += 1

    return start, grid()


def _square(frame: av.VideoFrame, size: int) -> np.ndarray:
    """Scales the shorter side to `size` and cuts the middle out of the longer one: uint8 [size, size, 3]."""
    side = min(frame.width, frame.height)
    width, height = (max(size, round(n * size / side)) for n in (frame.width, frame.height))
    picture = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA")
    picture = np.rot90(picture, round(frame.rotation / 90))  # telephones film sideways and say so
    top, left = ((n - size) // 2 for n in picture.shape[:2])
    return picture[top : top + size, left : left + size]


class _Sound:
    """The film's sound from `start` (seconds) on: mono, resampled, one frame's samples at a time, then silence."""

    def __init__(self, film, start: Fraction, media: MediaSpec):
        self._samples = media.samples_per_frame
        self._parts = _resampled(film, start, media.sample_rate) if film.streams.audio else iter(())
        self._left = np.zeros(0, np.float32)

    def read(self) -> np.ndarray:
        """The next frame's sound: float32 [samples_per_frame], in [-1, 1]."""
        while len(self._left) < self._samples:
            part = next(self._parts, None)
            self._left = np.concatenate([self._left, np.zeros(self._samples, np.float32) if part is None else part])
        sound, self._left = self._left[: self._samples], self._left[self._samples :]
        return np.clip(sound, -1, 1)


def _resampled(film, start: Fraction, rate: int) -> Iterator[np.ndarray]:
    """Mono float32 parts at `rate`; silence where the track begins late or has a hole, cut where it begins early."""
    stream = film.streams.audio[0]
    graph = av.filter.Graph()
    source = graph.add_abuffer(template=stream)
    resample = graph.add("aresample", f"{rate}:async=1:out_sample_fmt=fltp")  # async=1 fills holes
    sink = graph.add("abuffersink")
    source.link_to(resample)
    resample.link_to(sink)
    graph.configure()

    cut = None  # samples still to drop
    for frame in itertools.chain(film.decode(stream), [None]):  # None ends the stream
        source.push(frame)
        for part in _ready(sink):
            if cut is None:
                cut = round((start - part.pts * part.time_base) * rate)
                if cut < 0:
                    yield from _silence(-cut, rate)
            sound = part.to_ndarray().mean(0)  # a sum of channels would clip
            cut, sound = max(0, cut - len(sound)), sound[max(0, cut) :]
            yield sound


def _silence(samples: int, most: int) -> Iterator[np.ndarray]:
    """Zeros in parts of at most `most` samples: a track may begin an hour late."""
    for at in range(0, samples, most):
        yield np.zeros(min(most, samples - at), np.float32)


def _ready(sink) -> Iterator[av.AudioFrame]:
    """What the filter has finished so far."""
    while True:
        try:
            yield sink.pull()
        except (BlockingIOError, EOFError):
            return


# ---------------------------------------------------------------------------- captions


def _captions(film: Path) -> tuple[np.ndarray, list[str]]:
    """(seconds [C] from which each caption is in force, captions) of the film's sidecar; raises OysterError."""
    path = film.with_suffix(".txt")
    if not path.exists():
        return np.zeros(1), [""]
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise OysterError(f"{path} is not UTF-8 text") from None
    timed = [_TIMED.fullmatch(line) for line in lines]
    # A title such as "2001 a space odyssey" is one caption: a table has a tab, starts at 0 or has several lines.
    if not lines or not timed[0] or (len(lines) == 1 and "\t" not in lines[0] and float(timed[0][1]) > 0):
        seconds, captions = [0.0], [" ".join(lines)]
    elif None in timed:
        raise OysterError(f"{path}: '{lines[timed.index(None)]}' should be SECONDS and a caption, like the first line")
    else:
        # Nothing is said before the first line's time.
        seconds, captions = [-1.0, *(float(m[1]) for m in timed)], ["", *(m[2] for m in timed)]
    if any(b <= a for a, b in itertools.pairwise(seconds)):
        raise OysterError(f"{path}: the seconds must grow from line to line")
    for caption in captions:
        if len(caption.encode()) > MAX_PROMPT_BYTES:
            raise OysterError(
                f"{path}: the caption '{caption[:40]}…' has {len(caption.encode())} bytes; at most {MAX_PROMPT_BYTES}"
            )
    return np.array(seconds), captions
