"""A flash and its click stay together, and with the action that made them, on the whole way to a film and back."""

from fractions import Fraction

import numpy as np

from oyster_jax.config import ActionFactor, ActionSpace, MediaSpec
from oyster_jax.data.pipeline import open_clips
from oyster_jax.data.recorder import record
from oyster_jax.data.sources import make_source
from oyster_jax.data.sources.base import RawClip, SourceOptions
from oyster_jax.media import write_video


class Flash:
    """Frame t is white, and a click sounds at its sample 0, exactly where action[t-1] was 1."""

    name, episodes, recipe = "flash", 1, ""
    media = MediaSpec(Fraction(15), 15360)
    actions = ActionSpace((ActionFactor("flash", ("off", "on")),))

    def episode(self, index, clip_frames):
        action = np.zeros((60, 1), np.int32)
        action[[6, 7, 22, 31, 50]] = 1
        lit = np.concatenate([[False], action[:-1, 0] == 1])
        video = np.zeros((60, 64, 64, 3), np.uint8)
        video[lit] = 255
        audio = np.zeros((60, 1024), np.float32)
        audio[lit, :40] = 0.9 * np.sin(2 * np.pi * 3000 / 15360 * np.arange(40))
        yield RawClip(video, audio, action)

    def notes(self):
        return []


def clicks(audio_TS) -> np.ndarray:
    """When clicks begin, in frames."""
    loud = np.flatnonzero(np.abs(audio_TS.reshape(-1)) > 0.2) / audio_TS.shape[1]
    return loud[np.diff(loud, prepend=-1) > 0.5]


def test_from_the_recorder_to_a_film_and_back(tmp_path):
    """Through the record on disk, the film that is written of it, and the film when it is itself recorded."""
    record(Flash(), tmp_path / "data", frames=60)
    _, clip = open_clips(tmp_path / "data")[0]
    video, audio = clip["video"], clip["audio"].astype(np.float32) / 32767
    write_video(tmp_path / "film.mp4", video, audio, Fraction(15), 15360)
    film = make_source(f"video:{tmp_path}/film.mp4", SourceOptions(fps="15", sample_rate=15360))
    (again,) = film.episode(0, 128)

    made = np.flatnonzero(clip["action"][:, 0]) + 1  # action[t-1] makes frame t
    assert made.tolist() == [7, 8, 23, 32, 51]
    for seen, heard in ((video, audio), (again.video, again.audio)):
        assert np.flatnonzero(seen.mean((1, 2, 3)) > 128).tolist() == made.tolist()
        np.testing.assert_allclose(clicks(heard), made, atol=0.005 * 15)  # 5 ms; a frame has 67
