"""The whole chain, as a user runs it: record, train, roll out, evaluate; on a simulator, a game and films.

Nothing is learnt in six steps. What is tested is that every part fits the next, for each kind of data and of action.
"""

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import jax
import nbformat
import numpy as np
import pytest
from matplotlib.image import imread
from nbclient import NotebookClient

from oyster_jax import cli
from oyster_jax.data.pipeline import open_clips
from oyster_jax.distributed.mesh import make_mesh
from oyster_jax.media import write_video
from oyster_jax.models.world_model import load

TINY = f"--config={Path(__file__).parents[1] / 'configs' / 'tiny.py'}"
JUDGE = ["--frames=40", "--starts=2", "--batch=2"]
SHORT = "--clip_frames=32"  # as short as can be judged


@pytest.fixture(autouse=True, scope="module")
def one_device():
    """Trains on one of the eight pretended devices, as on a user's machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("oyster_jax.training.train.make_mesh", lambda cfg: make_mesh(cfg, jax.devices()[:1]))
        yield


def oyster(*arguments):
    assert cli.main([str(a) for a in arguments]) == 0


# Runs commands, given as JSON, in a process of its own, and prints their exit codes.
JOB = """
import json, os, sys, traceback
os.environ["XLA_FLAGS"] = os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1")
from oyster_jax import cli
codes = []
for command in json.loads(sys.argv[1]):
    try:
        codes.append(cli.main(command))
    except Exception:
        traceback.print_exc()
        codes.append(1)
