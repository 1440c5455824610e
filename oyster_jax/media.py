"""Video files with sound, through PyAV."""

import contextlib
import os
from fractions import Fraction
from pathlib import Path

import numpy as np

from oyster_jax.config import MediaSpec
from oyster_jax.errors import OysterError

AAC_RATE = 48_000  # AAC has no 15,360 Hz
SMALLEST = 256  # pixels: tiny frames are enlarged, so that players and 4:2:0 chroma do them justice


def write_video(
    path: str | Path, video_THWC: np.ndarray, audio_TS: np.ndarray, fps: Fraction, sample_rate: int
) -> None:
    """Writes uint8 [T, H, W, 3] and float32 [T, S] in [-1, 1] as H.264 and 48 kHz AAC at a constant frame rate.

    Both streams begin at 0 and have the same length to within one audio packet. Small frames are enlarged by a whole
    factor, without smoothing. The file appears whole or not at all.
    """
    import av

    fps = Fraction(fps)
    frames, height, width = video_THWC.shape[:3]
    scale = max(1, -(-SMALLEST // min(height, width)))
    tmp = Path(path).with_name("." + Path(path).name + ".tmp.mp4")
    try:
        with av.open(str(tmp), "w", format="mp4") as out:
            picture = out.add_stream("libx264", rate=fps, options={"crf": "16", "preset": "veryfast"})
            picture.width, picture.height = (width * scale) // 2 * 2, (height * scale) // 2 * 2
            picture.pix_fmt, picture.time_base = "yuv420p", 1 / fps
            sound = out.add_stream("aac", rate=AAC_RATE, layout="mono")
            sound.bit_rate = 128_000
            for i, image in enumerate(video_THWC):
                image = image.repeat(scale, 0).repeat(scale, 1)[: picture.height, : picture.width]
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")
                frame.pts, frame.time_base = i, 1 / fps
                out.mux(picture.encode(frame))
            out.mux(picture.encode())
            for frame in _resampled(av, audio_TS.reshape(-1), sample_rate, round(frames / fps * AAC_RATE)):
                out.mux(sound.encode(frame))
            out.mux(sound.encode())
        os.replace(tmp, path)
    except av.error.FFmpegError as e:
        raise OysterError(f"{path} could not be written ({e.strerror or e})") from None
    finally:
        with contextlib.suppress(OSError):
            tmp.unlink(missing_ok=True)


def _resampled(av, samples: np.ndarray, rate: int, length: int):
    """Mono float samples at `rate` as audio frames at AAC_RATE, `length` samples in all."""
    source = av.AudioFrame.from_ndarray(samples.astype(np.float32)[None], format="flt", layout="mono")
    source.sample_rate = rate
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=AAC_RATE)
    parts = [f.to_ndarray()[0] for f in [*resampler.resample(source), *resampler.resample(None)]]
    sound = np.concatenate(parts)[:length]
    sound = np.pad(sound, (0, length - len(sound)))
    for start in range(0, length, 1024):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[None, start : start + 1024]), "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = AAC_RATE, start, Fraction(1, AAC_RATE)
        yield frame


def read_image(path: str | Path, media: MediaSpec) -> np.ndarray:
    """A picture file as uint8 [H, W, 3], scaled and centre-cropped to the world's size."""
    import av

    try:
        with av.open(str(path)) as source:
            frame = next(source.decode(video=0))
    except (av.error.FFmpegError, IndexError, StopIteration) as e:
        raise OysterError(f"{path} is not a picture that can be read ({getattr(e, 'strerror', 'no image')})") from None
    scale = max(media.width / frame.width, media.height / frame.height)
    width, height = round(frame.width * scale), round(frame.height * scale)
    image = frame.reformat(width, height, "rgb24", interpolation="AREA").to_ndarray()
    top, left = (height - media.height) // 2, (width - media.width) // 2
    return image[top : top + media.height, left : left + media.width]


def check_writable(path: str | Path) -> None:
    """Raises what writing a film there would, before long work rather than after it."""
    import av  # noqa: F401

    folder = Path(path).resolve().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OysterError(f"{path} cannot be written: {folder} is not a folder that can be written to")
    if Path(path).is_dir():
        raise OysterError(f"{path} is a folder: give the name of a file in it, such as {Path(path) / 'world.mp4'}")
