"""Films: a flash and a click at known instants must come out at the right frame and the right sample."""

from fractions import Fraction

import numpy as np
import pytest

av = pytest.importorskip("av")

from oyster_jax.data.pipeline import open_clips  # noqa: E402
from oyster_jax.data.recorder import record  # noqa: E402
from oyster_jax.data.sources import SourceOptions, make_source  # noqa: E402
from oyster_jax.errors import OysterError  # noqa: E402

RATE = 48000


def film(
    path,
    codecs=("libx264", "aac"),
    fps=30,
    seconds=2.0,
    flash=1.0,
    click=1.0,
    late=(0.0, 0.0),
    size=(96, 64),
    sound=2.0,
):
    """Writes a film that flashes at `flash` and clicks at `click` (seconds on its clock), tracks starting `late`."""
    with av.open(str(path), "w") as out:
        video = out.add_stream(codecs[0], rate=fps)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        audio = out.add_stream(codecs[1], rate=RATE, layout="stereo") if sound else None
        for i in range(round(seconds * fps)):
            lit = i + round(late[0] * fps) == round(flash * fps)
            picture = np.full((size[1], size[0], 3), 255 if lit else 30, np.uint8)
            picture[:, : size[0] // 8] = 120  # a bar that a square cut from the middle leaves out
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = i + round(late[0] * fps), Fraction(1, fps)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if audio:
            wave = np.zeros((2, round(sound * RATE)), np.float32)
            at = round((click - late[1]) * RATE)
            wave[0, at : at + 240] = 0.9 * np.sin(0.6 * np.arange(240))[: wave.shape[1] - at]  # left ear only
            for i in range(0, wave.shape[1], 960):
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave[:, i : i + 960]), "fltp", "stereo")
                frame.sample_rate, frame.pts, frame.time_base = RATE, i + round(late[1] * RATE), Fraction(1, RATE)
                out.mux(audio.encode(frame))
            out.mux(audio.encode(None))
    return path


def read(path, index=0, clip_frames=16, **options):
    """A whole film: (source, video, audio)."""
    source = make_source(f"video:{path}", SourceOptions(**options))
    clips = list(source.episode(index, clip_frames))
    return source, np.concatenate([c.video for c in clips]), np.concatenate([c.audio for c in clips])


def flash_and_click(video, audio):
    """(index of the brightest frame, index of the first loud sample)."""
    return int(video.mean((1, 2, 3)).argmax()), int(np.flatnonzero(np.abs(audio.reshape(-1)) > 0.1)[0])


@pytest.mark.parametrize(
    "suffix, made, start",
    [
        ("mp4", {}, 0.0),
        ("mp4", {"fps": 24}, 0.0),
        ("mkv", {"fps": 15}, 0.0),  # a container that rounds times to milliseconds
        ("webm", {"codecs": ("libvpx", "libopus")}, 0.0),
        ("mkv", {"late": (0.6, 0.0)}, 0.6),  # sound before the first picture is cut
        ("mp4", {"late": (0.6, 0.0)}, 0.6),
        ("mp4", {"late": (0.0, 0.5)}, 0.0),  # silence until the sound begins
        ("mkv", {"late": (0.0, 0.5), "sound": 0.8}, 0.0),
    ],
)
@pytest.mark.parametrize("options", [{}, {"fps": "10", "sample_rate": 16000}])
def test_flash_and_click_stay_together(tmp_path, suffix, made, start, options):
    source, video, audio = read(film(tmp_path / f"a.{suffix}", **made), **options)
    frame, sample = flash_and_click(video, audio)
    assert frame == round((1 - start) * source.media.fps)
    assert abs(sample - (1 - start) * source.media.sample_rate) <= 16  # 1 ms
    assert video.shape == (2 * source.media.fps, 64, 64, 3) and video.dtype == np.uint8
    assert audio.shape == (len(video), source.media.samples_per_frame) and audio.dtype == np.float32