print(json.dumps(codes))
"""


@pytest.fixture(autouse=True, scope="module")
def jobs(tmp_path_factory):
    """Doom and films, worked on beside the reef's tests: compiling, which takes the time, keeps one core busy.

    A function that waits for the one or the other and returns its folder and its commands' exit codes.
    """
    started = {}
    for name, prepare in {"doom": doom, "films": films}.items():
        folder = tmp_path_factory.mktemp(name)
        commands = json.dumps([[str(a) for a in c] for c in prepare(folder)])
        with open(folder / "log.txt", "w") as log:
            started[name] = folder, subprocess.Popen([sys.executable, "-c", JOB, commands], stdout=log, stderr=log)

    def wait(name) -> tuple[Path, list[int]]:
        folder, process = started[name]
        process.wait(timeout=600)
        log = (folder / "log.txt").read_text()
        print(log[-3000:])  # shown if the test fails
        return folder, json.loads(log.splitlines()[-1])

    yield wait
    for _, process in started.values():
        process.kill()
        process.wait()


def share_tokenizers(trained: Path, workdir: Path) -> Path:
    """A new workdir in which the tokenizers of another one are found trained."""
    (workdir / "checkpoints").mkdir(parents=True)
    for stage in ("video_tokenizer", "audio_tokenizer"):
        (workdir / "checkpoints" / stage).symlink_to(trained / "checkpoints" / stage)
    return workdir


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


def read_report(out: Path) -> dict:
    """A finished report, which must be JSON by the letter, beside its pictures."""
    for name in ("tokenizer.png", "tokenizer_sound.png", "delta_psnr.png", "rollout.png", "rollout.mp4"):
        assert (out / name).stat().st_size > 1000
    refuse = lambda name: pytest.fail(f"{name} is no JSON")
    return json.loads((out / "report.json").read_text(), parse_constant=refuse)


COMMON = {"data", "split", "frames", "tokenizers", "bits_a_frame", "delta_psnr", "rollout"}


# ---------------------------------------------------------------------------- the reef: sound, prompts, five controls


@pytest.fixture(scope="module")
def reef(tmp_path_factory):
    """A trained world of the reef, its data beside it."""
    folder = tmp_path_factory.mktemp("reef")
    oyster("record", "--source=reef", "--frames=300", f"--out={folder / 'data'}")
    oyster("train", TINY, f"--data={folder / 'data'}", f"--workdir={folder}")
    return folder


def test_the_reef_from_an_image_and_from_a_clip(reef, tmp_path):
    """Worlds that begin from nothing but a prompt are those of the films."""
    world, first, second = f"--world={reef / 'world'}", tmp_path / "image.mp4", tmp_path / "clip.mp4"
    image = tmp_path / "start.png"
    _, clip = open_clips(reef / "data")[0]
    av.VideoFrame.from_ndarray(clip["video"][3], "rgb24").to_image().save(image)
    event = ["--prompt=a bay at night", "--event=0.4:a bay by day", f"--image={image}"]
    # Both are drawn alike: the second finds the first one's compiled step.
    short = ["rollout", world, "--seconds=0.8", "--action_guidance=1", "--audio_steps=3"]
    oyster(*short, f"--out={first}", *event, "--actions=N/fast/white/none/none*5,stay/slow/off/A/kick")
    oyster(*short, f"--out={second}", f"--data={reef / 'data'}", "--actions=random")
    for film in (first, second):
        assert_film(film, 12, 15)


def test_the_reefs_report_has_everything(reef, tmp_path):
    oyster("evaluate", f"--world={reef / 'world'}", f"--data={reef / 'data'}", f"--out={tmp_path}", *JUDGE)
    report = read_report(tmp_path)
    assert report.keys() == COMMON
    assert report["data"] == "reef" and report["split"] == "held_out" and report["frames"] == 32
    assert report["tokenizers"].keys() == {"video", "audio", "video_codes", "audio_codes"}
    picture = {"psnr", "psnr_changed", "ssim", "ssim_changed"}
    assert report["tokenizers"]["video"].keys() == {"changed_share", "tokenizer", "static_median"}
    assert report["tokenizers"]["video"]["tokenizer"].keys() == picture
    assert report["tokenizers"]["audio"]["silence"].keys() >= {"log_mel_db", "log_mel_db_loud", "spectral_convergence"}
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
    assert "explorer" in world.params["dynamics"]  # the atlas goes on in there
    for stage in world.params:
        assert list((reef / "tensorboard" / stage).iterdir())
        assert list((reef / "samples").glob(f"{stage}-*.mp4"))


def test_the_notebook_runs_from_its_first_cell_to_its_last(reef, tmp_path, monkeypatch):
    """Its short form, in a kernel of its own. Its agent has no time to learn: `benchmarks/agent.py` measures that."""
    monkeypatch.setenv("OYSTER_SHORT", "1")
    monkeypatch.setenv("OYSTER_WORLD", str(reef / "world"))
    monkeypatch.setenv("XLA_FLAGS", os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1"))
    notebook = nbformat.read(Path(__file__).parents[1] / "launch/colab/library.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # kept small: nobody reads a diff of pictures
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert_film(tmp_path / "reef.mp4", 11, 15)
    assert imread(tmp_path / "futures.png").shape == (132, 132, 4)


HIDDEN = "--config.dynamics.actions=latent"
LATENT = {"video_tokenizer", "audio_tokenizer", "latent_action", "dynamics"}


def test_with_its_actions_hidden_the_reef_is_driven_by_their_names(reef, tmp_path):
    """Latent actions are learnt without labels; a few labels then name them."""
    share_tokenizers(reef, tmp_path)
    oyster("train", TINY, f"--data={reef / 'data'}", f"--workdir={tmp_path}", HIDDEN)
    world = load(tmp_path / "world")
    assert set(world.params) == LATENT | {"controls"}
    assert world.config.played_actions.sizes == (8,) and world.config.actions.sizes == (9, 3, 8, 13, 5)
    drive = ["--actions=N/fast/white/none/none*5,stay/slow/off/A/kick", "--seconds=0.8"]
    oyster("rollout", f"--world={tmp_path / 'world'}", f"--out={tmp_path / 'world.mp4'}", *drive)
    assert_film(tmp_path / "world.mp4", 12, 15)
    out = tmp_path / "report"
    oyster("evaluate", f"--world={tmp_path / 'world'}", f"--data={reef / 'data'}", f"--out={out}", *JUDGE)
    report = read_report(out)
    assert report.keys() == COMMON | {"latent_actions", "delta_psnr_named_controls"}
    assert len(report["latent_actions"]["controls"]) == 10  # five factors, now and an interval before


# ---------------------------------------------------------------------------- Doom, and films


def doom(folder: Path) -> list[list]:
    """35/4 frames a second and 2,520 samples a frame: nothing is round. Its latent actions are learnt together with its
    dynamics."""
    data, world = f"--data={folder / 'data'}", f"--world={folder / 'world'}"
    named = [f"--out={folder / 'world.mp4'}", "--actions=left/on*4,none/off", "--seconds=2"]
    flags = ["--config.dynamics.cotrain_latent=True", "--config.dynamics.atlas=0", "--config.train.only_seen=True"]
    return [
        ["record", "--source=vizdoom:basic_audio", "--frames=96", SHORT, f"--out={folder / 'data'}"],
        ["train", TINY, data, f"--workdir={folder}", HIDDEN, *flags],
        ["rollout", world, data, *named],
    ]


def test_doom_with_its_actions_hidden(jobs):
    folder, codes = jobs("doom")
    assert codes == [0, 0, 0]
    assert_film(folder / "world.mp4", 18, Fraction(35, 4))
    world = load(folder / "world")
    assert set(world.params) == LATENT | {"controls", "seen"} and world.config.dynamics.cotrain_latent
    seen, d = world.params["seen"]["video"], world.config.dynamics
    assert seen.shape == (d.video_tokens, d.video_codes) and seen.any(1).all()
    assert world.config.actions == open_clips(folder / "data").info.actions


def films(folder: Path) -> list[list]:
    """Two films of a ball that bounces with a beep, and what to do with them; one has a caption."""
    for name in ("one", "two"):
        place = 12 + np.abs((7 * np.arange(60) + len(name)) % 80 - 40)
        video = np.full((60, 64, 64, 3), 40, np.uint8)
        for frame, x in zip(video, place):
            frame[28:36, x - 4 : x + 4] = (250, 200, 80)
        beep = 0.5 * np.sin(2 * np.pi * 600 / 20_480 * np.arange(1024))
        audio = np.where(np.isin(place, (place.min(), place.max()))[:, None], beep, 0).astype(np.float32)
        write_video(folder / f"{name}.mp4", video, audio, Fraction(20), 20_480)
    (folder / "one.txt").write_text("a ball")
    data, world, out = f"--data={folder / 'data'}", f"--world={folder / 'world'}", f"--out={folder / 'report'}"
    rates, film = ["--fps=20", "--sample_rate=20480", SHORT], folder / "world" / "world.mp4"
    return [
        ["record", f"--source=video:{folder}/*.mp4", *rates, f"--out={folder / 'data'}"],
        ["train", TINY, data, f"--workdir={folder}"],
        ["rollout", world, f"--out={film}", "--prompt=a ball", "--actions=3*4,7", "--seconds=0.6"],
        ["evaluate", world, data, out, *JUDGE],
    ]


def test_films_of_ones_own(jobs):
    """No actions are known: latent ones are learnt without being asked for."""
    folder, codes = jobs("films")
    assert codes == [0, 0, 0, 0]
    assert open_clips(folder / "data").info.frames == 120
    assert set(load(folder / "world").params) == LATENT
    assert_film(folder / "world" / "world.mp4", 12, 20)
    report = read_report(folder / "report")
    assert report.keys() == COMMON | {"latent_actions"}
    assert report["latent_actions"].keys() == {"codes_used"}  # nobody knows what they mean
