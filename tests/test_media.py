"""Films keep time: a flash and a click written at frame t are read back at frame t, together."""

from fractions import Fraction

import av
import numpy as np
import pytest

from oyster_jax.config import MediaSpec
from oyster_jax.errors import OysterError
from oyster_jax.media import AAC_RATE, check_writable, read_image, write_video

FRAMES, FLASHES = 24, (7, 16)
RATES = [(Fraction(15), 15360), (Fraction(35, 4), 8960), (Fraction(30), 48000)]


@pytest.fixture(scope="module", params=RATES, ids=lambda r: f"{r[0]}fps".replace("/", "over"))
def film(request, tmp_path_factory):
    """(fps, streams, frame times, brightness of each, sound at 48 kHz) of a film with flashes and clicks, read back."""
    fps, rate = request.param
    samples = int(rate / fps)
    video = np.full((FRAMES, 64, 48, 3), 20, np.uint8)
    audio = np.zeros((FRAMES, samples), np.float32)
    for t in FLASHES:
        video[t] = 230
        audio[t, :60] = 0.8 * np.sin(np.arange(60) * 0.9)
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    write_video(path, video, audio, fps, rate)
    with av.open(str(path)) as source:
        picture, sound = source.streams.video[0], source.streams.audio[0]
        lengths = [float(s.duration * s.time_base) for s in (picture, sound)]
        frames = [(f.pts * f.time_base, f.to_ndarray(format="gray").mean()) for f in source.decode(video=0)]
        size = picture.width, picture.height
    with av.open(str(path)) as source:
        parts = [(int(f.pts * f.time_base * AAC_RATE), f.to_ndarray()[0]) for f in source.decode(audio=0)]
    heard = np.zeros(parts[-1][0] + len(parts[-1][1]), np.float32)
    for start, part in parts:
        heard[max(start, 0) : start + len(part)] = part[max(-start, 0) :]
    return fps, lengths, frames, heard, size


def test_the_frame_rate_is_constant(film):
    fps, _, frames, _, _ = film
    assert [time for time, _ in frames] == [t / fps for t in range(FRAMES)]


def test_both_streams_are_equally_long_to_one_packet(film):
    fps, lengths, _, heard, _ = film
    assert abs(lengths[0] - FRAMES / fps) < 1e-3
    assert abs(lengths[0] - lengths[1]) <= 1024 / AAC_RATE
    assert abs(len(heard) / AAC_RATE - FRAMES / fps) <= 1024 / AAC_RATE


def test_flashes_and_clicks_are_where_they_were_written(film):
    fps, _, frames, heard, _ = film
    assert tuple(time * fps for time, light in frames if light > 120) == FLASHES
    for t in FLASHES:
        around = slice(int((t - 1) / fps * AAC_RATE), int((t + 1) / fps * AAC_RATE))
        onset = around.start + np.flatnonzero(np.abs(heard[around]) > 0.25)[0]
        assert abs(onset / AAC_RATE - t / fps) < 0.005  # a frame is 33 to 114 ms


def test_small_frames_are_enlarged_by_a_whole_factor(film):
    assert film[-1] == (48 * 6, 64 * 6)


def test_a_film_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(ValueError):
        write_video(tmp_path / "film.mp4", np.zeros((2, 8, 8, 4), np.uint8), np.zeros((2, 8)), Fraction(1), 8)
    assert list(tmp_path.iterdir()) == []


def test_pictures_are_scaled_and_cropped_to_the_world(tmp_path):
    picture = np.zeros((200, 600, 3), np.uint8)
    picture[:, 200:400] = [250, 100, 10]  # the middle
    frame = av.VideoFrame.from_ndarray(picture, "rgb24")
    with av.open(str(tmp_path / "p.png"), "w", format="image2") as out:
        stream = out.add_stream("png")
        stream.width, stream.height, stream.pix_fmt = 600, 200, "rgb24"
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    image = read_image(tmp_path / "p.png", MediaSpec(Fraction(1), 8, 64, 64))
    assert image.shape == (64, 64, 3) and image.dtype == np.uint8
    assert np.abs(image[:, 2:-2].astype(int) - [250, 100, 10]).max() < 8


def test_what_is_no_picture_says_so(tmp_path):
    (tmp_path / "x.png").write_text("hello")
    for path in (tmp_path / "x.png", tmp_path / "missing.png"):
        with pytest.raises(OysterError, match="not a picture"):
            read_image(path, MediaSpec(Fraction(1), 8))


def test_a_place_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    check_writable(tmp_path / "film.mp4")
    with pytest.raises(OysterError, match="not a folder"):
        check_writable(tmp_path / "nowhere" / "film.mp4")