def test_holds_the_last_picture_and_goes_on_in_silence(tmp_path):
    _, video, audio = read(film(tmp_path / "a.mp4", fps=2, seconds=3, sound=1.5, flash=1.0), fps="8")
    bright = video.mean((1, 2, 3)) > 128
    assert np.flatnonzero(bright).tolist() == [8, 9, 10, 11]
    assert len(video) == 24 and np.abs(audio[13:]).max() < 1e-3


def test_sound_longer_than_the_picture_is_cut(tmp_path):
    _, video, audio = read(film(tmp_path / "a.mp4", sound=4.0))
    assert len(audio) == len(video) == 30


def test_scales_and_cuts_the_middle_out(tmp_path):
    _, video, _ = read(film(tmp_path / "a.mp4", size=(192, 96)), size=32)
    assert video.shape[1:] == (32, 32, 3)
    assert np.abs(video[0].astype(int) - 30).max() < 8  # the bar at the left edge is gone


def test_both_ears_are_averaged(tmp_path):
    _, _, audio = read(film(tmp_path / "a.mkv", codecs=("libx264", "flac")), sample_rate=48000)
    assert np.abs(audio).max() == pytest.approx(0.45, abs=0.02)


def test_files_are_episodes_in_order_and_repeatable(tmp_path):
    film(tmp_path / "b.mp4", flash=0.5)
    film(tmp_path / "a.mp4", seconds=1.0, sound=0, flash=0.2)
    (tmp_path / "a.txt").write_text("a lamp")
    source, video, audio = read(tmp_path / "*")
    assert source.episodes == 2 and len(video) == 15 and not audio.any()
    assert source.notes() == ["a.mp4 has no sound track; its sound is recorded as silence"]
    assert source.actions.factors == ()
    alone = source.recipe
    film(tmp_path / "aa.mp4", seconds=1.0)
    assert read(tmp_path / "*")[0].recipe != alone  # a recording of the two is not continued with the three
    first, again = (read(tmp_path / "*", 1, clip_frames=n)[1:] for n in (16, 7))
    for a, b in zip(first, again):
        np.testing.assert_array_equal(a, b)
    clip = next(source.episode(1, 4))
    assert clip.action.shape == (4, 0) and clip.action.dtype == np.int32 and clip.prompts == ("",)


def test_a_film_that_was_cut_goes_on_where_that_was(tmp_path):
    for name in "ab":
        film(tmp_path / f"{name}.mp4", flash=0.3)
    source = make_source(f"video:{tmp_path / '*.mp4'}", SourceOptions())
    for frames in (20, 50, None, None):  # within the first film, within the second, all of both, nothing left to do
        info = record(source, tmp_path / "data", frames, clip_frames=16)
    assert info.frames == 60
    reader = open_clips(tmp_path / "data")
    for episode in (0, 1):
        parts = [reader[i] for i in np.flatnonzero(reader.episodes == episode)]
        starts = [meta["start"] for meta, _ in parts]
        assert starts == [sum(len(arrays["video"]) for _, arrays in parts[:i]) for i in range(len(parts))]
        whole = next(source.episode(episode, 64))
        np.testing.assert_array_equal(np.concatenate([arrays["video"] for _, arrays in parts]), whole.video)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a lamp\n", {0: "a lamp", 29: "a lamp"}),
        ("2001 a space odyssey", {0: "2001 a space odyssey"}),
        ("0 dark\n0.2\tdusk\n1.0 ein Blitz ⚡\n", {0: "dark", 2: "dark", 3: "dusk", 14: "dusk", 15: "ein Blitz ⚡"}),
        ("0.667\tlate", {0: "", 9: "", 10: "late"}),
    ],
)
def test_captions_switch_at_their_time(tmp_path, text, expected):
    path = film(tmp_path / "a.mp4")
    (tmp_path / "a.txt").write_text(text)
    clips = list(make_source(f"video:{path}").episode(0, 8))
    heard = [c.prompts[i] for c in clips for i in c.prompt_id]
    assert {t: heard[t] for t in expected} == expected
    assert all(c.prompt_id.dtype == np.int32 and c.prompt_id.max() < len(c.prompts) for c in clips)


