"""The whole chain, as a user runs it: record, train, roll out, evaluate; on a simulator, a game and a film.

Nothing is learnt in six steps. What is tested is that every part fits the next, for each kind of data and of action.
"""

import json
import shutil
from fractions import Fraction
from pathlib import Path

import av
import jax
import numpy as np
import pytest

from oyster_jax import cli
from oyster_jax.config import ActionFactor, ActionSpace, MediaSpec
from oyster_jax.data.pipeline import open_clips
from oyster_jax.data.recorder import record
from oyster_jax.data.sources.base import RawClip
from oyster_jax.distributed.mesh import make_mesh
from oyster_jax.media import write_video
from oyster_jax.models.world_model import load

TINY = f"--config={Path(__file__).parents[1] / 'configs' / 'tiny.py'}"


@pytest.fixture(autouse=True, scope="module")
def one_device():
    """Trains on one of the eight pretended devices, as on a user's machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("oyster_jax.training.train.make_mesh", lambda cfg: make_mesh(cfg, jax.devices()[:1]))
        yield


def oyster(*arguments):
    assert cli.main([str(a) for a in arguments]) == 0


def decode(path) -> tuple[np.ndarray, np.ndarray]:
    """A film's pictures uint8 [T, H, W, 3] and its sound float32 [X]."""
    with av.open(str(path)) as film:
        video = np.stack([f.to_ndarray(format="rgb24") for f in film.decode(video=0)])
    with av.open(str(path)) as film:
        assert film.streams.audio[0].rate == 48_000
        sound = np.concatenate([f.to_ndarray().mean(0) for f in film.decode(audio=0)])
    return video, sound


def assert_film(path, frames: int, fps):
    """Both streams are there, begin together and are equally long, to within one packet of sound."""
    video, sound = decode(path)
    assert len(video) == frames
    assert abs(len(sound) / 48_000 - frames / fps) <= 1024 / 48_000
    with av.open(str(path)) as film:
        assert film.streams.video[0].average_rate == fps
        assert {s.type: s.start_time or 0 for s in film.streams} == {"video": 0, "audio": 0}


def evaluate(world, data, out) -> dict:
    oyster("evaluate", f"--world={world}", f"--data={data}", f"--out={out}", "--frames=40", "--starts=2", "--batch=2")
    report = json.loads((out / "report.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    for name in ("tokenizer.png", "tokenizer_sound.png", "delta_psnr.png"):
        assert (out / name).stat().st_size > 1000
    return report


COMMON = {"data", "frames", "tokenizers", "bits_a_frame", "delta_psnr", "rollout"}


# ---------------------------------------------------------------------------- the reef: sound, prompts, four controls


@pytest.fixture(scope="module")
def reef(tmp_path_factory):
    """A trained world of the reef, its data beside it."""
    folder = tmp_path_factory.mktemp("reef")
    oyster("record", "--source=reef", "--frames=300", f"--out={folder / 'data'}")
    oyster("train", TINY, f"--data={folder / 'data'}", f"--workdir={folder}")
    return folder


def test_the_reef_from_a_prompt_an_image_and_a_clip(reef, tmp_path):
    world = ["rollout", f"--world={reef / 'world'}", "--seconds=0.8"]
    first, second, third = (tmp_path / f"{name}.mp4" for name in ("prompt", "image", "clip"))
    event = ["--prompt=a bay at night", "--event=0.4:a bay by day"]
    oyster(*world, f"--out={first}", *event, "--actions=N/fast/on/none*5,stay/slow/off/high")
    image = tmp_path / "start.png"
    av.VideoFrame.from_ndarray(decode(first)[0][3], "rgb24").to_image().save(image)
    oyster(*world, f"--out={second}", f"--image={image}", "--actions=random", "--action_guidance=1")
    oyster(*world, f"--out={third}", f"--data={reef / 'data'}", "--actions=idle", "--audio_steps=3")
    for film in (first, second, third):
        assert_film(film, 12, 15)


def test_the_reefs_report_has_everything(reef, tmp_path):
    report = evaluate(reef / "world", reef / "data", tmp_path / "report")
    assert report.keys() == COMMON
    assert report["data"] == "reef" and report["frames"] >= 40
    assert report["tokenizers"].keys() == {"video", "audio", "video_codes", "audio_codes"}
    picture = {"psnr", "psnr_changed", "ssim", "ssim_changed"}
    assert report["tokenizers"]["video"].keys() == {"changed_share", "tokenizer", "static_median"}
    assert report["tokenizers"]["video"]["tokenizer"].keys() == picture
    assert report["tokenizers"]["audio"]["silence"].keys() == {"log_mel_db", "log_mel_db_loud"}
    for modality in ("video", "audio"):
        bits = report["bits_a_frame"][modality]
        assert bits.keys() == {"model", "unigram", "copy"} and min(bits.values()) > 0
    assert report["delta_psnr"].keys() == {"horizon_1", "horizon_4", "horizon_8"}
    assert report["delta_psnr"]["horizon_8"]["count"] == 2
    assert report["rollout"].keys() >= {"world", "static_median", "sound"}


def test_a_world_is_what_its_data_was(reef):
    world, info = load(reef / "world"), open_clips(reef / "data").info
    assert world.config.media == info.media and world.config.actions == info.actions
    assert set(world.params) == {"video_tokenizer", "audio_tokenizer", "dynamics"}
    for stage in world.params:
        assert list((reef / "tensorboard" / stage).iterdir())
        assert list((reef / "samples").glob(f"{stage}-*.mp4"))


@pytest.mark.parametrize("cotrain", [False, True])
def test_with_its_actions_hidden_it_is_driven_by_their_names(reef, tmp_path, cotrain):
    """Latent actions are learnt without labels, before the dynamics or beside them; a few labels then name them."""
    for stage in ("video_tokenizer", "audio_tokenizer"):  # trained already
        shutil.copytree(reef / "checkpoints" / stage, tmp_path / "checkpoints" / stage)
    hidden = ["--config.dynamics.actions=latent", f"--config.dynamics.cotrain_latent={cotrain}"]
    oyster("train", TINY, f"--data={reef / 'data'}", f"--workdir={tmp_path}", *hidden)
    world = load(tmp_path / "world")
    assert set(world.params) == {"video_tokenizer", "audio_tokenizer", "latent_action", "dynamics", "controls"}
    assert world.config.played_actions.sizes == (8,) and world.config.actions.sizes == (9, 3, 2, 4)
    film = tmp_path / "world.mp4"
    drive = "--actions=N/fast/on/none*5,stay/slow/off/high"
    oyster("rollout", f"--world={tmp_path / 'world'}", f"--out={film}", "--seconds=0.8", drive)
    assert_film(film, 12, 15)
    if not cotrain:
        report = evaluate(tmp_path / "world", reef / "data", tmp_path / "report")
        assert report.keys() == COMMON | {"latent_actions", "delta_psnr_named_controls"}
        assert report["latent_actions"]["factors"].keys() == {"0", "1", "2", "3"}


# ---------------------------------------------------------------------------- Doom, and a film


def test_doom(tmp_path):
    """35/4 frames a second and 2,520 samples a frame: nothing is round."""
    oyster("record", "--source=vizdoom:basic_audio", "--frames=120", f"--out={tmp_path / 'data'}")
    oyster("train", TINY, f"--data={tmp_path / 'data'}", f"--workdir={tmp_path}")
    film = tmp_path / "world.mp4"
    oyster("rollout", f"--world={tmp_path / 'world'}", f"--out={film}", f"--data={tmp_path / 'data'}", "--seconds=2")
    assert_film(film, 18, Fraction(35, 4))


def test_a_film_of_ones_own(tmp_path):
    """Two films of a ball that bounces with a beep. No actions are known: latent ones are learnt without being told."""
    for name in ("one", "two"):
        t = np.arange(60)
        place = 12 + np.abs((7 * t + len(name)) % 80 - 40)
        video = np.full((60, 64, 64, 3), 40, np.uint8)
        for frame, x in zip(video, place):
            frame[28:36, x - 4 : x + 4] = (250, 200, 80)
        beep = 0.5 * np.sin(2 * np.pi * 600 / 12_288 * np.arange(1024))
        audio = np.where(np.isin(place, (place.min(), place.max()))[:, None], beep, 0).astype(np.float32)
        write_video(tmp_path / f"{name}.mp4", video, audio, Fraction(12), 12_288)
        (tmp_path / f"{name}.txt").write_text(f"ball {name}")
    rates = ["--fps=12", "--sample_rate=12288"]
    oyster("record", f"--source=video:{tmp_path}/*.mp4", *rates, f"--out={tmp_path / 'data'}")
    assert open_clips(tmp_path / "data").info.frames == 120
    oyster("train", TINY, f"--data={tmp_path / 'data'}", f"--workdir={tmp_path / 'run'}")
    world = load(tmp_path / "run" / "world")
    assert set(world.params) == {"video_tokenizer", "audio_tokenizer", "latent_action", "dynamics"}
    film = tmp_path / "run" / "world.mp4"
    play = ["--prompt=ball one", "--actions=3*4,7", "--seconds=1"]
    oyster("rollout", f"--world={tmp_path / 'run' / 'world'}", f"--out={film}", *play)
    assert_film(film, 12, 12)
    assert evaluate(tmp_path / "run" / "world", tmp_path / "data", tmp_path / "report").keys() == COMMON


# ---------------------------------------------------------------------------- a flash and its click


class Flash:
    """Frame t is white, and a click sounds at its sample 0, exactly where action[t-1] was 1."""

    name, episodes = "flash", 1
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


def test_a_flash_and_its_click_stay_together_from_the_recorder_to_the_film(tmp_path):
    record(Flash(), tmp_path / "data", frames=60)
    _, clip = open_clips(tmp_path / "data")[0]
    flashes = [7, 8, 23, 32, 51]
    assert (np.flatnonzero(clip["action"][:, 0]) + 1).tolist() == flashes
    write_video(tmp_path / "film.mp4", clip["video"], clip["audio"].astype(np.float32) / 32767, Fraction(15), 15360)
    video, sound = decode(tmp_path / "film.mp4")
    assert np.flatnonzero(video.mean((1, 2, 3)) > 128).tolist() == flashes
    loud = np.flatnonzero(np.abs(sound) > 0.2) / 48_000
    clicks = loud[np.diff(loud, prepend=-1) > 0.03]
    np.testing.assert_allclose(clicks, np.array(flashes) / 15, atol=0.005)