@pytest.mark.parametrize(
    "sidecar, says",
    [
        ("ä".encode("latin-1"), "not UTF-8"),
        (b"x" * 257, "257 bytes"),
        (b"0 dark\nlight\n", "'light'"),
        (b"1 dark\n1 light\n", "grow"),
    ],
)
def test_bad_sidecars_are_named(tmp_path, sidecar, says):
    path = film(tmp_path / "a.mp4", seconds=0.2)
    (tmp_path / "a.txt").write_bytes(sidecar)
    with pytest.raises(OysterError, match=rf"a\.txt.*{says}"):
        make_source(f"video:{path}")


def test_bad_files_are_named_before_anything_is_recorded(tmp_path):
    good = film(tmp_path / "a.mp4", seconds=0.2)
    with pytest.raises(OysterError, match="no film matches"):
        make_source(f"video:{tmp_path}/*.webm")
    (tmp_path / "b.mp4").write_text("not a film")
    with pytest.raises(OysterError, match=r"b\.mp4 is not a film"):
        make_source(f"video:{tmp_path}/*.mp4")
    (tmp_path / "b.mp4").write_bytes(good.read_bytes()[:1500])
    with pytest.raises(OysterError, match=r"b\.mp4"):
        make_source(f"video:{tmp_path}/*.mp4")
    with av.open(str(tmp_path / "b.mp4"), "w") as out:
        audio = out.add_stream("aac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), "fltp", "mono")
        frame.sample_rate = RATE
        out.mux([*audio.encode(frame), *audio.encode(None)])
    with pytest.raises(OysterError, match=r"b\.mp4 has no pictures"):
        make_source(f"video:{tmp_path}/*.mp4")


@pytest.mark.parametrize(
    "options, says",
    [
        ({"fps": "fast"}, "fps"),
        ({"fps": "0"}, "fps"),
        ({"fps": "30000/1001"}, "sample_rate"),
        ({"sample_rate": 44101}, "whole"),
        ({"size": 0}, "size"),
        ({"policy": "random"}, "policy"),
    ],
)
def test_impossible_options_are_named(tmp_path, options, says):
    path = film(tmp_path / "a.mp4", seconds=0.2)
    with pytest.raises(OysterError, match=says):
        make_source(f"video:{path}", SourceOptions(**options))


def test_a_film_that_breaks_is_recorded_as_far_as_it_can_be_read(tmp_path, monkeypatch):
    for name in "abc":
        film(tmp_path / f"{name}.mkv")
    from oyster_jax.data.sources import video

    read, seen = video._square, []

    def square(frame, size):
        seen.append(frame)
        if len(seen) == 45:  # in the second film: the first one took 31
            raise av.error.InvalidDataError(1094995529, "Invalid data found")
        return read(frame, size)

    monkeypatch.setattr(video, "_square", square)
    info = record(make_source(f"video:{tmp_path}/*.mkv"), tmp_path / "out", None, clip_frames=8)
    length = {e: sum(n for s in info.shards for n, x in zip(s.frames, s.episodes) if x == e) for e in range(3)}
    assert length == {0: 30, 1: 13, 2: 30}
    assert [note for note in info.notes if "b.mkv cannot be read beyond 0.9 s" in note]
    assert open_clips(tmp_path / "out").info.notes == info.notes


def test_another_caption_is_another_recording(tmp_path):
    film(tmp_path / "a.mkv")
    record(make_source(f"video:{tmp_path}/*.mkv"), tmp_path / "out", 10)
    (tmp_path / "a.txt").write_text("a flash")
    with pytest.raises(OysterError, match="another recipe"):
        record(make_source(f"video:{tmp_path}/*.mkv"), tmp_path / "out", None)
